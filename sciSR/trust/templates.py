"""What a feature of the output would look like in the input, and how strongly the input shows it.

The input y is fitted, on a patch of coarse pixels, by the feature's own template A f and by all that it could be
mistaken for (its neighbours, the level, a slope), each with an amplitude of its own. The amplitude of A f over its
error is the feature's support: the square root of what chi-square gains when the feature is added to the others.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARGIN = {"block": 3, "gaussian": 3, "kspace": 4}
"""Coarse pixels around a feature that are fitted with it: its background, and as far as the forward model reaches."""


@dataclass(frozen=True)
class Noise:
    """The noise of the input.

    Attributes
    ----------
    sigma : float or ndarray ``[H, W]``
        One standard deviation.
    correlation : (float, float)
        Of neighbours along rows and along columns of pixels; that of pixels farther apart is taken as its powers.
    """

    sigma: float | Array
    correlation: tuple[float, float] = (0.0, 0.0)

    def on(self, patch: Patch) -> Array:
        """One standard deviation on a patch; positive."""
        if isinstance(self.sigma, float):
            return np.full(patch.shape, self.sigma)
        return self.sigma[patch.coarse]

    @property
    def typical(self) -> float:
        if isinstance(self.sigma, float):
            return self.sigma
        known = self.sigma[np.isfinite(self.sigma)]
        return float(np.median(known)) if known.size else 0.0


@dataclass(frozen=True)
class Patch:
    """Some coarse pixels, the fine ones that they see, and the forward model between them.

    Attributes
    ----------
    coarse, fine : pair of slice
    rows, columns : ndarray
        The forward model is ``rows @ fine @ columns.T``.
    """

    coarse: tuple[slice, slice]
    fine: tuple[slice, slice]
    rows: Array
    columns: Array

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    def apply(self, fine: Array) -> Array:
        """Fine pixels of the patch as the input would show them."""
        return self.rows @ fine @ self.columns.T


@dataclass(frozen=True)
class Forward:
    """How the input came from the output's pixels: local, separable, by matrices.

    Parameters
    ----------
    kind : {"block", "kspace", "gaussian"}
        Truncated k-space is taken on a patch as if that were the whole: its side lobes end there.
    factors : pair of Fraction
        Fine pixels for each coarse one; whole but for "block".
    shape : pair of int
        Coarse pixels.
    fwhm : float
        Of the Gaussian, in coarse pixels.
    """

    kind: str
    factors: tuple[Fraction, Fraction]
    shape: tuple[int, int]
    fwhm: float = 1.0

    def patch(self, fine: tuple[slice, slice], margin: int | None = None) -> Patch:
        """The patch around some fine pixels."""
        margin = MARGIN[self.kind] if margin is None else margin
        axes = [self._axis(*each, margin) for each in zip(fine, self.factors, self.shape, strict=True)]
        (a, row_cut, row_fine), (b, column_cut, column_fine) = axes
        return Patch((row_cut, column_cut), (row_fine, column_fine), a, b)

    def _axis(self, fine: slice, factor: Fraction, size: int, margin: int) -> tuple[Array, slice, slice]:
        first = max(0, math.floor(fine.start / factor) - margin)
        last = min(size, math.ceil(fine.stop / factor) + margin)
        matrix, offset = _matrix(self.kind, factor, first % factor.denominator, last - first, self.fwhm)
        begin = math.floor(first * factor) + offset
        return matrix, slice(first, last), slice(begin, begin + matrix.shape[1])


@functools.lru_cache(maxsize=512)
def _matrix(kind: str, factor: Fraction, phase: int, count: int, fwhm: float) -> tuple[Array, int]:
    """``[count, fine]`` and where the fine pixels begin, relative to the floor of the first coarse pixel's edge."""
    from sciSR.forward.pixel import overlap_matrix

    if kind == "block":
        matrix, first = overlap_matrix(phase, phase + count, factor)
        return matrix, first - math.floor(phase * factor)
    import torch

    scale = int(factor)
    eye = torch.eye(scale * count, dtype=torch.float64)
    if kind == "kspace":
        from sciSR.forward.kspace import crop_axis

        return crop_axis(eye, scale).T.numpy(), 0
    from sciSR.forward.gaussian import GaussianDecimation
    from sciSR.forward.strided import down

    return down(eye, GaussianDecimation(scale, fwhm * scale).taps()[0], scale).T.numpy(), 0


@dataclass(frozen=True)
class Fit:
    """A least-squares fit of the input by templates.

    Attributes
    ----------
    amplitude, error : float
        Of the first template: 1 where the input shows what the output has.
    residual : ndarray
        Input minus the best fit, over sigma; 0 where bad.
    freedom : int
        Pixels minus templates.
    """

    amplitude: float
    error: float
    residual: Array
    freedom: int

    @property
    def support(self) -> float:
        """The amplitude in sigma; 0 where nothing can be told."""
        return self.amplitude / self.error if self.error > 0 and math.isfinite(self.error) else 0.0


def fit(
    values: Array, sigma: Array, columns: list[Array], correlation: tuple[float, float] = (0.0, 0.0)
) -> Fit:
    """Fit the values of a patch by templates.

    Parameters
    ----------
    values, sigma : ndarray ``[h, w]``
        NaN where bad.
    columns : list of ndarray ``[h, w]``
        Templates, the one in question first.
    correlation : (float, float)
        Of the noise, see `Noise`; enters the error, not the weights.
    """
    good = np.isfinite(values) & np.isfinite(sigma) & (sigma > 0)
    weight = np.where(good, 1 / np.where(good, sigma, 1.0), 0.0)
    data = np.where(good, values, 0.0) * weight
    matrix = np.stack([(c * weight).ravel() for c in columns], axis=1)
    norms = np.linalg.norm(matrix, axis=0)
    used = norms > 1e-9 * max(norms.max(), 1e-300)
    freedom = int(good.sum() - used.sum())
    if not used[0] or freedom < 1:
        return Fit(0.0, math.inf, data, max(freedom, 1))
    scaled = matrix[:, used] / norms[used]
    inverse = np.linalg.pinv(scaled, rcond=1e-6)
    solution = inverse @ data.ravel()
    residual = data - (scaled @ solution).reshape(data.shape)
    row = inverse[0].reshape(data.shape)
    variance = float((row * _correlated(row, correlation)).sum())
    return Fit(
        float(solution[0] / norms[0]), math.sqrt(max(variance, 0.0)) / float(norms[0]), residual, freedom
    )


def _correlated(values: Array, correlation: tuple[float, float]) -> Array:
    """The noise's covariance (of unit variance) times values."""
    first, second = (_powers(n, float(r)) for n, r in zip(values.shape, correlation, strict=True))
    return first @ values @ second


@functools.lru_cache(maxsize=512)
def _powers(size: int, correlation: float) -> Array:
    step = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return np.where(step == 0, 1.0, correlation**step) if correlation > 0 else np.eye(size)


def level_and_slope(shape: tuple[int, int]) -> list[Array]:
    """Three templates: a constant and two ramps."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return [np.ones(shape), y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2]
