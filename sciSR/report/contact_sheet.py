"""One picture of a fusion: reference frame, drizzle, result, error, coverage, residual."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciSR.files import atomic_output
from sciSR.report.stretch import Stretch, median, reduced, scatter

if TYPE_CHECKING:
    from sciSR.fusion.product import Fused

_PIXELS = 900  # of one panel's longer side
_DPI = 150


@dataclass(frozen=True)
class Zoom:
    """A square of the field, in native pixels: (row, column) of its first pixel, and its side."""

    row: int
    column: int
    side: int

    def cut(self, image: NDArray, native: tuple[int, int]) -> NDArray:
        """The same piece of sky of an image of the whole field, at whatever sampling."""
        sy, sx = (n / m for n, m in zip(image.shape, native, strict=True))
        rows = slice(round(self.row * sy), max(round((self.row + self.side) * sy), round(self.row * sy) + 1))
        columns = slice(
            round(self.column * sx), max(round((self.column + self.side) * sx), round(self.column * sx) + 1)
        )
        return image[rows, columns]


def write_contact_sheet(fused: Fused, path: Path | str, *, overwrite: bool = False) -> Path:
    """Draw the contact sheet as a PNG, atomically.

    Parameters
    ----------
    fused : Fused
        Its `panels` are drawn where there are any: ``"reference"`` in the level of a native pixel, ``"drizzle"`` in
        that of the result, ``"residual"`` in standard deviations.
    path : path
    overwrite : bool

    Raises
    ------
    SciSRError
        The file exists, or can't be written.
    """
    path = Path(path)
    figure = draw(fused)
    with atomic_output(path, overwrite=overwrite) as target:
        # Without the software's version and the date: the same data give the same file.
        figure.savefig(target, format="png", dpi=_DPI, metadata={"Software": None})
    return path


def draw(fused: Fused) -> Any:
    """The matplotlib Figure."""
    from matplotlib.figure import Figure

    image, native = native_level(fused)
    rows, columns = native
    width = 4.6
    height = min(max(0.85 * width * rows / columns, 1.5), 9.0)
    figure = Figure(figsize=(3 * width, 2 * (height + 0.3) + 0.7), layout="constrained")
    axes = figure.subplots(2, 3)
    extent = (-0.5, columns - 0.5, -0.5, rows - 0.5)
    zoom = sharpest(image, native)
    _draw_images(axes[0], fused, image, native, extent, zoom)
    _draw_maps(axes[1], fused, extent)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    _scale_bar(axes[0, 0], fused, native, zoom)
    figure.suptitle(title(fused), fontsize=11)
    return figure


def native_level(fused: Fused) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The fused image in the level of a native pixel, and the native shape."""
    factors = [float(f) for f in fused.image.grid.factors[-2:]]
    image = np.asarray(fused.image.data[...], np.float32) * _share(fused)
    rows, columns = (round(n / f) for n, f in zip(image.shape, factors, strict=True))
    return image, (rows, columns)


def _share(fused: Fused) -> np.float32:
    """How many fine pixels share the value of a native one: 1 for densities."""
    factors = [float(f) for f in fused.image.grid.factors[-2:]]
    return np.float32(math.prod(factors) if fused.image.quantity == "total" else 1)


def title(fused: Fused) -> str:
    """What was fused, how, and the size of a pixel before and after."""
    used = sum(record.used for record in fused.records)
    image = fused.image
    first = next((r.name for r in fused.records if r.reference), image.where)
    factor = float(image.grid.factors[-1])
    lines = [f"{used} of {len(fused.records)} frames, ×{factor:g}, {fused.settings.get('method', '')}"]
    scale = pixel_arcsec(fused)
    if scale:
        lines.append(f'{scale * factor:.3g}" to {scale:.3g}" per pixel')
    return f"{first}\n" + ", ".join(lines)


def pixel_arcsec(fused: Fused) -> float | None:
    """Arcseconds per fine pixel along the columns, where the grid knows the sky."""
    known = fused.image.grid.describe()
    scales, units = known.get("pixel_scale") or [], known.get("unit") or []
    if not scales or not isinstance(units, list) or str(units[0]) != "deg" or not scales[0]:
        return None
    return abs(float(scales[0])) * 3600


