"""What stays in the residuals at the same pixels of the detector, once there is a model of the sky."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_CUT = 4.0  # sigma; a single wild frame must not decide


@dataclass(eq=False)
class PersistentResiduals:
    """Mean residual of each detector pixel over all frames: faint warm pixels and columns show up in it.

    With a model the residuals have no stars in them, so their mean over n frames finds defects sqrt(n) times fainter
    than one frame shows. Two float32 and one int16 per pixel are kept, however many the frames.

    Parameters
    ----------
    shape : (int, int)
        The detector's.
    """

    shape: tuple[int, int]
    _sum: np.ndarray = field(init=False)
    _square: np.ndarray = field(init=False)
    _number: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._sum = np.zeros(self.shape, np.float32)
        self._square = np.zeros(self.shape, np.float32)
        self._number = np.zeros(self.shape, np.int16)

    def add(self, residuals: np.ndarray, variance: np.ndarray, bad: np.ndarray) -> None:
        """One frame's residuals to its prediction, their variance, and the pixels to leave out.

        Pixels masked as outliers should be given as good here: a warm pixel may be an outlier every time.
        """
        pull = np.clip(residuals / np.sqrt(variance), -_CUT, _CUT)
        self._sum += np.where(bad, np.float32(0), pull)
        self._square += np.where(bad, np.float32(0), pull * pull)
        self._number += ~bad

    def mask(self, *, sigma: float = 5.0, least: float = 0.5) -> np.ndarray:
        """Pixels that are off in the mean.

        Parameters
        ----------
        sigma : float
            Significance, by the larger of the expected error of the mean and the scatter between frames.
        least : float
            Mean offset, in units of one frame's noise, below which a pixel does no harm.

        Returns
        -------
        ndarray of bool
            Nothing where fewer than four frames were seen.
        """
        number = np.maximum(self._number, 1).astype(np.float32)
        mean = self._sum / number
        scatter = np.sqrt(
            np.maximum(self._square / number - mean * mean, 0) * number / np.maximum(number - 1, 1)
        )
        # A pixel whose residual comes from one frame alone scatters; a steady defect does not.
        error = np.maximum(scatter, np.float32(1)) / np.sqrt(number)
        return (np.abs(mean) > np.maximum(sigma * error, least)) & (self._number >= 4)

    def lines(self, axis: int, *, sigma: float = 6.0, least: float = 0.3) -> np.ndarray:
        """Columns (``axis=1``) or rows (``axis=0``) that are off as a whole; indices.

        The median along the line is compared with that of the lines beside it.
        """
        number = np.maximum(self._number, 1)
        mean = np.where(self._number > 0, self._sum / number, 0)
        profile = np.median(mean, axis=1 - axis)
        wide = np.array([np.median(profile[max(0, k - 10) : k + 11]) for k in range(profile.size)])
        left = profile - wide
        noise = max(1.4826 * float(np.median(np.abs(left))), 1e-6)
        return np.flatnonzero(np.abs(left) > max(sigma * noise, least))
