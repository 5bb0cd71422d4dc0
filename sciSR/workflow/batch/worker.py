"""One item in a process of its own: what the worker does, and how it tells."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from sciSR.errors import Terminated

TOLD = 143
"""Exit status of a worker that was told to end."""
_TELL_EVERY = 0.2


class Channel:
    """Lines of JSON to the supervisor."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._last = 0.0

    def tell(self, **message: Any) -> None:
        """One line; a supervisor that is gone ends the worker."""
        rest = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                while rest:
                    rest = rest[os.write(self._handle, rest) :]
            except OSError:
                os._exit(TOLD)

    def progress(self, fraction: float) -> None:
        """The fraction done; most of what comes in quick succession is left out."""
        now = time.monotonic()
        if now - self._last >= _TELL_EVERY or fraction >= 1:
            self._last = now
            self.tell(progress=float(fraction))


def work(request: Mapping[str, Any], handle: int) -> NoReturn:
    """Run the task of a request, tell its result and end this process.

    Parameters
    ----------
    request : mapping
        ``task``, ``threads``, ``memory`` (bytes or None), ``log`` (path or None), ``environment``, ``parent`` (id of
        the process without which this one ends).
    handle : int
        Descriptor of the channel to the supervisor.
    """
    channel = Channel(handle)
    status = 1
    try:
        end_with_parent(request["parent"])
        _redirect(request["log"])
        _prepare(request)
        channel.tell(started=os.getpid())
        result = _run(request["task"], channel)
        channel.tell(result=result)
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        # Not through the interpreter's end: threads and handlers that a library left behind could hang it.
        os._exit(status)


def _run(task: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    from sciSR.workflow.pipelines.running import run_task
    from sciSR.workflow.pipelines.work import Task

    return run_task(Task.from_dict(task), channel.progress, lambda step: channel.tell(step=step)).as_dict()


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone; Linux only."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # gone before the kernel was asked
        os._exit(TOLD)


def _redirect(log: str | None) -> None:
    """Whatever the worker or a library in C says goes to the item's log."""
    from sciSR.workflow.batch.logs import open_log

    try:
        handle = open_log(os.devnull if log is None else log)
    except OSError:  # no log is no reason to fail
        handle = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = open(number, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115 - until the end
        setattr(sys, name, stream)
    faulthandler.enable(file=2, all_threads=True)


def _prepare(request: Mapping[str, Any]) -> None:
    signal.signal(signal.SIGTERM, _told)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["environment"])
    _be_killed_first()
    _fence(request["memory"])
    _share(request["threads"])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.INFO)
    # Warnings of the item and the traceback of what nobody expected.
    logging.getLogger("sciSR.workflow.pipelines.running").setLevel(logging.DEBUG)


def _told(number: int, frame: FrameType | None) -> NoReturn:
    """Unwind once, so that temporary files go; who does not listen is killed soon."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated(TOLD)


def _be_killed_first() -> None:
    """Where the machine runs out of memory the kernel should take a worker, not its supervisor."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _fence(memory: int | None) -> None:
    """A second fence behind the watch from outside: an allocation far beyond the limit fails at once.

    It bounds what is reserved, not what is held, so it leaves room. CUDA reserves far more than it ever holds.
    """
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if memory is None or not sys.platform.startswith("linux") or os.path.exists("/dev/nvidiactl"):
        return
    with contextlib.suppress(OSError, ValueError, StopIteration, OverflowError):
        lines = Path("/proc/self/status").read_text().splitlines()
        reserved = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = reserved + 2 * memory + (1 << 30)
        if hard == resource.RLIM_INFINITY or wanted < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _share(threads: int) -> None:
    """This worker's share of the cores, for torch and for what it starts."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


def read_request(handle: int) -> dict[str, Any]:
    """The request in a file, from its start; closes it."""
    with open(handle, "rb") as stream:
        stream.seek(0)
        return dict(json.load(stream))
