"""One picture of a fused volume: first stack, result and error in three planes, and the weights of the slices."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTICE = "Research use only, not for diagnosis"
_DPI = 130
_PIXELS = 480  # of one panel's longer side, at most
_VIEWS = (("axial", 0, 1, "R", "L"), ("coronal", 0, 2, "R", "L"), ("sagittal", 1, 2, "A", "P"))
"""Name, the world's axes along and up the picture, and the body's sides to its left and right. Along the picture the
world's axis runs backwards: the right side of the body on the left, as radiologists look at it, and the front."""


@dataclass(frozen=True, eq=False)
class SheetVolume:
    """Voxels, and where they lie.

    Attributes
    ----------
    data : ndarray, 3-D
    affine : ndarray, shape (4, 4)
        Voxel index to world mm, RAS+.
    bad : ndarray of bool or None
        Where there is nothing to show.
    """

    data: NDArray
    affine: NDArray
    bad: NDArray[np.bool_] | None = None

    def at(self, world: NDArray) -> NDArray[np.float64]:
        """Values at world points ``(..., 3)``, linear in between; NaN outside and where a voxel is bad."""
        from scipy.ndimage import map_coordinates

        affine = np.asarray(self.affine, float)
        index = (world - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        low, high = np.floor(index.reshape(-1, 3).min(0)) - 1, np.ceil(index.reshape(-1, 3).max(0)) + 2
        start = np.clip(low, 0, np.array(self.data.shape) - 1).astype(int)
        stop = np.clip(high, start + 1, self.data.shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        values = np.asarray(self.data[box], np.float64)
        if self.bad is not None:
            values = np.where(self.bad[box], np.nan, values)
        shown = map_coordinates(values, np.moveaxis(index - start, -1, 0), order=1, mode="nearest")
        inside = ((index > -0.5) & (index < np.array(self.data.shape) - 0.5)).all(-1)
        return np.where(inside, shown, np.nan)


@dataclass(frozen=True, eq=False)
class StackSheet:
    """What is drawn.

    Attributes
    ----------
    first, result, deviation : SheetVolume
        The first stack is interpolated linearly, as a viewer does.
    weights : sequence of ndarray
        For each stack the weight of each slice, 0 to 1.
    labels : sequence of str
        Of the stacks; no file names, which may name a patient.
    title, unit : str
    """

    first: SheetVolume
    result: SheetVolume
    deviation: SheetVolume
    weights: Sequence[NDArray] = ()
    labels: Sequence[str] = ()
    title: str = ""
    unit: str = ""


def draw_png(sheet: StackSheet) -> bytes:
    """Draw it as a PNG; the same data give the same bytes."""
    stream = io.BytesIO()
    draw(sheet).savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def planes_of(volume: SheetVolume) -> list[tuple[NDArray[np.float64], float]]:
    """Axial, coronal and sagittal planes through the middle of a volume, along its own axes closest to the body's.

    Returns
    -------
    list of (ndarray, float)
        World points (rows, columns, 3) as drawn, from top left, and the size of a pixel in mm.
    """
    directions, lengths = _along_world(volume)
    centre = _world(volume, (np.array(volume.data.shape) - 1) / 2)
    planes = []
    for _, along, up, _, _ in _VIEWS:
        pixel = max(lengths[along], lengths[up]) / _PIXELS
        size = float(max(pixel, np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0).min() / 2))
        columns, rows = (max(2, round(lengths[axis] / size)) for axis in (along, up))
        across = (np.arange(columns) - (columns - 1) / 2) * size
        down = (np.arange(rows) - (rows - 1) / 2) * size
        offset = -across[None, :, None] * directions[along] - down[:, None, None] * directions[up]
        planes.append((centre + offset, size))
    return planes


def _along_world(volume: SheetVolume) -> tuple[NDArray, NDArray]:
    """For the world's x, y, z: the direction of the volume's axis closest to it, and the volume's length in mm."""
    linear = np.asarray(volume.affine, float)[:3, :3]
    sizes = np.linalg.norm(linear, axis=0)
    unit = linear / sizes
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(unit[k, p[k]]) for k in range(3)))
    directions = np.stack([unit[:, p] * (1.0 if unit[k, p] >= 0 else -1.0) for k, p in enumerate(order)])
    return directions, np.array([volume.data.shape[p] * sizes[p] for p in order])


