"""Known bad pixels of a detector: a mask image, or a list of pixels, columns and rows."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from sciSR.errors import SciSRError, UnreadableError, UsageError
from sciSR.plugins import adapter_for, adapters
from sciSR.sequence import Frame

_LARGEST = 1 << 26  # bytes of a list


class BadPixels:
    """Bad pixels from a file.

    Parameters
    ----------
    path : path
        An image in which any pixel but 0 (or NaN) is bad: one, or one per detector under the names of the frames'
        parts. Or a text with one entry a line, ``#`` starts a comment, separated by blanks or commas:

        ==================  =====================================================================
        ``x y``             one pixel; column and row from 1, the lower left one as in ds9 and IRAF
        ``x1 x2 y1 y2``     a rectangle, both ends included, as IRAF's ``fixpix`` has it
        ``P x y H``         one pixel as Siril's ``find_hot`` writes it: from 0, rows from the top
        ``C x``, ``L y``    a whole column or row, counted as Siril does
        ==================  =====================================================================

    Raises
    ------
    UnreadableError
        Neither an image nor such a text.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise UnreadableError("no such file (given as bad pixels)", where=self.path)
        self._images: dict[str, np.ndarray] = {}
        self._entries: list[tuple[str, tuple[int, ...], int]] = []
        self._masks: dict[tuple[str, tuple[int, int]], np.ndarray] = {}
        if self.path.is_file() and not any(adapter.sniff(self.path) for adapter in adapters().values()):
            self._entries = _parse(self.path)
        else:
            self._images = _images(self.path)

    def of(self, frame: Frame) -> np.ndarray:
        """The bad pixels of a frame, ``(rows, columns)``; one array for all frames of a detector.

        Raises
        ------
        UsageError
            The mask has another shape, or a listed pixel lies outside.
        """
        key = (frame.image.part if len(self._images) > 1 else "", frame.shape)
        if key not in self._masks:
            self._masks[key] = self._listed(frame) if not self._images else self._drawn(frame)
        return self._masks[key]

    def _drawn(self, frame: Frame) -> np.ndarray:
        only = next(iter(self._images.values())) if len(self._images) == 1 else None
        mask = self._images.get(frame.image.part, only)
        if mask is None:
            raise UsageError(
                f"holds no mask for {frame.image.part or frame.name}",
                where=self.path,
                remedy=f"it holds {', '.join(self._images)}",
            )
        if mask.shape != frame.shape:
            raise UsageError(
                f"the mask has {_times(mask.shape)} pixels (rows x columns), {frame.name} {_times(frame.shape)}",
                where=self.path,
                remedy="give a mask of the same detector and binning",
            )
        return mask

    def _listed(self, frame: Frame) -> np.ndarray:
        rows, columns = frame.shape
        mask = np.zeros((rows, columns), dtype=bool)
        for kind, numbers, line in self._entries:
            top, left, bottom, right = _box(kind, numbers, rows, columns)
            if not (0 <= top <= bottom < rows and 0 <= left <= right < columns):
                raise UsageError(
                    f"line {line} lies outside {frame.name} ({rows} rows, {columns} columns)", where=self.path
                )
            mask[top : bottom + 1, left : right + 1] = True
        return mask


def _box(kind: str, numbers: tuple[int, ...], rows: int, columns: int) -> tuple[int, int, int, int]:
    """First and last row and column (top, left, bottom, right), from 0."""
    if kind == "C":
        return 0, numbers[0], rows - 1, numbers[0]
    if kind == "L":
        row = rows - 1 - numbers[0]
        return row, 0, row, columns - 1
    if kind == "P":
        row = rows - 1 - numbers[1]
        return row, numbers[0], row, numbers[0]
    x1, x2, y1, y2 = numbers if len(numbers) == 4 else (numbers[0], numbers[0], numbers[1], numbers[1])
    return y1 - 1, x1 - 1, y2 - 1, x2 - 1


def _parse(path: Path) -> list[tuple[str, tuple[int, ...], int]]:
    if path.stat().st_size > _LARGEST:
        raise UnreadableError("is too large for a list of pixels", where=path)
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise UnreadableError(
            "is neither an image of a known format nor a text", where=path, remedy="see docs/frames.md"
        ) from error
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = re.split(r"[\s,;]+", line.split("#")[0].strip())
        if words == [""]:
            continue
        entry = _entry(words)
        if entry is None:
            if number == 1 and all(re.fullmatch(r"[A-Za-z_]\w*", w) for w in words):
                continue  # names of columns
            raise UnreadableError(
                f"line {number} is {line[:40]!r}",
                where=path,
                remedy="write 'x y' or 'x1 x2 y1 y2' in pixels from 1, or Siril's P, C and L lines",
            )
        entries.append((*entry, number))
    return entries


def _entry(words: list[str]) -> tuple[str, tuple[int, ...]] | None:
    needed = {"P": 2, "C": 1, "L": 1}.get(words[0])
    if needed is not None:
        numbers = _whole(words[1 : 1 + needed])
        return None if numbers is None or len(numbers) < needed else (words[0], numbers)
    numbers = _whole(words)
    return ("", numbers) if numbers is not None and len(numbers) in (2, 4) else None


def _whole(words: list[str]) -> tuple[int, ...] | None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    if any(not value.is_integer() for value in values):
        return None
    return tuple(int(value) for value in values)


def _images(path: Path) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mask's unit matters to nobody
        try:
            images = adapter_for(path).read(path)
        except SciSRError as error:
            raise type(error)(
                f"{error.what} (given as bad pixels)", where=error.where, remedy=error.remedy
            ) from error
    out = {}
    for image in images:
        values = np.squeeze(np.asarray(image))
        if values.ndim != 2:
            raise UnreadableError(f"a mask has two axes, not {values.shape}", where=image.where)
        out[image.part] = ~np.isfinite(values) | (values != 0)
    return out


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
