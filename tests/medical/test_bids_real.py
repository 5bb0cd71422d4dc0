"""Real diffusion, functional and anatomical images, laid out as BIDS has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bids_samples import QUICK, check_valid, dataset, run, sidecar_of, write_json

pytestmark = pytest.mark.realdata


@pytest.fixture
def raw(tmp_path: Path, shared_data: Path) -> Path:
    root = dataset(tmp_path / "raw", ())
    files = {
        "series4d/sct_dmri.nii.gz": "sub-01/dwi/sub-01_dwi.nii.gz",
        "series4d/sct_fmri.nii.gz": "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "check/sct_t2s_0p5x7p5.nii.gz": "sub-02/anat/sub-02_T2starw.nii.gz",
    }
    for source, target in files.items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared_data / "mri" / source, root / target)
    vectors = np.loadtxt(shared_data / "mri/series4d/sct_dmri_bvecs.txt")
    np.savetxt(root / "dwi.bvec", vectors.T, fmt="%.12g")
    (root / "dwi.bval").write_text(" ".join("700" if row.any() else "0" for row in vectors) + "\n")
    write_json(root / "task-rest_bold.json", RepetitionTime=1.13, TaskName="rest", EchoTime=0.03)
    return root


def test_a_real_dataset_becomes_a_valid_derivative(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(raw, out, "participant", "--suffix", "dwi", "bold", "T2starw", *QUICK[:2]) == 0
    check_valid(out)
    images = sorted(out.rglob("*.nii.gz"))
    assert len(images) == 3
    for image in images:
        [source] = sidecar_of(image)["Sources"]
        before, after = nib.load(raw / source.split(":")[2]), nib.load(image)
        assert after.shape == (*(2 * n for n in before.shape[:2]), *before.shape[2:])
        assert after.header.get_zooms()[3:] == before.header.get_zooms()[3:]
        middle = [(np.array(each.shape[:3]) - 1) / 2 for each in (before, after)]
        np.testing.assert_allclose(
            nib.affines.apply_affine(before.affine, middle[0]),
            nib.affines.apply_affine(after.affine, middle[1]),
            atol=1e-3,
        )
    [vectors] = out.rglob("*.bvec")
    assert vectors.read_bytes() == (raw / "dwi.bvec").read_bytes()
