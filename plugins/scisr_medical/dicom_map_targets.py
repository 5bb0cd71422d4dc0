"""Which uncertainty maps a derived series gets, what they are called, and what they point at. Light to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import UsageError
from sciSR.files import check_output
from sciSR.image import Image
from scisr_medical.dicom_derive import Derivation


@dataclass(eq=False)
class Written:
    """One derived image as it was written, for the map that belongs to it.

    Attributes
    ----------
    derivation : Derivation
    instances : dict
        (slice, volume) -> (SOPClassUID, SOPInstanceUID, frame from 1 or None).
    header : pydicom.Dataset or None
        Of the first file.
    """

    derivation: Derivation
    instances: dict[tuple[int, ...], tuple[str, str, int | None]]
    header: Any = None

    def note(self, at: tuple[int, ...], dataset: Any, frame: int | None = None) -> None:
        if self.header is None:
            self.header = dataset
        self.instances[at] = (str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), frame)


def check_maps(images: Sequence[Image], path: Path) -> None:
    """Refuse a map before any work where it could not be written.

    Raises
    ------
    UsageError
        Loose slices, or a map that exists.
    """
    if any(not image.metadata.regular for image in images):
        raise UsageError(
            "an uncertainty map needs a regular volume, these are loose slices",
            where=path,
            remedy="leave out --uncertainty",
        )
    if path.name.lower().endswith(".dcm"):
        count = sum(image.shape[3] if len(image.shape) > 3 else 1 for image in images)
        side = map_name(path, 1, count)
        if side.exists() and not path.exists():  # with `path` there, overwriting has been decided for both
            check_output(side)


def map_name(path: Path, number: int, count: int) -> Path:
    """``t2_x2.dcm`` -> ``t2_x2_uncertainty.dcm``; numbered where there are several volumes."""
    which = f"_{number:03d}" if count > 1 else ""
    return path.with_name(f"{path.stem}_uncertainty{which}.dcm")
