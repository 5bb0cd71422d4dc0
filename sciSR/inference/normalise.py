"""Invertible normalisation: what the network sees, from robust statistics of the whole image.

Every statistic is a location or a scale that follows the image exactly under ``x -> a x + b`` (a > 0), so
that the normalised values don't change at all: changing Jy to mJy or adding a pedestal can't change the
result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("range", "sky", "unit")
STRETCH = 2.0
"""Sky stretch: z = asinh((x - median) / (STRETCH * sigma))."""


@dataclass(frozen=True)
class Normaliser:
    """``z = f((x - offset) / scale)``, with f the identity ("range", "unit") or asinh ("sky").

    Parameters
    ----------
    kind : {"range", "sky", "unit"}
        "range" for MR (offset: 1 % quantile, scale: 99.5 % quantile minus that), "sky" for astronomy
        (offset: median, scale: 2 x 1.4826 x median absolute deviation), "unit" for photographs (least to greatest
        value: 0 to 1).
    offset, scale : float
        In the image's own unit; scale >= 0. A scale of 0 marks a constant image: `forward` gives 0 and
        `inverse` the constant, whatever the network does.
    """

    kind: str
    offset: float
    scale: float

    @property
    def inverse_scale(self) -> float:
        """1/scale, and 0 for a constant image."""
        return 1.0 / self.scale if self.scale > 0 else 0.0

    def stretch(self, u: Any) -> Any:
        """f itself, on values that are relative to offset and scale already (NumPy array or tensor)."""
        if self.kind != "sky":
            return u
        if not _is_tensor(u):
            return np.arcsinh(u)
        return u.asinh() if u.requires_grad else quick_asinh(u)

    def unstretch(self, z: Any) -> Any:
        """The inverse of :meth:`stretch`."""
        if self.kind != "sky":
            return z
        return z.sinh() if _is_tensor(z) else np.sinh(z)

    def forward(self, x: Any) -> Any:
        """Image values (NumPy array or tensor, any shape) -> float32 network values.

        The offset is subtracted in float64, so a pedestal of any size costs nothing beyond the input's own
        rounding.
        """
        wide = x.double() if _is_tensor(x) else np.asarray(x, np.float64)
        z = self.stretch((wide - self.offset) * self.inverse_scale)
        return z.float() if _is_tensor(z) else z.astype(np.float32)

    def inverse(self, z: Any) -> Any:
        """Network values -> image values in float64 (cast at the very end, after consistency)."""
        wide = z.double() if _is_tensor(z) else np.asarray(z, np.float64)
        return self.unstretch(wide) * self.scale + self.offset


def quick_asinh(u: Any) -> Any:
    """Inverse hyperbolic sine of a tensor, to its rounding: torch's own takes as long as a convolution.

    ``log(1 + a + a / (1/a + sqrt(1 + 1/a^2)))`` for ``a = |u|`` neither overflows nor cancels.
    """
    a = u.abs()
    inverse = a.reciprocal()
    root = (inverse * inverse).add_(1).sqrt_().add_(inverse)
    return a.div(root).add_(a).log1p_().copysign(u)


def fit(sample: np.ndarray, kind: str) -> Normaliser:
    """Normaliser of an image from its good pixels.

    Parameters
    ----------
    sample : ndarray, float64, 1-D
        Good pixels of the *whole* image (or an evenly spread subset), never of one tile. Values that are not
        finite are left out.
    kind : {"range", "sky", "unit"}
        See `Normaliser`.

    Returns
    -------
    Normaliser
        If the robust scale is 0 (skull-stripped zeros, saturated or mostly constant images), wider
        statistics take over, all of them equivariant: wider quantiles, then the standard deviation; a
        constant (or empty) image gets scale 0 and stays constant.
    """
    if kind not in KINDS:
        raise ValueError(f"normalisation must be one of {KINDS}, not {kind!r}")
    x = np.asarray(sample, np.float64).ravel()
    x = x[np.isfinite(x)]
    if x.size == 0:
        return Normaliser(kind, 0.0, 0.0)
    if kind == "unit":
        low, high = float(x.min()), float(x.max())
        return Normaliser(kind, low, high - low if _is_scale(high - low, x) else 0.0)
    if kind == "range":
        q = np.quantile(x, [0.0, 0.01, 0.995, 0.999, 1.0])
        if _is_scale(q[2] - q[1], x):
            return Normaliser(kind, float(q[1]), float(q[2] - q[1]))
        for low, high in ((q[1], q[3]), (q[0], q[4])):
            if _is_scale(high - low, x):
                return Normaliser(kind, float(low), float(high - low))
        return Normaliser(kind, float(q[0]), 0.0)
    median = float(np.median(x))
    deviation = np.abs(x - median)
    # a quantile p of |deviation| is Phi^-1((1 + p)/2) sigma for a normal distribution
    for p, sigmas in ((0.5, 0.6744897501960817), (0.9, 1.6448536269514722), (0.99, 2.5758293035489004)):
        width = float(np.quantile(deviation, p)) / sigmas
        if _is_scale(width, x):
            return Normaliser(kind, median, STRETCH * width)
    width = float(np.sqrt(np.mean(deviation**2)))
    return Normaliser(kind, median, STRETCH * width if _is_scale(width, x) else 0.0)


def _is_scale(width: float, x: np.ndarray) -> bool:
    """True if a width is more than rounding noise of the values."""
    return bool(width > 8 * np.finfo(np.float64).eps * float(np.max(np.abs(x))))


def _is_tensor(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"