def sharpest(image: NDArray, native: tuple[int, int]) -> Zoom:
    """The square with the most detail per pixel: where the stretched image's gradient is largest in the mean."""
    from scipy.ndimage import uniform_filter

    side = int(np.clip(min(native) // 7, 12, 64))
    side = min(side, min(native))
    small = reduced(image, 600)
    shown = Stretch.of(small)(small)
    bad = ~np.isfinite(shown)
    gradient = np.hypot(*np.gradient(np.where(bad, 0, shown)))
    scale = small.shape[0] / native[0], small.shape[1] / native[1]
    size = [max(1, round(side * s)) for s in scale]
    mean = uniform_filter(gradient, size)
    # Neither gaps nor the field's edge, where the windows are not whole.
    mean[uniform_filter(bad.astype(np.float32), size) > 1e-3] = 0
    for axis, n in enumerate(size):
        edge = [slice(None), slice(None)]
        for cut in (slice(0, n // 2 + 1), slice(-(n // 2) - 1, None)):
            edge[axis] = cut
            if n < small.shape[axis] // 2:
                mean[tuple(edge)] = 0
    centre = np.unravel_index(int(np.argmax(mean)), mean.shape)
    first = [
        int(np.clip(round(c / s - side / 2), 0, n - side))
        for c, s, n in zip(centre, scale, native, strict=True)
    ]
    return Zoom(first[0], first[1], side)


def _draw_images(
    axes: Any, fused: Fused, image: NDArray, native: tuple[int, int], extent: Any, zoom: Zoom
) -> None:
    """Reference, drizzle and result with one stretch, and the sharpest piece of each."""
    reference = fused.panels.get("reference")
    noise = None if reference is None else scatter(np.diff(np.asarray(reference, np.float64))) / math.sqrt(2)
    stretch = Stretch.of(image, noise or None)
    method = str(fused.settings.get("method", "result"))
    drizzled = fused.panels.get("drizzle")
    drizzled = None if drizzled is None else np.asarray(drizzled) * _share(fused)
    shown = [("reference frame", reference), ("drizzle", drizzled), (method, image)]
    for axis, (name, panel) in zip(axes, shown, strict=True):
        axis.set_title(name, fontsize=10)
        if panel is None:
            _absent(axis)
            continue
        panel, sky = np.asarray(panel), median(panel)
        _imshow(axis, stretch(reduced(panel, _PIXELS), sky), extent, cmap="gray", vmin=0, vmax=1)
        _inset(axis, stretch(zoom.cut(panel, native), sky), zoom, native)


def _imshow(axis: Any, image: NDArray, extent: Any, **how: Any) -> Any:
    axis.set_facecolor("#402040")  # where there are no data
    return axis.imshow(
        np.ma.masked_invalid(image),
        origin="lower",
        extent=extent,
        aspect="equal",
        interpolation="nearest",
        **how,
    )


def _absent(axis: Any) -> None:
    axis.text(0.5, 0.5, "not made", ha="center", va="center", transform=axis.transAxes)


def _inset(axis: Any, piece: NDArray, zoom: Zoom, native: tuple[int, int]) -> None:
    """The piece, enlarged in the corner opposite to where it lies."""
    from matplotlib.patches import Rectangle

    size = 0.42
    low = zoom.row + zoom.side / 2 < native[0] / 2
    left = zoom.column + zoom.side / 2 < native[1] / 2
    inset = axis.inset_axes([1 - size if left else 0.0, 1 - size if low else 0.0, size, size])
    inset.imshow(
        np.ma.masked_invalid(piece), origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set_color("#ffb000")
    corner = (zoom.column - 0.5, zoom.row - 0.5)
    axis.add_patch(Rectangle(corner, zoom.side, zoom.side, fill=False, color="#ffb000", linewidth=1))


def _draw_maps(axes: Any, fused: Fused, extent: Any) -> None:
    """Error, coverage and residual, each with its own scale."""
    unit = fused.image.unit or ""
    error = None if fused.image.uncertainty is None else np.asarray(fused.image.uncertainty[...])
    residual = fused.panels.get("residual")
    for axis, name, values, label, colours in (
        (axes[0], "error, one standard deviation", error, unit, "viridis"),
        (axes[1], "coverage", fused.coverage, "frames", "cividis"),
        (axes[2], "residual of the reference frame", residual, "standard deviations", "RdBu_r"),
    ):
        axis.set_title(name, fontsize=10)
        if values is None:
            _absent(axis)
            continue
        small = reduced(np.where(np.isfinite(values), values, np.nan), _PIXELS)
        low, high = _range(small, symmetric=colours == "RdBu_r")
        drawn = _imshow(axis, small, extent, cmap=colours, vmin=low, vmax=high)
        axis.figure.colorbar(drawn, ax=axis, shrink=0.85, label=label)


def _range(values: NDArray, *, symmetric: bool) -> tuple[float, float]:
    good = values[np.isfinite(values)]
    if not good.size:
        return 0.0, 1.0
    if symmetric:
        top = float(np.quantile(np.abs(good), 0.99)) or 1.0
        return -top, top
    low, high = (float(v) for v in np.quantile(good, (0.005, 0.995)))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scale_bar(axis: Any, fused: Fused, native: tuple[int, int], zoom: Zoom) -> None:
    """A bar of a round length, about a sixth of the field: arcseconds where the sky is known, else native pixels."""
    scale = pixel_arcsec(fused)
    factor = float(fused.image.grid.factors[-1])
    per_pixel = 1.0 if scale is None else scale * factor
    length = _round_number(native[1] * per_pixel / 6)
    pixels = length / per_pixel
    label = f"{length:g} px" if scale is None else f"{length:g}″" if length < 60 else f"{length / 60:g}′"
    y, x = 0.05 * native[0], 0.04 * native[1]
    low = zoom.row + zoom.side / 2 < native[0] / 2
    left = zoom.column + zoom.side / 2 < native[1] / 2
    if low == left:  # the square or its enlargement is on the left already
        x = 0.96 * native[1] - pixels
    axis.plot([x, x + pixels], [y, y], color="#ffb000", linewidth=2.5, solid_capstyle="butt")
    axis.text(x, y + 0.015 * native[0], label, color="#ffb000", fontsize=9, va="bottom")


def _round_number(length: float) -> float:
    """1, 2, 5, 10, ...; above a minute of arc multiples of it come by themselves as 60, 120, 300."""
    steps = [m * 10.0**k for k in range(-4, 5) for m in (1, 2, 5)]
    if length >= 60:
        steps = [m * 60.0 for m in (1, 2, 5, 10, 20, 30, 60, 120)]
    return max([s for s in steps if s <= length], default=steps[0])
