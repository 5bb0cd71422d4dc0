"""Freed arrays go back to the system."""

from __future__ import annotations

import contextlib
import sys

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt(3)


def return_freed_arrays() -> None:
    """Ask glibc to give back what was freed: its heaps fragment, and a fusion would hold half as much again as it uses.

    To be called between the large steps, where little is in use. No effect elsewhere than on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_ARENA_MAX, 1)  # one heap for all threads: each would keep its own leftovers
        libc.malloc_trim(0)
