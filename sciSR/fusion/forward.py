"""How the sharp scene becomes the pixels of a dithered frame, and the exact adjoint.

The unknown ``x`` is the scene integrated over fine pixels, in the level of a native pixel. A frame's pixel is the
mean of the scene over the native pixel's box, wherever the transform puts it. For a scene that the optics have
band-limited to the fine grid, going from the fine pixel to the native one multiplies the spectrum, per axis, by

    K(k) = sinc(s k) / sinc(k),        k in cycles per fine pixel,

which for whole s is just the mean over s fine pixels. Between grid points the result is a cubic B-spline whose
coefficients have the spectrum ``K(k) / B(k)``, B from :meth:`Canvas.spline_response` (Unser, IEEE Signal Process. Mag.
16(6), 22, 1999). So a frame is ``S F^-1 (K/B) F x`` with sixteen taps a pixel in ``S``. The square of the pixel is
taken as parallel to the reference's: turning it changes its moments from the fourth order on only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.prepared import Target
from sciSR.fusion.transforms import Affine, Transform, frame_positions

if TYPE_CHECKING:
    from sciSR.fusion.deconvolution import Blur

MARGIN = 12
"""Fine pixels around the target: the scene beyond the border shines into it, and a Fourier transform wraps."""


def fast_length(size: int) -> int:
    """The next even size whose transform is fast."""
    from scipy.fft import next_fast_len

    fast = next_fast_len(size, real=True)
    while fast % 2:
        fast = next_fast_len(fast + 1, real=True)
    return int(fast)


@dataclass(frozen=True, eq=False)
class Canvas:
    """The target, or a tile of it, with a margin, on a periodic array whose Fourier transform is fast.

    Attributes
    ----------
    start : (int, int)
        Target indices of the canvas's pixel (0, 0): negative by the margin for a whole target.
    shape : (int, int)
    factors : (float, float)
        Fine pixels per native pixel.
    device : torch.device
    blur : Blur or None
        What lies between the unknown scene and the optics' image: None where the latter is the unknown.
    """

    start: tuple[int, int]
    shape: tuple[int, int]
    factors: tuple[float, float]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    blur: Blur | None = None

    @classmethod
    def around(
        cls,
        target: Target,
        rows: slice | None = None,
        columns: slice | None = None,
        *,
        margin: int = MARGIN,
        device: str | torch.device = "cpu",
        blur: Blur | None = None,
    ) -> Canvas:
        """The canvas of a tile (the whole target by default)."""
        spans = [
            (0, size) if span is None else (span.start, span.stop)
            for span, size in zip((rows, columns), target.shape, strict=True)
        ]
        shape = tuple(fast_length(stop - start + 2 * margin) for start, stop in spans)
        factors = (float(target.factors[0]), float(target.factors[1]))
        start = (spans[0][0] - margin, spans[1][0] - margin)
        return cls(start, (shape[0], shape[1]), factors, torch.device(device), blur)

    def inside(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Canvas slices of target slices."""
        (r, c) = self.start
        return slice(rows.start - r, rows.stop - r), slice(columns.start - c, columns.stop - c)

    def frequencies(self) -> tuple[Tensor, Tensor]:
        """Cycles per fine pixel of `torch.fft.rfft2`: shapes (rows, 1) and (1, columns // 2 + 1)."""
        rows = torch.fft.fftfreq(self.shape[0], device=self.device)[:, None]
        columns = torch.fft.rfftfreq(self.shape[1], device=self.device)[None, :]
        return rows, columns

    def pixel_response(self, pixel: float = 1.0) -> Tensor:
        """K: from the fine pixel to the native one (`pixel` times as large as the reference's)."""
        rows, columns = self.frequencies()
        out = torch.ones((), device=self.device)
        for k, s in ((rows, self.factors[0]), (columns, self.factors[1])):
            out = out * torch.sinc(s * pixel * k) / torch.sinc(k)
        return out

    def spline_response(self) -> Tensor:
        """B: from cubic B-spline coefficients to the scene, best on average over all positions between grid points.

        Per axis ``sum_n sinc(k + n)^8 / sinc(k)^4``: the least squares projection on the splines (Unser 1999, section
        on least squares). Interpolation, ``(2 + cos 2 pi k) / 3``, is exact at grid points only, where hardly any pixel
        lies, and loses up to 3 % of a star's flux between coarse ones.
        """
        rows, columns = self.frequencies()
        return _projection(rows) * _projection(columns)

    def filter(self, x: Tensor, response: Tensor) -> Tensor:
        """Multiply the spectrum; real in, real out. The adjoint multiplies by the conjugate."""
        return torch.fft.irfft2(torch.fft.rfft2(x) * response, s=self.shape)


