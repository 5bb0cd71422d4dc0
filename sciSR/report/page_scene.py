"""What a page shows of an image: which pixels are embedded, at which size, and where they lie in the field.

All positions are in the input's pixels, as displayed (see :mod:`sciSR.report.page_layout`), counted from the top left
corner of the field: the first pixel spans 0 to 1. Result and input share them, so they lie edge to edge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.report.page_layout import Layout, Screen, reduced_plane
from sciSR.report.page_pixels import Coding, pack
from sciSR.report.stretch import scatter

OVERVIEW = 420
"""Longer side of a reduced picture of the whole field, pixels."""
_SIDES = tuple(sorted({s * k for s in (4, 5, 6, 7) for k in (8, 16, 32, 64, 128, 256, 512)}, reverse=True))
"""Sides of crops that are tried, input pixels."""
_ESTIMATE = 0.9
"""Characters that an embedded pixel takes at least, more or less: sizes that can't fit are not tried."""


@dataclass(eq=False)
class Scene:
    """What the browser gets, JSON-ready but for the pictures.

    Attributes
    ----------
    layout : Layout
    layers : dict
        By name: label, unit, coding, colours, range shown at first.
    planes : list of dict
    blocks : list of dict
        Packed pixels.
    volumes : list of dict
        Packed reduced volumes.
    pictures : dict of str to ndarray
        Values of what is shown first, for previews and static maps: ``"before"``, ``"after"``, ``"std"``, ...
    features : list of dict
        Marked on the pictures.
    notes : list of str
        What is shown and what is not, for people.
    """

    layout: Layout
    layers: dict[str, Any] = field(default_factory=dict)
    planes: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, NDArray] = field(default_factory=dict)
    features: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Characters of all packed pixels."""
        blocks = sum(len(text) for block in self.blocks for text in block["data"])
        return blocks + sum(len(volume["data"]) for volume in self.volumes)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        layers = {
            name: {**{k: v for k, v in layer.items() if k != "code"}, "coding": layer["code"].as_dict()}
            for name, layer in self.layers.items()
        }
        return {
            "layers": layers,
            "planes": self.planes,
            "blocks": self.blocks,
            "volumes": self.volumes,
            "isVolume": self.layout.is_volume,
        }

    def add(self, layer: str, plane: int, level: int, at: int, values: NDArray) -> None:
        """Embed a picture ``[y, x]`` or ``[y, x, rgb]`` of a layer's level and slice."""
        codes = self.layers[layer]["code"].encode(values)
        channels = [codes] if codes.ndim == 2 else [codes[..., c] for c in range(codes.shape[2])]
        self.blocks.append(
            {"layer": layer, "plane": plane, "level": level, "slice": at, "data": [pack(c) for c in channels]}
        )


@dataclass(frozen=True, eq=False)
class Sources:
    """Lazily read layers in display order.

    Attributes
    ----------
    before, after : Screen
        `before` may be None where the input is not at hand.
    std, truth : Screen or None
        On the output's pixels.
    factors : (float, float, float)
        Output pixels per input pixel along Z, Y, X.
    share : float
        What a fine pixel holds of its coarse one, of totals; 1 otherwise.
    residual : callable or None
        ``residual(z, y, x)``: consistency residual on the input's pixels of slice `z` (of the input) and the box's
        slices; None where the operator is not known.
    unit : str
    domain : str
    """

    before: Screen | None
    after: Screen
    factors: tuple[float, float, float]
    std: Screen | None = None
    truth: Screen | None = None
    share: float = 1.0
    residual: Callable[[int, slice, slice], NDArray] | None = None
    unit: str = ""
    domain: str = "generic"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of Z, Y, X; of the input's pixels whether it is at hand or not."""
        return tuple(round(n / f) for n, f in zip(self.after.shape, self.factors, strict=True))  # type: ignore[return-value]


def describe_layers(
    sources: Sources, sample: Mapping[str, NDArray], others: Sequence[NDArray] = (), *, largest: int = 4095
) -> dict[str, Any]:
    """Label, unit, coding, colours and first range of each layer, from samples of their values.

    Input and result have one coding, which holds the values of `others` too, and one stretch.
    """
    from sciSR.report.page_stretch import first_stretch

    pictures = [sample[name] for name in ("before", "after") if name in sample]
    both = np.concatenate([np.ravel(values) for values in (*pictures, *others)])
    both = both[np.isfinite(both)]
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    noise = _pixel_noise(sample.get("before", sample["after"]))
    shown = first_stretch(sample.get("before", sample["after"]), sources.domain, noise)
    asinh = (shown["zero"], shown["softening"]) if sources.domain == "astronomy" else None
    code = Coding.between(low, high, noise=noise, largest=largest, asinh=asinh)
    common = {"unit": sources.unit, "code": code, "map": "grey", "shown": shown}
    found = {"after": {"label": "Result", **common}}
    if "before" in sample:
        found = {"before": {"label": "Input", **common}, **found}
    for name, label, is_signed in (
        ("std", "Standard deviation", False),
        ("residual", "Consistency residual", True),
        ("error", "Error against the truth", True),
    ):
        if name in sample:
            found[name] = _map_layer(sample[name], label, sources.unit, is_signed)
    return found


