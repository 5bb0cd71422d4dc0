"""Items in worker processes of their own: what happens to one happens to no other."""

from __future__ import annotations

import atexit
import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sciSR import __version__
from sciSR.workflow.batch.ledger_journal import placed
from sciSR.workflow.batch.limits import Limits, Patience, core_count, job_count, passing, visible_gpus
from sciSR.workflow.batch.logs import add_to_log, begin_log, clean_log, log_path, result_without_names
from sciSR.workflow.batch.supervisor_attempt import Attempt
from sciSR.workflow.batch.supervisor_reasons import judged
from sciSR.workflow.batch.watch import NoWatch, Watch
from sciSR.workflow.batch.worker_preload import modules_for
from sciSR.workflow.batch.worker_source import WorkerSource
from sciSR.workflow.pipelines.work import ItemResult, Task

_shared: list[WorkerSource] = []
_sharing = threading.Lock()


class Closed(Exception):
    """Nobody wants the result any more."""


def supervise(
    task: Task,
    limits: Limits | None = None,
    *,
    watch: Watch | None = None,
    log: Path | None = None,
    threads: int | None = None,
    source: WorkerSource | None = None,
    closing: threading.Event | None = None,
    patience: Patience | None = None,
    environment: Mapping[str, str] | None = None,
) -> ItemResult:
    """Work on one item in a process of its own, which is watched, stopped at its limits and tried again if that helps.

    Parameters
    ----------
    task : Task
    limits : Limits, optional
        Time by the clock, memory held by the worker and all that it starts, and further attempts after a crash, a lost
        worker, or a disk or network that failed.
    watch : Watch, optional
        Called in this thread.
    log : Path, optional
        File for all that the worker says; replaced.
    threads : int, optional
        For the worker; all cores by default.
    source : WorkerSource, optional
        Where workers come from; one that all calls in this process share by default.
    closing : threading.Event, optional
        Set it from elsewhere to stop the worker.
    patience : Patience, optional
    environment : mapping, optional
        More variables for the worker.

    Returns
    -------
    ItemResult
        Failed with the error's ``kind`` ``timeout``, ``memory``, ``crash`` or ``lost`` where the worker did not answer.

    Raises
    ------
    Closed
        `closing` was set.
    """
    limits, watch, patience = limits or Limits(), watch or NoWatch(), patience or Patience()
    closing = closing or threading.Event()
    begin_log(log, task, f"sciSR {__version__}")
    watch.started(task.key)
    seconds = 0.0
    for number in range(1, limits.retries + 2):
        attempt = Attempt(
            task,
            limits,
            patience,
            threads or core_count(),
            log,
            partial(watch.progress, task.key),
            closing,
            environment or {},
        )
        ending = attempt.run(source or _shared_source(task))
        if closing.is_set() and ending.result is None:
            raise Closed(task.key)
        result = result_without_names(judged(ending, task, limits), task)
        seconds += result.seconds
        result = result.replace(attempts=number, seconds=round(seconds, 3))
        add_to_log(log, _last_line(result))
        if number > limits.retries or not passing(result):
            break
        if closing.wait(patience.pause(number)):
            raise Closed(task.key)
        add_to_log(log, f"attempt {number + 1} of {limits.retries + 1}")
        own = dict.fromkeys((*task.may_replace, *(file.path for file in placed(task))))
        task = dataclasses.replace(task, may_replace=tuple(own))
        watch.progress(task.key, 0.0)
    clean_log(log, task)
    watch.finished(result)
    return result


def _last_line(result: ItemResult) -> str:
    said = f"failed: {(result.error or {}).get('message')}" if result.error else result.status
    return f"{said} ({result.seconds:.1f} s, {result.peak_bytes / 1e6:.0f} MB)"


def _shared_source(task: Task) -> WorkerSource:
    with _sharing:
        if not _shared:
            _shared.append(WorkerSource(modules_for(task)))
            atexit.register(_shared[0].close)
        return _shared[0]


