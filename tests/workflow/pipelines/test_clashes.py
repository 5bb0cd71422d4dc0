"""Two items never write one output: it is said before any work, with --overwrite too."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sciSR import Pipeline

SAMPLE = Path(__file__).resolve().parents[3] / "data_samples" / "star_field.fits"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "step", "failing"),
    [
        ("{stem}", {"step": "write"}, [False, True]),
        ("{folder}/{stem}", {"step": "write"}, [False, False]),
        ("{item}", {"step": "write", "output": "one"}, [False, True]),
        ("{stem}", {"step": "report"}, [False, True]),
    ],
)
def test_the_later_of_two_items_fails(
    tmp_path: Path, name: str, step: dict[str, str], failing: list[bool], overwrite: bool
) -> None:
    for folder in ("one", "two"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "a.fits").write_bytes(b"0")
    pipeline = Pipeline.from_dict(
        {
            "pipeline": "t",
            "inputs": {"files": ["**/*.fits"]},
            "steps": [{"step": "read"}, {"step": "upscale", "model": "cubic"}, step],
            "outputs": {"name": name},
        }
    )
    plan = pipeline.plan(tmp_path / "in", tmp_path / "out", overwrite=overwrite)
    assert [item.failing for item in plan.items] == failing


def test_suffixes_tell_outputs_apart(tmp_path: Path) -> None:
    for each in ("a.fits", "a.nii"):
        (tmp_path / each).write_bytes(b"0")
    steps = [{"step": "read"}, {"step": "write"}]
    pipeline = Pipeline.from_dict({"pipeline": "t", "steps": steps, "outputs": {"name": "{stem}"}})
    assert [item.problem for item in pipeline.items(tmp_path, tmp_path / "out")] == [None, None]


@pytest.mark.parametrize(
    ("steps", "name", "failing"),
    [
        ([{"step": "upscale", "model": "nearest"}, {"step": "write"}], "{stem}", [False, True, True]),
        ([{"step": "upscale", "model": "nearest"}, {"step": "write"}], "{item}", [False, False, False]),
        ([{"step": "write", "format": "fits.gz"}], "{stem}", [False, True, True]),
        ([{"step": "write"}], "{stem}", [False, False, False]),
    ],
)
def test_suffixes_that_become_one(
    tmp_path: Path, steps: list[dict[str, str]], name: str, failing: list[bool]
) -> None:
    sample = SAMPLE.read_bytes()
    for each, content in (("a.fit", sample), ("a.fits", sample), ("a.fits.gz", gzip.compress(sample, 1))):
        (tmp_path / each).write_bytes(content)
    pipeline = Pipeline.from_dict({"pipeline": "t", "steps": steps, "outputs": {"name": name}})
    found = pipeline.items(tmp_path, tmp_path / "out")
    assert [item.problem is not None for item in found] == failing
    assert all("a.fit" in str(item.problem) for item in found if item.problem)