def _map_layer(values: NDArray, label: str, unit: str, is_signed: bool) -> dict[str, Any]:
    """A map of errors: coloured, symmetric about nought where it has a sign; 250 steps."""
    good = np.asarray(values, np.float64)[np.isfinite(values)]
    size = np.abs(good)
    top = float(np.quantile(size, 0.995)) if size.size else 0.0
    top = top or (float(size.max()) if size.size else 0.0) or 1.0
    low = -top if is_signed else 0.0
    code = Coding.between(low, top, largest=250)
    shown = {"curve": "linear", "black": low, "white": top, "zero": 0.0, "softening": top}
    return {
        "label": label,
        "unit": unit,
        "code": code,
        "map": "diverging" if is_signed else "sequential",
        "shown": shown,
        "largest": float(size.max()) if size.size else None,
    }


def _pixel_noise(values: NDArray) -> float:
    """Robust noise of a picture: from the differences of neighbours, where it is no flat background."""
    values = np.asarray(values, np.float64)
    difference = np.diff(values, axis=1)
    moving = difference[np.isfinite(difference) & (difference != 0)]
    return scatter(moving) / np.sqrt(2) if moving.size > 100 else 0.0


def plane_scene(sources: Sources, budget: int, features: NDArray | None = None) -> Scene:
    """A single plane: native pixels of as much of the field as fits, and the whole field reduced.

    Parameters
    ----------
    sources : Sources
    budget : int
        Characters for all pixels.
    features : ndarray, (n, 2), optional
        Places (y, x in input pixels) worth showing.
    """
    _, height, width = sources.input_shape
    overview, step = reduced_plane(sources.before or sources.after, 0, OVERVIEW)
    if sources.before is None:
        step_y, step_x = step / sources.factors[1], step / sources.factors[2]
    else:
        step_y = step_x = float(step)
    best = None
    longest = max(height, width)
    for side in (longest, *(s for s in _SIDES if s < longest)):
        box = (min(side, height), min(side, width))
        if _ESTIMATE * _pixels(sources, box) > budget and side != _SIDES[-1]:
            continue
        y, x = informative(overview, (step_y, step_x), box, (height, width), features)
        best = _plane_at(sources, (y, x, *box))
        if best.size <= budget:
            break
    assert best is not None
    return best


def _pixels(sources: Sources, box: tuple[int, int]) -> float:
    """Embedded pixels of a crop; smooth maps pack into a third."""
    fine = box[0] * sources.factors[1] * box[1] * sources.factors[2]
    maps = 0.35 * fine * ((sources.std is not None) + (sources.truth is not None))
    coarse = box[0] * box[1]
    return float((fine + coarse) * sources.after.channels + maps + 0.4 * coarse)


def _plane_at(sources: Sources, crop: tuple[int, int, int, int]) -> Scene:
    """Native pixels of a crop (y, x, height, width in input pixels), and the whole field reduced if it is larger."""
    top, left, rows, columns = crop
    _, height, width = sources.input_shape
    scene = Scene(sources.after.layout)
    native = read_layers(sources, 0, slice(top, top + rows), slice(left, left + columns))
    is_whole = (rows, columns) == (height, width)
    small = {} if is_whole else _overviews(sources)
    # Means over blocks may lie outside of the crop's range, and both pictures have one coding.
    others = [v for name, (v, _) in small.items() if name in ("before", "after")]
    scene.layers = describe_layers(sources, native, others)
    levels: list[dict[str, Any]] = []
    if small:
        levels.append({n: _extent(0, 0, v, steps) for n, (v, steps) in small.items() if n in scene.layers})
        for name in levels[0]:
            scene.add(name, 0, 0, 0, small[name][0])
    levels.append(
        {name: _extent(left, top, values, native_step(sources, name)) for name, values in native.items()}
    )
    for name, values in native.items():
        scene.add(name, 0, len(levels) - 1, 0, values)
    scene.planes.append(
        {
            "name": "image",
            "axis": "z",
            "width": width,
            "height": height,
            "factor": [sources.factors[2], sources.factors[1]],
            "pixel": [sources.after.layout.pixel[2], sources.after.layout.pixel[1]],
            "slices": 1,
            "sliceFactor": 1,
            "levels": levels,
            "start": {"slice": 0, "region": [left, top, columns, rows]},
        }
    )
    scene.pictures = {**native, **{f"{n}-whole": v for n, (v, _) in small.items()}}
    if not is_whole:
        scene.notes.append(
            f"Native pixels of the {columns} × {rows} input pixels with the most detail; "
            f"the whole field of {width} × {height} is embedded reduced."
        )
    return scene


