"""Small simulated sequences with an exact truth, for the tests of the solvers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.special import ndtr

from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.transforms import Affine, Transform


@dataclass(frozen=True)
class Blobs:
    """Gaussian sources: rows of (row, column, flux, sigma) in native pixels. Their pixel means are exact."""

    sources: np.ndarray

    def pixels(
        self, shape: tuple[int, int], shift: Sequence[float] = (0.0, 0.0), scale: float = 1.0
    ) -> np.ndarray:
        """Mean level per native pixel area in each pixel, those being `scale` times smaller; float64."""
        lines = []
        for axis in (0, 1):
            centre = (self.sources[:, axis] + shift[axis] + 0.5) * scale - 0.5
            edges = np.arange(shape[axis] + 1) - 0.5
            z = (edges[None] - centre[:, None]) / (self.sources[:, 3:] * scale)
            lines.append(np.diff(ndtr(z), axis=1) * scale)
        return np.einsum("n,nr,nc->rc", self.sources[:, 2], *lines)


def sky(size: int, seed: int, stars: int = 30) -> Blobs:
    """Undersampled stars (full width 1.3 px) over wide blobs."""
    random = np.random.default_rng(seed)
    star = np.column_stack(
        [random.uniform(0, size, (stars, 2)), 10 ** random.uniform(2.5, 5, stars), np.full(stars, 0.55)]
    )
    wide = np.column_stack(
        [random.uniform(0, size, (12, 2)), random.uniform(2e3, 2e4, 12), random.uniform(2.5, 8, 12)]
    )
    return Blobs(np.concatenate([star, wide]))


def shifts(count: int, seed: int, reach: float = 3.0) -> np.ndarray:
    """The first is the reference's."""
    out = np.random.default_rng(seed).uniform(-reach, reach, (count, 2))
    out[0] = 0
    return out


def target(size: int | tuple[int, int], scale: Fraction | int = 2) -> Target:
    native = (size, size) if isinstance(size, int) else size
    return Target(native, (Fraction(scale), Fraction(scale)))


def frame(
    values: np.ndarray,
    variance: np.ndarray | float,
    transform: Transform,
    bad: np.ndarray | None = None,
    name: str = "frame",
) -> PreparedFrame:
    bad = np.zeros(values.shape, dtype=bool) if bad is None else bad
    variance = np.broadcast_to(np.asarray(variance, dtype=np.float32), values.shape).copy()
    return PreparedFrame(name, values.astype(np.float32), variance, bad, transform)


def observe(
    scene: Blobs,
    size: int,
    moves: np.ndarray,
    *,
    seed: int = 0,
    noise: bool = True,
    bad: float = 0.0,
    background: float = 150.0,
) -> list[PreparedFrame]:
    """Frames with photon and read noise; `bad` is the share of bad pixels, which hold 0."""
    random = np.random.default_rng(seed)
    out = []
    for k, move in enumerate(moves):
        values = scene.pixels((size, size), move)
        variance = np.maximum(values, 0) + background + 25.0
        if noise:
            values = values + random.standard_normal(values.shape) * np.sqrt(variance)
        broken = random.random(values.shape) < bad
        out.append(frame(np.where(broken, 0, values), variance, Affine.shift(*move), broken, f"frame {k}"))
    return out


def psnr(image: np.ndarray, truth: np.ndarray, border: int = 12) -> float:
    """In decibels, the peak being the truth's 99.95th percentile."""
    inner = (slice(border, -border),) * 2
    peak = np.percentile(truth[inner], 99.95)
    error = np.minimum(image[inner], peak) - np.minimum(truth[inner], peak)
    return float(10 * np.log10(peak**2 / np.mean(error**2)))


def within(residual: np.ndarray, std: np.ndarray, sigmas: float = 1.0) -> float:
    """Share of residuals within so many standard deviations; 0.683 for one where these are right."""
    good = np.isfinite(residual) & np.isfinite(std)
    return float(np.mean(np.abs(residual[good]) < sigmas * std[good]))
