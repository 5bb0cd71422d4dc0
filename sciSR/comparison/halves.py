"""How fine the detail is that two independent halves of the data share: resolution without a truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.comparison.compare import BODY, WHOLE, Source, images_of, make_field, partner
from sciSR.comparison.field import Field
from sciSR.comparison.resample import Method
from sciSR.comparison.resolving import ALL, Resolved, resolve
from sciSR.errors import UsageError
from sciSR.metrics.resolution import THRESHOLDS, Threshold


@dataclass(frozen=True)
class HalfSets:
    """Of one image of the two files.

    Attributes
    ----------
    part, domain : str
    a, b : str
        The halves, as messages name them.
    resolved : Resolved
    notes : tuple of str
    """

    part: str
    domain: str
    a: str
    b: str
    resolved: Resolved
    notes: tuple[str, ...] = ()

    def period(self, threshold: Threshold = "1/7", direction: str = ALL) -> float:
        """Length of the finest wave that both halves share."""
        return self.resolved.period(threshold, direction)

    def as_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "domain": self.domain,
            "halves": [self.a, self.b],
            **self.resolved.as_dict(),
            "notes": list(self.notes),
        }


def compare_halves(
    a: Source,
    b: Source,
    *,
    mask: Source | None = None,
    region: str | None = None,
    resample: Method | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[HalfSets]:
    """Ring correlation (of volumes: shell correlation, along each axis too) between two half-sets' results.

    The two must share nothing but the scene: not a frame, nor a prior, nor a network that invents alike in both.

    Parameters
    ----------
    a, b : Image, path, or sequence of Image
    mask, region, resample, options
        As for :func:`sciSR.comparison.compare.compare`; by default all good pixels count.

    Returns
    -------
    list of HalfSets
        One for each image of the files.

    Raises
    ------
    UsageError
        Grids that differ, or hardly any pixel counts.
    """
    known = dict(options or {})
    first, second = images_of(a, known), images_of(b, known)
    if isinstance(mask, str) and mask == BODY:
        raise UsageError("halves have no foreground of a truth", remedy="give a mask file")
    masks = None if mask is None or (isinstance(mask, str) and mask == WHOLE) else images_of(mask, known)
    out = []
    for number, part in enumerate(first):
        other = partner(part, number, len(first), second)
        where = None if masks is None else masks[number if number < len(masks) else 0]
        field, notes = make_field(part, [other], region, resample, where)
        found = resolve(field, THRESHOLDS)[0]
        if not isinstance(found, Resolved):
            raise UsageError(found, where=part.where)
        if _same(field):
            notes[0].append(
                "both hold the same pixels: these are no halves, and the correlation says nothing"
            )
        out.append(HalfSets(part.part, part.domain, part.where, other.where, found, tuple(notes[0])))
    return out


def _same(field: Field) -> bool:
    """Whether the middle plane of both is the same to the bit, as of one file given twice."""
    block = next(field.blocks(field.planes[len(field.planes) // 2]))
    return bool(np.array_equal(block.truth, block.images[0], equal_nan=True))
