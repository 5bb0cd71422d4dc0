"""What a series is, in numbers: for ``scisr info`` and for messages that ask for a choice. No free text, no names.

SeriesDescription and its like would tell a user more, but they are free text: people write names into them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scisr_medical.dicom_grid import along_normal, common_thickness, group_by_position
from scisr_medical.dicom_instance import Instance

_LISTED = 12
"""Series that a one-line message lists."""


@dataclass(frozen=True)
class Listed:
    """One series as it is listed. Lengths are in mm.

    Attributes
    ----------
    number : int or None
        SeriesNumber.
    uid : str
        SeriesInstanceUID.
    modality : str
    images : int
        Classic images, or frames of enhanced files.
    matrices : tuple of (int, int)
        (rows, columns), the most frequent first.
    slices : int or None
        Different positions along the normal; None where no image says where it lies.
    spacing : (float, float) or None
        In the plane: (between rows, between columns).
    between : float or None
        Between neighbouring slices, the median.
    thickness : float or None
        SliceThickness.
    echoes : int
        Different echo times.
    types : int
        Kinds of value: magnitude, phase, ...
    volumes : int
        Images at one position, of one echo and one kind.
    orientations : int
    """

    number: int | None
    uid: str
    modality: str
    images: int
    matrices: tuple[tuple[int, int], ...]
    slices: int | None
    spacing: tuple[float, float] | None
    between: float | None
    thickness: float | None
    echoes: int
    types: int
    volumes: int
    orientations: int

    def text(self, *, uid: bool = False) -> str:
        """``series 4 (MR, 96 images of 128x128, pixels 2x2 mm, 96 slices every 2 mm, 2 mm thick)``."""
        rows, columns = self.matrices[0]
        words = [self.modality, f"{self.images} image{'s' * (self.images > 1)} of {rows}x{columns}"]
        words[-1] += " and other sizes" if len(self.matrices) > 1 else ""
        words += [] if self.spacing is None else [f"pixels {self.spacing[0]:.4g}x{self.spacing[1]:.4g} mm"]
        if self.slices is not None and self.slices > 1 and self.orientations == 1:
            words.append(f"{self.slices} slices every {self.between:.4g} mm")
        words += [] if self.thickness is None else [f"{self.thickness:.4g} mm thick"]
        for count, what in (
            (self.orientations, "orientations"),
            (self.echoes, "echoes"),
            (self.types, "kinds of value"),
            (self.volumes, "volumes"),
        ):
            words += [f"{count} {what}"] if count > 1 else []
        return f"series {_number(self.number)} ({', '.join(words)})" + (f" UID {self.uid}" if uid else "")

    def row(self) -> dict[str, Any]:
        """The same as a row of a table, JSON-ready."""
        return {
            "modality": self.modality,
            "images": self.images,
            "matrix": ", ".join(f"{rows}x{columns}" for rows, columns in self.matrices[:3]),
            "slices": self.slices,
            "pixel_mm": None if self.spacing is None else f"{self.spacing[0]:.4g}x{self.spacing[1]:.4g}",
            "between_mm": self.between,
            "thick_mm": self.thickness,
            "echoes": self.echoes,
            "volumes": self.volumes,
        }


def _number(number: int | None) -> str:
    return "without number" if number is None else str(number)


def listed(instances: Sequence[Instance]) -> Listed:
    """Count and measure one series; nothing is required of it."""
    first = instances[0]
    placed = [i for i in instances if i.has_plane]
    orientations = _orientations(placed)
    groups = group_by_position(placed) if placed and orientations == 1 else []
    between = np.diff(along_normal([g[0] for g in groups])) if len(groups) > 1 else []
    echoes, types = max(len(echo_times(instances)), 1), len({i.component for i in instances})
    together = max((len(g) for g in groups), default=1)
    return Listed(
        number=first.series_number,
        uid=first.series_uid,
        modality=first.modality,
        images=len(instances),
        matrices=tuple(shape for shape, _ in Counter(i.shape for i in instances).most_common()),
        slices=len(groups) if groups else len(placed) or None,
        spacing=next((i.spacing for i in placed), None),
        between=float(f"{np.median(between):.4g}") if len(between) else None,
        thickness=common_thickness(instances)[0],
        echoes=echoes,
        types=types,
        volumes=max(together // (echoes * types), 1),
        orientations=orientations,
    )


def echo_times(instances: Sequence[Instance]) -> list[float]:
    """Distinct echo times in ms, rising."""
    times: list[float] = []
    for time in sorted(i.echo_time for i in instances if i.echo_time is not None):
        if not times or time - times[-1] > 1e-3:
            times.append(time)
    return times


def _orientations(placed: Sequence[Instance]) -> int:
    """Number of directions that differ by more than header rounding."""
    known: list[np.ndarray] = []
    for each in placed:
        direction = np.array(each.orientation)
        if not any(np.allclose(direction, other, atol=1e-3, rtol=0) for other in known):
            known.append(direction)
    return max(len(known), 1)


def listing(series: Mapping[str, Sequence[Instance]]) -> str:
    """All series in one line; the UID only where two have the same number."""
    lines = _by_number(series)
    numbers = Counter(line.number for line in lines)
    texts = [line.text(uid=numbers[line.number] > 1 or line.number is None) for line in lines]
    more = f", and {len(texts) - _LISTED} more (see scisr info)" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more


def table(series: Mapping[str, Sequence[Instance]]) -> dict[str, dict[str, Any]]:
    """Rows by series number; by number and UID where two have the same number."""
    lines = _by_number(series)
    numbers = Counter(line.number for line in lines)
    return {
        _number(line.number) + (f" {line.uid}" if numbers[line.number] > 1 else ""): line.row()
        for line in lines
    }


def _by_number(series: Mapping[str, Sequence[Instance]]) -> list[Listed]:
    lines = (listed(instances) for instances in series.values())
    return sorted(lines, key=lambda line: (line.number is None, line.number or 0, line.uid))
