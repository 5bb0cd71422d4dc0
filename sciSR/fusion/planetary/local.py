"""The smooth warp of one frame against a reference picture: robust inverse-compositional Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.planetary.disc import filled
from sciSR.fusion.planetary.lattice import Lattice, WarpEquations


@dataclass(frozen=True)
class Box:
    """Part of the reference: rows and columns from `start`, `shape` pixels."""

    start: tuple[int, int]
    shape: tuple[int, int]

    @property
    def slices(self) -> tuple[slice, slice]:
        rows, columns = (slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))
        return rows, columns


@dataclass(frozen=True, eq=False)
class Fit:
    """What one frame's alignment gave.

    Attributes
    ----------
    coefficients : ndarray
        Of the displacement on the lattice.
    correlation : float
        Of the aligned frame with the reference, detail only (both without their smooth part), -1 to 1.
    residual : float
        Robust rms of what is left, in units of the reference.
    gain, offset : float
        The frame is `gain` times the reference plus `offset`.
    aligned : ndarray
        The frame on the reference's pixels, in the reference's level and smoothed as the aligner does.
    """

    coefficients: np.ndarray
    correlation: float
    residual: float
    gain: float
    offset: float
    aligned: np.ndarray


class LocalAligner:
    """Aligns frames to one reference picture.

    Brightness, pedestal and blur of a frame differ from the reference's: each step first fits
    ``frame = a reference + b + s laplacian(reference)`` and leaves only what is left to the warp.

    Parameters
    ----------
    reference : ndarray, (rows, columns)
        The part of the reference in `box`.
    mask : ndarray of bool
        Where the object is, same shape.
    box : Box
    lattice : Lattice
        For the box.
    noise : float
        One sigma of a frame's pixels, in the reference's level.
    amplitude, length : float
        Prior rms and correlation length of the warp, pixels.
    coarse : bool
        Smoothed pictures at every second pixel: catches displacements of several pixels.
    """

    def __init__(
        self,
        reference: np.ndarray,
        mask: np.ndarray,
        box: Box,
        lattice: Lattice,
        *,
        noise: float,
        amplitude: float,
        length: float,
        coarse: bool = False,
    ) -> None:
        self.box, self.lattice, self.coarse = box, lattice, coarse
        self.stride = 2 if coarse else 1
        every = (slice(None, None, self.stride),) * 2
        smooth = self._smooth_reference(reference)
        gradient = np.stack([np.gradient(smooth, axis=k)[every] for k in (0, 1)])
        self.reference = smooth[every]
        self.laplacian = _laplacian(smooth)[every]
        self.mask = mask[every]
        self._photometry()
        self._interior = _interior(self.mask, 16 // self.stride)
        weight = np.where(self.mask, self.stride**2 / max(noise, 1e-12) ** 2, 0).astype(np.float32)
        self.equations = WarpEquations(
            lattice, gradient, weight, amplitude=amplitude, length=length, stride=self.stride
        )
        rows, columns = (
            np.arange(0, n, self.stride, dtype=np.float32) + a
            for a, n in zip(box.start, box.shape, strict=True)
        )
        self._grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))

    def __call__(
        self,
        values: np.ndarray,
        bad: np.ndarray | None,
        shift: np.ndarray,
        start: np.ndarray | None = None,
        iterations: int = 6,
        tolerance: float = 0.01,
    ) -> Fit:
        """Fit the warp of a frame that lies at `shift`, beginning from coefficients `start`."""
        c = np.zeros((*self.lattice.size, 2)) if start is None else np.array(start, dtype=np.float64)
        picture = self._smooth_frame(filled(values, bad))
        poor = self._poor(bad)
        for turn in range(iterations + 1):
            place = self._grid + self.equations.field(c) + np.float32(shift)[:, None, None]
            aligned, seen = self._sample(picture, poor, place)
            error, spread, (gain, offset), aligned = self._compare(aligned, seen)
            if turn == iterations:
                break
            # Huber's clipping with the matrix of the unclipped problem: converges to the robust solution.
            clipped = np.clip(error, -3 * spread, 3 * spread) * seen
            change = self.equations.step(-clipped, c)
            c += change
            if turn > 0 and np.max(np.abs(change)) < tolerance:
                iterations = min(iterations, turn + 1)
        return Fit(c, self._correlation(aligned, seen), spread, gain, offset, aligned)

    def _compare(
        self, aligned: np.ndarray, seen: np.ndarray
    ) -> tuple[np.ndarray, float, tuple[float, float], np.ndarray]:
        """Residual, its robust rms, gain and offset, and the frame in the reference's level."""
        nothing = np.zeros_like(aligned), 0.0, (0.0, 0.0), np.zeros_like(aligned)
        ok = seen.ravel()[self._inside]
        if ok.sum() < 50:
            return nothing
        values = aligned.ravel()[self._inside]
        base = float(np.mean(values[ok], dtype=np.float64))
        values = values - np.float32(base)
        answer, left, spread, use = np.zeros(3), values, 0.0, ok
        for _ in range(2):
            terms = self._terms * use
            normal = (terms @ self._terms.T).astype(np.float64)
            right = (terms @ values).astype(np.float64)
            answer = np.linalg.solve(normal + 1e-6 * np.eye(3) * len(values), right)
            left = values - answer.astype(np.float32) @ self._terms
            spread = 1.4826 * float(np.median(np.abs(left[ok][:: 1 + len(left) // 20000])))
            use = ok & (np.abs(left) < 3 * spread + 1e-30)
            if use.sum() < 50:
                break
        gain = float(answer[0] / self._scales[0])
        if not gain > 0:
            return nothing
        offset = float(answer[1] + base - gain * self._scales[2])
        error = np.zeros_like(aligned)
        error.ravel()[self._inside] = np.where(ok, left / np.float32(gain), 0)
        return error, spread / gain, (gain, offset), (aligned - np.float32(offset)) / np.float32(gain)

    def _photometry(self) -> None:
        """Reference, constant and Laplacian on the object, each scaled to rms 1: what a frame's level is made of."""
        self._inside = np.flatnonzero(self.mask)
        level, bend = self.reference.ravel()[self._inside], self.laplacian.ravel()[self._inside]
        mean = float(np.mean(level, dtype=np.float64))
        level = level - np.float32(mean)
        spread = [float(np.sqrt(np.mean(x**2, dtype=np.float64))) + 1e-30 for x in (level, bend)]
        self._scales = (spread[0], spread[1], mean)
        self._terms = np.stack([level / spread[0], np.ones_like(level), bend / spread[1]]).astype(np.float32)

    def _correlation(self, aligned: np.ndarray, seen: np.ndarray) -> float:
        """Of the detail off the edge, which all discs have in common."""
        from scipy.ndimage import gaussian_filter

        inside = seen & self._interior
        if not inside.any():
            return 0.0
        one, two = ((p - gaussian_filter(p, 6.0, mode="nearest"))[inside] for p in (aligned, self.reference))
        length = np.sqrt(np.sum(one**2, dtype=np.float64) * np.sum(two**2, dtype=np.float64))
        return float(np.sum(one * two, dtype=np.float64) / length) if length > 0 else 0.0

    def _smooth_reference(self, reference: np.ndarray) -> np.ndarray:
        from scipy.ndimage import correlate1d, gaussian_filter

        reference = np.asarray(reference, dtype=np.float32)
        if self.coarse:
            return gaussian_filter(reference, 1.5, mode="nearest")
        for axis in (0, 1):
            reference = correlate1d(reference, [1 / 6, 4 / 6, 1 / 6], axis=axis, mode="nearest")
        return reference

    def _smooth_frame(self, picture: np.ndarray) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(picture, 1.5, mode="nearest") if self.coarse else picture

    def _poor(self, bad: np.ndarray | None) -> np.ndarray | None:
        if bad is None or not bad.any():
            return None
        from scipy.ndimage import binary_dilation

        return binary_dilation(bad, np.ones((3, 3)), iterations=2 if self.coarse else 1)

    def _sample(
        self, picture: np.ndarray, poor: np.ndarray | None, place: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The frame at these positions, and which of them it sees well.

        At full resolution the pixels themselves serve as B-spline coefficients: that smooths by the spline's own
        kernel, the same whatever the fraction of a pixel, and the reference is smoothed alike.
        """
        from scipy.ndimage import map_coordinates

        order = 1 if self.coarse else 3
        out = map_coordinates(picture, place, order=order, prefilter=False, mode="nearest", output=np.float32)
        seen = np.ones(out.shape, dtype=bool)
        for axis in (0, 1):
            seen &= (place[axis] >= 1) & (place[axis] <= picture.shape[axis] - 2)
        if poor is not None:
            nearest = [
                np.clip(np.rint(p), 0, n - 1).astype(np.intp)
                for p, n in zip(place, picture.shape, strict=True)
            ]
            seen &= ~poor[tuple(nearest)]
        return out, seen


def _interior(mask: np.ndarray, margin: int) -> np.ndarray:
    """The mask without its edge, unless that leaves too little."""
    from scipy.ndimage import binary_erosion

    inner = binary_erosion(mask, iterations=margin, border_value=1)
    return inner if inner.sum() > 0.2 * mask.sum() else mask


def _laplacian(picture: np.ndarray) -> np.ndarray:
    from scipy.ndimage import laplace

    return laplace(picture, mode="nearest")


def resampled(values: np.ndarray, bad: np.ndarray | None, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A frame at positions ``(2, rows, columns)`` by its interpolating cubic spline, and where it is seen."""
    from scipy.ndimage import map_coordinates, spline_filter

    spline = spline_filter(filled(values, bad), order=3, output=np.float32, mode="nearest")
    out = map_coordinates(spline, place, order=3, prefilter=False, mode="nearest", output=np.float32)
    seen = np.ones(out.shape, dtype=bool)
    for axis in (0, 1):
        seen &= (place[axis] >= 0) & (place[axis] <= values.shape[axis] - 1)
    return out, seen
