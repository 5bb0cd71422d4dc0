"""A pipeline's items on a Dask cluster: drawn as workers get free, each delivered once."""

from __future__ import annotations

import contextlib
import queue
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import ResourceError, SciSRWarning
from sciSR.workflow.cluster.connect import Connection, connect
from sciSR.workflow.cluster.deliveries import Deliveries
from sciSR.workflow.cluster.fitness import Probe, check_settings, check_workers
from sciSR.workflow.cluster.remote import Orders, work_on
from sciSR.workflow.pipelines.work import ItemResult, Task

if TYPE_CHECKING:
    from sciSR.workflow.batch.watch import Watch
    from sciSR.workflow.pipelines.config import Limits

LOST = "lost"
_UNSEEN = 3
"""Times that an item is sent again whose workers were lost before they began with it."""
_RENEWALS = 5
"""Times that the scheduler may go away without one item finished in between."""


class ClusterExecutor:
    """Runs tasks on a cluster that is joined, or started for the run. A context manager.

    As many tasks are with the cluster as it has workers, so that none waits behind another that may take its worker
    down. Each is worked on in a process of its own below the worker, within the limits, and answers with a result of
    some hundred bytes. What a worker was at when it was lost is done again by another one; see
    :mod:`sciSR.workflow.cluster.deliveries` for why nothing is there twice then.

    Parameters
    ----------
    spec : str
        See :func:`sciSR.workflow.cluster.connect.connect`.
    limits : Limits
        Time, memory and retries of each item.
    logs : Path, optional
        Folder of the items' logs, on the shared file system.
    output : Path, optional
        Folder of the outputs; that of the first task by default.
    name : str
        Of the run's ledger, whose lock the caller holds.
    wait : float
        Seconds until a scheduler must answer (again) and a worker be there (again).
    """

    def __init__(
        self,
        spec: str,
        limits: Limits,
        *,
        logs: Path | None = None,
        output: Path | None = None,
        name: str = "ledger",
        wait: float = 60.0,
    ) -> None:
        self.spec = spec
        self.limits = limits
        self.logs = logs
        self.output = output
        self.name = name
        self.wait = wait
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """To the cluster; made when it is first asked for."""
        if self._connection is None:
            self._connection = connect(self.spec, wait=self.wait)
        return self._connection

    def run(self, tasks: Iterable[Task], watch: Watch | None = None) -> Iterator[ItemResult]:
        """Results as they come. Tasks are drawn as workers get free; closing the iterator ends the run.

        Raises
        ------
        UsageError
            Workers have other software or don't see the same files.
        ResourceError
            The scheduler or all workers are gone and don't come back. What is done is delivered; run again with
            ``--resume``.
        """
        tasks = iter(tasks)
        first = next(tasks, None)
        if first is None:
            return
        output = Path(first.output) if self.output is None else self.output
        deliveries = Deliveries.open(output, self.name)
        try:
            probe = Probe.write(deliveries.folder, first.input)
            check_workers(self.connection, probe)
            orders = Orders(
                output=str(deliveries.output),
                folder=str(deliveries.folder),
                limits=self.limits.model_dump(mode="json"),
                probe=probe.as_dict(),
                logs=None if self.logs is None else str(self.logs),
                threads=self.connection.threads,
                topic=f"scisr-{deliveries.folder.name}",
            )
            flight = _Flight(self.connection, deliveries, orders, tasks, watch)
            flight.again.append(first)
            try:
                yield from flight.results()
            finally:
                flight.cancel()
        finally:
            deliveries.close()

    def close(self) -> None:
        """Let go of the cluster; one that was started for this run ends."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> ClusterExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Flight:
    """One run's tasks on their way."""

    def __init__(
        self,
        connection: Connection,
        deliveries: Deliveries,
        orders: Orders,
        tasks: Iterator[Task],
        watch: Watch | None,
    ) -> None:
        self.connection = connection
        self.deliveries = deliveries
        self.orders = orders
        self.tasks = tasks
        self.watch = watch
        self.again: deque[Task] = deque()
        self.flying: dict[str, tuple[Any, Task]] = {}
        self.inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.unseen: Counter[str] = Counter()
        self.drawn_all = False
        self.width = 0
        self.alive = time.monotonic()
        self.looked = 0.0
        self.renewals = 0
        self.unfit: set[str] = set()
        self._listen()

    def results(self) -> Iterator[ItemResult]:
        """All of them, as they come."""
        while True:
            self._look()
            self._submit()
            if not self.flying and self.drawn_all and not self.again:
                return
            kind, told = self._next()
            if kind == "event":
                self._tell(told)
            elif kind == "future" and (result := self._landed(told)) is not None:
                self.renewals = 0
                yield result

    def cancel(self) -> None:
        """Nothing of this run is to be begun any more."""
        with contextlib.suppress(Exception):
            self.connection.client.cancel([future for future, _ in self.flying.values()], force=True)
        self.flying.clear()

    # -- sending --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """How many workers there are, now and then; without any, or without the scheduler, not for ever."""
        if self.connection.lost:
            self._renew()
        now = time.monotonic()
        if now - self.looked < 1.0 and self.width:
            return
        self.looked = now
        workers = len(self.connection.workers())
        self.width = max(workers, self.connection.expected)
        if workers:
            self.alive = now
        elif now - self.alive > self.connection.wait:
            raise self._over(f"there has been no worker for {self.connection.wait:.0f} s")

    def _submit(self) -> None:
        while len(self.flying) < self.width and (task := self._draw()) is not None:
            key = f"scisr-{uuid.uuid4().hex[:8]}-{task.key}"
            future = self.connection.client.submit(
                work_on, task.as_dict(), asdict(self.orders), key=key, pure=False
            )
            self.flying[key] = (future, task)
            future.add_done_callback(lambda done: self.inbox.put(("future", done.key)))

    def _draw(self) -> Task | None:
        if self.again:
            return self.again.popleft()
        task = None if self.drawn_all else next(self.tasks, None)
        self.drawn_all = task is None
        return task

    # -- hearing --------------------------------------------------------------------------------------------------

    def _next(self) -> tuple[str, Any]:
        with contextlib.suppress(queue.Empty):
            return self.inbox.get(timeout=0.5)
        return "nothing", None

    def _landed(self, key: str) -> ItemResult | None:
        """A task's result; None if it is to be sent again, or was."""
        future, task = self.flying.pop(key, (None, None))
        if future is None or task is None:
            return None
        if future.status == "finished":
            try:
                answer = future.result(timeout=60)
            except Exception:  # the worker that held the answer went with it: it is read from the delivery
                return self._send_again(task)
            if "unfit" in answer:
                return self._dismiss(answer, task)
            return ItemResult.from_dict(answer["result"])
        if future.status in ("cancelled", "lost"):  # the scheduler went away
            return self._send_again(task)
        return self._erred(future.exception(), task)

    def _send_again(self, task: Task) -> None:
        self.again.append(task)

    def _erred(self, error: Any, task: Task) -> ItemResult | None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            lost = self.deliveries.attempts(task.key)
            if not lost and self.unseen[task.key] < _UNSEEN:
                # It waited at workers that others took down.
                self.unseen[task.key] += 1
                return self._send_again(task)
            return _failed(task, LOST, f"the workers that were at it were lost, {max(lost, 1)} times", lost)
        kind = type(error).__name__
        return _failed(task, kind, f"could not be run on a worker: {kind}: {error}", 1)

    def _dismiss(self, answer: dict[str, str], task: Task) -> None:
        """A worker that came late has other software or other files: it is sent home."""
        address = answer["worker"]
        if address not in self.unfit:
            self.unfit.add(address)
            warnings.warn(
                f"the worker {address} is left out: it {answer['unfit']}", SciSRWarning, stacklevel=2
            )
        with contextlib.suppress(Exception):
            self.connection.client.retire_workers([address], close_workers=True)
        self.again.append(task)

    def _listen(self) -> None:
        self.connection.client.subscribe_topic(
            self.orders.topic, lambda event: self.inbox.put(("event", event[1]))
        )

    def _tell(self, event: dict[str, Any]) -> None:
        key = event["key"]
        if event["event"] == "started":
            if self.watch is not None:
                self.watch.started(key)
        elif self.watch is not None:
            self.watch.progress(key, event["fraction"])

    # -- a scheduler that goes away -------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Wait for the scheduler, then send again what was with it: what was delivered meanwhile is found as it is."""
        self.again.extend(task for _, task in self.flying.values())
        self.flying.clear()
        self.renewals += 1
        if self.renewals > _RENEWALS or not self.connection.renew():
            raise self._over("the scheduler is gone")
        check_settings(self.connection)
        self.alive, self.width = time.monotonic(), 0
        self._listen()

    def _over(self, what: str) -> ResourceError:
        left = len(self.again) + len(self.flying)
        return ResourceError(
            f"{what}; {left} items were begun and are not done{'' if self.drawn_all else ', others are waiting'}",
            where=self.connection.spec,
            remedy="what is done is in its place: run again with --resume",
        )


def _failed(task: Task, kind: str, message: str, attempts: int) -> ItemResult:
    text = " ".join(message.split())[:500]
    error = {"kind": kind, "message": f"{task.key}: {text}", "exit_code": 5, "step": ""}
    return ItemResult(task.key, "failed", error=error, attempts=max(attempts, 1))
