"""Features that the data do not back: sought for a page, marked on its pictures, listed under them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRError
from sciSR.grid import PixelGrid
from sciSR.image import Image, LazyArray
from sciSR.report.page_facts import Facts
from sciSR.report.page_layout import Layout, Screen, reduced_plane
from sciSR.report.page_scene import OVERVIEW, Sources, informative
from sciSR.report.page_words import number
from sciSR.views import full_index

log = logging.getLogger(__name__)

_MOST_ROWS = 60
_LARGEST = 2_400_000
"""Input pixels of a plane that are searched as a whole."""
_SIDE = 1024
"""Input pixels a side of the part that is searched of a larger one."""


class CutView:
    """A box of a lazy array, with indices of its own; nothing is read until indexed.

    Parameters
    ----------
    source : LazyArray
    start, shape : sequence of int
        One per axis.
    """

    def __init__(self, source: LazyArray, start: Sequence[int], shape: Sequence[int]) -> None:
        self.source, self.start, self.shape = source, tuple(start), tuple(shape)
        self.dtype = np.dtype(source.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray:
        moved: list[int | slice] = []
        for entry, first, size in zip(full_index(index, self.ndim), self.start, self.shape, strict=True):
            if isinstance(entry, slice):
                start, stop, _ = entry.indices(size)
                moved.append(slice(first + start, first + max(start, stop)))
            else:
                moved.append(first + range(size)[int(entry)])
        return np.asarray(self.source[tuple(moved)])


def cut(image: Image, start: Sequence[int], shape: Sequence[int]) -> Image:
    """A box of an image on a plain grid of pixels, lazily."""

    def view(array: LazyArray | None) -> CutView | None:
        return None if array is None else CutView(array, start, shape)

    return image.replace(
        data=view(image.data),
        grid=PixelGrid(tuple(shape)),
        mask=view(image.mask),
        uncertainty=view(image.uncertainty),
    )


def seek(facts: Facts) -> None:
    """Fill in ``facts.support``; of a large plane only the part with the most detail is searched, which is noted."""
    if facts.before is None or facts.after.kind != "intensity":
        return
    from sciSR.trust.support import check_support

    before, after = facts.before, facts.after
    start = [0] * len(after.shape)
    first, second = before.spatial_axes
    whole = all(facts.factors[a].denominator == 1 for a in (first, second))
    if before.shape[first] * before.shape[second] > _LARGEST:
        if not whole:
            facts.notes.append("Features were not sought: the image is large and its scale no whole number.")
            return
        corner, shape = _part(before)
        fine = list(after.shape)
        for axis in (first, second):
            fine[axis] = shape[axis] * int(facts.factors[axis])
        start = [round(c * f) for c, f in zip(corner, facts.factors, strict=True)]
        before, after = cut(before, corner, shape), cut(after, start, fine)
        facts.notes.append(
            f"Features were sought in the {shape[second]} × {shape[first]} input pixels with the most detail only."
        )
    try:
        facts.support = check_support(before, after)
    except SciSRError as error:
        facts.notes.append(f"Features were not checked: {error.what}")
    except Exception as error:  # a page says what it can
        log.debug("unexpected", exc_info=True)
        facts.notes.append(f"Features were not checked: unexpected {type(error).__name__}")
    facts.support_start = tuple(start)


def _part(image: Image) -> tuple[list[int], list[int]]:
    """First pixel and shape of the part with the most detail, in the order of the data's axes."""
    layout = Layout.of(image)
    screen = Screen(image, layout)
    depth, height, width = screen.shape
    overview, step = reduced_plane(screen, depth // 2, OVERVIEW)
    box = (min(_SIDE, height), min(_SIDE, width))
    y, x = informative(overview, (float(step), float(step)), box, (height, width), None)
    start, shape = [0] * len(image.shape), list(image.shape)
    for axis, flip, at, side in zip(layout.axes[1:], layout.flips[1:], (y, x), box, strict=True):
        assert axis is not None
        start[axis] = image.shape[axis] - at - side if flip else at
        shape[axis] = side
    return start, shape


def feature_places(facts: Facts, sources: Sources) -> list[dict[str, Any]]:
    """Features in display order, positions in input pixels from the field's corner."""
    if facts.support is None:
        return []
    layout, out = sources.after.layout, []
    for feature in facts.support.features:
        index = [i + s for i, s in zip(feature.index, facts.support_start, strict=True)]
        place = [
            (v + 0.5) / f
            for v, f in zip(layout.place(index, facts.after.shape), sources.factors, strict=True)
        ]
        out.append(
            {
                **dict(zip("zyx", (round(p, 3) for p in place), strict=True)),
                "support": round(float(feature.support), 2),
                "supported": bool(feature.is_supported),
                "kind": feature.kind,
            }
        )
    return out


def support_of(facts: Facts) -> dict[str, Any] | None:
    """The features that the data do not back, weakest first."""
    found = facts.support
    if found is None:
        return None
    weak = sorted(found.unsupported, key=lambda f: f.support)
    unit = f" {facts.after.unit}" if facts.after.unit else ""
    text = (
        f"{len(found.features)} sources or edges were found in the result and sought in the input, whose noise is "
        f"{number(found.noise)}{unit}: {len(weak)} of them stand out there by less than {found.limit:g}σ."
        if found.features
        else "No source or edge stands out in the result."
    )
    rows = [
        {
            "kind": f.kind,
            "place": ", ".join(f"{v + s:.1f}" for v, s in zip(f.index, facts.support_start, strict=True)),
            "strength": number(float(f.strength)),
            "support": number(float(f.support), 2),
        }
        for f in weak[:_MOST_ROWS]
    ]
    return {"text": text, "rows": rows, "total": len(weak)}
