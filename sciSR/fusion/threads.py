"""Work on independent parts in a few threads: NumPy and torch let go of the interpreter while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def workers() -> int:
    """Threads to use: those torch may use, and no more than there are cores for this process."""
    import torch

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), cores, 8))


def in_threads(work: Callable[[T], R], parts: Iterable[T], device: Any = None) -> list[R]:
    """``[work(part) for part in parts]``, several at a time on a CPU; results in order, the first error raised.

    Every part must be independent of the others: results do not depend on the number of threads.

    Parameters
    ----------
    work : callable
    parts : iterable
    device : torch.device, optional
        On anything but a CPU the parts run one after the other.
    """
    number = 1 if device is not None and device.type != "cpu" else workers()
    if number == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, parts))
