"""How many items at a time, with how many threads each, for how long, and what is worth another attempt."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from sciSR.errors import UsageError
from sciSR.workflow.batch.memory import available_bytes
from sciSR.workflow.pipelines.config import Limits
from sciSR.workflow.pipelines.work import ItemResult

__all__ = ["Limits", "Patience", "core_count", "job_count", "passing", "visible_gpus"]

BYTES_EACH = 2_000_000_000
"""What ``jobs="auto"`` reckons for an item whose memory has no limit."""

_PASSING_KINDS = frozenset({"crash", "lost"})
_PASSING_ERRNOS = (
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
)
_PASSING_TEXTS = (*(os.strerror(number) for number in _PASSING_ERRNOS), "the disk is full")


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what; in seconds.

    Attributes
    ----------
    start : float
        For a worker to report, the imports of the first one included.
    exit : float
        For a worker that has answered to end.
    grace : float
        For a worker that was told to end to do so, before it is killed.
    dead : float
        For a killed worker to be gone: one that hangs in the kernel is given up.
    poll : float
        Between two looks at time and memory.
    pauses : tuple of float
        Before the second, third, ... attempt; the last one for all after it.
    """

    start: float = 180.0
    exit: float = 10.0
    grace: float = 3.0
    dead: float = 20.0
    poll: float = 0.05
    pauses: tuple[float, ...] = (1.0, 5.0, 20.0, 60.0)

    def pause(self, attempt: int) -> float:
        """Before the attempt after this one."""
        return self.pauses[min(attempt, len(self.pauses)) - 1] if self.pauses else 0.0


def passing(result: ItemResult) -> bool:
    """Whether a failure may pass by itself: a crash, a lost worker, a disk or network that failed or was full.

    What an item's content or parameters caused happens again, and so does reaching a limit.
    """
    if result.ok or result.error is None:
        return False
    if result.error.get("kind") in _PASSING_KINDS:
        return True
    message = str(result.error.get("message", ""))
    of_system = result.error.get("kind") in ("ResourceError", "UnreadableError")
    return of_system and any(text in message for text in _PASSING_TEXTS)


def core_count() -> int:
    """Cores that this process may use: of its affinity and its control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # none, or "max"
        pass
    return max(1, cores)


def visible_gpus() -> list[str]:
    """NVIDIA GPUs that workers may use, as ``CUDA_VISIBLE_DEVICES`` names them; found without touching them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [each.strip() for each in named.split(",") if each.strip() and each.strip() != "-1"]
    try:
        return [str(number) for number in range(len(os.listdir("/proc/driver/nvidia/gpus")))]
    except OSError:
        return []


def job_count(jobs: int | str, limits: Limits) -> int:
    """Items at a time: as given, or for ``"auto"`` one a GPU or else a core, as far as memory allows.

    Raises
    ------
    UsageError
    """
    if jobs == "auto":
        memory = available_bytes()
        room = core_count() if memory is None else memory // (limits.memory or BYTES_EACH)
        return max(1, min(len(visible_gpus()) or core_count(), core_count(), int(room)))
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise UsageError(f"jobs is {jobs!r}; expected a number from 1, or 'auto'")
    return jobs
