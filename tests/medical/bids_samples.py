"""Small BIDS datasets with known content, and the official validator as the judge of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scisr_medical.bids_app import main
from scisr_medical.bids_check import find_validator

BVAL = "0 1000 1000 1000\n"
BVEC = "0 1 0 0\n0  0 1 0\n0 0 0  1\n"  # odd spaces: a copy has them too
_TILT = np.array([[1, 0, 0], [0, 0.96, 0.28], [0, -0.28, 0.96]])
"""A turn about the first axis, without shear."""
AFFINE = np.eye(4)
AFFINE[:3, :3], AFFINE[:3, 3] = _TILT * (-0.9, 0.9, 3.9), (20.0, -31.0, 7.0)
QUICK = ("--model", "linear", "--skip-bids-validation")
README = "A synthetic dataset: blobs in noise, of nobody.\n" * 4


def volume(
    path: Path, shape: tuple[int, ...] = (12, 10, 4), *, tr: float = 2.0, dtype: Any = np.int16
) -> Path:
    """A blob in noise; labels 0 and 1 for an unsigned type."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[:3]], indexing="ij"))
    blob = np.exp(-3 * (grid**2).sum(0)).reshape(*shape[:3], *[1] * (len(shape) - 3))
    noise = np.random.default_rng(len(path.name)).uniform(0, 60, shape)
    data = np.broadcast_to(blob, shape) > 0.5 if dtype == np.uint8 else 700 * blob + noise
    image = nib.Nifti1Image(data.astype(dtype), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def write_json(path: Path, **content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def dataset(root: Path, subjects: tuple[str, ...] = ("01", "02"), **description: Any) -> Path:
    """A raw dataset with one T2w image for each subject."""
    write_json(
        root / "dataset_description.json",
        **{"Name": "Blobs", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"} | description,
    )
    (root / "README").write_text(README)
    for label in subjects:
        volume(root / f"sub-{label}/anat/sub-{label}_T2w.nii.gz")
    return root


def rich_dataset(root: Path) -> Path:
    """Anatomy, diffusion with inherited tables, a time series with inherited keys; sessions in one subject."""
    dataset(root, ("01",))
    for stem in ("sub-01/{}/sub-01", "sub-02/ses-a/{}/sub-02_ses-a"):
        volume(root / (stem.format("dwi") + "_dir-AP_dwi.nii.gz"), (10, 8, 4, 4))
        volume(root / (stem.format("func") + "_task-rest_bold.nii.gz"), (8, 8, 4, 3), tr=1.5)
        volume(root / (stem.format("anat") + "_T2w.nii.gz"))
    (root / "dwi.bval").write_text(BVAL)
    (root / "dwi.bvec").write_text(BVEC)
    write_json(root / "T2w.json", EchoTime=0.09, MagneticFieldStrength=3)
    write_json(root / "sub-02/ses-a/sub-02_ses-a_T2w.json", EchoTime=0.1)
    write_json(
        root / "task-rest_bold.json",
        TaskName="rest",
        RepetitionTime=1.5,
        SliceTiming=[0.0, 0.75, 0.375, 1.125],
        PhaseEncodingDirection="j-",
        EffectiveEchoSpacing=0.0005,
        TotalReadoutTime=0.0035,
    )
    return root


def run(*words: Any) -> int:
    """``scisr-bids`` in this process."""
    return main([str(word) for word in words])


def sidecar_of(image: Path) -> dict[str, Any]:
    return json.loads(image.with_name(image.name.removesuffix(".nii.gz") + ".json").read_text())


def snapshot(root: Path) -> dict[str, str]:
    """Checksum and time of each file."""
    return {
        str(
            file.relative_to(root)
        ): f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.stat().st_mtime_ns}"
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def check_valid(root: Path, *, without_warning: tuple[str, ...] = ()) -> None:
    """The official validator finds no error in a dataset, and none of some warnings."""
    program = find_validator()
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    command = [program, "--format", "json", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [i for i in issues if i["severity"] == "error" or i.get("subCode") in without_warning]
    assert not errors
    assert done.returncode == 0
