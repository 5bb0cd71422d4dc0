"""Whether the output's pixels lie where its geometry says: the shift that explains the difference from the input.

A picture that lies ``d`` off the place it claims differs from the input by ``-d . grad y`` (Lucas and Kanade 1981). A
shift, a stretch about the centre, a gain and a level are fitted to ``A x - y`` together, by least squares in which
bright pixels count as much as their Poisson-like errors allow. A blur alone, which all interpolators bring, is even
and moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sciSR.verify.bands import Band

_BRIGHT = 0.05
"""Relative error that a value is believed to have besides its noise."""


@dataclass
class Registering:
    """Gathers the normal equations band by band.

    Parameters
    ----------
    shape : pair of int
        Coarse rows and columns.
    level, noise : float
        Of the coarse image.
    """

    shape: tuple[int, int]
    level: float
    noise: float
    normal: np.ndarray = field(default_factory=lambda: np.zeros((6, 6)))
    right: np.ndarray = field(default_factory=lambda: np.zeros(6))
    squares: float = 0.0
    count: int = 0

    def see(self, band: Band, difference: np.ndarray, good: np.ndarray) -> None:
        """Take ``A x - y`` on the rows of a band."""
        y = np.where(band.bad, np.nan, band.coarse.astype(np.float64))
        if min(y.shape) < 3:
            return
        down, across = (g[band.inner] for g in np.gradient(y))
        usable = good & np.isfinite(down) & np.isfinite(across)
        if not usable.any():
            return
        height, width = self.shape
        rows = np.arange(band.rows.start, band.rows.stop)
        v = np.broadcast_to(((2 * rows + 1) / height - 1)[:, None], usable.shape)[usable]
        u = np.broadcast_to(((2 * np.arange(width) + 1) / width - 1)[None], usable.shape)[usable]
        value = y[band.inner][usable] - self.level
        gy, gx, r = down[usable], across[usable], difference[usable]
        weight = np.ones_like(value)
        if self.noise > 0:
            weight = 1 / (1 + (_BRIGHT * value / self.noise) ** 2)
        design = np.stack([-gy, -gx, -gy * v, -gx * u, value, np.ones_like(value)])
        self.normal += (design * weight) @ design.T
        self.right += (design * weight) @ r
        self.squares += float((weight * r**2).sum())
        self.count += int(r.size)

    def shift(self) -> tuple[float, float]:
        """The largest displacement at any corner, in coarse pixels, and one standard error of it.

        NaN where the image has no structure that would show one.
        """
        unit = np.sqrt(np.diag(self.normal))
        if self.count < 64 or not (unit[:4] > 0).all():
            return np.nan, np.nan
        unit = np.where(unit > 0, unit, 1.0)
        normal = self.normal / np.outer(unit, unit) + 1e-9 * np.eye(6)
        inverse = np.linalg.inv(normal) / np.outer(unit, unit)
        found = inverse @ self.right
        rest = max(0.0, self.squares - float(found @ self.right)) / max(1, self.count - 6)
        error = np.sqrt(np.maximum(np.diag(inverse) * rest, 0.0))
        size = np.hypot(abs(found[0]) + abs(found[2]), abs(found[1]) + abs(found[3]))
        return float(size), float(np.sqrt((error[:4] ** 2).sum()))
