"""The frames of a DICOM series as pydicom reads them: where each lies, and what its header holds.

Written apart from the reader that images come from: a check must not repeat its mistakes. Clauses are those of DICOM
PS3.3; world coordinates are the patient's (LPS, mm).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.verify.result import Pair
from scisr_medical.dicom_io import read_header

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: a classic file, or one frame of an enhanced one.

    Attributes
    ----------
    path : Path
    header : pydicom.Dataset
        Of the file, without pixels; shared by its frames.
    number : int or None
        From 1; None in a classic file.
    """

    path: Path
    header: Any
    number: int | None

    def groups(self) -> dict[str, Any]:
        """Functional groups that hold for this frame, by keyword: its own before the shared ones (C.7.6.16)."""
        if self.number is None:
            return {}
        found: dict[str, Any] = {}
        shared, own = self.header.get(SHARED) or [], self.header.get(PER_FRAME) or []
        for item in (*shared[:1], *own[self.number - 1 : self.number]):
            for element in item:
                if element.VR == "SQ" and element.value and element.keyword:
                    found[element.keyword] = element.value
        return found

    def value(self, keyword: str, group: str = "") -> Any:
        """An element of the functional group, else of the header; None where it is not there or empty."""
        item = self._groups.get(group)
        found = item[0].get(keyword) if item else None
        if found is None and (self.number is None or not group):
            found = self.header.get(keyword)
        return None if found is None or (isinstance(found, str) and not found) else found

    @cached_property
    def _groups(self) -> dict[str, Any]:
        return self.groups()

    def numbers(self, keyword: str, group: str, count: int) -> np.ndarray | None:
        found = self.value(keyword, group)
        if found is None:
            return None
        values = np.atleast_1d(np.asarray([float(v) for v in np.atleast_1d(found)]))
        return values if values.size == count and np.isfinite(values).all() else None

    @cached_property
    def position(self) -> np.ndarray | None:
        """Centre of the first pixel (C.7.6.2.1.1)."""
        return self.numbers("ImagePositionPatient", "PlanePositionSequence", 3)

    @cached_property
    def orientation(self) -> np.ndarray | None:
        """Direction of a row, then of a column."""
        return self.numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6)

    @cached_property
    def spacing(self) -> np.ndarray | None:
        """Between rows, between columns."""
        return self.numbers("PixelSpacing", "PixelMeasuresSequence", 2)

    def length(self, keyword: str) -> float | None:
        """SliceThickness or SpacingBetweenSlices."""
        found = self.numbers(keyword, "PixelMeasuresSequence", 1)
        return None if found is None else float(found[0])

    @property
    def placed(self) -> bool:
        return self.position is not None and self.orientation is not None and self.spacing is not None

    @property
    def size(self) -> tuple[int, int]:
        return int(self.header.Rows), int(self.header.Columns)

    @property
    def normal(self) -> np.ndarray:
        assert self.orientation is not None
        found: np.ndarray = np.cross(self.orientation[:3], self.orientation[3:])
        return found

    @property
    def uid(self) -> str:
        return str(self.header.get("SOPInstanceUID") or "")

    def sources(self) -> list[tuple[str, int | None]]:
        """Instance and frame of each image that this one says it was made of."""
        items = list(self.header.get("SourceImageSequence") or []) if self.number is None else []
        for derivation in self._groups.get("DerivationImageSequence") or []:
            items += list(derivation.get("SourceImageSequence") or [])
        found: list[tuple[str, int | None]] = []
        for item in items:
            frames = item.get("ReferencedFrameNumber")
            numbers = [None] if frames is None else [int(n) for n in np.atleast_1d(frames)]
            found += [(str(item.get("ReferencedSOPInstanceUID") or ""), n) for n in numbers]
        return found


@dataclass(frozen=True, eq=False)
class Volume:
    """Frames in the order of the image's first (and last) axis.

    Attributes
    ----------
    frames : ndarray of Frame, shape (slices,) or (slices, volumes)
    regular : bool
        Whether they are slices of a volume; otherwise each stands for itself.
    """

    frames: np.ndarray
    regular: bool

    @property
    def first(self) -> Frame:
        found: Frame = self.frames.flat[0]
        return found

    @property
    def count(self) -> int:
        return len(self.frames)

    def column(self) -> list[Frame]:
        """The slices of the first volume."""
        return list(self.frames if self.frames.ndim == 1 else self.frames[:, 0])

    @cached_property
    def step(self) -> np.ndarray | None:
        """From one slice to the next, mm; None for one slice, or where slices have no place."""
        column = self.column()
        if len(column) < 2 or not self.regular or not (column[0].placed and column[-1].placed):
            return None
        found: np.ndarray = (column[-1].position - column[0].position) / (len(column) - 1)
        return found

    def affine(self) -> np.ndarray | None:
        """(slice, row, column) to LPS mm, shape (4, 4), after equation C.7.6.2.1-1."""
        first = self.first
        if not first.placed:
            return None
        step = self.step
        if step is None:
            step = first.normal * (
                first.length("SpacingBetweenSlices") or first.length("SliceThickness") or 1.0
            )
        affine = np.eye(4)
        affine[:3, 0] = step
        affine[:3, 1] = first.orientation[3:] * first.spacing[0]
        affine[:3, 2] = first.orientation[:3] * first.spacing[1]
        affine[:3, 3] = first.position
        return affine

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], Frame]]:
        yield from np.ndenumerate(self.frames)


def volumes(pair: Pair) -> tuple[Volume, Volume]:
    """Both series: the frames that the images were made of, their headers read anew.

    Raises
    ------
    SciSRError
        A file can't be read any more.
    """
    return _volume(pair.before.metadata), _volume(pair.after.metadata)


def _volume(stack: Any) -> Volume:
    headers: dict[Path, Any] = {}
    frames = np.empty(stack.slices.shape, dtype=object)
    for at, instance in np.ndenumerate(stack.slices):
        if instance.path not in headers:
            headers[instance.path] = read_header(instance.path)[0]
        number = None if instance.frame is None else int(instance.frame) + 1
        frames[at] = Frame(instance.path, headers[instance.path], number)
    return Volume(frames, bool(stack.regular))


def source_of(at: Sequence[int], output: Volume, source: Volume, across: float) -> Frame:
    """The input's slice in which the centre of an output slice lies, of the same volume."""
    k = int(np.clip(np.floor((at[0] + 0.5) / across + 1e-9), 0, source.count - 1))
    found: Frame = source.frames[(k, *at[1:])] if source.frames.ndim > 1 else source.frames[k]
    return found
