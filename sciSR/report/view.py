"""Images in a browser on this computer, whatever their size: what ``scisr view`` serves."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import GeometryError, SciSRWarning, UsageError
from sciSR.image import Image
from sciSR.report.page_facts import Facts, gather, sources_of
from sciSR.report.page_layout import Layout
from sciSR.report.server import Answer, LocalServer, NotThere
from sciSR.report.tiles import Pyramids, TileScene

_NUMBER = r"\d{1,7}"
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
    scene : TileScene or None
        Made when the view is first looked at.
    """

    name: str
    lead: str
    facts: Facts
    locks: dict[str, threading.Lock]
    volume: int = 0
    scene: TileScene | None = None


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
            self.views.append(View(_name(facts), _lead(facts), facts, own, volume))
        self.scene(0)  # a file whose pixels can't be read is told before a browser opens

    def server(self, port: int = 0) -> LocalServer:
        """A server of these views; not yet answering.

        Raises
        ------
        UsageError
            The port is taken.
        """
        names = ("plane", "at", "level", "column", "row")
        where = [rf"(?P<{name}>{_NUMBER})" for name in names]
        view, layer = rf"(?P<view>{_NUMBER})", r"(?P<layer>[a-z]{1,10})"
        routes = {
            "": lambda: self._page("0", "."),
            f"{view}/": lambda view: self._page(view, ".."),
            "/".join([view, "tile", layer, *where]): self._tile,
            "/".join([view, "levels", layer, *where[:2]]): self._progress,
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

    def scene(self, number: int) -> TileScene:
        view = self.views[number]
        with self._lock:
            if view.scene is None:
                labels = ["Input", "Result"] if view.facts.before is not None else [view.name]
                view.scene = TileScene(sources_of(view.facts, view.volume), self.pyramids, labels, view.locks)
            return view.scene

    def _found(self, view: str) -> TileScene:
        if int(view) >= len(self.views):
            raise NotThere
        return self.scene(int(view))

    def _page(self, view: str, up: str) -> Answer:
        from sciSR.report.view_page import page_of

        scene = self._found(view)
        return page_of(self.views, int(view), scene, up)

    def _tile(self, view: str, layer: str, **numbers: str) -> Answer:
        where = {name: int(text) for name, text in numbers.items()}
        scene = self._found(view)
        if layer not in scene.screens:
            raise NotThere
        try:
            body, exact = scene.tile(layer, **where)
        except LookupError:
            raise NotThere from None
        return Answer(body, headers={"X-Scisr-Exact": "1" if exact else "0"})

    def _progress(self, view: str, layer: str, plane: str, at: str) -> Answer:
        scene = self._found(view)
        if layer not in scene.screens:
            raise NotThere
        try:
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
