"""Inputs by pattern: which files, in which order, under which keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.config import Inputs, Override
from sciSR.workflow.pipelines.finding import find_items, matches
from sciSR.workflow.pipelines.finding_files import glob_expression
from sciSR.workflow.pipelines.items import Item
from sciSR.workflow.pipelines.naming import safe_name
from sciSR.workflow.stack_names import record_name


def tree(folder: Path, *names: str) -> Path:
    """Files of one byte; what they hold does not matter where their names are known."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")
    return folder


def keys(folder: Path, *, without: Path | None = None, **inputs: object) -> list[str]:
    return [item.key for item in find_items(Inputs(**inputs), folder, without=without)]  # type: ignore[arg-type]


def test_keys_are_relative_paths_without_suffix_in_order(tmp_path: Path) -> None:
    tree(tmp_path, "b.fits", "night 1/a.fits.gz", "night 1/B.FIT", "c.nii.gz")
    assert keys(tmp_path) == ["b", "c", "night-1__B", "night-1__a"]
    assert find_items(Inputs(), tmp_path)[3].facts == {"stem": "a", "suffix": ".fits.gz", "folder": "night 1"}


def test_patterns_are_those_of_the_shell_without_regard_to_case(tmp_path: Path) -> None:
    tree(tmp_path, "a.fits", "n/b.FITS", "n/m/c.fits", "n/d.nii")
    assert keys(tmp_path, files="*.fits") == ["a"]
    assert keys(tmp_path, files="n/*.fits") == ["n__b"]
    assert keys(tmp_path, files="**/*.fits") == ["a", "n__b", "n__m__c"]
    assert keys(tmp_path, files=["n/**", "a.*"]) == ["a", "n__b", "n__d", "n__m__c"]
    assert keys(tmp_path, files="**/[bc].fits") == ["n__b", "n__m__c"]
    assert keys(tmp_path, files="**/[!b].fits") == ["a", "n__m__c"]


@given(st.text(alphabet="ab*?[]!./", max_size=12), st.text(alphabet="ab/.", max_size=12))
def test_any_pattern_is_understood(pattern: str, path: str) -> None:
    glob_expression(pattern).fullmatch(path)
    assert glob_expression("**").fullmatch(path)


def test_exclude_leaves_out_names_folders_and_paths(tmp_path: Path) -> None:
    tree(tmp_path, "a.fits", "dark_1.fits", "calibration/x.fits", "calibration/deep/y.fits", "n/dark_2.fits")
    assert keys(tmp_path, exclude=["calibration/**", "*dark*"]) == ["a"]
    assert keys(tmp_path, exclude=["calibration"]) == ["a", "dark_1", "n__dark_2"]
    assert keys(tmp_path, exclude=["n/*"]) == ["a", "calibration__deep__y", "calibration__x", "dark_1"]


def test_what_lies_beside_data_is_no_input(tmp_path: Path) -> None:
    tree(
        tmp_path,
        *("a.nii.gz", "a.json", "a.bval", "a.bvec", ".hidden.fits", ".git/b.fits", "README.md", "notes"),
        *("pair.hdr", "pair.img", "m51.fits", "m51.png", "pictures/p.png"),
    )
    assert keys(tmp_path) == ["a", "m51", "pair", "pictures__p"]
    assert keys(tmp_path, files="*") == ["a", "m51", "notes", "pair"]
    assert keys(tmp_path, files="**/*.png") == ["m51", "pictures__p"]
    assert keys(tmp_path, files="*.json") == ["a"]


def test_results_are_no_inputs(tmp_path: Path) -> None:
    tree(tmp_path, "m51.fits", "m51_x2.fits", "m51_x1.5_std.fits", "m51_fused.fits", "ngc1_x2.fits")
    tree(tmp_path, "scan/1.dcm", "scan_x2/1.dcm", "out/.scisr/ledger.sqlite", "out/m51.fits", "here/m51.fits")
    assert keys(tmp_path, files="*.fits") == ["m51", "ngc1_x2"]  # nothing here that ngc1_x2 was made of
    assert keys(tmp_path, files="**/*.fits") == ["here__m51", "m51", "ngc1_x2"]
    assert keys(tmp_path, files="**/*.fits", without=tmp_path / "here") == ["m51", "ngc1_x2"]
    assert len(keys(tmp_path, files="**/*.dcm")) == 1  # its key says nothing, since it holds nothing
    assert keys(tmp_path / "out") == ["m51"]  # but those of a run may be the inputs of another


def test_a_damaged_file_is_an_item_that_can_fail_by_name(tmp_path: Path) -> None:
    tree(tmp_path, "good.fits", "damaged.fits")
    (tmp_path / "empty.fits").touch()
    (tmp_path / "nowhere.fits").symlink_to(tmp_path / "gone")
    assert keys(tmp_path) == ["damaged", "empty", "good", "nowhere"]


