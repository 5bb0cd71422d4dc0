"""Each step does what its command does, and hands on what the next one needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from pipeline_tasks import SAMPLES, assert_done, make_task, outputs_of, records, tree

import sciSR
from sciSR.workflow.batch.ledger_inputs import named_files
from sciSR.workflow.pipelines.products import linked
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


def _night(folder: Path) -> tuple[list[Path], Path]:
    """The sample frames as a camera gives them: a bias level, dark current, uneven sensitivity."""
    rng = np.random.default_rng(5)
    raw, calibration = [], folder / "in" / "calibration"
    calibration.mkdir(parents=True)
    shape = sciSR.read(FRAMES[0]).shape
    flat = 1 + 0.2 * np.linspace(-1, 1, shape[1])[None, :] * np.ones(shape)
    for number, path in enumerate(FRAMES):
        with fits.open(path) as file:
            file[0].data = (file[0].data * flat + 100).astype(np.float32)
            file[0].header["EXPTIME"] = 30.0
            target = folder / f"raw{number}.fits"
            file[:1].writeto(target, checksum=True)
            raw.append(target)
    for number in range(3):
        header = fits.Header({"EXPTIME": 30.0, "FILTER": "R"})
        fits.writeto(
            calibration / f"dark{number}.fits", rng.normal(100, 0.1, shape).astype(np.float32), header
        )
        level = 5000 * flat + 100 + rng.normal(0, 1, shape)
        fits.writeto(calibration / f"flat{number}.fits", level.astype(np.float32), header)
    return raw, calibration


CALIBRATE = {"step": "calibrate", "dark": "calibration/dark*.fits", "flat": "calibration/flat?.fits"}


def test_a_single_exposure_becomes_a_calibrated_one(tmp_path: Path) -> None:
    pytest.importorskip("ccdproc")
    raw, _ = _night(tmp_path)
    nodes = tree({"step": "read"}, CALIBRATE, {"step": "verify"}, {"step": "write"})
    task = make_task(tmp_path, raw[:1], nodes)
    result = run_task(task)
    assert_done(result)
    found = sciSR.read(Path(task.output) / "item1_hr.fits")
    truth = sciSR.read(FRAMES[0]).data[:]
    good = np.isfinite(found.data[:])
    assert good.mean() > 0.99
    assert np.abs(found.data[:] - truth)[good].max() < 0.01 * np.ptp(truth)
    assert found.grid.describe() == sciSR.read(raw[0]).grid.describe()
    assert [step["step"] for step in found.provenance.steps] == ["read", "calibrate"]


def test_frames_of_a_sequence_are_calibrated_as_they_are_read(tmp_path: Path) -> None:
    pytest.importorskip("ccdproc")
    raw, _ = _night(tmp_path)
    nodes = tree(
        {"step": "read"},
        CALIBRATE,
        {"step": "register"},
        {"step": "fuse", "method": "mean", "scale": 1},
        {"step": "upscale", "model": "linear"},
        {"step": "verify"},
        {"step": "write"},
    )
    task = make_task(tmp_path, raw, nodes, sequence=True)
    result = run_task(task)
    assert_done(result)
    made = Path(task.output) / "item1_hr.fits"
    # The uneven sensitivity is gone: what raw frames have from left to right, the result has not.
    level = np.nanmedian(sciSR.read(made).data[:], axis=0)
    assert abs(level[-20:].mean() - level[:20].mean()) < 0.05 * np.nanmedian(level)
    steps = [step["step"] for step in sciSR.read(made).provenance.steps]
    assert steps == ["calibrate", "fuse", "read", "upscale"]
    told = records(result)
    assert told["verify"]["against"] == "item1_hr.fits"
    reference = next(path for path in map(Path, task.files) if path.name == told["register"]["reference"])
    found = sciSR.verify_files(reference, made)
    assert [check for check in found.checks if check.status == "failed"] == []


def test_calibration_frames_that_are_not_there_fail_by_their_pattern(tmp_path: Path) -> None:
    nodes = tree({"step": "calibrate", "dark": "calibration/{stem}_dark*.fits"})
    result = run_task(make_task(tmp_path, FRAMES[:1], nodes))
    assert result.error is not None
    assert result.error["kind"] == "UsageError"
    assert result.error["exit_code"] == 2
    assert "calibration/item1_dark*.fits" in result.error["message"]
    assert result.error["step"] == "01-calibrate"


def test_brackets_in_the_input_folders_name_are_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "M51 [Ha]" / "in" / "truth").mkdir(parents=True)
    truth = tmp_path / "M51 [Ha]" / "in" / "truth" / "item1.fits"
    truth.write_bytes((SAMPLES / "star_field.fits").read_bytes())
    nodes = tree({"step": "evaluate", "truth": "truth/*.fits"})
    task = make_task(tmp_path / "M51 [Ha]", [SAMPLES / "star_field.fits"], nodes)
    assert_done(run_task(task))
    assert named_files(nodes[0], task) == [truth]  # for the ledger, which asks whether it has changed


def test_links_to_a_series_files_keep_no_suffix_that_may_be_a_name(tmp_path: Path) -> None:
    for name in ("1.dcm", "2.DCM", "scan.Jane"):
        (tmp_path / name).touch()
    made = linked(sorted(tmp_path.iterdir()), tmp_path / "links")
    assert sorted(path.name for path in made.iterdir()) == ["000000.dcm", "000001.DCM", "000002"]


def test_a_clips_fusion_is_shown_alone_and_held_against_no_single_frame(tmp_path: Path) -> None:
    nodes = tree(
        {"step": "register", "keep_best": "25%"},
        {"step": "fuse", "method": "mean", "scale": 1, "contact_sheet": False},
        {"step": "verify"},
        {"step": "write"},
        {"step": "report"},
    )
    task = make_task(tmp_path, [SAMPLES / "planet.ser"], nodes)
    result = run_task(task)
    assert_done(result)
    assert set(outputs_of(task)) == {"item1_hr.fits", "item1_hr.html"}
    told = records(result)
    assert told["register"]["registered"] == told["fuse"]["used"] == 8
    assert "planet.ser" in told["verify"]["skipped"]


def test_frames_are_not_registered_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the fusion asks for something else."""
    import sciSR.fusion.placing as placing

    seen = []
    real = placing.register
    monkeypatch.setattr(placing, "register", lambda *a, **k: seen.append(1) or real(*a, **k))
    for fuse, times in (({}, 0), ({"model": "shift"}, 1)):
        seen.clear()
        steps = ({"step": "register"}, {"step": "fuse", "method": "mean", "contact_sheet": False, **fuse})
        assert_done(run_task(make_task(tmp_path, FRAMES[:3], tree(*steps), sequence=True)))
        assert len(seen) == times


