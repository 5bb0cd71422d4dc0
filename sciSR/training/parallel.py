"""A function over many jobs, in processes of their own if there are several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_AHEAD = 4


def each_in_order(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    setup: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results in the order of the jobs; only a few are made ahead, so that memory stays bounded.

    Parameters
    ----------
    function, jobs
        Of a module's top level, since processes are spawned, not forked.
    workers : int
        Processes; 0 or 1 (or a single job) works here.
    setup : callable, optional
        Called with `given` once in each process.
    """
    workers = min(workers, len(jobs))
    if workers < 2:
        if setup is not None:
            setup(*given)
        yield from map(function, jobs)
        return
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(setup, given)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _start(setup: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    if setup is not None:
        setup(*given)
