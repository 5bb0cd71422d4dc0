"""The normal equations of all frames, gathered in one pass: memory that does not grow with their number.

With weights ``W`` the data enter only through ``b = S^T W y`` and ``N = S^T W S``. Sixteen cubic B-spline taps a
pixel make N a stencil of 7x7 that varies from place to place. It is symmetric: 25 planes hold it, whatever the
number of frames, so a step of conjugate gradients costs the same for 16 frames and for 500.

The planes come from moments: a product of two taps is a polynomial of degree 6 in the position within the fine
pixel, so 7x7 moments of the weights per fine pixel give all products at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.forward import Canvas, Footprint

_BAND = 128
"""Fine rows whose moments are held at once."""


def _tap_polynomials() -> np.ndarray:
    """Coefficients (tap, power) of the four taps in ``u = fraction - 1/2``."""
    p = np.polynomial.Polynomial
    f = p([0.5, 1.0])
    g = 1 - f
    taps = [g**3 / 6, (4 - 6 * f**2 + 3 * f**3) / 6, (4 - 6 * g**2 + 3 * g**3) / 6, f**3 / 6]
    return np.stack([np.pad(t.coef, (0, 4 - len(t.coef))) for t in taps])


TAPS = _tap_polynomials()


def _products() -> np.ndarray:
    """Coefficients (tap, tap, power 0..6) of all products of two taps."""
    return np.array([[np.convolve(a, b) for b in TAPS] for a in TAPS])


PRODUCTS = _products()
OFFSETS = [(0, dx) for dx in range(4)] + [(dy, dx) for dy in range(1, 4) for dx in range(-3, 4)]
"""The half of the stencil that is held: (rows, columns) from a pixel to its later neighbour."""


@dataclass(eq=False)
class NormalEquations:
    """N (as 25 planes) and b over a canvas, in spline coefficients.

    Attributes
    ----------
    canvas : Canvas
    planes : Tensor, (25, rows, columns), float32
        ``planes[k][r, c]`` couples coefficient (r, c) with (r, c) + OFFSETS[k].
    right : Tensor, (rows, columns), float32
        b.
    """

    canvas: Canvas
    planes: Tensor
    right: Tensor

    def apply(self, c: Tensor) -> Tensor:
        """N c."""
        out = torch.zeros_like(c)
        rows, columns = c.shape
        step = max(8, 65536 // columns)  # rows whose coefficients and results stay in the cache
        on_cpu = c.device.type == "cpu"
        for top in range(0, rows, step if on_cpu else rows):
            bottom = min(rows, top + step) if on_cpu else rows
            for k, (dy, dx) in enumerate(OFFSETS):
                last = min(bottom, rows - dy)
                if last <= top:
                    continue
                left, right = max(0, -dx), columns - max(0, dx)
                plane = self.planes[k, top:last, left:right]
                here = (slice(top, last), slice(left, right))
                there = (slice(top + dy, last + dy), slice(left + dx, right + dx))
                out[here].addcmul_(plane, c[there])
                if k:
                    out[there].addcmul_(plane, c[here])
        return out

    @property
    def weight(self) -> Tensor:
        """Sum of the weights around each fine pixel: what the stencil gives for a constant."""
        return self.apply(torch.ones_like(self.right))


class Accumulator:
    """Gathers weighted frames into normal equations, a band of rows at a time.

    Parameters
    ----------
    canvas : Canvas
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        rows, columns = canvas.shape
        device = canvas.device
        self.moments = torch.zeros((49, rows * columns), device=device)
        self.right = torch.zeros((16, rows * columns), device=device)

    def add(self, where: Footprint, values: Tensor, weights: Tensor) -> None:
        """Add the pixels of a footprint, (n,) each; a weight of 0 leaves a pixel out whatever its value."""
        u, v = where.fraction[0] - 0.5, where.fraction[1] - 0.5
        base = where.base
        column_powers = [torch.ones_like(v)]
        for _ in range(6):
            column_powers.append(column_powers[-1] * v)
        line = weights
        data = torch.where(weights > 0, weights * values, torch.zeros_like(weights))
        for p in range(7):
            for q in range(7):
                self.moments[p * 7 + q].index_add_(0, base, line * column_powers[q])
            line = line * u
        for p in range(4):
            for q in range(4):
                self.right[p * 4 + q].index_add_(0, base, data * column_powers[q])
            data = data * u

    def equations(self) -> NormalEquations:
        """The normal equations of what was added."""
        rows, columns = self.canvas.shape
        planes = torch.zeros((len(OFFSETS), rows, columns), device=self.canvas.device)
        products = torch.from_numpy(PRODUCTS).float().to(self.canvas.device)
        moments = self.moments.view(7, 7, rows, columns)
        for top in range(0, rows, _BAND):
            bottom = min(rows, top + _BAND)
            self._band(planes, products, moments[:, :, top:bottom], top)
        return NormalEquations(self.canvas, planes, self._right())

    def _band(self, planes: Tensor, products: Tensor, moments: Tensor, top: int) -> None:
        """Add the planes of the bases in rows from `top` on."""
        _, _, height, columns = moments.shape
        flat = moments.reshape(7, -1)
        for dy in range(4):
            for i in range(4 - dy):  # taps i and i + dy of the rows
                lines = (products[i, i + dy] @ flat).view(7, -1)
                for dx in range(-3 if dy else 0, 4):
                    k = OFFSETS.index((dy, dx))
                    for j in range(max(0, -dx), min(4, 4 - dx)):
                        part = (products[j, j + dx] @ lines).view(height, columns)
                        planes[k, top + i : top + i + height, j:].add_(
                            part[: planes.shape[1] - top - i, : columns - j]
                        )

    def _right(self) -> Tensor:
        rows, columns = self.canvas.shape
        taps = torch.from_numpy(TAPS).float().to(self.canvas.device)
        lines = (taps @ self.right.view(4, -1)).view(4, 4, rows, columns)  # (row tap, column power)
        out = torch.zeros((rows, columns), device=self.canvas.device)
        for i in range(4):
            for j in range(4):
                part = (taps[j] @ lines[i].reshape(4, -1)).view(rows, columns)
                out[i:, j:].add_(part[: rows - i, : columns - j])
        return out
