"""How far slices and voxels are trusted: by what the other data predict for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sciSR.stacks.gauss_newton import Slopes, contrasts

USUAL = 2.5
"""Deviations from the other slices, in units of their spread, up to which a slice is like them."""
LEFT_OUT = 0.2
"""Trust below which a slice is left out."""
LIKE = 0.15
"""Least spread of the slices' misfits, as a natural logarithm: none is an outlier for less than a few of these."""
_FLOOR = 0.5
"""Of the usual contrast of a slice, below which one has too little of it to be judged by it."""
VOXEL = 4.0
"""Residuals, in units of their spread, beyond which a voxel's weight falls."""


def misfits(s: Slopes, slices: int) -> np.ndarray:
    """Root mean square residual of each slice over its contrast; NaN where nothing is known of it."""
    residual, contrast = np.full(slices, np.nan), contrasts(s, slices)
    for k in np.flatnonzero(np.isfinite(contrast)):
        here = s.usable & (s.slice_of == k)
        residual[k] = np.sqrt((s.residual[here] ** 2).mean())
    if not np.isfinite(contrast).any():
        return residual
    floor = _FLOOR * float(np.nanmedian(contrast))
    return residual / np.sqrt(contrast**2 + floor**2 + 1e-30)


def trusted(misfit: np.ndarray) -> np.ndarray:
    """Weights of slices from their misfits: 1 for the usual, falling with the square beyond, 0 for the hopeless."""
    out = np.ones_like(misfit)
    known = np.isfinite(misfit) & (misfit > 0)
    if known.sum() < 4:
        return out
    size = np.log(misfit[known])
    middle = float(np.median(size))
    spread = max(1.4826 * float(np.median(np.abs(size - middle))), LIKE)
    far = (size - middle) / spread
    weight = np.where(far > USUAL, (USUAL / np.maximum(far, USUAL)) ** 4, 1.0)
    out[known] = np.where(weight < LEFT_OUT, 0.0, weight)
    return out


def voxel_weights(residual: Tensor, noise: float, trust: Tensor) -> tuple[Tensor, float]:
    """Huber's weights of voxels, and the spread of their residuals.

    Parameters
    ----------
    residual : Tensor, ``[n]``
        Measured minus predicted.
    noise : float
        In the same unit: the spread is at least this.
    trust : Tensor, ``[n]``
        Of the voxels' slices; those of 0 do not count.
    """
    size = residual[trust > 0.5].abs()
    if not size.numel():
        return torch.ones_like(residual), noise
    loud = size[size > 0.1 * noise]
    spread = 1.4826 * float((loud if loud.numel() else size).median())
    limit = VOXEL * max(spread, noise)
    return 1 / (residual.abs() / limit).clamp_min(1.0), spread
