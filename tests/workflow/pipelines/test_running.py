"""One item through a pipeline's steps: all of its outputs or none, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_tasks import SAMPLES, assert_done, make_task, tree

import sciSR
from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines.running import run_task

SIMPLE = ({"step": "read"}, {"step": "upscale", "model": "linear"}, {"step": "write"})


@pytest.mark.parametrize("name", ["star_field.fits", "phantom.nii.gz", "phantom_dicom"])
def test_a_pipeline_of_one_step_is_the_command(name: str, tmp_path: Path) -> None:
    """Same pixels, same record, and ``scisr verify`` of the original and the output passes."""
    task = make_task(tmp_path, [SAMPLES / name], tree(*SIMPLE))
    result = run_task(task)
    assert_done(result)
    made = Path(task.output) / result.outputs[0].path
    assert {output.path.partition(".")[0] for output in result.outputs} == {"item1_hr"}
    for output in result.outputs:
        place = Path(task.output) / output.path
        assert file_sha256(place) == output.sha256
    found = sciSR.verify_files(task.files[0], made)
    assert found.passed, [check for check in found.checks if check.status == "failed"]
    digests = [s["input_sha256"] for s in sciSR.read_all(made)[0].provenance.steps if "input_sha256" in s]
    assert not digests or digests == [file_sha256(task.files[0])]
    assert not Path(task.scratch).exists()
    assert sorted(p.name for p in Path(task.output).iterdir()) == sorted(
        [".scisr", *{o.path for o in result.outputs}]
    )
