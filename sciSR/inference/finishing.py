"""Final values: offset and unit undone, block means made exact, bad pixels put back, agreement measured.

All of it is local where the factors are whole numbers, so each tile is finished by whoever computed it, in pieces that
stay in the processor's cache; elsewhere full rows are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sciSR.inference.agreement import Agreement
from sciSR.inference.consistency import block_mean_step
from sciSR.inference.flags import put_flags_back
from sciSR.inference.kinds_bounds import bounded_block_mean_step
from sciSR.inference.planes import ImagePlane
from sciSR.inference.tiles import Span, split

if TYPE_CHECKING:
    from sciSR.inference.upscaling import UpscalePlan

_PIECE = 1 << 17  # fine pixels: a megabyte in float64
_BAND_BYTES = 32 << 20


@dataclass(frozen=True)
class Finished:
    """A tile as it will be written, and how well it agrees with the input.

    Attributes
    ----------
    rows, columns : Span
        Fine pixels.
    values : ndarray, float32
    agreement : Agreement
        Of this tile alone.
    """

    rows: Span
    columns: Span
    values: np.ndarray
    agreement: Agreement


def finish_tile(
    plan: UpscalePlan, rows: Span, columns: Span, tile: np.ndarray, source: ImagePlane, agreement: Agreement
) -> Finished:
    """Final values of a tile whose factors are whole numbers.

    Parameters
    ----------
    plan : UpscalePlan
    rows, columns : Span
        Fine pixels, from whole coarse ones.
    tile : ndarray, shape (fine rows, fine columns)
        Relative to the offset, in the plan's unit.
    source : ImagePlane
        With the tile's rows loaded.
    agreement : Agreement
        An empty one, which is filled.
    """
    final = np.empty(tile.shape, dtype=np.float32)
    p = int(plan.factors[0])
    measured, bad = source.measured(rows.coarse(plan.factors[0]), columns.coarse(plan.factors[1]))
    spoiled = bad is not None and bool(bad.any())
    for part in split(len(measured), max(1, _PIECE // max(1, p * tile.shape[1]))):
        coarse, fine = slice(part.start, part.stop), slice(p * part.start, p * part.stop)
        y, flags = measured[coarse].astype(np.float64), bad[coarse] if spoiled else None
        final[fine] = final_values(plan, tile[fine], y, flags)
        if not np.isfinite(final[fine]).all():
            raise plan.out_of_range(tile[fine])
        agreement.compare(final[fine], y, flags)
    if spoiled:
        _put_back(final, measured, bad, plan)
    return Finished(rows, columns, final, agreement)


def finish_band(
    plan: UpscalePlan, rows: Span, band: np.ndarray, source: ImagePlane, agreement: Agreement
) -> np.ndarray:
    """Final values of full-width rows at any factors, float32.

    Parameters
    ----------
    plan : UpscalePlan
    rows : Span
        Fine rows; from whole coarse ones where the factors are whole numbers.
    band : ndarray, shape (fine rows, fine columns)
        Relative to the offset, in the plan's unit.
    source : ImagePlane
        What was measured.
    agreement : Agreement
        Fed with what will be written, unless the plan's consistency is measured on whole planes.
    """
    final = np.empty(band.shape, dtype=np.float32)
    whole = int(plan.factors[0]) if plan.is_whole else 1
    step = max(1, _BAND_BYTES // (8 * band.shape[1] * whole)) * whole
    for part in split(len(rows), step):
        inside = slice(part.start, part.stop)
        fine = Span(rows.start + part.start, rows.start + part.stop)
        y, bad = None, None
        if plan.settles_rows:
            measured, bad = source.measured(fine.coarse(plan.factors[0]))
            y = measured.astype(np.float64)
        final[inside] = final_values(plan, band[inside], y, bad)
        if not np.isfinite(final[inside]).all():
            raise plan.out_of_range(band[inside])
        if not plan.whole_plane:
            agreement.feed(fine, final[inside], source)
    put_flags_back(rows, final, source, plan.factors, float(plan.share))
    return final


def final_values(
    plan: UpscalePlan, band: np.ndarray, y: np.ndarray | None, bad: np.ndarray | None
) -> np.ndarray:
    """Undo offset and unit, make the pixels' means exactly the measured ones, share totals out.

    Parameters
    ----------
    plan : UpscalePlan
    band : ndarray, shape (fine rows, fine columns)
        Relative to the offset.
    y : ndarray, float64, shape (coarse rows, coarse columns), optional
        The means, where the plan settles them.
    bad : ndarray of bool, same shape, optional
        Of these the mean means nothing.

    Returns
    -------
    ndarray, float32
    """
    values = torch.from_numpy(band).double()
    values *= plan.unit
    values += plan.normaliser.offset
    if plan.settles_rows:
        assert y is not None
        target = torch.from_numpy(y)
        if bad is not None:  # their own values mean nothing; they are overwritten afterwards
            target = torch.where(torch.from_numpy(bad), 0.0, target)
        if plan.bounds is not None:
            whole = int(plan.factors[0]), int(plan.factors[1])
            values = bounded_block_mean_step(values, target, whole, plan.bounds)
        else:
            coarse = Span(0, y.shape[0]), Span(0, y.shape[1])
            values = block_mean_step(values, target, plan.factors, coarse)
    elif plan.bounds is not None:
        values = values.clamp(*plan.bounds)
    if plan.share != 1:
        values *= float(plan.share)
    return values.float().numpy()


def _put_back(final: np.ndarray, measured: np.ndarray, bad: np.ndarray, plan: UpscalePlan) -> None:
    """Bad pixels over their footprint, as `sciSR.inference.flags.put_flags_back` does."""
    footprint, own = bad, measured.astype(np.float64)
    for axis, factor in enumerate(plan.factors):
        footprint, own = (np.repeat(a, int(factor), axis) for a in (footprint, own))
    own = own[footprint]
    final[footprint] = np.where(np.isfinite(own), own * float(plan.share), own)