def read_layers(
    sources: Sources, z: int, y: slice, x: slice, fine_z: int | None = None
) -> dict[str, NDArray]:
    """Native pixels of a box of slice `z` of the input (and `fine_z` of the output): of each layer that there is."""
    fz, fy, fx = sources.factors
    fine_y, fine_x = (slice(round(s.start * f), round(s.stop * f)) for s, f in ((y, fy), (x, fx)))
    fine_z = min(int((z + 0.5) * fz), sources.after.shape[0] - 1) if fine_z is None else fine_z
    deep = slice(fine_z, fine_z + 1)
    found: dict[str, NDArray] = {}
    if sources.before is not None:
        found["before"] = sources.before.read(slice(z, z + 1), y, x)[0] * np.float32(sources.share)
    found["after"] = sources.after.read(deep, fine_y, fine_x)[0]
    if sources.std is not None:
        found["std"] = sources.std.read(deep, fine_y, fine_x)[0]
    if sources.residual is not None:
        found["residual"] = np.asarray(sources.residual(z, y, x), np.float32)
    if sources.truth is not None:
        found["error"] = found["after"] - sources.truth.read(deep, fine_y, fine_x)[0]
    for name in ("std", "residual", "error"):  # of colours the length of the three
        if name in found and found[name].ndim == 3:
            found[name] = np.sqrt(np.square(found[name]).mean(-1))
    return found


def native_step(sources: Sources, layer: str) -> tuple[float, float]:
    """Input pixels per pixel of a layer along Y, X."""
    if layer in ("before", "residual"):
        return 1.0, 1.0
    return 1 / sources.factors[1], 1 / sources.factors[2]


def _extent(x: float, y: float, values: NDArray, step: tuple[float, float]) -> dict[str, Any]:
    return {
        "x": x,
        "y": y,
        "width": values.shape[1],
        "height": values.shape[0],
        "step": [step[1], step[0]],
    }


def _overviews(sources: Sources) -> dict[str, tuple[NDArray, tuple[float, float]]]:
    """Whole field of input, result and standard deviation, reduced: values, and input pixels per pixel (y, x)."""
    found = {}
    for name, screen in (("before", sources.before), ("after", sources.after), ("std", sources.std)):
        if screen is None:
            continue
        values, step = reduced_plane(screen, 0, OVERVIEW)
        if name == "std" and values.ndim == 3:
            values = np.sqrt(np.square(values).mean(-1))
        if name == "before":
            values = values * np.float32(sources.share)
        scale = native_step(sources, name)
        found[name] = values, (step * scale[0], step * scale[1])
    return found


def informative(
    overview: NDArray,
    step: tuple[float, float],
    box: tuple[int, int],
    shape: tuple[int, int],
    features: NDArray | None,
) -> tuple[int, int]:
    """Top left corner of the box with the most detail: the sum of steep steps on an asinh scale, few bad pixels."""
    values = overview if overview.ndim == 2 else overview.mean(-1)
    good = np.isfinite(values)
    if not good.any() or box == shape:
        return 0, 0
    level = float(np.median(values[good]))
    soft = 3 * scatter(values) or 1.0
    scaled = np.arcsinh(np.where(good, values - level, 0.0) / soft)
    slope = np.hypot(*np.gradient(scaled)) if min(scaled.shape) > 1 else np.abs(scaled)
    score = np.where(good, np.minimum(slope, 1.5), -0.3)
    for y, x in () if features is None else features:
        row, column = (min(int(v / s), n - 1) for v, s, n in zip((y, x), step, score.shape, strict=True))
        score[max(row, 0), max(column, 0)] += 2.0
    window = [max(1, min(round(b / s), n)) for b, s, n in zip(box, step, score.shape, strict=True)]
    sums = np.pad(score, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    h, w = window
    inside = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    y, x = (min(int(k * s), n - b) for k, s, n, b in zip((row, column), step, shape, box, strict=True))
    return max(y, 0), max(x, 0)
