"""A volume file as nibabel reads it, with its header as it stands: the fields that nibabel would repair are not."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MILLIMETRES: Mapping[int, float] = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""mm per unit of xyzt_units; a file that does not say its unit is taken for mm, as every reader does."""
SECONDS: Mapping[int, float] = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}


@dataclass(frozen=True, eq=False)
class Volume:
    """What nibabel says of a file.

    Attributes
    ----------
    path : Path
    image : nibabel image
    raw : numpy.void
        Header fields, unchecked.
    is_nifti : bool
    extensions : tuple of (int, bytes)
    """

    path: Path
    image: Any
    raw: np.void
    is_nifti: bool
    extensions: tuple[tuple[int, bytes], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.image.shape)

    @property
    def unit(self) -> float:
        """mm in the unit of length."""
        return MILLIMETRES.get(int(self.raw["xyzt_units"]) & 7, 1.0) if self.is_nifti else 1.0

    @property
    def affine(self) -> np.ndarray:
        """Index to mm, RAS+, by the transform that nibabel prefers."""
        return self._in_mm(self.image.affine)

    def code(self, name: str) -> int:
        return int(self.raw[f"{name}_code"]) if self.is_nifti else 0

    def transform(self, name: str) -> np.ndarray | None:
        """``"sform"`` or ``"qform"`` as a matrix to mm; None where its code is 0, or it can't be made out."""
        if self.code(name) <= 0:
            return None
        if name == "qform" and not self.qform_is_sound:
            return None
        try:
            found = self.image.header.get_sform() if name == "sform" else self.image.header.get_qform()
        except Exception:
            return None
        return self._in_mm(found) if np.isfinite(found).all() else None

    @property
    def qform_is_sound(self) -> bool:
        """Whether handedness and voxel sizes are legal: nibabel and others repair what is not, each in its own way."""
        pixdim = np.asarray(self.raw["pixdim"], np.float64)
        sizes = pixdim[1 : 1 + min(3, len(self.shape))]
        return float(pixdim[0]) in (-1.0, 0.0, 1.0) and bool((np.isfinite(sizes) & (sizes > 0)).all())

    def _in_mm(self, affine: np.ndarray) -> np.ndarray:
        out = np.array(affine, dtype=np.float64)
        out[:3] *= self.unit
        return out


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """nibabel without the words by which it tells of its repairs: they are seen in the raw fields."""
    from nibabel.imageglobals import logger

    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def open_volume(path: Path) -> Volume:
    """Header only; the voxels stay in the file.

    Raises
    ------
    Exception
        Whatever nibabel raises.
    """
    import nibabel as nib

    with quiet():
        image = nib.load(path)
    holder = image.file_map.get("header") or image.file_map["image"]
    is_nifti = isinstance(image.header, nib.Nifti1Header)
    extensions: tuple[tuple[int, bytes], ...] = ()
    if is_nifti:
        with holder.get_prepare_fileobj("rb") as stream:
            header = type(image.header).from_fileobj(stream, check=False)
        extensions = tuple((int(e.get_code()), _content(e)) for e in header.extensions)
        raw = header.structarr
    else:
        raw = image.header.structarr
    return Volume(Path(path), image, raw, is_nifti, extensions)


def _content(extension: Any) -> bytes:
    """Bytes as they stand in the file, padding left off."""
    raw = getattr(extension, "_raw", None)
    if not isinstance(raw, bytes):
        content = extension.get_content()
        raw = content if isinstance(content, bytes) else str(content).encode()
    return raw.rstrip(b"\0")
