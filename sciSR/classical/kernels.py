"""Interpolation kernels and the small matrices that apply them along one axis.

Every method is separable and translation-invariant: fine pixel ``o`` is ``sum_i kernel(i_in(o) - i) x[i]`` with
``i_in = (o + 0.5)/s - 0.5``, normalised so that a constant stays a constant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Kernel:
    """An interpolation kernel.

    Attributes
    ----------
    name : str
    radius : int
        Reach in input pixels: the halo a tile needs. Beyond it the kernel is below 1e-9.
    weight : callable
        ``weight(distance)`` for an array of distances in input pixels.
    """

    name: str
    radius: int
    weight: Callable[[np.ndarray], np.ndarray]


def _linear(d: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(d), 0, None)


def _bspline3(d: np.ndarray) -> np.ndarray:
    """Cubic B-spline, support 2."""
    d = np.abs(d)
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.clip(2 - d, 0, None) ** 3 / 6)


def _cardinal_cubic(d: np.ndarray) -> np.ndarray:
    """Cardinal cubic spline: the interpolating combination of cubic B-splines.

    The inverse of the sampled B-spline (1, 4, 1)/6 is ``sqrt(3) z^|k|`` with ``z = sqrt(3) - 2`` (Unser, Aldroubi
    and Eden 1993, IEEE Trans. Signal Process. 41, 821), so the kernel decays by 0.268 a pixel.
    """
    pole = np.sqrt(3.0) - 2.0
    nearest = np.round(d)
    return sum(
        np.sqrt(3.0) * pole ** np.abs(nearest + k) * _bspline3(d - nearest - k)
        for k in (-2.0, -1.0, 0.0, 1.0, 2.0)
    )


def _lanczos5(d: np.ndarray) -> np.ndarray:
    return np.where(np.abs(d) < 5, np.sinc(d) * np.sinc(d / 5), 0.0)


METHODS: dict[str, Kernel] = {
    "linear": Kernel("linear", 1, _linear),
    "cubic": Kernel("cubic", 16, _cardinal_cubic),
    "lanczos": Kernel("lanczos", 5, _lanczos5),
}


def kernel(name: str) -> Kernel:
    """The kernel of a method (nearest and Fourier have none)."""
    return METHODS[name]


def axis_weights(method: str, factor: Fraction, fine: tuple[int, int], coarse: tuple[int, int]) -> np.ndarray:
    """Matrix that interpolates coarse pixels to fine ones along one axis.

    Parameters
    ----------
    method : {"nearest", "linear", "cubic", "lanczos"}
    factor : Fraction
        Fine pixels per coarse pixel.
    fine, coarse : (start, stop)
        Ranges of pixel numbers; the coarse range must hold the fine one plus the kernel's radius.

    Returns
    -------
    ndarray, shape (fine, coarse), float64
        Rows sum to 1.
    """
    p, q = factor.numerator, factor.denominator
    period = fine[0] // p  # p fine pixels on, q coarse pixels on, everything is the same
    a, b = (fine[0] - period * p, fine[1] - period * p), (coarse[0] - period * q, coarse[1] - period * q)
    return _weights(method, factor, a, b).copy()


@functools.lru_cache(maxsize=8)
def _weights(method: str, factor: Fraction, fine: tuple[int, int], coarse: tuple[int, int]) -> np.ndarray:
    """Tile after tile and plane after plane needs the same few matrices."""
    # Exact integer arithmetic for the positions: (2o + 1)q - p over 2p with s = p/q.
    o = np.arange(*fine, dtype=np.int64)
    i = np.arange(*coarse, dtype=np.int64)
    p, q = factor.numerator, factor.denominator
    if method == "nearest":
        return ((((2 * o + 1) * q) // (2 * p))[:, None] == i[None, :]).astype(np.float64)
    each = METHODS[method]
    distance = (((2 * o + 1) * q - p)[:, None] - 2 * p * i[None, :]) / (2.0 * p)
    weights = np.where(np.abs(distance) <= each.radius, each.weight(distance), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