def _projection(k: Tensor) -> Tensor:
    total = sum(torch.sinc(k + n) ** 8 for n in range(-6, 7))
    return total / torch.sinc(k) ** 4  # type: ignore[no-any-return]


def spline_taps(fraction: Tensor) -> list[Tensor]:
    """The four cubic B-spline weights at ``floor - 1 ... floor + 2`` for positions ``floor + fraction``."""
    f = fraction
    g = 1 - f
    return [
        g * g * g / 6,
        (4 - 6 * f * f + 3 * f * f * f) / 6,
        (4 - 6 * g * g + 3 * g * g * g) / 6,
        f * f * f / 6,
    ]


def spline_slopes(fraction: Tensor) -> list[Tensor]:
    """Derivatives of :func:`spline_taps` by the position."""
    f = fraction
    g = 1 - f
    return [-g * g / 2, f * (1.5 * f - 2), g * (2 - 1.5 * g), f * f / 2]


@dataclass(frozen=True, eq=False)
class Footprint:
    """A window of a frame's pixels and where they fall on a canvas.

    Attributes
    ----------
    rows, columns : slice
        The window in the frame.
    base : Tensor of int64, (n,)
        Flat canvas index of the first of the sixteen taps of each pixel that falls inside.
    fraction : (Tensor, Tensor), float32, (n,)
        Position within the fine pixel, rows and columns.
    inside : Tensor of bool, (n_rows, n_columns)
        Which pixels of the window these are, in row order.
    """

    rows: slice
    columns: slice
    base: Tensor
    fraction: tuple[Tensor, Tensor]
    inside: Tensor


def footprint(
    canvas: Canvas, transform: Transform, shape: tuple[int, int], band: tuple[int, int] | None = None
) -> Footprint | None:
    """Where a frame's pixels fall on a canvas; None where none does.

    Parameters
    ----------
    canvas : Canvas
    transform : Transform
        Reference -> frame.
    shape : (int, int)
        Of the frame.
    band : (int, int), optional
        Only pixels whose first tap lies in these rows of the canvas.
    """
    top, bottom = band or (0, canvas.shape[0])
    window = _window(canvas, transform, shape, top, bottom)
    if window is None:
        return None
    rows, columns = window
    if isinstance(transform, Affine):  # a window of columns costs nothing less only for the affine ones
        moved = Affine(transform.matrix - np.array([[0, 0, 0], [0, 0, columns.start]]))
        reference = frame_positions(moved, rows, columns.stop - columns.start)
    else:
        reference = frame_positions(transform, rows, columns.stop)[:, columns]
    factors = np.array(canvas.factors)
    where = (reference + 0.5) * factors - 0.5 - np.array(canvas.start)
    whole = np.floor(where)
    fraction = (where - whole).astype(np.float32)
    first = whole.astype(np.int64) - 1
    high = np.array(canvas.shape) - 4
    inside = ((first >= (top, 0)) & (first <= high)).all(axis=-1)
    if bottom < canvas.shape[0]:
        inside &= first[..., 0] < bottom
    if not inside.any():
        return None
    base = first[..., 0] * canvas.shape[1] + first[..., 1]
    device = canvas.device
    return Footprint(
        rows,
        columns,
        torch.from_numpy(base[inside]).to(device),
        (
            torch.from_numpy(fraction[..., 0][inside]).to(device),
            torch.from_numpy(fraction[..., 1][inside]).to(device),
        ),
        torch.from_numpy(inside).to(device),
    )


