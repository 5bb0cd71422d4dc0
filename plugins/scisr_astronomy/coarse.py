"""How the HDUs that go with a science image follow it to coarser pixels.

Where the image holds means of its fine pixels (a density), independent errors average: ``sum sigma_i^2 / n^2`` for the
n pixels of a block; where it holds their sum (a total) they add: ``sum sigma_i^2``. The HDU that the image's
uncertainty was read from gets what came out of the forward model itself, added noise included. Flags are united bit by
bit, labels taken from the middle of the block, and exposure, coverage and relative weights averaged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from sciSR.image import Image, LazyArray
from sciSR.views import BlockView
from scisr_astronomy.carry import Carried, StoredForm, add_history, refine_header, tidy_structure
from scisr_astronomy.reader import FitsMetadata, section_of
from scisr_astronomy.roles import LABELS
from scisr_astronomy.sections import MappedSection

Reduce = Callable[[np.ndarray], np.ndarray]


def is_coarser(factors: Sequence[Fraction]) -> bool:
    """Whether an image's pixels became larger."""
    return any(f < 1 for f in factors)


def coarsen(image: Image, index: int, kind: str) -> Carried:
    """A companion HDU of an image whose grid is coarser than its file's.

    Parameters
    ----------
    image : Image
        The coarse science image; read by this package.
    index : int
        The companion's HDU.
    kind : str
        Of its :class:`~scisr_astronomy.roles.Role`.
    """
    metadata: FitsMetadata = image.metadata
    file, total = metadata.file, image.quantity == "total"
    record, factors = file.records[index], image.grid.factors
    header, notes = refine_header(file.header(index), factors, total=total, keep_wcs=metadata.wcs == "keep")
    scales = [int(1 / f) for f in factors]
    if not record.shape:  # an HST constant array: its one value stands in the header
        if isinstance(header.get("PIXVALUE"), int | float):
            block = np.full((1, math.prod(scales)), float(header["PIXVALUE"]))
            header["PIXVALUE"] = float(_arithmetic(kind, total)[1](block)[0])
        add_history(header, [_arithmetic(kind, total)[0], *notes])
        return Carried(header, None, None)
    if _is_source_of_uncertainty(metadata, index, kind) and image.uncertainty is not None:
        what, data = "propagated through the forward model", _from_sigma(image.uncertainty, kind)
    else:
        what, data = _blocks(section_of(file, index), record.name, kind, scales, total)
    form = StoredForm.of(data.dtype)
    form.describe(header)
    tidy_structure(header, index == 0)
    add_history(header, [what, *notes])
    return Carried(header, data, form)


def _is_source_of_uncertainty(metadata: FitsMetadata, index: int, kind: str) -> bool:
    """Whether the reader takes the image's standard deviation from this HDU (see `scisr_astronomy.reader`)."""
    records = metadata.file.records
    of_kind: dict[str, list[int]] = {}
    for i, role in metadata.roles.items():
        if role.of == metadata.hdu and records[i].shape:
            of_kind.setdefault(role.kind, []).append(i)
    if "sigma" in of_kind:
        return index == of_kind["sigma"][0]
    alone = [k for k in ("variance", "inverse") if len(of_kind.get(k, ())) == 1]
    return bool(alone) and kind == alone[0]


def _from_sigma(sigma: LazyArray, kind: str) -> LazyArray:
    function: dict[str, Reduce] = {"variance": np.square, "inverse": lambda s: 1 / np.square(s)}
    return MappedSection(sigma, function[kind], np.float32) if kind in function else sigma


def _blocks(
    section: LazyArray, name: str, kind: str, scales: Sequence[int], total: bool
) -> tuple[str, LazyArray]:
    whole = section.dtype.kind in "iub"
    if kind == "mask":
        unite: Reduce = np.bitwise_or.reduce if whole else np.maximum.reduce
        return "flags of the finer pixels united", BlockView(
            section, scales, lambda b: unite(b, axis=-1), section.dtype
        )
    if kind == "map" and whole and re.fullmatch(LABELS, name):
        middle = int(np.ravel_multi_index([s // 2 for s in scales], scales))
        return "taken from the middle of each block", BlockView(
            section, scales, lambda b: b[..., middle], section.dtype
        )
    what, reduce = _arithmetic(kind, total)
    wide = np.float64 if section.dtype == np.float64 else np.float32
    return what, BlockView(section, scales, lambda b: reduce(b.astype(np.float64)), wide)


def _arithmetic(kind: str, total: bool) -> tuple[str, Reduce]:
    """What becomes of the values of a block (last axis), in words and as a function."""
    ways: dict[str, tuple[str, Reduce]] = {
        "sigma": ("added in squares", lambda b: np.sqrt(np.square(b).sum(-1))),
        "variance": ("added", lambda b: b.sum(-1)),
        "inverse": ("inverses added", _harmonic),
    }
    if kind not in ways:
        return "averaged over each block", lambda b: b.mean(-1)
    words, reduce = ways[kind]
    if total:
        return f"{words} over each block", reduce
    power = {"sigma": 1, "variance": 2, "inverse": -2}[kind]
    return f"{words} over each block, for its mean", lambda b: reduce(b) / float(b.shape[-1]) ** power


def _harmonic(blocks: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 / (1 / blocks).sum(-1)
