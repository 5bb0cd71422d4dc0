"""Values that no item could work with are refused with the file, all at once, in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from sciSR.cli.main import main
from sciSR.errors import ConfigurationError
from sciSR.workflow.pipelines.loading import check_pipeline, load_pipeline

GOOD = "pipeline: t\nsteps: [{step: read}, {step: upscale, tile: 64}, {step: write}]\n"


@pytest.mark.parametrize(
    "scale", ["NaN", ".nan", "inf", ".inf", "1e9", "-1", "0", "0.5", "1", "65", "two", "3/0", "2,3,4", "true"]
)
def test_scales_that_are_none(tmp_path: Path, scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    others = ["--set", "steps.1.noise=.nan", "--set", "steps.1.tile=4"]
    assert main(["run", str(path), "-i", str(tmp_path), "--set", f"steps.1.scale={scale}", *others]) == 2
    said = capsys.readouterr().err
    assert "3 errors" in said
    assert "steps[1].scale [--set]: must be a number above 1, at most 64" in said
    assert "steps[1].noise [--set]: must be a finite number" in said
    assert "steps[1].tile [--set]: must be greater than or equal to 16" in said


@pytest.mark.parametrize("scale", ["2", "1.5", "3/2", "'2,3'", "'2,1'", "64"])
def test_scales(tmp_path: Path, scale: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    load_pipeline(path, [f"steps.1.scale={scale}"])


def test_a_fusion_at_the_frames_own_scale_and_overrides() -> None:
    steps = [{"step": "fuse", "scale": 1}]
    check_pipeline({"pipeline": "t", "steps": steps}, "p.yaml")
    wrong = [{"match": "*", "set": {"fuse": {"scale": 0.5}}}]
    with pytest.raises(
        ConfigurationError, match=r"overrides\[0\].set.fuse.scale: must be a number from 1 to 64"
    ):
        check_pipeline({"pipeline": "t", "steps": steps, "overrides": wrong}, "p.yaml")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("read", "is 'read' alone (write '- step: read')"),
        ("raed", "is 'raed' alone (write '- step: NAME')"),
        (["read"], "is ['read'] alone (write '- step: NAME')"),
        (None, "is empty (write '- step: NAME')"),
        (
            {"read": {}},
            "must have 'step: NAME' or 'branches:' (write '- step: read', its parameters below it)",
        ),
    ],
)
def test_steps_that_do_not_say_so(entry: object, said: str) -> None:
    steps = [entry, {"branches": {"a": [entry]}}]
    with pytest.raises(ConfigurationError) as caught:
        check_pipeline({"pipeline": "t", "steps": steps}, "p.yaml")
    assert list(caught.value.faults) == [f"steps[0]: {said}", f"steps[1].branches.a[0]: {said}"]
