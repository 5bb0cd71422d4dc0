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
from sciSR.fusion.threads import in_threads

BAND = 160
"""Fine rows whose moments are held at once: 65 numbers a pixel."""


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

    Call :meth:`begin`, :meth:`add` for all frames and :meth:`finish` for one band after the other.

    Parameters
    ----------
    canvas : Canvas
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.planes = torch.zeros((len(OFFSETS), *canvas.shape), device=canvas.device)
        self.right = torch.zeros(canvas.shape, device=canvas.device)
        self.products = torch.from_numpy(PRODUCTS).float().to(canvas.device)
        self.taps = torch.from_numpy(TAPS).float().to(canvas.device)
        self.top = self.height = 0

    def begin(self, top: int, bottom: int) -> None:
        """The next frames' pixels have their first tap in rows `top` to ``bottom - 1``."""
        self.top, self.height = top, bottom - top
        size = self.height * self.canvas.shape[1]
        self.moments = torch.zeros((49, size), device=self.canvas.device)
        self.data = torch.zeros((16, size), device=self.canvas.device)

    def add(self, where: Footprint, values: Tensor, weights: Tensor) -> None:
        """Add the pixels of a footprint, (n,) each; a weight of 0 leaves a pixel out whatever its value."""
        u, v = where.fraction[0] - 0.5, where.fraction[1] - 0.5
        base = where.base - self.top * self.canvas.shape[1]
        across = [torch.ones_like(v)]
        for _ in range(6):
            across.append(across[-1] * v)
        data = torch.where(weights > 0, weights * values, torch.zeros_like(weights))

        def line(p: int) -> None:
            power = u**p
            for q in range(7):
                self.moments[p * 7 + q].index_add_(0, base, weights * power * across[q])
            for q in range(4 if p < 4 else 0):
                self.data[p * 4 + q].index_add_(0, base, data * power * across[q])

        in_threads(line, range(7), self.canvas.device)

    def finish(self) -> None:
        """Turn the band's moments into its part of the equations."""
        columns = self.canvas.shape[1]
        self._band(self.moments.view(7, 7, self.height, columns))
        self._right(self.data.view(4, 4, self.height, columns))
        del self.moments, self.data

    def equations(self) -> NormalEquations:
        """The normal equations of what was added."""
        return NormalEquations(self.canvas, self.planes, self.right)

    def _band(self, moments: Tensor) -> None:
        """Add the planes of the band's bases."""
        _, _, height, columns = moments.shape
        flat = moments.reshape(7, -1)
        rows, top = self.canvas.shape[0], self.top

        def offset(dy: int) -> None:
            for i in range(4 - dy):  # taps i and i + dy of the rows
                lines = (self.products[i, i + dy] @ flat).view(7, -1)
                last = min(height, rows - top - i)
                for dx in range(-3 if dy else 0, 4):
                    plane = self.planes[OFFSETS.index((dy, dx))]
                    for j in range(max(0, -dx), min(4, 4 - dx)):
                        part = (self.products[j, j + dx] @ lines).view(height, columns)
                        plane[top + i : top + i + last, j:].add_(part[:last, : columns - j])

        in_threads(offset, range(4), self.canvas.device)

    def _right(self, data: Tensor) -> None:
        _, _, height, columns = data.shape
        lines = (self.taps @ data.reshape(4, -1)).view(4, 4, -1)  # (row tap, column power)
        for i in range(4):
            last = min(height, self.canvas.shape[0] - self.top - i)
            for j in range(4):
                part = (self.taps[j] @ lines[i]).view(height, columns)
                self.right[self.top + i : self.top + i + last, j:].add_(part[:last, : columns - j])
