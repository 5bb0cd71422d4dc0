"""Smooth fields on a lattice of cubic B-splines, and the normal equations of a warp on it.

A displacement field is ``u(p) = sum_ij c_ij B(p_r/h - i) B(p_c/h - j)``. Everything is separable, so evaluation, its
adjoint and the normal matrix are small matrix products; the normal matrix is banded and is factorised once for all
frames (inverse compositional Lucas-Kanade: Baker & Matthews, Int. J. Comput. Vision 56, 221, 2004; the warp on a
B-spline lattice: Rueckert et al., IEEE Trans. Med. Imaging 18, 712, 1999). The prior on the field is a Matern
process in its discrete form, precision ``(1 - L^2 laplacian)^2`` (Lindgren, Rue & Lindstrom, J. R. Stat. Soc. B
73, 423, 2011): where the picture has no structure the field takes from its neighbours, and far from any, zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MARGIN = (
    3  # lattice points beyond the field on each side: the border condition of the spline has then died out
)


def cubic(t: np.ndarray) -> np.ndarray:
    """The centred cubic B-spline."""
    a = np.abs(t)
    return np.where(a < 1, 2 / 3 - a**2 + a**3 / 2, np.where(a < 2, (2 - a) ** 3 / 6, 0.0))


@dataclass(frozen=True, eq=False)
class Lattice:
    """Lattice points ``origin + spacing * (i, j)`` that cover a field of `shape` pixels with a margin.

    Attributes
    ----------
    shape : (int, int)
        Pixels of the field (rows, columns), indices from 0.
    spacing : float
        Pixels.
    """

    shape: tuple[int, int]
    spacing: float

    @property
    def size(self) -> tuple[int, int]:
        """Lattice points per axis."""
        rows, columns = (int(np.ceil((n - 1) / self.spacing)) + 1 + 2 * _MARGIN for n in self.shape)
        return rows, columns

    @property
    def origin(self) -> float:
        """Pixel index of the first lattice point, the same on both axes."""
        return -_MARGIN * self.spacing

    def basis(self, axis: int, at: np.ndarray | None = None) -> np.ndarray:
        """``(pixels, points)`` float32: each point's B-spline at pixel positions (all pixels by default)."""
        at = np.arange(self.shape[axis]) if at is None else np.asarray(at)
        t = (at[:, None] - self.origin) / self.spacing - np.arange(self.size[axis])
        return cubic(t).astype(np.float32)

    def nodes(self, coefficients: np.ndarray) -> np.ndarray:
        """The field's values on the lattice points, ``(rows, columns, 2)`` from coefficients of that shape."""
        from scipy.ndimage import correlate1d

        kernel = [1 / 6, 4 / 6, 1 / 6]
        rows = correlate1d(coefficients, kernel, axis=0, mode="nearest")
        return correlate1d(rows, kernel, axis=1, mode="nearest")


