"""Where the object lies in a frame as a whole: windowed correlation of band-passed pictures."""

from __future__ import annotations

import numpy as np

from sciSR.fusion.planetary.disc import filled, median3


class CoarseAligner:
    """Finds the shift of a frame against a reference frame.

    Frames are binned, freed of hot pixels (a static one would pull the peak to zero), faded out towards the
    border, and band-passed: slow gradients and the pixels' noise carry no position.

    Parameters
    ----------
    values : ndarray, (rows, columns)
        The reference frame.
    bad : ndarray of bool, optional
    """

    def __init__(self, values: np.ndarray, bad: np.ndarray | None = None) -> None:
        rows, columns = values.shape
        self.factor = max(1, min(4, min(rows, columns) // 128))
        self.shape = (rows // self.factor, columns // self.factor)
        self._window = np.multiply.outer(*(_faded(n) for n in self.shape)).astype(np.float32)
        fr, fc = np.fft.fftfreq(self.shape[0])[:, None], np.fft.rfftfreq(self.shape[1])[None]
        f2 = 2 * np.pi**2 * (fr**2 + fc**2)
        self._band = (np.exp(-f2 * 1.2**2) * (1 - np.exp(-f2 * 6.0**2))).astype(np.float32)
        self._reference = self._spectrum(values, bad)
        self._norm = self._length(self._reference)

    def __call__(self, values: np.ndarray, bad: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """Frame position minus reference position (row, column) in pixels, and the correlation there (up to 1)."""
        spectrum = self._spectrum(values, bad)
        map_ = np.fft.irfft2(spectrum * np.conj(self._reference), s=self.shape)
        peak = np.unravel_index(int(np.argmax(map_)), map_.shape)
        shift = np.array([_vertex(map_, peak, axis) for axis in (0, 1)])
        length = self._norm * self._length(spectrum)
        return shift * self.factor, float(map_[peak] / length) if length > 0 else 0.0

    def _spectrum(self, values: np.ndarray, bad: np.ndarray | None) -> np.ndarray:
        f, (rows, columns) = self.factor, self.shape
        whole = filled(values, bad)[: rows * f, : columns * f]
        binned = median3(whole.reshape(rows, f, columns, f).mean(axis=(1, 3)))
        return np.fft.rfft2((binned - np.median(binned)) * self._window) * self._band

    def _length(self, spectrum: np.ndarray) -> float:
        return float(np.sqrt(np.sum(np.fft.irfft2(spectrum, s=self.shape) ** 2)))


def _faded(n: int) -> np.ndarray:
    """1 in the middle, falling to 0 over a sixteenth at either end."""
    edge = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / max(n / 16, 1)
    return np.sin(0.5 * np.pi * np.clip(edge, 0, 1)) ** 2


def _vertex(map_: np.ndarray, peak: tuple, axis: int) -> float:
    """Peak position along an axis from the parabola through three samples, wrapped to the signed range."""
    n = map_.shape[axis]
    around = []
    for step in (-1, 0, 1):
        index = list(peak)
        index[axis] = (index[axis] + step) % n
        around.append(float(map_[tuple(index)]))
    left, middle, right = around
    bend = left - 2 * middle + right
    at = peak[axis] + (0.5 * (left - right) / bend if bend < 0 else 0.0)
    return float((at + n / 2) % n - n / 2)
