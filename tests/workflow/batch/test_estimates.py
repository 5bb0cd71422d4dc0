"""Estimates: sizes from headers are right, times follow what earlier items took, bad files stop nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_tasks import NODES, task, tasks

from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.ledger_past import Past
from sciSR.workflow.pipelines.estimates import START_SECONDS, estimate
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.running import run_task
from sciSR.workflow.pipelines.work import ItemResult, Task

SAMPLES = Path(__file__).resolve().parents[3] / "data_samples"


def nodes(*steps: tuple[str, dict[str, Any]]) -> tuple[Node, ...]:
    """A chain."""
    made: list[Node] = []
    for number, (step, parameters) in enumerate(steps):
        parent = made[-1].id if made else None
        made.append(Node(f"{number:02d}-{step}", step, step, parameters, parent))
    return tuple(made)


def upscaled(folder: Path, sample: str, **parameters: Any) -> Task:
    chain = nodes(("read", {}), ("upscale", {"model": "cubic", "scale": 2, **parameters}), ("write", {}))
    return task(folder, "one", files=(str(SAMPLES / sample),), nodes=chain)


@pytest.mark.parametrize("scale", [2, 3, "3/2"])
def test_the_size_of_outputs_is_what_is_written(scale: Any, tmp_path: Path) -> None:
    """A FITS file with images, standard deviations and flags, uncompressed: within the headers and the table."""
    each = upscaled(tmp_path, "star_field.fits", scale=scale)
    result = run_task(each)
    assert result.status == "done", result.error
    written = sum(file.bytes for file in result.outputs)
    about = estimate(each)
    # Flags have one byte a pixel and are reckoned with four.
    assert written * 0.95 < about.output_bytes < written * 1.5
    assert about.scratch_bytes >= about.output_bytes


def test_a_compressed_output_is_never_reckoned_too_small(tmp_path: Path) -> None:
    each = upscaled(tmp_path, "phantom.nii.gz")
    result = run_task(each)
    assert result.status == "done", result.error
    assert sum(file.bytes for file in result.outputs) < estimate(each).output_bytes < 96 * 96 * 24 * 4 * 4.1


def test_more_work_takes_longer(tmp_path: Path) -> None:
    cubic = estimate(upscaled(tmp_path, "star_field.fits"))
    network = estimate(upscaled(tmp_path, "star_field.fits", model="auto"))
    fine = estimate(upscaled(tmp_path, "star_field.fits", model="vdsr-astro-x2"))
    assert START_SECONDS <= cubic.seconds < network.seconds < fine.seconds
    assert cubic.peak_bytes < network.peak_bytes < fine.peak_bytes
    half = estimate(upscaled(tmp_path, "star_field.fits", model="vdsr-astro-x2", precision="bf16"))
    assert half.seconds < fine.seconds


def test_frames_become_one_image(tmp_path: Path) -> None:
    frames = tuple(map(str, sorted((SAMPLES / "frames").glob("*.fits"))))
    chain = nodes(("read", {}), ("fuse", {"scale": 2}), ("write", {}))
    one = estimate(task(tmp_path, "one", files=frames[:1], nodes=chain, sequence=True))
    six = estimate(task(tmp_path, "one", files=frames, nodes=chain, sequence=True))
    assert six.output_bytes == one.output_bytes
    assert six.seconds > one.seconds


def test_a_volume_becomes_isotropic(tmp_path: Path) -> None:
    chain = nodes(("isotropic", {"self_training": "0"}), ("write", {}))
    about = estimate(task(tmp_path, "one", files=(str(SAMPLES / "phantom.nii.gz"),), nodes=chain))
    assert about.output_bytes == pytest.approx(96 * 96 * 24 * 4.0 / 2.4 * 4, rel=1e-3)


@pytest.mark.parametrize("content", [b"", b"no image", b"SIMPLE  =                    T"])
def test_a_bad_file_stops_nothing(content: bytes, tmp_path: Path) -> None:
    each = task(tmp_path, "one")
    Path(each.files[0]).write_bytes(content)
    assert estimate(each).output_bytes == 0
    gone = replace(each, files=(str(tmp_path / "gone.fits"),))
    assert estimate(gone).output_bytes == 0
    assert estimate(replace(each, files=())).output_bytes == 0


def recorded(folder: Path, count: int, second: float) -> list[Task]:
    """Items of growing size that took as long as their size says, on record."""
    todo = tasks(folder, count)
    with Ledger.open(folder / "out") as ledger:
        for number, each in enumerate(todo, 1):
            Path(each.files[0]).write_bytes(bytes(1000 * number))
            ledger.started(each)
            result = ItemResult(each.key, "done", seconds=second * number, peak_bytes=10**8 * number)
            ledger.record(each, result)
    return todo


def test_items_alike_take_as_long_as_those_before(tmp_path: Path) -> None:
    recorded(tmp_path, 4, second=2.0)
    new = task(tmp_path, "new")
    Path(new.files[0]).write_bytes(bytes(8000))
    with Ledger.read(tmp_path / "out") as ledger:
        past = ledger.past()
    about = estimate(new, past)
    assert about.seconds == pytest.approx(16.0)
    assert about.peak_bytes == 4 * 10**8
    other = replace(new, nodes=(NODES[0], replace(NODES[1], parameters={"model": "linear"}), NODES[2]))
    assert past.of(other) is None
    assert estimate(other, past) == estimate(other)


def test_an_empty_ledger_knows_nothing(tmp_path: Path) -> None:
    with Ledger.read(tmp_path / "out") as ledger:
        past = ledger.past()
    assert isinstance(past, Past)
    assert past.of(task(tmp_path, "one")) is None


def test_an_estimate_is_ready_for_json(tmp_path: Path) -> None:
    import dataclasses

    json.dumps(dataclasses.asdict(estimate(upscaled(tmp_path, "star_field.fits"))), allow_nan=False)