class ProcessExecutor:
    """Several items at a time, each in a worker process of its own.

    Parameters
    ----------
    jobs : int or "auto"
        Items at a time; each gets its share of the cores.
    limits : Limits, optional
        Of each item.
    logs : Path, optional
        Folder for one log an item.
    preload : sequence of str
        Modules to import in the process that workers come from, besides sciSR's own.
    patience : Patience, optional

    Raises
    ------
    UsageError
        `jobs` is no number from 1.
    """

    def __init__(
        self,
        jobs: int | str = 1,
        limits: Limits | None = None,
        logs: Path | None = None,
        *,
        preload: Iterable[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.jobs = job_count(jobs, self.limits)
        self.logs = logs
        self.preload = tuple(preload)
        self.patience = patience or Patience()

    def run(self, tasks: Iterable[Task], watch: Watch | None = None) -> Iterator[ItemResult]:
        """Results as they come. A task is drawn when a worker is free for it, so that the rest may be infinite.

        Closing the iterator, or an exception in the thread that reads it, stops all workers and removes their scratch.

        Parameters
        ----------
        tasks : iterable of Task
            Drawn in the thread that reads the results.
        watch : Watch, optional
            Called in that thread too.
        """
        run = _Running(self, watch or NoWatch())
        rest, more = iter(tasks), True
        try:
            while True:
                while more and len(run.threads) < self.jobs:
                    task = next(rest, None)
                    if task is None:
                        more = False
                    else:
                        run.start(task)
                if not run.threads:
                    return
                yield run.next_result()
        finally:
            run.close()


class _Running:
    """The items that workers have at the moment, each watched by a thread."""

    def __init__(self, executor: ProcessExecutor, watch: Watch) -> None:
        self.executor, self.watch = executor, watch
        self.source: WorkerSource | None = None
        self.threads: dict[str, threading.Thread] = {}
        self.closing = threading.Event()
        self.events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.share = max(1, core_count() // executor.jobs)
        self.gpus = visible_gpus()
        self.places: dict[str, int] = {}

    def start(self, task: Task) -> None:
        """Hand an item to a worker."""
        if self.source is None:  # what the first item needs, the others will need as well
            self.source = WorkerSource((*modules_for(task), *self.executor.preload))
        taken = set(self.places.values())
        self.places[task.key] = next(number for number in range(len(taken) + 1) if number not in taken)
        thread = threading.Thread(
            target=self._one, args=(task, self._environment(task.key)), name=f"scisr {task.key}", daemon=True
        )
        self.threads[task.key] = thread
        thread.start()

    def next_result(self) -> ItemResult:
        """Wait for an item to end, and tell the watch what happens meanwhile.

        Raises
        ------
        ResourceError
            No worker can be started.
        """
        while True:
            what, key, value = self.events.get()
            if what == "started":
                self.watch.started(key)
            elif what == "progress":
                self.watch.progress(key, value)
            else:
                self.threads.pop(key).join()
                del self.places[key]
                if what == "broken":
                    raise value
                self.watch.finished(value)
                return value

    def close(self) -> None:
        """Stop all workers; returns when they are gone."""
        self.closing.set()
        for thread in self.threads.values():
            thread.join()
        if self.source is not None:
            self.source.close()

    def _environment(self, key: str) -> dict[str, str]:
        """Of several GPUs each worker sees one, and no two see the same as far as there are enough."""
        if len(self.gpus) < 2:
            return {}
        return {"CUDA_VISIBLE_DEVICES": self.gpus[self.places[key] % len(self.gpus)]}

    def _one(self, task: Task, environment: Mapping[str, str]) -> None:
        executor = self.executor
        try:
            result = supervise(
                task,
                executor.limits,
                watch=_Relay(self.events),
                log=log_path(executor.logs, task.key),
                threads=self.share,
                source=self.source,
                closing=self.closing,
                patience=executor.patience,
                environment=environment,
            )
        except BaseException as problem:
            self.events.put(("broken", task.key, problem))
        else:
            self.events.put(("result", task.key, result))


class _Relay:
    """Carries what a watching thread sees to the thread that reads the results."""

    def __init__(self, events: queue.SimpleQueue[tuple[Any, ...]]) -> None:
        self.events = events

    def started(self, key: str) -> None:
        """To the other thread."""
        self.events.put(("started", key, None))

    def progress(self, key: str, fraction: float) -> None:
        """To the other thread."""
        self.events.put(("progress", key, fraction))

    def finished(self, result: ItemResult) -> None:
        """Said with the result itself."""