def _window(
    canvas: Canvas, transform: Transform, shape: tuple[int, int], top: int, bottom: int
) -> tuple[slice, slice] | None:
    """The smallest window of the frame that holds every pixel on some rows of the canvas, found along their rim."""
    factors = np.array(canvas.factors)
    t = np.linspace(0.0, 1.0, 17)
    left, right = np.zeros_like(t), np.full_like(t, canvas.shape[1] - 1.0)
    high, low = np.full_like(t, float(top)), np.full_like(t, min(bottom + 3, canvas.shape[0] - 1.0))
    across, down = t * (canvas.shape[1] - 1.0), high + t * (low - high)
    sides = [(high, across), (low, across), (down, left), (down, right)]
    rim = np.concatenate([np.stack(side, -1) for side in sides])
    points = transform((rim + np.array(canvas.start) + 0.5) / factors - 0.5)
    points = points[np.isfinite(points).all(axis=-1)]
    if not len(points):
        return None
    first = np.maximum(np.floor(points.min(axis=0)) - 1, 0).astype(int)
    last = np.minimum(np.ceil(points.max(axis=0)) + 2, shape).astype(int)
    if (last <= first).any():
        return None
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


class Predictor:
    """Predicts frames from a fine image on a canvas, with slopes, and goes back exactly (the adjoint).

    Parameters
    ----------
    canvas : Canvas
    pixel : float
        The frames' pixel, in pixels of the reference.
    """

    def __init__(self, canvas: Canvas, pixel: float = 1.0) -> None:
        self.canvas = canvas
        self.response = canvas.pixel_response(pixel) / canvas.spline_response()
        if canvas.blur is not None:
            self.response = self.response * canvas.blur.response(canvas)

    def coefficients(self, x: Tensor) -> Tensor:
        """Spline coefficients of the scene as native pixels would see it at every point; `x` is on the canvas."""
        return self.canvas.filter(x, self.response)

    def sample(self, coefficients: Tensor, where: Footprint) -> Tensor:
        """Values of the pixels of a footprint, (n,)."""
        return self._gather(coefficients, where, spline_taps, spline_taps)

    def slopes(self, coefficients: Tensor, where: Footprint) -> tuple[Tensor, Tensor]:
        """Derivatives by the position (rows, columns) in level per *native reference pixel*, (n,) each."""
        by_row = self._gather(coefficients, where, spline_slopes, spline_taps) * self.canvas.factors[0]
        by_column = self._gather(coefficients, where, spline_taps, spline_slopes) * self.canvas.factors[1]
        return by_row, by_column

    def _gather(self, c: Tensor, where: Footprint, row_taps: object, column_taps: object) -> Tensor:
        flat = c.reshape(-1)
        rows, columns = row_taps(where.fraction[0]), column_taps(where.fraction[1])  # type: ignore[operator]
        out = torch.zeros_like(where.fraction[0])
        for i in range(4):
            line = torch.zeros_like(out)
            for j in range(4):
                line.addcmul_(columns[j], flat[where.base + (i * self.canvas.shape[1] + j)])
            out.addcmul_(rows[i], line)
        return out

    def predict(self, x: Tensor, where: Footprint) -> Tensor:
        """A x for one footprint."""
        return self.sample(self.coefficients(x), where)

    def scatter(self, values: Tensor, where: Footprint, out: Tensor) -> None:
        """Add S^T values to `out` (coefficients, on the canvas)."""
        flat = out.view(-1)
        rows, columns = spline_taps(where.fraction[0]), spline_taps(where.fraction[1])
        for i in range(4):
            line = values * rows[i]
            for j in range(4):
                flat.index_add_(0, where.base + (i * self.canvas.shape[1] + j), line * columns[j])

    def adjoint(self, values: Tensor, where: Footprint) -> Tensor:
        """A^T values, on the canvas."""
        out = torch.zeros(self.canvas.shape, dtype=values.dtype, device=self.canvas.device)
        self.scatter(values, where, out)
        return self.canvas.filter(out, self.response.conj())


def window_of(array: np.ndarray, where: Footprint) -> Tensor:
    """The values of an array (rows, columns) at a footprint's pixels, (n,)."""
    part = torch.from_numpy(np.ascontiguousarray(array[where.rows, where.columns]))
    return part.to(where.base.device)[where.inside]


def on_window(values: Tensor, where: Footprint, fill: float = float("nan")) -> np.ndarray:
    """The reverse of :func:`window_of`: an array of the window's shape, `fill` where a pixel is off the canvas."""
    out = torch.full(where.inside.shape, fill, dtype=values.dtype, device=values.device)
    out[where.inside] = values
    return out.cpu().numpy()
