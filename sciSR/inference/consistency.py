"""Consistency with a detector's pixels: the nearest image that reproduces the measurement, ``x + A+ (y - A x)``.

A is the mean over each original pixel (:class:`sciSR.forward.pixel.BlockMean`): local, so it is applied tile by tile.
`sciSR.inference.whole_plane` has the operators that are not.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from sciSR.forward.pixel import overlap_matrix
from sciSR.inference.tiles import Span, split

MARGIN = 16
"""Coarse pixels around a tile that its correction depends on where the factor is not a whole number.

There a fine pixel can lie in two coarse ones, which couples their corrections; the coupling decays by at least a
factor of 5 a pixel (the diagonal dominance of ``A A^T``), to below 1e-10 over the margin.
"""


def margin(factors: tuple[Fraction, Fraction]) -> int:
    """Coarse pixels by which a region must be wider than the tile to be made consistent."""
    return 0 if all(f.denominator == 1 for f in factors) else MARGIN


def block_mean_step(
    x: Tensor,
    y: Tensor,
    factors: tuple[Fraction, Fraction],
    coarse: tuple[Span, Span],
) -> Tensor:
    """``x + A+ (y - A x)`` with A the mean over each coarse pixel.

    Parameters
    ----------
    x : Tensor, shape (fine rows, fine columns)
        Fine values over all fine pixels that `coarse` touches.
    y : Tensor, shape (coarse rows, coarse columns)
        The measured values.
    factors, coarse
        Which pixels these are.

    Returns
    -------
    Tensor
        Same shape as `x`; float64 on the CPU where a factor is no whole number.
    """
    if margin(factors) == 0:
        p, q = (int(f) for f in factors)
        blocks = x.unflatten(1, (y.shape[1], q)).unflatten(0, (y.shape[0], p))  # rows, p, columns, q
        # Adding strided views is several times faster than a reduction over two short axes.
        total = sum(blocks[:, i, :, j] for i in range(p) for j in range(q))
        residual = y.to(x.dtype) - total / (p * q)
        return (blocks + residual[:, None, :, None]).reshape(x.shape)
    x, y = (
        x.cpu().double(),
        y.cpu().double(),
    )  # small systems, solved exactly; there is no float64 on every device
    a, b = (
        torch.from_numpy(overlap_matrix(span.start, span.stop, f)[0])
        for span, f in zip(coarse, factors, strict=True)
    )
    residual = torch.linalg.solve(a @ a.mT, y - a @ x @ b.mT)
    residual = torch.linalg.solve(b @ b.mT, residual.mT).mT
    return x + a.mT @ residual @ b


def block_means(fine: np.ndarray, factors: tuple[Fraction, Fraction], rows: Span) -> np.ndarray:
    """Means over the coarse pixels of some full rows, float64: what the result predicts for the input.

    Parameters
    ----------
    fine : ndarray, shape (fine rows, fine columns)
        All fine rows that the coarse rows touch, full width.
    rows : Span
        Coarse rows.
    """
    columns = Span(0, int(fine.shape[1] / factors[1]))
    if margin(factors) == 0:
        p, q = (int(f) for f in factors)
        total = np.zeros((len(rows), len(columns)))
        for i in range(p):
            for j in range(q):
                total += fine[i::p, j::q]
        return total / (p * q)
    a, _ = overlap_matrix(rows.start, rows.stop, factors[0])
    fine = a @ fine.astype(np.float64)
    out = np.empty((len(rows), len(columns)))
    for part in split(len(columns), 512):  # small matrices: that of a whole wide row would not fit
        b, first = overlap_matrix(part.start, part.stop, factors[1])
        out[:, part.start : part.stop] = fine[:, first : first + b.shape[1]] @ b.T
    return out
