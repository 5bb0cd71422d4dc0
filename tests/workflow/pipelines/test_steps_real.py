"""Whole pipelines on real files of each format; ``scisr verify`` of the original and the output has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_tasks import assert_done, make_task, records, tree

import sciSR
from sciSR.workflow.pipelines.running import run_task

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("astro/check/msx_gc_e.fits", "auto"),
        ("mri/check/sct_t2_cervical_1mm.nii.gz", "fourier"),
        ("dicom/pydicomdata_MR-SIEMENS-DICOM-WithOverlays.dcm", "linear"),
    ],
)
def test_a_real_file_is_upscaled_and_keeps_its_promises(
    shared_data: Path, tmp_path: Path, name: str, model: str
) -> None:
    nodes = tree(
        {"step": "read"},
        {"step": "upscale", "model": model},
        {"step": "verify"},
        {"step": "write"},
        {"step": "report"},
    )
    task = make_task(tmp_path, [shared_data / name], nodes, name="out/{item}")
    result = run_task(task)
    assert_done(result)
    assert records(result)["verify"]["passed"]
    made, page = sorted(result.outputs, key=lambda each: each.path.endswith(".html"))
    assert page.path == "out/item1.html"
    assert sciSR.verify_files(task.files[0], Path(task.output) / made.path).passed
