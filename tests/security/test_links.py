"""Links in the output's place: replaced when asked for, never followed; and no temporary name can be guessed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import make_series, phantom
from fuzz_seeds import make as make_seed
from fuzz_seeds import seeds
from nifti_samples import make

from sciSR.errors import UsageError
from sciSR.files import atomic_output
from sciSR.workflow.run import upscale_file

PRECIOUS = b"do not touch"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "victim"
    path.parent.mkdir()
    path.write_bytes(PRECIOUS)
    return path


def upscale(source: Path, target: Path, **options: object) -> None:
    upscale_file(source, target, model="linear", device="cpu", **options)


def sources(tmp_path: Path) -> list[Path]:
    found = []
    for name in ("fits/cube", "nifti/gz", "ser/mono", "picture/png16", "picture/tiff", "dicom/explicit"):
        seed = seeds()[name]
        found.append(make_seed(seed, tmp_path / "in") / seed.opened)
    return found


def test_a_link_to_a_file_is_in_the_way_and_is_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    for source in sources(tmp_path):
        target = tmp_path / f"out{''.join(source.suffixes)}"
        target.symlink_to(victim)
        with pytest.raises(UsageError, match="exists already"):
            upscale(source, target)
        assert target.is_symlink()
        upscale(source, target, overwrite=True)
        assert target.is_file()
        assert not target.is_symlink()
        assert victim.read_bytes() == PRECIOUS


def test_a_link_to_nowhere_does_not_make_a_file_there(tmp_path: Path, victim: Path) -> None:
    source, target = make(tmp_path / "a.nii"), tmp_path / "out.nii"
    target.symlink_to(victim.with_name("new"))
    with pytest.raises(UsageError, match="exists already"):
        upscale(source, target)
    upscale(source, target, overwrite=True)
    assert not victim.with_name("new").exists()


def test_files_beside_the_output_are_not_written_through_links(tmp_path: Path, victim: Path) -> None:
    source = make(tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text(json.dumps({"SliceThickness": 2.5}))
    (tmp_path / "out").mkdir()
    for name in ("b.json", "b_std.nii.gz", "b_uncertainty.nii.gz", "b.bval", "b.bvec"):
        (tmp_path / "out" / name).symlink_to(victim)
    upscale(source, tmp_path / "out" / "b.nii.gz", overwrite=True, uncertainty=True)
    assert victim.read_bytes() == PRECIOUS


def test_a_linked_folder_of_results_is_replaced_not_emptied(tmp_path: Path, victim: Path) -> None:
    target = tmp_path / "out"
    target.symlink_to(victim.parent, target_is_directory=True)
    with pytest.raises(UsageError, match="exists already"), atomic_output(target, folder=True):
        pass
    with atomic_output(target, folder=True, overwrite=True) as temporary:
        (temporary / "new").write_bytes(b"x")
    assert not target.is_symlink()
    assert os.listdir(target) == ["new"]
    assert os.listdir(victim.parent) == ["victim"]
    assert victim.read_bytes() == PRECIOUS
    assert sorted(os.listdir(tmp_path)) == ["home", "out"]


def test_a_series_is_not_put_in_the_place_of_a_link_to_other_files(tmp_path: Path, victim: Path) -> None:
    make_series(tmp_path / "mr", stored=phantom((2, 6, 8)))
    target = tmp_path / "out"
    target.symlink_to(victim.parent, target_is_directory=True)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"exists already|would be lost"):
            upscale(tmp_path / "mr", target, overwrite=overwrite)
    assert os.listdir(victim.parent) == ["victim"]


def test_a_linked_empty_folder_is_not_taken_for_the_user_s_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "empty", target_is_directory=True)
    with pytest.raises(UsageError, match="exists already"), atomic_output(tmp_path / "out", folder=True):
        pass
    assert not os.listdir(tmp_path / "empty")


def test_a_folder_that_the_user_names_is_followed(tmp_path: Path) -> None:
    """The folders of a path are the user's to choose: only the last part of a name is never followed."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk", target_is_directory=True)
    upscale(make(tmp_path / "a.nii"), tmp_path / "out" / "b.nii")
    assert os.listdir(tmp_path / "disk") == ["b.nii"]


def test_an_output_that_is_a_link_to_its_input_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "a.nii")
    before = source.read_bytes()
    (tmp_path / "out.nii").symlink_to(source)
    with pytest.raises(UsageError, match="its own input"):
        upscale(source, tmp_path / "out.nii", overwrite=True)
    assert source.read_bytes() == before


OPENED = """
import sys
from pathlib import Path
from sciSR.files import atomic_output
def hook(event, args):
    if event == "open" and isinstance(args[0], str) and args[0].endswith(".tmp"):
        print(args[0], args[2])
sys.addaudithook(hook)
with atomic_output(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"x")
"""


def test_temporary_names_can_t_be_guessed_and_are_made_anew(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENED]
    names = set()
    for number in range(3):
        done = subprocess.run(
            [*command, str(tmp_path / f"out{number}")], capture_output=True, text=True, timeout=60, check=True
        )
        name, flags = done.stdout.splitlines()[0].rsplit(" ", 1)
        assert int(flags) & os.O_EXCL
        assert int(flags) & os.O_NOFOLLOW
        names.add(Path(name).name.split(".")[-2])
    assert len(names) == 3
    assert all(len(name) >= 8 for name in names)


def test_a_folder_s_temporary_one_is_the_user_s_alone_until_it_is_done(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "out", folder=True) as temporary:
        assert temporary.stat().st_mode & 0o077 == 0
        np.save(temporary / "a.npy", np.zeros(3))
    assert (tmp_path / "out" / "a.npy").is_file()