def test_a_link_to_itself_is_an_item_that_can_fail_by_name(tmp_path: Path) -> None:
    tree(tmp_path, "good.fits")
    (tmp_path / "self.fits").symlink_to(tmp_path / "self.fits")
    assert keys(tmp_path) == ["good", "self"]


def test_pipes_and_devices_fail_by_name_and_are_never_opened(tmp_path: Path) -> None:
    tree(tmp_path, "good.fits")
    os.mkfifo(tmp_path / "pipe.fits")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    found = find_items(Inputs(files=["*.fits", "*.nii"]), tmp_path)
    assert [item.problem is None for item in found] == [True, False, False]
    assert keys(tmp_path) == [item.key for item in found]  # nor is one looked into for its format


def test_links_to_themselves_and_pipes_have_names_for_records(tmp_path: Path) -> None:
    (tmp_path / "self.fits").symlink_to("self.fits")
    os.mkfifo(tmp_path / "pipe")
    assert [record_name(tmp_path / name) for name in ("self.fits", "pipe")] == ["self.fits", "pipe"]


def test_a_name_without_a_letter_has_a_key(tmp_path: Path) -> None:
    tree(tmp_path, "!.fits")
    assert all(keys(tmp_path))


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    tree(tmp_path / "real", "a.fits")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert keys(tmp_path / "real") == ["a"]


def test_keys_that_would_be_the_same_are_told_apart(tmp_path: Path) -> None:
    tree(tmp_path, "a.fits", "a.nii", "n__b.fits", "n/b.fits", "x y.fits", "x-y.fits", "C.fits", "c.nii")
    found = keys(tmp_path)
    assert len({key.casefold() for key in found}) == 8
    assert found[:2] == ["C.fits", "a.fits"]
    before = dict(zip(found, find_items(Inputs(), tmp_path), strict=True))
    tree(tmp_path, "another.fits")
    after = {item.key: item for item in find_items(Inputs(), tmp_path)}
    assert all(after[key].files == item.files for key, item in before.items())


NAMES = st.lists(
    st.sampled_from(["a", "b", "A", "a-b", "a_b", "n/a", "n__a", "n/a.b", "a.b", "x/y/z", "é"]), unique=True
)


@given(NAMES, st.lists(st.sampled_from([".fits", ".nii", ".fits.gz"]), min_size=12, max_size=12))
def test_keys_are_unique_and_safe(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], ends: list[str]
) -> None:
    folder = tree(tmp_path_factory.mktemp("t"), *(n + e for n, e in zip(names, ends, strict=False)))
    found = keys(folder)
    assert len({key.casefold() for key in found}) == len(names)
    assert all(safe_name(key) == key for key in found)


def test_all_files_are_one_sequence(tmp_path: Path) -> None:
    tree(tmp_path, "n/b.fits", "n/a.fits")
    [item] = find_items(Inputs(group="all"), tmp_path)
    assert item.key == "all"
    assert item.sequence
    assert [f.name for f in item.files] == ["a.fits", "b.fits"]
    assert item.facts == {"suffix": ".fits", "folder": "n"}


def test_folders_are_sequences_and_small_ones_fail_by_name(tmp_path: Path) -> None:
    tree(tmp_path, "n/b.fits", "n/a.fits", "m/c.fits")
    one, two = find_items(Inputs(group=["folder"], minimum=2), tmp_path)
    assert (one.key, two.key) == ("m", "n")
    assert two.problem is None
    assert "1 file in this group, fewer than the minimum of 2" in str(one.problem)


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", "a/../../b", "~/x"])
def test_patterns_stay_within_the_folder(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="leads out"):
        find_items(Inputs(files=[pattern]), tmp_path)
    with pytest.raises(UsageError, match="leads out"):
        find_items(Inputs(exclude=[pattern]), tmp_path)


def test_a_missing_folder_is_refused_and_a_file_is_an_item(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        find_items(Inputs(), tmp_path / "nowhere")
    tree(tmp_path, "a.fits", "b.fits")
    assert keys(tmp_path / "a.fits", files="**/*.nii") == ["a"]


def test_overrides_are_meant_for_some(tmp_path: Path) -> None:
    item = Item("n__a", (tmp_path / "n/a.fits",), {"FILTER": "Ha", "EXPTIME": "300"})

    def meant(**fields: object) -> bool:
        return matches(Override(**fields), item, tmp_path)  # type: ignore[arg-type]

    assert meant()
    assert meant(match="n__*")
    assert meant(match="n/*.fits")
    assert meant(match=["b", "A.FITS"])
    assert meant(where={"filter": "h*"})
    assert meant(where={"EXPTIME": ">= 300"}, match="n/**")
    assert not meant(match="*.fits.gz")
    assert not meant(where={"FILTER": "r"})
    assert not meant(where={"FILTER": "Ha", "GAIN": "*"})
    assert not meant(match="b", where={"FILTER": "Ha"})
