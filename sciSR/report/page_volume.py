"""What a page shows of a volume or a stack: the whole reduced, and slices with native pixels as far as they fit.

One pass over the acquired slices collects all of it, so that no more than a slice and the reduced volume are held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.report.page_layout import Screen, block_mean
from sciSR.report.page_scene import Scene, Sources, describe_layers, read_layers

_SHARE = 0.4
"""Of the characters for pixels: what reduced volumes may take."""
_PER_VOXEL = 0.8
"""Characters, more or less."""
_LARGEST = 1023
"""Codes of a volume: finer than any screen."""
_AXES = "zyx"
_KEPT = 14
"""Native slices of each plane that does not follow the acquisition."""


def volume_scene(sources: Sources, budget: int, places: Sequence[dict[str, Any]] = ()) -> Scene:
    """A volume (three planes) or a stack of slices (one plane).

    Parameters
    ----------
    sources : Sources
        Of one channel.
    budget : int
        Characters for all pixels.
    places : sequence of dict
        Features, as :func:`sciSR.report.page_support.feature_places` gives them; the first picture shows one.
    """
    scene = Scene(sources.after.layout)
    start = _start(sources, places)
    steps = _steps(sources, budget)
    small = {name: _reduced(sources, name, steps) for name in _reducible(sources)}
    centre = _native(sources, "z", start["z"])
    sample = {**centre, **({"std": small["std"]} if "std" in small else {})}
    scene.layers = describe_layers(
        sources, sample, [small[n] for n in ("before", "after") if n in small], largest=_LARGEST
    )
    axes = "zyx" if sources.after.layout.is_volume else "z"
    main = "xyz"[sources.after.layout.main] if sources.after.layout.is_volume else "z"
    order = [main, *(a for a in axes if a != main)]
    for axis in order:
        scene.planes.append(_plane(sources, axis, start[axis], steps, small))
    for name, values in small.items():
        _add_volume(scene, name, values, steps)
    _add_native(scene, sources, order, start, budget)
    scene.pictures = _native(sources, main, start[main]) if main != "z" else centre
    shape = sources.input_shape
    reduced = "whole, at the input's voxels" if max(steps.values()) == 1 else "reduced"
    native = {(b["plane"], b["slice"]) for b in scene.blocks if b["layer"] == "after"}
    slices = sum(1 for plane, _ in native if plane == 0)
    scene.notes.append(
        f"The volume of {' × '.join(map(str, reversed(shape)))} input voxels is embedded {reduced}; native pixels of "
        f"{slices} of {scene.planes[0]['slices']} {scene.planes[0]['name']} slices around the one shown first"
        + (f" and of {len(native) - slices} slices of the other planes." if len(native) > slices else ".")
    )
    return scene


def _reducible(sources: Sources) -> list[str]:
    found = {"before": sources.before, "after": sources.after, "std": sources.std}
    return [name for name, screen in found.items() if screen is not None]


def _start(sources: Sources, places: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Output slices shown first: through the weakest feature, else through the middle."""
    weak = [p for p in places if not p["supported"]]
    shape, factors = sources.after.shape, sources.factors
    if weak:
        first = min(weak, key=lambda p: p["support"])
        found = {a: int(first[a] * f) for a, f in zip(_AXES, factors, strict=True)}
    else:
        found = {a: n // 2 for a, n in zip(_AXES, shape, strict=True)}
    return {a: min(max(found[a], 0), n - 1) for a, n in zip(_AXES, shape, strict=True)}


def _steps(sources: Sources, budget: int) -> dict[str, int]:
    """Input voxels per reduced voxel along each axis: small enough in all, voxels as near to cubes as can be."""
    shape = dict(zip(_AXES, sources.input_shape, strict=True))
    size = dict(zip(_AXES, sources.after.layout.pixel, strict=True))
    steps = dict.fromkeys(_AXES, 1)
    most = max(_SHARE * budget / (_PER_VOXEL * len(_reducible(sources))), 1000)

    def voxels() -> int:
        return int(np.prod([-(-shape[a] // steps[a]) for a in _AXES]))

    while voxels() > most:
        able = [a for a in _AXES if shape[a] // steps[a] > 8] or list(_AXES)
        finest = min(able, key=lambda a: (steps[a] * size[a], steps[a]))
        steps[finest] += 1
    return steps


def _screen(sources: Sources, name: str) -> tuple[Screen, tuple[float, float, float], float]:
    """A layer's pixels, their number per input pixel along Z, Y, X, and what its values are multiplied with."""
    if name == "before":
        assert sources.before is not None
        return sources.before, (1.0, 1.0, 1.0), sources.share
    screen = sources.after if name == "after" else sources.std
    assert screen is not None
    return screen, sources.factors, 1.0


def _reduced(sources: Sources, name: str, steps: dict[str, int]) -> NDArray[np.float32]:
    """Means over blocks of input voxels ``[z, y, x]``, slice by slice along the acquired slices."""
    screen, factors, share = _screen(sources, name)
    fine = [max(1, round(steps[a] * f)) for a, f in zip(_AXES, factors, strict=True)]
    through = 2 - screen.layout.main if screen.layout.is_volume else 0
    counts = [-(-n // s) for n, s in zip(sources.input_shape, steps.values(), strict=True)]
    out = np.full(counts, np.nan, np.float32)
    others = [k for k in range(3) if k != through]
    for k in range(counts[through]):
        box = [slice(None)] * 3
        box[through] = slice(k * fine[through], min((k + 1) * fine[through], screen.shape[through]))
        slab = np.moveaxis(screen.read(*box), through, 0)
        with np.errstate(invalid="ignore"):
            flat = slab[0] if len(slab) == 1 else _mean(slab)
        small = block_mean(flat, fine[others[0]], fine[others[1]])
        place: list[Any] = [slice(None)] * 3
        place[through] = k
        out[tuple(place)] = small[: counts[others[0]], : counts[others[1]]]
    return out * np.float32(share)


def _mean(slab: NDArray) -> NDArray:
    good = np.isfinite(slab)
    count = good.sum(0)
    total = np.where(good, slab, 0).sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan, np.float32), where=count > 0)


def _plane(
    sources: Sources, axis: str, start: int, steps: dict[str, int], small: dict[str, NDArray]
) -> dict[str, Any]:
    """What the viewer is told of the plane across one axis."""
    across, down = {"z": ("x", "y"), "y": ("x", "z"), "x": ("y", "z")}[axis]
    factor = dict(zip(_AXES, sources.factors, strict=True))
    size = dict(zip(_AXES, sources.input_shape, strict=True))
    fine = dict(zip(_AXES, sources.after.shape, strict=True))
    layout = sources.after.layout
    pixel = dict(zip(_AXES, layout.pixel, strict=True))
    name, sides = layout.slices, None
    if layout.is_volume:
        name, *both = layout.plane_names()["xyz".index(axis)]
        sides = [list(pair) for pair in both]
    shape = dict(zip(_AXES, next(iter(small.values())).shape, strict=True))
    extent = {
        **{"x": 0, "y": 0, "width": shape[across], "height": shape[down]},
        **{"step": [steps[across], steps[down]], "reduced": True},
    }
    native = {
        layer: {
            "x": 0,
            "y": 0,
            "width": round(size[across] * f[0]),
            "height": round(size[down] * f[1]),
            "step": [1 / f[0], 1 / f[1]],
        }
        for layer in ("before", "after", "std", "residual", "error")
        for f in [(1, 1) if layer in ("before", "residual") else (factor[across], factor[down])]
    }
    return {
        "name": name,
        "axis": axis,
        "sides": sides,
        "width": size[across],
        "height": size[down],
        "factor": [factor[across], factor[down]],
        "pixel": [pixel[across], pixel[down]],
        "slices": fine[axis],
        "sliceFactor": factor[axis],
        "levels": [dict.fromkeys(small, extent), native],
        "start": {"slice": start, "region": [0, 0, size[across], size[down]]},
    }


def _native(sources: Sources, axis: str, at: int) -> dict[str, NDArray]:
    """Native pixels of all layers in output slice `at` across an axis."""
    fz = sources.factors[0]
    if axis == "z":
        nz, ny, nx = sources.input_shape
        return read_layers(sources, min(int((at + 0.5) / fz), nz - 1), slice(0, ny), slice(0, nx), fine_z=at)
    found = {}
    for name in _reducible(sources):
        screen, _, share = _screen(sources, name)
        k = "zyx".index(axis)
        own = at if name != "before" else min(int((at + 0.5) / sources.factors[k]), screen.shape[k] - 1)
        box = [slice(None)] * 3
        box[k] = slice(own, own + 1)
        found[name] = screen.read(*box).squeeze(k) * np.float32(share)
    if sources.truth is not None:
        k = "zyx".index(axis)
        box = [slice(None)] * 3
        box[k] = slice(at, at + 1)
        found["error"] = found["after"] - sources.truth.read(*box).squeeze(k)
    return found


def _add_volume(scene: Scene, name: str, values: NDArray, steps: dict[str, int]) -> None:
    from sciSR.report.page_pixels import pack

    codes = scene.layers[name]["code"].encode(values)
    scene.volumes.append({"layer": name, "shape": list(codes.shape), "step": steps, "data": pack(codes)})


def _add_native(
    scene: Scene, sources: Sources, order: Sequence[str], start: dict[str, int], budget: int
) -> None:
    """Slices with native pixels: the first of each plane, then outward from it, until the budget is spent."""
    shape = dict(zip(_AXES, sources.after.shape, strict=True))
    queue = [(0, order[0], start[order[0]])]
    queue += [(p, axis, start[axis]) for p, axis in enumerate(order) if p]
    spread = max((shape[a] // _KEPT for a in order[1:]), default=1)
    for distance in range(1, max(shape.values())):
        for sign in (1, -1):
            at = start[order[0]] + sign * distance
            if 0 <= at < shape[order[0]]:
                queue.append((0, order[0], at))
        if distance <= _KEPT // 2:
            for p, axis in enumerate(order):
                for sign in (1, -1):
                    at = start[axis] + sign * distance * max(1, spread)
                    if p and 0 <= at < shape[axis]:
                        queue.append((p, axis, at))
    full: set[int] = set()
    for plane, axis, at in queue:
        if plane in full:
            continue
        blocks = len(scene.blocks)
        for name, values in _native(sources, axis, at).items():
            # Maps of errors are native in the slices shown first only.
            if name in scene.layers and (name in ("before", "after") or at == start[axis]):
                scene.add(name, plane, 1, at, values)
        if scene.size > budget:
            del scene.blocks[blocks:]
            full.add(plane)
        if len(full) == len(order):
            break
