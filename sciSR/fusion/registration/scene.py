"""The estimate of the scene, sampled where a frame's pixels fall, with its derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciSR.fusion.prepared import Target

if TYPE_CHECKING:
    from sciSR.fusion.forward import Canvas


class Scene:
    """The estimate as native pixels see it, ready to be sampled with its slopes."""

    def __init__(self, image: np.ndarray, target: Target, std: np.ndarray | None) -> None:
        import torch

        from sciSR.fusion.forward import Canvas, Predictor

        self.canvas: Canvas = Canvas.around(target)
        known = np.isfinite(image)
        padded = self._on_canvas(np.where(known, image, 0))
        with torch.no_grad():
            coefficients = Predictor(self.canvas).coefficients(torch.from_numpy(padded))
            seen = self.canvas.filter(coefficients, self.canvas.spline_response()).numpy()
        self.flat = coefficients.numpy().ravel()
        steps = [np.gradient(seen, axis=k) * self.canvas.factors[k] for k in (0, 1)]
        self.slope = np.hypot(*steps).astype(np.float32)
        # A pixel must lie well inside what is known, or the prediction there is made of the fill.
        from scipy.ndimage import binary_erosion

        reach = int(np.ceil(max(self.canvas.factors))) + 2
        solid = binary_erosion(known, iterations=reach, border_value=0)
        self.solid = self._on_canvas(solid.astype(np.float32)) > 0.5
        self.slope[~self.solid] = 0
        self.cells = _cells(np.where(self.solid, seen, -np.inf), max(self.canvas.factors))
        self.variance = None if std is None else self._on_canvas(np.square(np.where(known, std, 0)))

    def _on_canvas(self, image: np.ndarray) -> np.ndarray:
        """Mirrored beyond the border: no step there for the Fourier filter to ring at."""
        before = [-s for s in self.canvas.start]
        after = [n - b - m for n, b, m in zip(self.canvas.shape, before, image.shape, strict=True)]
        return np.pad(
            np.asarray(image, dtype=np.float32),
            list(zip(before, after, strict=True)),
            mode="symmetric",
        )

    def nearest(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat canvas index of the nearest fine pixel of reference positions, and which are on the canvas."""
        where = (positions + 0.5) * self.canvas.factors - 0.5 - np.array(self.canvas.start)
        index = np.rint(where).astype(np.int64)
        inside = ((index >= 2) & (index < np.array(self.canvas.shape) - 3)).all(axis=-1)
        return np.where(inside, index[..., 0] * self.canvas.shape[1] + index[..., 1], 0), inside

    def sample(self, positions: np.ndarray) -> Sampled:
        """The prediction and its derivatives at reference positions (n, 2)."""
        where = (positions + 0.5) * self.canvas.factors - 0.5 - np.array(self.canvas.start)
        whole = np.floor(where)
        first = whole.astype(np.int64) - 1
        width = self.canvas.shape[1]
        offsets = (np.arange(4)[:, None] * width + np.arange(4)).ravel()
        taps = self.flat[(first[:, 0] * width + first[:, 1])[:, None] + offsets].reshape(-1, 4, 4)
        row, column = (_spline(f) for f in (where - whole).astype(np.float32).T)
        lines = [np.einsum("nij,nj->ni", taps, c) for c in column]
        a, b = self.canvas.factors

        def along(rows: int, columns: int) -> np.ndarray:
            out = np.einsum("ni,ni->n", lines[columns], row[rows])
            return out.astype(np.float64) * a**rows * b**columns

        return Sampled(
            along(0, 0),
            np.stack([along(1, 0), along(0, 1)], axis=-1),
            np.stack([along(2, 0), along(1, 1), along(0, 2)], axis=-1),
        )


def _cells(seen: np.ndarray, factor: float) -> np.ndarray:
    """Which star a fine pixel belongs to: 1, 2, ... within `RADIUS` of the compact maxima, 0 elsewhere.

    The brightest `STARS` local maxima that rise from their surroundings; where two overlap, the brighter has it.
    """
    from scipy.ndimage import maximum_filter

    near, far = int(np.ceil(1.5 * factor)), int(np.ceil(RADIUS * factor))
    top = np.isfinite(seen) & (seen == maximum_filter(seen, 2 * near + 1))
    rows, columns = np.nonzero(top)
    order = np.argsort(seen[rows, columns], kind="stable")[-STARS:]
    out = np.zeros(seen.shape, dtype=np.int32)
    span = np.arange(-far, far + 1)
    disc = np.hypot(span[:, None], span[None, :]) <= RADIUS * factor
    for name, k in enumerate(order, start=1):
        r, c = int(rows[k]), int(columns[k])
        if far <= r < seen.shape[0] - far and far <= c < seen.shape[1] - far:
            out[r - far : r + far + 1, c - far : c + far + 1][disc] = name
    return out


RADIUS = 4.0
"""Native pixels around a maximum that are taken as one star."""
STARS = 1500


@dataclass(frozen=True, eq=False)
class Sampled:
    """Predicted pixels, and derivatives by the position in native reference pixels.

    Attributes
    ----------
    value : ndarray, (n,)
    slope : ndarray, (n, 2)
        By row, by column.
    curvature : ndarray, (n, 3)
        Second derivatives: row-row, row-column, column-column.
    """

    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray


def _spline(f: np.ndarray) -> list[np.ndarray]:
    """Cubic B-spline weights (n, 4) at ``floor - 1 ... floor + 2`` for ``floor + f``; first and second derivatives."""
    g = 1 - f
    return [
        np.stack([g**3 / 6, (4 - 6 * f**2 + 3 * f**3) / 6, (4 - 6 * g**2 + 3 * g**3) / 6, f**3 / 6], axis=-1),
        np.stack([-(g**2) / 2, f * (1.5 * f - 2), g * (2 - 1.5 * g), f**2 / 2], axis=-1),
        np.stack([g, 3 * f - 2, 3 * g - 2, f], axis=-1),
    ]
