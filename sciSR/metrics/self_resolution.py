"""How much of an image's own finest detail a method brings back, without any truth.

The image is degraded once more, upscaled, and correlated with itself over rings of spatial frequency. Where the curve
is high up to q cycles per input pixel, the method recovers what the coarser grid had lost; the same method on the
image itself works the same way one octave higher, as far as the scene is alike at both scales. That last step is an
assumption, as in all self-similarity: noise and optics are not scale-free. The image's own noise is part of what has
to be recovered and can't be, so that the curve of a noisy image falls early whatever the method.

:func:`sciSR.comparison.self_check.self_resolution` does this for an image and a named model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError
from sciSR.metrics.resolution import (
    THRESHOLDS,
    Resolution,
    RingCorrelation,
    fourier_ring_correlation,
    frc_resolution,
    threshold_curve,
)
from sciSR.metrics.windowing import finite_or_none

Plane = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SelfResolution:
    """A curve of an image against its own degraded and upscaled copy.

    Attributes
    ----------
    curve : RingCorrelation
        Frequencies in cycles per input pixel.
    scale : int
        By which the image was degraded and upscaled again: the degraded grid's own limit is ``0.5 / scale``.
    method : str
        What upscaled it.
    forward : str
        What degraded it.
    pixel_size : float
        Of an input pixel, in `length_unit`.
    length_unit : str
    """

    curve: RingCorrelation
    scale: int
    method: str = ""
    forward: str = "block mean"
    pixel_size: float = 1.0
    length_unit: str = "pixel"

    @property
    def coarse_limit(self) -> float:
        """The degraded grid's own limit, cycles per input pixel: what lies beyond is the method's own."""
        return 0.5 / self.scale

    def resolution(self, threshold: Any = "1/7") -> Resolution:
        """Where the curve falls below ``"1/7"`` or ``"half-bit"``, cycles per input pixel."""
        return frc_resolution(self.curve, threshold)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN is None."""
        found = {name: self.resolution(name) for name in THRESHOLDS}
        return {
            "frequencies": [finite_or_none(f) for f in self.curve.frequencies],
            "frequency_unit": "cycles/pixel",
            "correlation": [finite_or_none(c) for c in self.curve.correlation],
            "n": [float(n) for n in self.curve.n],
            "half_bit": [float(t) for t in threshold_curve(self.curve.n, "half-bit")],
            "coarse_limit": self.coarse_limit,
            "scale": self.scale,
            "method": self.method,
            "forward": self.forward,
            "pixel_size": self.pixel_size,
            "length_unit": self.length_unit,
            "resolution": {
                name: {
                    "frequency": finite_or_none(each.frequency),
                    "period_px": finite_or_none(each.period),
                    "period": finite_or_none(each.period * self.pixel_size),
                    "reached_end": each.reached_end,
                    "rises_again": each.rises_again,
                }
                for name, each in found.items()
            },
        }


def block_mean(plane: Plane, scale: int) -> Plane:
    """Means of blocks of `scale` pixels along both axes; NaN where any pixel of a block is."""
    rows, columns = (n // scale for n in plane.shape)
    cut = np.asarray(plane, np.float64)[: rows * scale, : columns * scale]
    return cut.reshape(rows, scale, columns, scale).mean((1, 3))


def self_ring_correlation(
    plane: NDArray,
    upscale: Callable[[Plane], Plane],
    scale: int = 2,
    *,
    degrade: Callable[[Plane], Plane] | None = None,
    mask: NDArray | None = None,
    method: str = "",
    forward: str = "block mean",
    pixel_size: float = 1.0,
    length_unit: str = "pixel",
) -> SelfResolution:
    """Degrade a plane once more, upscale it, and correlate the result with the plane.

    Parameters
    ----------
    plane : ndarray, (rows, columns)
        Of the input; NaN where bad. A rest at the far end that fills no coarse pixel is left out.
    upscale : callable
        ``upscale(coarse) -> fine``, arrays of float64 with NaN where bad, `scale` times as many pixels.
    scale : int
    degrade : callable, optional
        ``degrade(plane) -> coarse``; the block mean by default.
    mask : ndarray of bool, (rows, columns), optional
        True where pixels count.
    method, forward, length_unit : str
        What the result says of itself.
    pixel_size : float

    Returns
    -------
    SelfResolution

    Raises
    ------
    UsageError
        Fewer than 16 pixels a side, or a callable that returns another shape.
    """
    whole = tuple(n // scale * scale for n in plane.shape)
    truth = np.asarray(plane, np.float64)[: whole[0], : whole[1]]
    if truth.ndim != 2 or min(truth.shape) < 16:
        raise UsageError(f"a self-check needs a plane of 16 pixels or more a side, not {plane.shape}")
    coarse = block_mean(truth, scale) if degrade is None else np.asarray(degrade(truth), np.float64)
    image = np.asarray(upscale(coarse), np.float64)
    if image.shape != truth.shape:
        raise UsageError(f"degraded and upscaled, a plane of {truth.shape} came back as {image.shape}")
    cut = None if mask is None else np.asarray(mask, bool)[: whole[0], : whole[1]]
    curve = fourier_ring_correlation(truth, image, mask=cut)
    return SelfResolution(curve, scale, method, forward, pixel_size, length_unit)
