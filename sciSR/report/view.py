"""Images in a browser on this computer, whatever their size: what ``scisr view`` serves."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, SciSRWarning, UsageError
from sciSR.image import Image
from sciSR.report.page_facts import Facts, gather, sources_of
from sciSR.report.page_layout import Layout
from sciSR.report.server import Answer, LocalServer, NotThere
from sciSR.report.tile_pyramids import Pyramids
from sciSR.report.tiles import TileScene

_NUMBER = r"\d{1,7}"
_SCENES = 8  # volumes of a view that are remembered
_EDGE = 0.51  # output pixels by which corners of input and result may differ


@dataclass(eq=False)
class View:
    """One entry of the chooser: an image, or an input and a result.

    Attributes
    ----------
    name : str
    lead : str
        Sizes, unit and format in words.
    facts : Facts
    locks : mapping of str to threading.Lock
        By layer; files are read by one thread at a time.
    volumes : int
        How many there are (times, channels) to choose from.
    scenes : mapping of int to TileScene
        By volume, the last few that were looked at.
    """

    name: str
    lead: str
    facts: Facts
    locks: dict[str, threading.Lock]
    volumes: int = 1
    scenes: OrderedDict[int, TileScene] = field(default_factory=OrderedDict)


class Viewer:
    """Views of some files, and the routes of their server.

    Parameters
    ----------
    paths : sequence of Path
        One file: its images. Two: input and result, with a divider. More: the first with each other one that covers its
        field, and each of the rest alone.
    part : str, optional
        Which image, of files that hold several; all by default.
    volume : int
        Which one, of several volumes (time, channels).
    options : mapping, optional
        Of the formats, for reading.

    Raises
    ------
    SciSRError
        A file can't be read, or two do not belong together.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        part: str | None = None,
        volume: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not paths:
            raise UsageError("no file was given")
        if volume < 0:
            raise UsageError(f"volumes are counted from 0, not {volume}")
        self.pyramids = Pyramids()
        self._lock = threading.Lock()
        locks = {path.resolve(): threading.Lock() for path in paths}
        self.views: list[View] = []
        for facts in _pairs(paths, part, options):
            own = {"after": locks[facts.output.resolve()], "std": locks[facts.output.resolve()]}
            if facts.input is not None:
                own["before"] = locks[facts.input.resolve()]
            self.views.append(View(_name(facts), _lead(facts), facts, own, _volumes(facts)))
        if volume >= max(view.volumes for view in self.views):
            raise UsageError(f"there is no volume {volume}", where=paths[0], remedy="they are counted from 0")
        self._first = volume
        self.scene(0, volume)  # a file whose pixels can't be read is told before a browser opens

    def server(self, port: int = 0) -> LocalServer:
        """A server of these views; not yet answering.

        Raises
        ------
        UsageError
            The port is taken.
        """
        names = ("plane", "at", "level", "column", "row")
        where = [rf"(?P<{name}>{_NUMBER})" for name in names]
        view, volume = rf"(?P<view>{_NUMBER})", rf"(?P<volume>{_NUMBER})"
        layer = r"(?P<layer>[a-z]{1,10})"
        routes = {
            "": lambda: self._page("0", None, "."),
            f"{view}/": lambda view: self._page(view, None, ".."),
            f"{view}/{volume}/": lambda view, volume: self._page(view, volume, "../.."),
            "/".join([view, volume, "tile", layer, *where]): self._tile,
            "/".join([view, volume, "levels", layer, *where[:2]]): self._progress,
        }
        try:
            return LocalServer(routes, port=port)
        except (OSError, OverflowError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            raise UsageError(
                f"port {port} can't be used: {reason}", remedy="leave --port away to take one that is free"
            ) from problem

    def close(self) -> None:
        """Stop what still reads."""
        self.pyramids.close()

    def scene(self, number: int, volume: int) -> TileScene:
        """What is shown of a view.

        Raises
        ------
        LookupError
            No such view or volume.
        """
        if not (0 <= number < len(self.views) and 0 <= volume < self.views[number].volumes):
            raise LookupError((number, volume))
        view = self.views[number]
        with self._lock:
            if volume not in view.scenes:
                labels = ["Input", "Result"] if view.facts.before is not None else [view.name]
                sources = sources_of(view.facts, volume)
                view.scenes[volume] = TileScene(sources, self.pyramids, labels, view.locks)
                while len(view.scenes) > _SCENES:
                    view.scenes.popitem(last=False)
            view.scenes.move_to_end(volume)
            return view.scenes[volume]

    def _page(self, view: str, volume: str | None, up: str) -> Answer:
        from sciSR.report.view_page import page_of

        if int(view) >= len(self.views):
            raise NotThere
        chosen = min(self._first, self.views[int(view)].volumes - 1) if volume is None else int(volume)
        try:
            scene = self.scene(int(view), chosen)
        except LookupError:
            raise NotThere from None
        return page_of(self.views, int(view), chosen, scene, up)

    def _tile(self, view: str, volume: str, layer: str, **numbers: str) -> Answer:
        try:
            scene = self.scene(int(view), int(volume))
            body, exact = scene.tile(layer, **{name: int(text) for name, text in numbers.items()})
        except LookupError:
            raise NotThere from None
        return Answer(body, headers={"X-Scisr-Exact": "1" if exact else "0"})

    def _progress(self, view: str, volume: str, layer: str, plane: str, at: str) -> Answer:
        try:
            scene = self.scene(int(view), int(volume))
            return Answer.json(scene.progress(layer, int(plane), int(at)))
        except LookupError:
            raise NotThere from None


def _pairs(paths: Sequence[Path], part: str | None, options: Mapping[str, Any] | None) -> list[Facts]:
    """What stands with what."""
    if len(paths) == 1:
        return _all_parts(paths[0], None, part, options)
    found: list[Facts] = []
    alone: list[Facts] = []
    for path in paths[1:]:
        try:
            pairs = _all_parts(path, paths[0], part, options)
        except GeometryError as problem:
            if len(paths) == 2:
                raise
            warnings.warn(f"shown alone: {problem}", SciSRWarning, stacklevel=3)
            alone += _all_parts(path, None, part, options)
            continue
        for facts in pairs:
            shift = misplacement(facts)
            if shift is not None and shift > _EDGE:
                text = f"{facts.output_name} does not cover the field of {facts.input_name}"
                text += f": corners differ by {shift:.3g} pixels"
                warnings.warn(text, SciSRWarning, stacklevel=3)
                facts.notes.append(f"{text}.")
        found += pairs
    return found + alone


def _all_parts(
    output: Path, given: Path | None, part: str | None, options: Mapping[str, Any] | None
) -> list[Facts]:
    first = gather(output, given, part=part, options=options)
    parts = [part] if part is not None else list(dict.fromkeys(first.parts))
    if len(parts) == 1:
        facts = [first]
    else:
        facts = [first, *(gather(output, given, part=name, options=options) for name in parts[1:])]
    for each in facts:
        each.notes.clear()
    return facts


def misplacement(facts: Facts) -> float | None:
    """How far corners of the result lie from the input's, in output pixels, by both grids; None where unknown."""
    before, after = facts.before, facts.after
    if before is None or type(before.grid) is not type(after.grid):
        return None
    if before.grid.describe().get("type") == "pixel":
        return None
    corners = np.array(list(np.ndindex(*(2,) * len(before.shape))), np.float64)
    coarse = corners * np.array(before.shape) - 0.5
    fine = corners * np.array(after.shape) - 0.5
    keep = list(before.spatial_axes)
    if before.slice_axis is not None:
        keep.append(before.slice_axis)
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(after.grid.index(before.grid.world(coarse)))[:, keep] - fine[:, keep]
    except Exception:  # a projection that does not reach the corners
        return None
    return float(np.abs(found).max()) if np.isfinite(found).all() else None


def _volumes(facts: Facts) -> int:
    """The longest of the axes that are neither shown nor scrolled through."""
    return max([facts.after.shape[axis] for axis, _ in facts.layout().fixed], default=1)


def _name(facts: Facts) -> str:
    name = facts.output_name
    if len(facts.parts) > 1 and facts.after.part:
        name = f"{name}[{facts.after.part}]"
    return name if facts.before is None else f"{facts.input_name} → {name}"


def _lead(facts: Facts) -> str:
    layout = facts.layout()
    words = [_size(facts.after, layout)]
    if facts.before is not None:
        words = [f"{_size(facts.before, layout)} → {words[0]}"]
        factors = {Fraction(facts.factors[a]) for a in facts.after.spatial_axes}
        words.append("× " + " and ".join(f"{float(f):g}" for f in sorted(factors)))
    if facts.after.unit:
        words.append(facts.after.unit)
    return ", ".join(words)


def _size(image: Image, layout: Layout) -> str:
    """Columns, rows and slices as they are shown; how often, of several volumes."""
    depth, height, width = layout.shape(image)
    text = f"{width} × {height}" + (f" × {depth}" if depth > 1 else "") + " pixels"
    times = [(image.shape[axis], image.axes[axis]) for axis, _ in layout.fixed]
    return text + "".join(f", one of {n} along {name}" for n, name in times if n > 1)