def _world(volume: SheetVolume, index: NDArray) -> NDArray:
    affine = np.asarray(volume.affine, float)
    return affine[:3, :3] @ index + affine[:3, 3]


def draw(sheet: StackSheet) -> Any:
    """The matplotlib Figure."""
    from matplotlib.figure import Figure

    planes = planes_of(sheet.result)
    heights = [points.shape[0] / points.shape[1] for points, _ in planes]
    width, strip = 3.3, 0.3 * max(len(sheet.weights), 1) + 0.5
    tall = [width * min(max(h, 0.35), 1.8) for h in heights]
    figure = Figure(figsize=(3 * width + 0.8, sum(tall) + strip + 1.0), layout="constrained")
    grid = figure.add_gridspec(4, 3, height_ratios=[*tall, strip])
    axes = np.array([[figure.add_subplot(grid[row, column]) for column in range(3)] for row in range(3)])
    low, high = _window(sheet.result)
    error = _top(sheet.deviation)
    columns = (
        ("first stack, interpolated", sheet.first, {"cmap": "gray", "vmin": low, "vmax": high}),
        ("fused", sheet.result, {"cmap": "gray", "vmin": low, "vmax": high}),
        ("standard deviation", sheet.deviation, {"cmap": "viridis", "vmin": 0, "vmax": error}),
    )
    for column, (name, volume, how) in enumerate(columns):
        axes[0, column].set_title(name, fontsize=10)
        for row, (points, _) in enumerate(planes):
            drawn = _panel(axes[row, column], volume.at(points), how)
            if volume is not sheet.deviation:  # bright all over
                _sides(axes[row, column], _VIEWS[row], first=column == 0)
    figure.colorbar(drawn, ax=list(axes[:, 2]), shrink=0.6, label=sheet.unit or None)
    _draw_weights(figure.add_subplot(grid[3, :]), sheet)
    figure.suptitle(f"{sheet.title}\n{NOTICE}", fontsize=10)
    return figure


def _panel(axis: Any, image: NDArray, how: dict[str, Any]) -> Any:
    axis.set_facecolor("#402040")  # where nothing was measured
    axis.set_xticks([])
    axis.set_yticks([])
    return axis.imshow(np.ma.masked_invalid(image), aspect="equal", interpolation="nearest", **how)


def _sides(axis: Any, view: tuple[str, int, int, str, str], *, first: bool) -> None:
    """The letters of the body's sides, and the plane's name once a row."""
    name, *_, left, right = view
    for x, text, place in ((0.02, left, "left"), (0.98, right, "right")):
        axis.text(x, 0.5, text, color="#ffb000", fontsize=9, ha=place, va="center", transform=axis.transAxes)
    if first:
        axis.set_ylabel(name, fontsize=10)


def _draw_weights(axis: Any, sheet: StackSheet) -> None:
    """One row a stack, one cell a slice."""
    longest = max((len(w) for w in sheet.weights), default=0)
    axis.set_title("weight of each slice", fontsize=10)
    if not longest:
        axis.set_axis_off()
        return
    table = np.full((len(sheet.weights), longest), np.nan)
    for row, weight in enumerate(sheet.weights):
        table[row, : len(weight)] = weight
    shown = axis.imshow(
        np.ma.masked_invalid(table), aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="nearest"
    )
    axis.set_yticks(range(len(sheet.weights)), list(sheet.labels)[: len(sheet.weights)], fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlabel("slice", fontsize=8)
    axis.figure.colorbar(shown, ax=axis, shrink=0.9)


def _window(volume: SheetVolume) -> tuple[float, float]:
    """From black to white: the central 99 % of what is there."""
    values = _shown(volume)
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _top(volume: SheetVolume) -> float:
    values = _shown(volume)
    return (float(np.quantile(values, 0.99)) if values.size else 0.0) or 1.0


def _shown(volume: SheetVolume) -> NDArray:
    """Finite values, every n-th of large volumes."""
    step = max(1, round((volume.data.size / 4e6) ** (1 / 3)))
    cut = (slice(None, None, step),) * 3
    values = np.asarray(volume.data[cut], float)
    good = np.isfinite(values)
    if volume.bad is not None:
        good &= ~volume.bad[cut]
    return values[good]


def direction_name(normal: NDArray) -> str:
    """``axial``, ``coronal`` or ``sagittal``: of slices with this normal (world, RAS+), the closest."""
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]
