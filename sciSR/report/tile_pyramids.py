"""Planes of images on a screen, and the pyramids of all that were looked at: bounded in memory, safe for threads."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.report.page_layout import Screen
from sciSR.report.pyramid import PlanePyramid
from sciSR.report.tile_cache import ByteCache

ALONG = {"z": 0, "y": 1, "x": 2}
"""Which display axis (0 Z, 1 Y, 2 X) slices are counted along."""
SIDES = {"z": (1, 2), "y": (0, 2), "x": (0, 1)}
"""Which display axes run down and across a plane of slices along an axis."""

_TILE_BYTES = 64 << 20
_LEVEL_BYTES = 160 << 20
_PLANES = 256  # of which the levels are remembered, large or small
_WAITING = 6  # planes that wait for their pass; older wishes are forgotten
_SLAB = 16  # neighbouring planes that are read together
_SLAB_BYTES = 64 << 20
_PATIENCE = 0.5  # seconds that a band of a pass waits for tiles that are asked for


class ScreenPlane:
    """One channel of one slice of a screen, along any display axis: two axes, rows first.

    Across the slices that a volume was acquired in, a plane cuts through all of its files. Some neighbours are then
    read with it and kept in `slabs`, under the screen's `name`: the slider is about to ask for them.
    """

    def __init__(
        self,
        screen: Screen,
        axis: str,
        at: int,
        channel: int | None,
        share: float,
        slabs: ByteCache,
        name: Hashable,
    ) -> None:
        self.screen, self.axis, self.at, self.channel, self.share = screen, axis, at, channel, share
        self.name = name
        down, across = SIDES[axis]
        self.shape = (screen.shape[down], screen.shape[across])
        self.dtype = np.dtype(np.float32)
        fits = 4 * _SLAB * self.shape[0] * self.shape[1] <= slabs.limit // 2
        cuts = screen.layout.is_volume and axis != "xyz"[screen.layout.main]
        self.slabs = slabs if fits and cuts else None

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.float32]:
        if self.slabs is None:
            box = [slice(self.at, self.at + 1)] * 3
            for axis, wanted in zip(SIDES[self.axis], index, strict=True):
                box[axis] = wanted
            values = self._flat(self.screen.read(*box), 0)
        else:
            values = self._flat(self._slab(self.slabs), self.at % _SLAB)[index]
        if self.channel is not None:
            values = values[..., self.channel]
        return values if self.share == 1 else values * np.float32(self.share)

    def _flat(self, values: NDArray, at: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = values[(*(slice(None),) * ALONG[self.axis], at)]
        return found

    def _slab(self, slabs: ByteCache) -> NDArray[np.float32]:
        key = (self.name, self.axis, self.at // _SLAB)
        slab = slabs.get(key)
        if slab is None:
            first = self.at // _SLAB * _SLAB
            box = [slice(None)] * 3
            box[ALONG[self.axis]] = slice(first, min(first + _SLAB, self.screen.shape[ALONG[self.axis]]))
            slab = np.ascontiguousarray(self.screen.read(*box))
            slabs.put(key, slab)
        return slab


class Pyramids:
    """The pyramids of all planes that were looked at, within a bound of memory; coarse levels are made in one thread.

    Shared by all views of a server. Safe for many threads.
    """

    def __init__(self) -> None:
        self.tiles = ByteCache(_TILE_BYTES)
        self.slabs = ByteCache(_SLAB_BYTES)
        self._planes: OrderedDict[Any, PlanePyramid] = OrderedDict()
        self._wishes: deque[PlanePyramid] = deque(maxlen=_WAITING)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._asked = 0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def of(self, key: Any, plane: ScreenPlane, lock: threading.Lock, *, labels: bool) -> PlanePyramid:
        with self._lock:
            found = self._planes.get(key)
            if found is None:
                found = self._planes[key] = PlanePyramid(plane, lock, labels=labels)
            self._planes.move_to_end(key)
            held = sum(each.nbytes for each in self._planes.values())
            while len(self._planes) > 1 and (held > _LEVEL_BYTES or len(self._planes) > _PLANES):
                held -= self._planes.popitem(last=False)[1].nbytes
            return found

    def wish(self, pyramid: PlanePyramid) -> None:
        """Have the coarse levels made, the latest wish first."""
        with self._lock:
            if pyramid in self._wishes or self._stopped:
                return
            self._wishes.append(pyramid)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="scisr-levels", daemon=True)
                self._thread.start()
        self._wake.set()

    @contextlib.contextmanager
    def in_front(self) -> Iterator[None]:
        """What is done within goes before the making of levels."""
        with self._idle:
            self._asked += 1
        try:
            yield
        finally:
            with self._idle:
                self._asked -= 1
                self._idle.notify_all()

    def _may_go_on(self) -> bool:
        """Waits, though not for long, while tiles are asked for."""
        with self._idle:
            self._idle.wait_for(lambda: not self._asked or self._stopped, timeout=_PATIENCE)
        return not self._stopped

    def close(self) -> None:
        """Stop making levels; returns when the thread has ended."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._stopped:
            with self._lock:
                pyramid = self._wishes[-1] if self._wishes else None
            if pyramid is None:
                self._wake.wait()
                self._wake.clear()
                continue
            try:
                pyramid.build(lambda: not self._may_go_on())
            except Exception:  # a damaged part of the file: its tiles say so, and the estimate stays
                pyramid.give_up()
            with self._lock:
                if pyramid in self._wishes:
                    self._wishes.remove(pyramid)
