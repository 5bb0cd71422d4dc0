"""What a worker's end means for its item: the result that it told, or a failure with its name and reason."""

from __future__ import annotations

import os

from sciSR.errors import ResourceError, SciSRError
from sciSR.workflow.batch.limits import Limits
from sciSR.workflow.batch.supervisor_attempt import Ending, signal_name
from sciSR.workflow.pipelines.work import ItemResult, Task

_NATIVE = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGSYS", "SIGTRAP")


def judged(ending: Ending, task: Task, limits: Limits) -> ItemResult:
    """The item's result, as the worker told it or as its end says."""
    if ending.result is not None:
        # The answer counts, also of a worker that then did not end or crashed while ending: outputs are in place.
        return ending.result.replace(peak_bytes=max(ending.peak, ending.result.peak_bytes))
    kind, error = _reason(ending, task.key, limits)
    return ItemResult(
        key=task.key,
        status="failed",
        error={"kind": kind, "message": str(error), "exit_code": error.exit_code, "step": ending.step},
        seconds=round(ending.seconds, 3),
        peak_bytes=max(ending.peak, ending.held),
    )


def _reason(ending: Ending, key: str, limits: Limits) -> tuple[str, SciSRError]:
    if ending.stopped == "time":
        return "timeout", ResourceError(
            f"took longer than {seconds_text(limits.time or 0)} and was stopped",
            where=key,
            remedy="raise the limit of time (limits: time, --time-limit), or give it a smaller input",
        )
    if ending.stopped == "memory":
        return "memory", ResourceError(
            f"held {bytes_text(ending.held)} of memory, the limit is {bytes_text(limits.memory or 0)}, and was stopped",
            where=key,
            remedy="raise the limit (limits: memory, --memory-limit), or give its steps a smaller tile",
        )
    if ending.stopped == "start":
        return "lost", ResourceError("its worker process did not start in time", where=key, remedy=_AGAIN)
    if ending.status is None:
        why = f": {ending.told}" if ending.told else ""
        return "lost", ResourceError(f"its worker process was lost{why}", where=key, remedy=_AGAIN)
    return _by_status(ending, ending.status, key)


_AGAIN = "run again with --resume"


def _by_status(ending: Ending, status: int, key: str) -> tuple[str, SciSRError]:
    name = signal_name(status)
    if name in _NATIVE:
        return "crash", SciSRError(
            f"crashed in native code ({name})",
            where=key,
            remedy="its log says where; the file may be damaged in a way that a codec does not survive",
        )
    if name == "SIGKILL":
        by = "killed by the kernel for memory" if ending.by_kernel else "killed, most likely for memory"
        return "crash", ResourceError(
            f"{by} (SIGKILL; it held {bytes_text(ending.peak)} at most)",
            where=key,
            remedy="give fewer --jobs, a limit of memory, or a smaller tile",
        )
    if name:
        return "crash", SciSRError(f"its worker process was ended by {name}", where=key, remedy=_AGAIN)
    code = os.waitstatus_to_exitcode(status)
    if ending.garbled:
        return "lost", SciSRError(
            "its worker's answer can't be read", where=key, remedy="its log may say more"
        )
    return "crash", SciSRError(
        f"its worker process ended with exit code {code} and no answer",
        where=key,
        remedy="its log may say why",
    )


def seconds_text(seconds: float) -> str:
    """``90`` -> ``"90 s"``, ``1800`` -> ``"30 min"``."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def bytes_text(number: float) -> str:
    """``8e9`` -> ``"8 GB"``."""
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"
