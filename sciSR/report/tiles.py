"""Tiles of images that are too large for a page: what a viewer is told at first, and each tile when it asks.

The same nouns as in a page that embeds its pixels (:mod:`sciSR.report.page_scene`): layers with a coding, planes with
levels; see ``assets/source.js``. A level is a pyramid's, the coarsest first; a tile holds codes of 16 bits.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.report.page_layout import Layout
from sciSR.report.page_pixels import Coding
from sciSR.report.page_scene import Sources, describe_layers, native_step
from sciSR.report.pyramid import TILE, PlanePyramid
from sciSR.report.tile_pyramids import ALONG, SIDES, Pyramids, ScreenPlane

_CODES = 65535
_SAMPLE_PIXELS = 1 << 21
_SERIAL = itertools.count()


class TileScene:
    """What a viewer shows of an input and a result, or of one image.

    Parameters
    ----------
    sources : Sources
    pyramids : Pyramids
    labels : sequence of str
        What the layers ``before`` and ``after`` are called; one for a single image.
    locks : mapping of str to threading.Lock
        By layer: held while it is read. Layers of one file share one.
    """

    def __init__(
        self,
        sources: Sources,
        pyramids: Pyramids,
        labels: Sequence[str],
        locks: dict[str, threading.Lock],
    ) -> None:
        self.sources, self.pyramids, self.locks = sources, pyramids, locks
        self._serial = next(_SERIAL)  # caches outlive scenes; an id() may be given out twice
        self.screens = {
            name: screen
            for name, screen in (("before", sources.before), ("after", sources.after), ("std", sources.std))
            if screen is not None
        }
        sample = {name: self._sample(name) for name in self.screens}
        self._layers = describe_layers(sources, sample)
        code = coding_of(
            [sample[n] for n in ("before", "after") if n in sample], sources, self._layers["after"]["shown"]
        )
        for name in ("before", "after"):
            if name in self._layers:
                self._layers[name] |= {"code": code}
        if "std" in self._layers:
            top = self._layers["std"]["largest"] or 1.0
            self._layers["std"]["code"] = Coding.between(0.0, 8 * top, largest=_CODES)
        for name, label in zip(("before", "after") if sources.before else ("after",), labels, strict=True):
            self._layers[name]["label"] = label
        for layer in self._layers.values():
            layer["shown"]["range"] = _reach([sample[n] for n in sample if n != "std"], layer["shown"])
        self.axes = ["z", "y", "x"] if sources.after.layout.is_volume else ["z"]
        self._planes = [self._plane(axis) for axis in self.axes]

    def describe(self) -> dict[str, Any]:
        """JSON-ready: layers, planes, and the side of a tile."""
        layers = {
            name: {k: v for k, v in layer.items() if k != "code"} | {"coding": layer["code"].as_dict()}
            for name, layer in self._layers.items()
        }
        return {"layers": layers, "planes": self._planes, "tile": TILE}

    def tile(self, layer: str, plane: int, at: int, level: int, column: int, row: int) -> tuple[bytes, bool]:
        """Codes of a tile, 16 bits with the low byte first, one channel after the other; and whether they are exact.

        Raises
        ------
        LookupError
            No such layer, plane, slice, level or tile.
        """
        about = self._planes[_within(plane, len(self._planes))]
        levels = about["levels"]
        extent = levels[_within(level, len(levels))][layer]  # a KeyError is a LookupError
        _within(at, about["slices"])
        x, y = (
            TILE * _within(n, -(-extent[side] // TILE)) for n, side in ((column, "width"), (row, "height"))
        )
        key = (self._serial, layer, plane, at, level, column, row)
        kept = self.pyramids.tiles.get(key)
        if kept is not None:
            return kept.tobytes(), True
        depth = len(levels) - 1 - level
        columns = slice(x, min(x + TILE, extent["width"]))
        rows = slice(y, min(y + TILE, extent["height"]))
        parts, exact = [], True
        with self.pyramids.in_front():
            for pyramid in self._pyramids(layer, plane, at):
                values, is_exact = pyramid.read(depth, rows, columns)
                if not is_exact:
                    self.pyramids.wish(pyramid)
                exact = exact and is_exact
                parts.append(self._layers[layer]["code"].encode(values))
        codes = np.ascontiguousarray(np.stack(parts), dtype="<u2")
        if exact:
            self.pyramids.tiles.put(key, codes)
        return codes.tobytes(), exact

    def progress(self, layer: str, plane: int, at: int) -> dict[str, Any]:
        """Whether all levels of a slice are exact by now, and how much of it was read for that.

        Raises
        ------
        LookupError
        """
        about = self._planes[_within(plane, len(self._planes))]
        _within(at, about["slices"])
        found = self._pyramids(layer, plane, at)
        for pyramid in found:
            if not pyramid.complete:  # its turn may have been forgotten meanwhile
                self.pyramids.wish(pyramid)
        done = min(1.0 if pyramid.complete else min(pyramid.done, 0.99) for pyramid in found)
        return {"complete": all(pyramid.complete for pyramid in found), "done": done}

    def _pyramids(self, layer: str, plane: int, at: int) -> list[PlanePyramid]:
        screen, axis = self.screens[layer], self.axes[plane]
        if layer == "before":
            along = ALONG[axis]
            at = min(int((at + 0.5) / self.sources.factors[along]), screen.shape[along] - 1)
        share = self.sources.share if layer == "before" else 1.0
        labels = screen.image.kind == "labels"
        channels = range(3) if screen.channels == 3 else [None]
        return [
            self.pyramids.of(
                (self._serial, layer, axis, at, channel),
                ScreenPlane(screen, axis, at, channel, share, self.pyramids.slabs, (self._serial, layer)),
                self.locks[layer],
                labels=labels,
            )
            for channel in channels
        ]

    def _plane(self, axis: str) -> dict[str, Any]:
        """What ``source.js`` calls a PLANE; the field is in the input's pixels."""
        sources, layout = self.sources, self.sources.after.layout
        shape, factors, along = sources.input_shape, sources.factors, ALONG[axis]
        down, across = SIDES[axis]
        pixel = Layout.of((sources.before or sources.after).image).pixel
        names: tuple[str, Any] = ("image", None)
        if layout.is_volume:
            name, right, below = layout.plane_names()[2 - along]
            names = (name, [list(right), list(below)])
        slices = sources.after.shape[along]
        return {
            "name": names[0],
            "axis": axis,
            "sides": names[1],
            "width": shape[across],
            "height": shape[down],
            "factor": [factors[across], factors[down]],
            "pixel": [pixel[across], pixel[down]],
            "slices": slices,
            "sliceFactor": factors[along],
            "start": {"slice": slices // 2, "region": [0, 0, shape[across], shape[down]]},
            "levels": self._levels(down, across),
        }

    def _levels(self, down: int, across: int) -> list[dict[str, Any]]:
        by_layer = {}
        for name, screen in self.screens.items():
            size = screen.shape[down], screen.shape[across]
            shape = PlanePyramid(np.broadcast_to(np.float32(0), size))
            step = (
                (1.0, 1.0)
                if native_step(self.sources, name) == (1.0, 1.0)
                else (1 / self.sources.factors[across], 1 / self.sources.factors[down])
            )
            by_layer[name] = [
                {
                    "x": 0,
                    "y": 0,
                    "width": shape.shape(k)[1],
                    "height": shape.shape(k)[0],
                    "step": [step[0] * 2**k, step[1] * 2**k],
                }
                for k in range(shape.levels)
            ]
        deepest = max(len(levels) for levels in by_layer.values())
        return [
            {name: levels[k] for name, levels in by_layer.items() if k < len(levels)}
            for k in reversed(range(deepest))
        ]

    def _sample(self, name: str) -> NDArray[np.float32]:
        """Rows from all over some slices, for the range and the stretch; of colours their mean."""
        screen = self.screens[name]
        depth, height, width = screen.shape
        slices = sorted({depth // 2, depth // 4, 3 * depth // 4})
        count = max(1, min(height, _SAMPLE_PIXELS // max(1, len(slices) * width * screen.channels)))
        rows = np.unique(np.linspace(0, height - 1, count).astype(int))
        band = slice(int(rows[0]), int(rows[-1]) + 1)
        parts = []
        with self.locks[name]:
            for z in slices:
                if len(rows) == height:
                    parts.append(screen.read(slice(z, z + 1), band, slice(None))[0])
                    continue
                parts += [
                    screen.read(slice(z, z + 1), slice(int(y), int(y) + 1), slice(None))[0] for y in rows
                ]
        values = np.concatenate(parts)
        values = values if values.ndim == 2 else values.mean(axis=-1)
        return values * np.float32(self.sources.share if name == "before" else 1)


def coding_of(samples: Sequence[NDArray], sources: Sources, shown: dict[str, Any]) -> Coding:
    """16 bits that hold more than the samples' range, since nobody has seen all pixels yet.

    Whole numbers of 16 bits or fewer are kept exactly. For the sky, on an asinh scale, a thousand times the range;
    otherwise its triple.
    """
    values = np.concatenate([np.ravel(sample) for sample in samples])
    values = values[np.isfinite(values)].astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    screens = [screen for screen in (sources.before, sources.after) if screen is not None]
    dtypes = [np.dtype(screen.source.dtype) for screen in screens]
    if sources.share == 1 and all(d.kind in "iub" and d.itemsize <= 2 for d in dtypes):
        limits = [np.iinfo(d) if d.kind != "b" else np.iinfo(np.uint8) for d in dtypes]
        low = max(min(int(limit.min) for limit in limits), np.floor(2 * low - high) - 1)
        top = min(max(int(limit.max) for limit in limits), low + _CODES - 1)
        fine = int((_CODES - 1) // max(top - low, 1))
        step = 1 / (1 << (fine.bit_length() - 1)) if fine > 1 else 1.0
        return Coding("linear", float(low), step, min(_CODES, int((top - low) / step) + 1))
    span = high - low or abs(high) or 1.0
    if sources.domain == "astronomy":
        asinh = (shown["zero"], shown["softening"])
        low -= 20 * shown["softening"] + 0.1 * span
        return Coding.between(low, high + 1000 * span, largest=_CODES, asinh=asinh)
    return Coding.between(low - span, high + span, largest=_CODES)


def _reach(samples: Sequence[NDArray], shown: dict[str, Any]) -> list[float]:
    """What the sliders of black and white reach: the sample's range, and what is shown at first."""
    if shown["curve"] == "linear" and not shown.get("presets"):  # a map of errors
        return [shown["black"], shown["white"]]
    ends = [shown["black"], shown["white"]]
    for sample in samples:
        good = sample[np.isfinite(sample)]
        ends += [float(good.min()), float(good.max())] if good.size else []
    return [min(ends), max(ends)]


def _within(value: int, count: int) -> int:
    if not 0 <= value < count:
        raise LookupError(value)
    return value