def test_networks_and_classical_methods_are_examined_on_the_item_itself(tmp_path: Path) -> None:
    nodes = tree({"step": "evaluate", "models": "classical", "planes": 1})
    task = make_task(tmp_path, [SAMPLES / "phantom.nii.gz"], nodes)
    result = run_task(task)
    assert_done(result)
    [table] = records(result)["evaluate"]["tables"]
    assert table["methods"]["lanczos"]["psnr"] > table["methods"]["nearest"]["psnr"]
    assert set(outputs_of(task)) == {"item1_hr_scores.json"}


def test_the_truth_may_be_a_file_named_after_the_item(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "truth"
    folder.mkdir(parents=True)
    (folder / "item1.fits").write_bytes((SAMPLES / "star_field.fits").read_bytes())
    nodes = tree(
        {"step": "degrade"},
        {"step": "upscale", "model": "cubic"},
        {"step": "evaluate", "truth": "truth/{stem}.fits"},
    )
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes)
    result = run_task(task)
    assert_done(result)
    assert records(result)["evaluate"]["truth"] == "item1.fits"
    assert records(result)["evaluate"]["parts"][0]["scores"]["psnr"] > 20


@pytest.mark.parametrize("given", [{}, {"against": "read", "models": "classical"}])
def test_an_evaluation_needs_one_thing_to_compare_with(tmp_path: Path, given: dict[str, str]) -> None:
    nodes = tree({"step": "read"}, {"step": "evaluate", **given})
    result = run_task(make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes))
    assert result.error is not None
    assert result.error["exit_code"] == 2
    assert "one of 'against', 'truth' and 'models'" in result.error["message"]
