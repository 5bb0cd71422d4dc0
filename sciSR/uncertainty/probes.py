"""Probes: the image with more noise, the same whatever part of it is asked for.

The noise is a function of the seed, the probe, the plane and the row, by a counter-based generator (Philox: Salmon et
al., SC'11, doi:10.1145/2063384.2063405), so that it does not depend on how the image is cut into tiles.
"""

from __future__ import annotations

import numpy as np

from sciSR.image import Image
from sciSR.inference.planes import ImagePlane
from sciSR.inference.statistics import read_rows
from sciSR.inference.tiles import Span, mirror
from sciSR.uncertainty.noise import PixelNoise


def normal_row(seed: int, probe: int, plane: int, row: int, width: int) -> np.ndarray:
    """Standard normal values of one row of pixels, ``[width]``, float32."""
    bits = np.random.Philox(key=[seed & (2**64 - 1), (probe << 48) + plane], counter=[0, 0, row, 0])
    return np.random.Generator(bits).standard_normal(width, dtype=np.float32)


class Deviation:
    """Standard deviation of the noise in one plane, by full-width rows, and where it is not known."""

    def __init__(self, image: Image, noise: PixelNoise, index: tuple[slice | int, ...]) -> None:
        self.image, self.index = image.replace(uncertainty=noise.deviation), index

    def rows(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """``(sigma, unknown)``, float64 and bool; sigma is 0 where it is not known."""
        sigma = read_rows(self.image, self.index, rows, "uncertainty").astype(np.float64)
        unknown = ~(np.isfinite(sigma) & (sigma >= 0))
        return np.where(unknown, 0.0, sigma), unknown


class NoisyPlane(ImagePlane):
    """One plane of an image with noise on top of its own: what it could have been measured as.

    Bad pixels are filled from their noisy neighbours, and the values to agree with are the noisy ones.

    Parameters
    ----------
    plane : ImagePlane
    deviation : Deviation
    key : (int, int, int)
        Seed, number of the probe, number of the plane.
    """

    def __init__(self, plane: ImagePlane, deviation: Deviation, key: tuple[int, int, int]) -> None:
        super().__init__(plane.image, plane.index, plane.offset, plane.unit, has_bad=plane.has_bad)
        self.deviation, self.key = deviation, key

    def load(self, rows: Span) -> None:
        before = self._band
        super().load(rows)
        if self._band is before or self._band is None:
            return
        span, values, bad = self._band
        inside = mirror(span, self.shape[0])
        low, high = int(inside.min()), int(inside.max()) + 1
        noise = self.noise(slice(low, high))
        with np.errstate(invalid="ignore"):
            self._band = (span, values.astype(np.float64) + noise[inside - low], bad)

    def noise(self, rows: slice) -> np.ndarray:
        """What is added to some rows, full width, in the image's unit."""
        sigma, _ = self.deviation.rows(rows)
        seed, probe, plane = self.key
        drawn = [normal_row(seed, probe, plane, row, self.shape[1]) for row in range(rows.start, rows.stop)]
        return sigma * np.stack(drawn)
