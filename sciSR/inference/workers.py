"""Threads that compute tiles side by side while the caller reads what comes next and writes what is done.

Each worker runs its tile on cores of its own, so nothing waits for the slowest core at the end of every layer, and
what is not the network (stretches, sums, rounding) runs on all cores too.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch

log = logging.getLogger("sciSR")

Given = TypeVar("Given")
Made = TypeVar("Made")

MOST = 8
"""Workers at most: each holds the activations of one tile."""

_TURN = 2e-4  # seconds

_WAITING = 1  # tasks of each worker that are read already and wait for it


class Workers:
    """A context manager.

    Parameters
    ----------
    count : int
        1 computes in the calling thread, with all of torch's threads.

    Notes
    -----
    torch's threads are shared out among the workers; how many there are is the caller's to say, by
    ``torch.set_num_threads`` or ``OMP_NUM_THREADS``.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._turns = sys.getswitchinterval()

    def __enter__(self) -> Self:
        if self.count > 1:
            total, started = torch.get_num_threads(), threading.Barrier(self.count + 1)

            def begin() -> None:
                torch.get_num_threads()  # a thread's first use of torch would undo what is set before it
                torch.set_num_threads(max(1, total // self.count))  # of this thread
                started.wait()

            # A worker that comes back from a kernel waits this long at most for its turn to start the next.
            self._turns = sys.getswitchinterval()
            sys.setswitchinterval(min(self._turns, _TURN))
            self._pool = ThreadPoolExecutor(self.count, "scisr-tile", initializer=begin)
            try:
                for _ in range(self.count):
                    self._pool.submit(int)
            except RuntimeError as error:  # the system gives no more threads: the calling one does it all
                log.warning("no threads to compute with: %s", error)
                started.abort()
                self.__exit__()
                return self
            started.wait()
            torch.set_num_threads(total)  # of this thread and of those that others start later
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            sys.setswitchinterval(self._turns)

    def in_order(self, function: Callable[[Given], Made], tasks: Iterable[Given]) -> Iterator[Made]:
        """``map(function, tasks)`` with a few tasks under way.

        Tasks are drawn in the calling thread, a few ahead of the result that it waits for. An exception of a task is
        raised where its result would have come; nothing further is begun then.
        """
        if self._pool is None:
            yield from map(function, tasks)
            return
        under_way: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                under_way.append(self._pool.submit(function, task))
                if len(under_way) >= (1 + _WAITING) * self.count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for each in under_way:
                each.cancel()
            for each in under_way:  # what has begun is let finish: it reads from what the caller frees next
                if not each.cancelled():
                    each.exception()


def how_many(device: torch.device, tasks: int) -> int:
    """Workers for so many tasks: one on an accelerator, which is itself parallel."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), MOST, tasks))
