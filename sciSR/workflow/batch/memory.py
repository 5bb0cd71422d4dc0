"""What a process and all that it has started hold in memory, seen from outside."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_LINUX = sys.platform.startswith("linux")
_HELD = ("RssAnon:", "RssShmem:", "VmSwap:")


def held_bytes(pid: int) -> int:
    """Memory that a process and its descendants hold, in bytes; 0 if it is gone or the system does not tell.

    On Linux this is their own and shared memory, with what was swapped out. Pages of mapped files are left out: the
    kernel takes them back whenever it needs them, so reading a large file through a map holds nothing.
    """
    return sum(_held(each) for each in family(pid))


def family(pid: int) -> list[int]:
    """A process and all of its descendants, parents first."""
    found = [pid]
    for each in found:  # grows while it is walked
        found += [child for child in children(each) if child not in found]
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are not yet gone."""
    if not _LINUX:
        return _children_elsewhere(pid)
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except FileNotFoundError:
        if not Path("/proc/self/task", str(os.getpid()), "children").exists():
            return _children_by_scan(pid)  # a kernel without that list
    except (OSError, ValueError):
        pass
    return found


def _children_by_scan(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name in brackets may hold anything; the parent is the second field after it.
                if int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry))
    return found


def _held(pid: int) -> int:
    if not _LINUX:
        return _held_elsewhere(pid)
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_HELD))


def _children_elsewhere(pid: int) -> list[int]:
    try:
        import psutil

        return [child.pid for child in psutil.Process(pid).children()]
    except Exception:  # no such library, no such process, not permitted
        return []


def _held_elsewhere(pid: int) -> int:
    try:
        import psutil

        return int(psutil.Process(pid).memory_info().rss)
    except Exception:
        return 0


def kernel_kills() -> int:
    """How many processes the kernel has killed for memory since the machine started; 0 if it does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def available_bytes() -> int | None:
    """Memory that can be taken without swapping, of the machine and of this process's control group."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for most, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            found.append(int(Path(most).read_text()) - int(Path(used).read_text()))
    return max(0, min(found)) if found else None
