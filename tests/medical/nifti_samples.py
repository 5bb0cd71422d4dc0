"""Small NIfTI files with known content, made with nibabel, the independent judge of this adapter."""

from __future__ import annotations

import json
import subprocess
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from sciSR.grid import fine_index
from sciSR.image import Image
from sciSR.testing import Subject, refine_nearest, write_images
from scisr_medical.nifti_adapter import adapter

OBLIQUE = np.array(
    [[-0.8, 0.1, 0.3, 12.5], [0.05, 0.9, -0.4, -31.25], [0.1, 0.2, 2.4, 7.0], [0, 0, 0, 1]], dtype=np.float64
)


def rotation_affine(
    zooms: Any = (0.9, 1.1, 2.5), origin: Any = (-20.0, 31.5, 8.25), flip: bool = False
) -> np.ndarray:
    """A doubly oblique affine without shear: what a qform can hold."""
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [0.2, -0.35, 0.5]).as_matrix() @ np.diag(zooms)
    if flip:
        affine[:3, 2] *= -1
    affine[:3, 3] = origin
    return affine


def voxels(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 7) -> np.ndarray:
    """Random voxels, rounded for integer types."""
    values = np.random.default_rng(seed).uniform(0, 120, size=shape)
    return values.astype(dtype)


def make(
    path: Path,
    shape: tuple[int, ...] = (7, 6, 5),
    *,
    dtype: Any = np.float32,
    affine: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    order: str = "<",
    version: int = 1,
    fields: dict[str, Any] | None = None,
    extensions: tuple[tuple[int, bytes], ...] = (),
    data: np.ndarray | None = None,
) -> Path:
    """Write a NIfTI file whose qform and sform codes and raw header fields are exactly those asked for."""
    affine = rotation_affine() if affine is None else affine
    data = voxels(shape, dtype) if data is None else data
    pair = path.name.removesuffix(".gz").endswith((".hdr", ".img"))
    kinds = {
        (1, False): nib.Nifti1Image,
        (1, True): nib.Nifti1Pair,
        (2, False): nib.Nifti2Image,
        (2, True): nib.Nifti2Pair,
    }
    kind = kinds[version, pair]
    header = kind.header_class(endianness=order)
    header.set_data_dtype(data.dtype)
    header.set_xyzt_units("mm", "sec")
    header.set_data_shape(data.shape)
    header.set_sform(affine, code=codes[1])
    header.set_qform(affine, code=codes[0])
    image = kind(data, None, header)  # with an affine, nibabel would set the codes as it likes
    for code, content in extensions:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    nib.save(image, path)
    if fields:
        patch(path, **fields)
    return path


def patch(path: Path, **fields: Any) -> None:
    """Set raw header fields of a plain ``.nii`` or ``.hdr``: values that nibabel would refuse or repair."""
    content = bytearray(path.read_bytes())
    order = "<" if content[0] in (0x5C, 0x1C) else ">"
    size = 348 if 348 in (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big")) else 540
    layout = nib.nifti1.header_dtype if size == 348 else nib.nifti2.header_dtype
    header = np.frombuffer(bytes(content[:size]), dtype=np.dtype(layout).newbyteorder(order))[0].copy()
    for name, value in fields.items():
        if isinstance(value, dict):
            for position, item in value.items():
                header[name][position] = item
        else:
            header[name] = value
    content[:size] = header.tobytes()
    path.write_bytes(content)


def raw_header(path: Path) -> np.void:
    """The header's fields exactly as they stand in a file, gzip or not."""
    import gzip

    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    size = 540 if 540 in (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big")) else 348
    order = "<" if int.from_bytes(content[:4], "little") == size else ">"
    layout = nib.nifti1.header_dtype if size == 348 else nib.nifti2.header_dtype
    return np.frombuffer(content[:size], dtype=np.dtype(layout).newbyteorder(order))[0]


def read(path: Path, **options: Any) -> Image:
    """The one image of a file, its warnings left aside."""
    with warnings.catch_warnings(action="ignore"):
        (image,) = adapter.read(path, **options)
    return image


def upscale_nearest(
    path: Path, target: Path, scale: Any = 2, *, read: dict[str, Any] | None = None, **write: Any
) -> Image:
    """Read, refine by nearest neighbour, write; returns what was written."""
    subject = Subject(adapter, path, read=read or {}, write=write)
    result = refine_nearest(subject.images()[0], Fraction(scale))
    write_images(subject, [result], target)
    return result


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """Outer corners of the volume in voxel coordinates, (8, 3)."""
    ends = [(-0.5, n - 0.5) for n in (*shape, 1, 1)[:3]]
    return np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T


def fine_points(points: np.ndarray, factors: Any) -> np.ndarray:
    """Where points of the coarse volume lie on the fine one."""
    factors = (*factors, 1, 1, 1)[:3]
    return np.stack([fine_index(points[:, a], f) for a, f in enumerate(factors)], axis=-1)


def nifti_tool(path: Path) -> str:
    """What nifti_tool (C, independent of nibabel) says about a header."""
    command = ["nifti_tool", "-check_hdr", "-infiles", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def json_extension(path: Path) -> list[dict[str, Any]]:
    """The provenance steps in the header extension, found with nibabel."""
    for extension in nib.load(path).header.extensions:
        if extension.get_code() == 6 and extension.content.startswith(b'{"sciSR":'):
            return json.loads(extension.content.rstrip(b"\0"))["sciSR"]
    return []
