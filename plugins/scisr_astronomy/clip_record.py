"""The record of what was done, beside a clip: neither SER nor AVI has a safe place for it inside.

``jupiter_x2.ser`` gets ``jupiter_x2.ser.provenance.json``: the steps, where each pixel lies in the original clip, and
size and SHA-256 of the clip that all this is about, so that a record never speaks for another file of the same name.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciSR.files import atomic_output, translate_os_errors
from sciSR.image import Image
from sciSR.provenance import Provenance, file_sha256
from scisr_astronomy.physical_grid import PhysicalGrid

_LARGEST = 16 << 20  # of a record that is believed


@dataclass(frozen=True)
class Record:
    """What stands beside a clip.

    Attributes
    ----------
    provenance : Provenance
    places : mapping of str to ((scale, offset), (scale, offset))
        By part (empty for a monochrome clip), for rows and columns: ``index = scale * original + offset``, 0-based.
    """

    provenance: Provenance = field(default_factory=Provenance)
    places: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)

    def grid(self, part: str, shape: tuple[int, ...]) -> PhysicalGrid:
        """The grid of a part; rows and columns are the last two axes of `shape`."""
        others = ((1.0, 0.0),) * (len(shape) - 2)
        places = (*others, *self.places.get(part, ((1.0, 0.0), (1.0, 0.0))))
        return PhysicalGrid(shape, tuple(p[0] for p in places), tuple(p[1] for p in places))


def record_path(path: Path) -> Path:
    """Where a clip's record lies."""
    return path.with_name(f"{path.name}.provenance.json")


def read_record(path: Path) -> Record:
    """The record beside a clip; an empty one if there is none, or if it speaks of a file of another size."""
    beside = record_path(path)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        if beside.stat().st_size <= _LARGEST:
            record = json.loads(beside.read_bytes(), parse_constant=_refuse)
            if record["bytes"] == path.stat().st_size:
                steps = Provenance(tuple(dict(step) for step in record["steps"]))
                places = {str(part): checked_place(place) for part, place in record["places"].items()}
                return Record(steps, places)
    return Record()


def checked_place(place: Any) -> tuple[tuple[float, float], ...]:
    """Two pairs of numbers, or ValueError."""
    (row_scale, row_offset), (column_scale, column_offset) = place
    pairs = (float(row_scale), float(row_offset)), (float(column_scale), float(column_offset))
    if not all(math.isfinite(offset) and 0 < scale < math.inf for scale, offset in pairs):
        raise ValueError(place)
    return pairs


def places_of(image: Image) -> list[tuple[float, float]]:
    """Scale and offset of rows and columns, from whatever grid the image has."""
    grid = image.grid
    found = []
    for axis in image.spatial_axes:
        if isinstance(grid, PhysicalGrid):
            found.append((grid.scale[axis], grid.offset[axis]))
        else:
            factor = float(grid.factors[axis])
            found.append((factor, (factor - 1) / 2))
    return found


def all_steps(images: Sequence[Image]) -> Provenance:
    """The record of all parts: steps that they share once, those of later parts with their name."""
    steps = images[0].provenance
    for image in images[1:]:
        for step in image.provenance.steps:
            if step not in images[0].provenance.steps:
                steps = steps.add(**({"part": image.part} | dict(step)))
    return steps


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON and could not be written again


def publish(
    temporary: Path,
    target: Path,
    images: Sequence[Image],
    stored: Mapping[str, Any],
    rename: Callable[[], None],
    *,
    overwrite: bool,
) -> None:
    """Put a finished clip and its record in place.

    Two files can't appear in one step. So the old record goes first and the new one comes last: whenever the process is
    killed, no record stands beside a clip that it is not about.

    Parameters
    ----------
    temporary, target : Path
        The finished clip, and the name that `rename` gives it.
    images : sequence of Image
        With their final provenance.
    stored : mapping
        How values were stored: depth, rounding, clipped pixels.
    rename : callable
    overwrite : bool
    """
    record = {
        "file": target.name,
        "bytes": temporary.stat().st_size,
        "sha256": file_sha256(temporary),
        "stored": dict(stored),
        "places": {image.part if len(images) > 1 else "": places_of(image) for image in images},
        "steps": list(all_steps(images).steps),
    }
    content = json.dumps(record, indent=2, allow_nan=False) + "\n"
    beside = record_path(target)
    aside, done = beside.with_name(f".{beside.name}.{os.getpid()}.old"), False
    with translate_os_errors(beside), contextlib.suppress(FileNotFoundError):
        os.replace(beside, aside)
    try:
        with atomic_output(beside, overwrite=overwrite) as fresh:
            fresh.write_text(content)
            rename()
            done = True
    except BaseException:
        if not done and aside.exists():
            os.replace(aside, beside)
        raise
    finally:
        aside.unlink(missing_ok=True)
