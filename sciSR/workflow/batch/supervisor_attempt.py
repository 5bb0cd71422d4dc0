"""One attempt at one item: a worker, watched until it is gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.workflow.batch.limits import Limits, Patience
from sciSR.workflow.batch.logs import bound_log
from sciSR.workflow.batch.memory import held_bytes, kernel_kills
from sciSR.workflow.batch.worker_source import Worker, WorkerSource
from sciSR.workflow.pipelines.work import ItemResult, Task

_LOG_EVERY = 1.0


@dataclass
class Ending:
    """What is known of how a worker ended.

    Attributes
    ----------
    result : ItemResult or None
        As it told.
    garbled : bool
        It said something that is no answer.
    stopped : str
        Why the supervisor stopped it: ``time``, ``memory``, ``start``, ``closed``; empty if it did not.
    status : int or None
        As ``wait`` gives it; None if the worker never started or its server was lost.
    told : str
        What kept it from starting.
    step : str
        In which the worker was, as it told last.
    held, peak : int
        Bytes when it was stopped, and the largest resident memory.
    seconds : float
    by_kernel : bool
        The kernel has killed something for memory meanwhile.
    """

    result: ItemResult | None = None
    garbled: bool = False
    stopped: str = ""
    status: int | None = None
    told: str = ""
    step: str = ""
    held: int = 0
    peak: int = 0
    seconds: float = 0.0
    by_kernel: bool = False


class Attempt:
    """Starts a worker for a task and watches it.

    Parameters
    ----------
    task : Task
    limits : Limits
    patience : Patience
    threads : int
        For this worker.
    log : Path or None
    progress : callable
        Takes the fraction done.
    closing : threading.Event
        Set where nobody wants the result any more.
    environment : mapping
        More variables for the worker.
    """

    def __init__(
        self,
        task: Task,
        limits: Limits,
        patience: Patience,
        threads: int,
        log: Path | None,
        progress: Callable[[float], None],
        closing: threading.Event,
        environment: Mapping[str, str],
    ) -> None:
        self.task, self.limits, self.patience = task, limits, patience
        self.log, self.progress, self.closing = log, progress, closing
        self.request = {
            "task": task.as_dict(),
            "threads": threads,
            "memory": limits.memory,
            "log": None if log is None else str(log),
            "environment": dict(environment),
        }
        self.ending = Ending()
        self.pid = 0
        self.gone = False
        self._begun = self._deadline = self._kill_at = self._bound_at = 0.0

    def run(self, source: WorkerSource) -> Ending:
        """Until the worker is gone, whatever it takes; its scratch is gone then too.

        Raises
        ------
        ResourceError
            No process can be started at all.
        """
        kills = kernel_kills()
        shutil.rmtree(self.task.scratch, ignore_errors=True)
        worker = source.start(self.request)
        self._begun = time.monotonic()
        self._deadline = self._begun + self.patience.start
        try:
            while not self.gone:
                self._step(worker, source)
        except BaseException:  # Ctrl-C in the thread that waits
            worker.signal(signal.SIGKILL)
            raise
        finally:
            worker.close()
            shutil.rmtree(self.task.scratch, ignore_errors=True)
        self.ending.seconds = time.monotonic() - self._begun
        self.ending.by_kernel = kernel_kills() > kills
        return self.ending

    def _step(self, worker: Worker, source: WorkerSource) -> None:
        found = worker.messages(self.patience.poll)
        if found is None:
            self.ending.told = source.last_words() or "the process that starts workers was killed"
            self.gone = True
            return
        for message in found:
            self._hear(message)
        if self.gone:
            return
        now = time.monotonic()
        if self._kill_at:
            self._insist(worker, now)
        elif reason := self._reason(now):
            self.ending.stopped = reason
            worker.signal(signal.SIGTERM)
            worker.signal(signal.SIGCONT)  # a worker that is stopped would not hear it
            self._kill_at = now + self.patience.grace
        if now >= self._bound_at:
            self._bound_at = now + _LOG_EVERY
            bound_log(self.log)

    def _insist(self, worker: Worker, now: float) -> None:
        if now >= self._kill_at:
            worker.signal(signal.SIGKILL)
        if now >= self._kill_at + self.patience.dead:  # hangs in the kernel, on a dead disk or network
            self.ending.told = "it could not be killed"
            self.gone = True

    def _reason(self, now: float) -> str:
        """Why the worker must be stopped now, if it must."""
        if self.closing.is_set():
            return "closed"
        if self.ending.result is not None:
            return "exit" if now >= self._deadline else ""
        if now >= self._deadline:
            return "time" if self.pid else "start"
        if self.pid and self.limits.memory is not None:
            held = held_bytes(self.pid)
            if held > self.limits.memory:
                self.ending.held = held
                return "memory"
        return ""

    def _hear(self, message: Mapping[str, Any]) -> None:
        if "ended" in message:
            self.ending.status = message["ended"]
            self.ending.peak = int(message.get("peak", 0))
            self.ending.told = str(message.get("error", ""))
            self.gone = True
        elif "started" in message and not self.pid:
            self.pid = int(message["started"])
            self._begun = time.monotonic()
            self._deadline = self._begun + (self.limits.time or float("inf"))
        elif "progress" in message:
            self.progress(min(max(float(message["progress"]), 0.0), 1.0))
        elif "step" in message:
            self.ending.step = str(message["step"])[:200]
        elif "result" in message:
            self._take(message["result"])
        else:
            self.ending.garbled = True

    def _take(self, values: Any) -> None:
        try:
            result = ItemResult.from_dict(values)
        except (TypeError, KeyError, AttributeError, ValueError):
            self.ending.garbled = True
            return
        if result.key != self.task.key:
            self.ending.garbled = True
            return
        self.ending.result = result
        self._deadline = time.monotonic() + self.patience.exit


def signal_name(status: int) -> str:
    """``"SIGSEGV"`` for a wait status of a process that a signal ended; empty otherwise."""
    if not os.WIFSIGNALED(status):
        return ""
    with contextlib.suppress(ValueError):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"signal {os.WTERMSIG(status)}"
