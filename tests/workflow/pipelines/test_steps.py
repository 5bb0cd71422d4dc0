"""Each step does what its command does, and hands on what the next one needs."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline_tasks import SAMPLES, assert_done, make_task, outputs_of, records, tree

import sciSR
from sciSR.workflow.pipelines.running import run_task

ROUND = (
    {"step": "read"},
    {"step": "degrade", "fwhm": 1.2, "forward": "detector"},
    {"step": "upscale", "model": "cubic"},
    {"step": "verify"},
    {"step": "evaluate", "against": "read"},
    {"step": "write"},
    {"step": "report"},
)


def test_a_benchmark_degrades_recovers_and_compares_with_what_was_there(tmp_path: Path) -> None:
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], tree(*ROUND))
    result = run_task(task)
    assert_done(result)
    assert set(outputs_of(task)) == {"item1_hr.fits", "item1_hr_scores.json", "item1_hr.html"}
    told = records(result)
    assert told["verify"]["passed"]
    assert told["verify"]["against"] == "item1_hr.fits"  # the coarse image, not the item's own file
    scores = told["evaluate"]["parts"][0]["scores"]
    out = Path(task.output)
    found = sciSR.compare(task.files[0], out / "item1_hr.fits").as_dict()["parts"][0]
    assert scores["psnr"] == found["images"][0]["scores"]["psnr"]["value"]
    assert (
        json.loads((out / "item1_hr_scores.json").read_text())["parts"][0]["measures"].keys() == scores.keys()
    )


def test_the_output_of_several_steps_names_the_item_and_is_not_held_to_its_pixels(tmp_path: Path) -> None:
    """``scisr verify ORIGINAL OUTPUT`` says what it can: geometry, scale, and which file it came from."""
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], tree(*ROUND[:3], {"step": "write"}))
    assert_done(run_task(task))
    made = Path(task.output) / "item1_hr.fits"
    found = sciSR.verify_files(task.files[0], made)
    assert [check for check in found.checks if check.status == "failed"] == []
    by_name = {check.name: check for check in found.checks}
    assert by_name["hash of the input"].status == "passed"
    assert "first of 2 steps: degrade, upscale" in by_name["hash of the input"].message
    assert by_name["scale"].status == "passed"
    assert "2 steps" in by_name["residual"].message
    assert sciSR.verify_files(SAMPLES / "star_field.fits", made).passed
    other = tmp_path / "other.fits"
    image = sciSR.read(task.files[0])
    sciSR.write(image.replace(data=image.data[:] + 1), other)
    assert not sciSR.verify_files(other, made).passed


FRAMES = sorted((SAMPLES / "frames").glob("*.fits"))


def test_frames_are_registered_once_and_fused_as_the_command_does(tmp_path: Path) -> None:
    nodes = tree(
        {"step": "read"},
        {"step": "register", "save": True},
        {"step": "fuse", "scale": 2, "method": "drizzle"},
        {"step": "verify"},
        {"step": "write"},
        {"step": "report"},
    )
    task = make_task(tmp_path, FRAMES, nodes, sequence=True)
    result = run_task(task)
    assert_done(result)
    made = outputs_of(task)
    assert set(made) == {"item1_hr.fits", "item1_hr.png", "item1_hr.html", "item1_hr_registration.json"}
    alone = tmp_path / "alone.fits"
    from sciSR.workflow.fusing import fuse_files

    fuse_files(FRAMES, alone, method="drizzle", contact_sheet=False)
    found, wanted = sciSR.read(Path(task.output) / "item1_hr.fits"), sciSR.read(alone)
    assert (found.data[:] == wanted.data[:]).all()
    told = records(result)
    assert told["register"]["registered"] == len(FRAMES)
    assert told["fuse"]["used"] == len(FRAMES)
    assert told["verify"]["passed"]
    assert told["verify"]["against"] == told["register"]["reference"]
