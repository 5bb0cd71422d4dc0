"""Good NIfTI outputs to plant faults in, made by the adapter's writer, and what verification says of a bad one."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nifti_samples import make, raw_header, rotation_affine

from sciSR.verify.result import Verification
from sciSR.workflow.run import upscale_file


@dataclass(frozen=True)
class Good:
    """An input and what was made of it."""

    input: Path
    output: Path

    def copy(self, folder: Path) -> Good:
        """The same input, and a copy of the output with its sidecars."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = self.output.name.removesuffix(".nii")
        for file in self.output.parent.glob(f"{stem}.*"):
            shutil.copy(file, folder / file.name)
        return Good(self.input, folder / self.output.name)


def blobs(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    """Smooth structure without symmetry, and a little noise; physical values."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(0, 1, n) for n in shape[:3]], indexing="ij")
    image = 40.0 + 30 * grid[0] + 12 * grid[1] * grid[-1]
    for _ in range(18):
        centre, width = rng.uniform(0.05, 0.95, len(grid)), rng.uniform(0.06, 0.16)
        distance = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        image = image + rng.uniform(40, 160) * np.exp(-distance / (2 * width**2))
    image = image + rng.normal(0, 1, image.shape)
    if len(shape) > 3:
        image = image[..., None] * np.linspace(1, 0.7, shape[3])
    return image


FIELDS = {
    "slice_start": 0, "slice_end": 13, "slice_duration": 0.08, "slice_code": 1, "dim_info": 0b111001,
    "cal_max": 300.0, "toffset": 0.5, "intent_code": 3, "intent_p1": 12.0, "intent_name": b"t score",
    "aux_file": b"atlas.txt", "descrip": b"made by a scanner",
}  # fmt: skip


def volume(path: Path) -> Path:
    """Scaled 16-bit integers, sform and qform, slice times, an intent, two extensions, a JSON sidecar."""
    slope, inter = 0.015, 30.0
    stored = np.rint((blobs((28, 24, 14)) - inter) / slope).astype(np.int16)
    affine = rotation_affine(flip=True)
    make(
        path,
        data=stored,
        affine=affine,
        codes=(1, 2),
        fields=FIELDS | {"scl_slope": slope, "scl_inter": inter},
        extensions=((6, b"a comment"), (44, b'{"kept":1}')),
    )
    record = {
        "EchoTime": 0.03, "SliceTiming": [0.08 * k for k in range(14)], "SliceThickness": 2.0,
        "PhaseEncodingDirection": "j", "TotalReadoutTime": 0.023, "PatientName": "Doe^Jane",
    }  # fmt: skip
    path.with_name("volume.json").write_text(json.dumps(record))
    return path


def diffusion(path: Path) -> Path:
    """Four volumes of float voxels with gradients."""
    make(path, data=blobs((22, 20, 6, 4)).astype(np.float32), codes=(1, 1), fields={"pixdim": {4: 2.5}})
    path.with_name("diffusion.bval").write_text("0 1000 1000 1000\n")
    path.with_name("diffusion.bvec").write_text("0 1 0 0.6\n0 0 1 0.8\n0 0 0 0\n")
    return path


def make_good(folder: Path) -> dict[str, Good]:
    """Upscaled twofold, in the plane."""
    out = {}
    for name, build in (("volume", volume), ("diffusion", diffusion)):
        source, target = build(folder / f"{name}.nii"), folder / f"{name}_x2.nii"
        with warnings.catch_warnings(action="ignore"):
            upscale_file(source, target, scale=2, model="cubic")
        out[name] = Good(source, target)
    return out


def voxels_changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """An edit of the stored float32 voxels in place; header and extensions stay."""

    def edit(path: Path) -> None:
        image = nib.load(path)
        offset, shape = int(raw_header(path)["vox_offset"]), image.shape
        raw = path.read_bytes()
        values = np.frombuffer(raw[offset:], "<f4").reshape(shape, order="F")
        new = np.asarray(change(values.copy()), "<f4")
        assert new.shape == shape
        path.write_bytes(raw[:offset] + new.tobytes(order="F"))

    return edit


def failures(found: Verification) -> list[str]:
    """Everything that breaks a promise, as one line each."""
    checks = [f"{c.group}: {c.name}: {c.message}" for c in found.checks if c.status == "failed"]
    return checks + [f"key {k.key}: {k.fate}: {k.before} -> {k.after}" for k in found.keys if not k.allowed]


def failures_told(text: str) -> list[str]:
    """The same, of what ``scisr verify --json`` prints."""
    told = json.loads(text)
    assert told["passed"] is False
    checks = [f"{c['group']}: {c['name']}: {c['message']}" for c in told["checks"] if c["status"] == "failed"]
    keys = [k for k in told["metadata"] if not k["allowed"]]
    return checks + [
        f"key {k['key']}: {k['fate']}: {k.get('before', '')} -> {k.get('after', '')}" for k in keys
    ]


def everything(found: Verification) -> str:
    """All text of a verification."""
    return json.dumps(found.as_dict())


Edit = Callable[[Path], Any]
