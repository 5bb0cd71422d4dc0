"""Scores of any planes against the truth: sums that stream, and measures of whole planes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sciSR.comparison.field import Block
from sciSR.comparison.result import Measure, Score, mean_score
from sciSR.metrics.detail import gradient_correlation, hfen_sums
from sciSR.metrics.fidelity import SSIM_REACH, ErrorSums, ssim


def measures(unit: str | None, data_range: float) -> tuple[Measure, ...]:
    """Columns of every image."""
    return (
        Measure("psnr", "PSNR", "dB", "high", 2, 0.005, "20 log10(data range / rms error)"),
        Measure("ssim", "SSIM", "", "high", 4, 5e-5, "Wang et al. 2004, mean over planes"),
        Measure("nrmse", "NRMSE", "", "low", 4, 5e-5, "rms error over the truth's standard deviation"),
        Measure("hfen", "HFEN", "", "low", 4, 5e-5, "norm of the LoG-filtered error over that of the truth"),
        Measure(
            "gradient_correlation", "grad. corr.", "", "high", 4, 5e-5, "Penney et al. 1998, mean over planes"
        ),
        Measure(
            "mean_bias",
            "mean error",
            unit or "",
            "zero",
            None,
            1e-5 * data_range,
            "mean of image minus truth",
        ),
    )


@dataclass(eq=False)
class _Sums:
    errors: ErrorSums = field(default_factory=ErrorSums)
    hfen: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    ssim: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)


@dataclass(eq=False)
class FidelityScores:
    """Scores of all images over the planes seen so far.

    Parameters
    ----------
    n_images : int
    data_range : float
    """

    n_images: int
    data_range: float

    def __post_init__(self) -> None:
        self._sums = [_Sums() for _ in range(self.n_images)]

    def add(self, block: Block, inside: NDArray[np.bool_] | None = None) -> None:
        """A block, NaN where nothing counts.

        Parameters
        ----------
        block : Block
        inside : ndarray of bool, optional
            True where scores are taken; windows may look beyond.
        """
        truth = block.truth
        for sums, image in zip(self._sums, block.images, strict=True):
            if block.summed:
                sums.errors = sums.errors + ErrorSums.of(truth, image, inside)
            if not block.whole:
                continue
            sums.hfen = sums.hfen + hfen_sums(truth, image, inside, whole=False)
            sums.gradient.append(gradient_correlation(truth, image, inside, whole=False))
            large = min(truth.shape) > 2 * SSIM_REACH and self.data_range > 0
            whole = inside is None  # no window that the border had to be mirrored for
            found = ssim(truth, image, self.data_range, inside, whole=whole) if large else math.nan
            sums.ssim.append(found)

    def scores(self, image: int) -> dict[str, Score]:
        """By the keys of `measures`."""
        sums = self._sums[image]
        error, reference = sums.hfen
        return {
            "psnr": Score(sums.errors.psnr(self.data_range) if self.data_range > 0 else math.nan),
            "ssim": mean_score(sums.ssim),
            "nrmse": Score(sums.errors.nrmse),
            "hfen": Score(math.sqrt(error / reference) if reference > 0 else math.nan),
            "gradient_correlation": mean_score(sums.gradient),
            "mean_bias": Score(sums.errors.mean_bias),
        }

    @property
    def n_counted(self) -> int:
        """Pixels that count."""
        return self._sums[0].errors.n if self._sums else 0
