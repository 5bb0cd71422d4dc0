"""What runs in a cluster's worker: one item in a process of its own, its outputs delivered once."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import ResourceError, SciSRError
from sciSR.workflow.batch.ledger_privacy import without_names
from sciSR.workflow.cluster.deliveries import FILES, Deliveries
from sciSR.workflow.cluster.fitness import problem
from sciSR.workflow.pipelines.config import Limits
from sciSR.workflow.pipelines.results import failure
from sciSR.workflow.pipelines.work import ItemResult, Task

_ONE_AT_A_TIME = threading.Lock()
"""Of a worker with several threads, too: limits and threads are those of one item."""
_BETWEEN_EVENTS = 1.0
"""Seconds: progress is told no more often."""
_BETWEEN_LOOKS = 2.0
"""Seconds between two looks whether the run is still there."""
_fit: set[str] = set()


@dataclass(frozen=True)
class Orders:
    """What all tasks of a run have in common; JSON-ready fields only.

    Attributes
    ----------
    output, folder : str
        Of :class:`~sciSR.workflow.cluster.deliveries.Deliveries`.
    limits : mapping
        Of :class:`~sciSR.workflow.pipelines.config.Limits`.
    probe : mapping
        Of :class:`~sciSR.workflow.cluster.fitness.Probe`.
    logs : str or None
        Folder of the items' logs.
    threads : int or None
        That an item computes with; None: as the worker says.
    topic : str
        Of the events.
    """

    output: str
    folder: str
    limits: Mapping[str, Any]
    probe: Mapping[str, str]
    logs: str | None
    threads: int | None
    topic: str


def work_on(told: dict[str, Any], orders: dict[str, Any]) -> dict[str, Any]:
    """One item. Called by Dask, perhaps again, perhaps twice at once.

    Parameters
    ----------
    told : dict
        A Task.
    orders : dict
        Of :class:`Orders`.

    Returns
    -------
    dict
        ``{"result": ItemResult}``, or ``{"unfit": why, "worker": address}`` where nothing was done.
    """
    task, run = Task.from_dict(told), Orders(**orders)
    watch = _Events(run.topic)
    if run.folder not in _fit:
        # Workers that came after the run had begun have not been looked at yet.
        if (why := problem(dict(run.probe))) is not None:
            return {"unfit": why, "worker": watch.worker}
        _fit.add(run.folder)
    deliveries = Deliveries(Path(run.output), Path(run.folder))
    with _ONE_AT_A_TIME:
        try:
            result = deliveries.delivered(task.key) or _attempt(task, run, deliveries, watch)
        except SciSRError as error:
            result = failure(task.key, error)
    return {"result": without_names(result, task).as_dict()}


def _attempt(task: Task, run: Orders, deliveries: Deliveries, watch: _Events) -> ItemResult:
    from sciSR.workflow.batch.logs import log_path
    from sciSR.workflow.batch.supervisor import Closed, supervise

    attempt = deliveries.attempt(task.key)
    inside = dataclasses.replace(
        task,
        output=str(attempt / FILES),
        scratch=str(attempt / "scratch"),
        overwrite=False,
        may_replace=(),
    )
    try:
        with _until_the_run_ends(deliveries) as ended:
            result = supervise(
                inside,
                Limits.model_validate(run.limits),
                watch=watch,
                log=log_path(None if run.logs is None else Path(run.logs), task.key),
                threads=run.threads or watch.threads,
                closing=ended,
            )
        result = _as_planned(result, attempt, task)
        if not result.ok:
            return result
        shutil.rmtree(attempt / "scratch", ignore_errors=True)
        return deliveries.deliver(task, without_names(result, task), attempt)
    except Closed as error:
        raise ResourceError("the run that this belongs to has ended", where=task.key) from error
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


@contextlib.contextmanager
def _until_the_run_ends(deliveries: Deliveries) -> Iterator[threading.Event]:
    """An event that is set when the run is over, so that nobody computes for hours what nobody waits for."""
    ended, done = threading.Event(), threading.Event()

    def look() -> None:
        while not done.wait(_BETWEEN_LOOKS):
            if not deliveries.still_open:
                ended.set()
                return

    thread = threading.Thread(target=look, name="sciSR run", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        done.set()
        thread.join()


def _as_planned(result: ItemResult, attempt: Path, task: Task) -> ItemResult:
    """Messages name the output folder, not the attempt's."""
    if result.error is None:
        return result
    message = str(result.error.get("message", "")).replace(str(attempt / FILES), task.output)
    return result.replace(error={**result.error, "message": message})


class _Events:
    """A watch that tells the scheduler, which tells the client."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.worker = ""
        self.threads: int | None = None
        self._tell: Any = None
        self._last = 0.0
        with contextlib.suppress(ImportError, ValueError):  # called outside of a worker, by a test
            from distributed import get_worker

            worker = get_worker()
            self.worker, self._tell = worker.address, worker.log_event
            self.threads = _threads_of(worker.state.nthreads)

    def started(self, key: str) -> None:
        """An attempt begins."""
        self._event({"key": key, "event": "started", "worker": self.worker})

    def progress(self, key: str, fraction: float) -> None:
        """At most one event a second."""
        now = time.monotonic()
        if now - self._last >= _BETWEEN_EVENTS:
            self._last = now
            self._event({"key": key, "event": "progress", "fraction": float(fraction)})

    def finished(self, result: ItemResult) -> None:
        """The client hears of it with the result."""

    def _event(self, event: dict[str, Any]) -> None:
        if self._tell is not None:
            with contextlib.suppress(Exception):  # events are for the eye only
                self._tell(self.topic, event)


def _threads_of(workers_threads: int) -> int | None:
    """As many as the worker has; with one, as many as its environment says, which is one below a nanny of Dask's."""
    if workers_threads > 1:
        return workers_threads
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(told) if told.isdecimal() and int(told) else None