class WarpEquations:
    """Normal equations of a warp for one reference picture, factorised: residual picture in, field out.

    Parameters
    ----------
    lattice : Lattice
    gradient : ndarray, (2, rows, columns)
        Of the reference along rows and columns, per pixel, at every `stride`-th pixel.
    weight : ndarray, (rows, columns)
        One over the variance of a pixel's residual; 0 where the reference says nothing. At the same pixels.
    amplitude : float
        Expected rms displacement per axis, pixels.
    length : float
        Distance over which displacements stay alike, pixels.
    stride : int
    """

    def __init__(
        self,
        lattice: Lattice,
        gradient: np.ndarray,
        weight: np.ndarray,
        *,
        amplitude: float,
        length: float,
        stride: int = 1,
    ) -> None:
        from scipy.linalg import cholesky_banded

        self.lattice = lattice
        rows, columns = (np.arange(0, n, stride) for n in lattice.shape)
        self.bases = (lattice.basis(0, rows), lattice.basis(1, columns))
        self.weighted = np.asarray(gradient * weight, dtype=np.float32)
        self._prior = prior_stencil(lattice.spacing, amplitude, length)
        band = self._band(np.asarray(gradient, dtype=np.float32))
        self._factor = cholesky_banded(band, lower=True, overwrite_ab=True, check_finite=False)

    def field(self, coefficients: np.ndarray) -> np.ndarray:
        """``(2, rows, columns)`` float32: the field at every `stride`-th pixel."""
        rows, columns = self.bases
        c = np.asarray(coefficients, dtype=np.float32)
        return np.stack([rows @ c[..., k] @ columns.T for k in (0, 1)])

    def step(self, residual: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """The change of the coefficients that best explains ``residual = gradient . change``, given the prior."""
        rows, columns = self.bases
        data = np.stack([rows.T @ (g * residual) @ columns for g in self.weighted], axis=-1)
        return self.solve(data - self.prior_times(coefficients))

    def solve(self, right: np.ndarray) -> np.ndarray:
        """``(data + prior)^-1 right``, coefficients' shape in and out."""
        from scipy.linalg import cho_solve_banded

        flat = np.asarray(right, dtype=np.float64).reshape(-1)
        return cho_solve_banded((self._factor, True), flat, check_finite=False).reshape(right.shape)

    def prior_times(self, coefficients: np.ndarray) -> np.ndarray:
        """The prior precision times the coefficients."""
        from scipy.ndimage import correlate

        return correlate(coefficients, self._prior[:, :, None], mode="constant")

    def variance(self, probes: int = 8, seed: int = 0) -> np.ndarray:
        """Posterior variance of the field, ``(rows, columns)`` of the lattice, mean of both axes (Hutchinson)."""
        rng = np.random.default_rng(seed)
        total = np.zeros((*self.lattice.size, 2))
        for _ in range(probes):
            z = rng.choice([-1.0, 1.0], total.shape)
            total += z * self.solve(z)
        return np.maximum(total.mean(axis=-1) / probes, 0)

    def covariance_at(self, point: tuple[float, float]) -> np.ndarray:
        """Posterior covariance (2, 2) of the displacement at one pixel position (row, column), px^2."""
        at = np.outer(
            self.lattice.basis(0, np.array([point[0]]))[0], self.lattice.basis(1, np.array([point[1]]))[0]
        )
        unit = np.zeros((2, *at.shape, 2))
        unit[0, ..., 0] = unit[1, ..., 1] = at
        answers = [self.solve(u) for u in unit]
        return np.array([[float(np.sum(u * a)) for a in answers] for u in unit])

    def _band(self, gradient: np.ndarray) -> np.ndarray:
        """Lower band of data + prior; unknowns ordered row, column, component."""
        rows, columns = self.lattice.size
        br, bc = self.bases
        band = np.zeros((6 * columns + 8, rows * columns * 2))
        products = {
            (0, 0): self.weighted[0] * gradient[0],
            (0, 1): self.weighted[0] * gradient[1],
            (1, 1): self.weighted[1] * gradient[1],
        }
        for di in range(min(4, rows)):
            left = (br[:, : rows - di] * br[:, di:]).T
            halves = {key: left @ g for key, g in products.items()}
            for dj in range(-3 if di else 0, 4):
                a, b = max(0, -dj), columns - max(0, dj)  # columns j with j + dj inside
                right = bc[:, a:b] * bc[:, a + dj : b + dj]
                blocks = {key: half @ right for key, half in halves.items()}
                self._put(band, blocks, di, dj, slice(a, b))
        return band

    def _put(self, band: np.ndarray, blocks: dict, di: int, dj: int, inside: slice) -> None:
        rows, columns = self.lattice.size
        index = np.arange(rows * columns * 2).reshape(rows, columns, 2)
        prior = 0.0
        if max(di, abs(dj)) <= 2:
            prior = self._prior[2 + di, 2 + dj]
        for k in (0, 1):
            for m in (0, 1):
                low, high = (
                    index[: rows - di, inside, k],
                    index[: rows - di, inside, m] + 2 * (di * columns + dj),
                )
                offset = int((high - low).flat[0])
                if offset >= 0:
                    values = blocks[min(k, m), max(k, m)]
                    band[offset, low.ravel()] += (values + (prior if k == m else 0.0)).ravel()


def prior_stencil(spacing: float, amplitude: float, length: float) -> np.ndarray:
    """5x5 stencil of the precision ``tau (1 - L^2 laplacian)^2``, scaled so that the field's rms is `amplitude`."""
    ratio = (length / spacing) ** 2
    one = np.zeros((5, 5))
    one[2, 2] = 1 + 4 * ratio
    one[1, 2] = one[3, 2] = one[2, 1] = one[2, 3] = -ratio
    f = 2 * np.pi * np.fft.fftfreq(128)
    laplace = 4 - 2 * np.cos(f)[:, None] - 2 * np.cos(f)
    spline = ((4 + 2 * np.cos(f)) / 6)[:, None] * ((4 + 2 * np.cos(f)) / 6)
    tau = np.mean((spline / (1 + ratio * laplace)) ** 2) / amplitude**2
    square = np.zeros((5, 5))
    for i, j in zip(*np.nonzero(one), strict=True):
        square += one[i, j] * np.roll(one, (i - 2, j - 2), axis=(0, 1))
    return tau * square
