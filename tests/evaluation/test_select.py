"""Names, paths, lists and groups of networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from networks import write_network
from sciSR.errors import ModelError, UsageError
from sciSR.evaluation.select import select
from sciSR.models.files import list_models


@pytest.fixture(autouse=True)
def no_models_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))


def names(models: str | list[str], **fields: object) -> set[str]:
    return {task.spec.name for task in select(models, **fields)}


def test_all_is_every_shipped_network() -> None:
    assert names("all") == {spec.name for spec in list_models()}


@pytest.mark.parametrize("word", ["all-mri-x2", "all-mr-x2"])
def test_a_group_holds_its_domain_and_factor_and_nothing_else(word: str) -> None:
    expected = {spec.name for spec in list_models() if spec.domain == "mr" and 2 in spec.factors}
    assert names(word) == expected
    assert {task.scale for task in select(word)} == {2}
    assert expected
    assert names("all-x2") == names("all-mri-x2") | names("all-astro-x2")


def test_the_user_s_own_are_in_the_groups(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    path = Path(write_network(tmp_path, "FSRCNN", 2))
    path.rename(tmp_path / "mine" / "own.safetensors")
    assert "own" in names("all-mri-x2")


def test_lists_and_paths_are_taken_and_each_network_once(tmp_path: Path) -> None:
    path = write_network(tmp_path, "FSRCNN", 2)
    found = select([f"espcn-mr-kspace-x2,{path}", "espcn-mr-kspace-x2", "classical"])
    assert [task.weights for task in found] == ["espcn-mr-kspace-x2", path]
    assert select("classical") == []


def test_a_network_that_undoes_several_is_examined_with_each(tmp_path: Path) -> None:
    path = write_network(tmp_path, "ConditionalECBSR", 2)
    assert {task.forward for task in select(path)} == {"kspace", "gaussian"}
    assert {task.forward for task in select(path, forward="gaussian")} == {"gaussian"}


def test_a_network_for_several_factors_is_examined_at_the_one_asked_for(tmp_path: Path) -> None:
    path = write_network(tmp_path, "VDSR", 2, scales=(2, 3, 4))
    assert [task.scale for task in select(path)] == [2]
    assert [task.scale for task in select(path, scale=3)] == [3]
    with pytest.raises(ModelError, match="x2, x3, x4, not by 8"):
        select(path, scale=8)


def test_groups_leave_other_domains_alone_and_names_insist() -> None:
    [task, *_] = select("all-astro-x2")
    assert task.fits("astronomy")
    assert not task.fits("mr")
    [named] = select("espcn-astro-x2")
    assert named.fits("mr")


@pytest.mark.parametrize(
    ("models", "fields", "words"),
    [
        ("nothing-x2", {}, "nothing-x2"),
        ("all-xray-x2", {}, "xray"),
        ("all-mri-x7", {}, "all-mri-x7"),
        ("all", {"forward": "lens"}, "lens"),
    ],
)
def test_what_is_unknown_is_named(models: str, fields: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        select(models, **fields)
