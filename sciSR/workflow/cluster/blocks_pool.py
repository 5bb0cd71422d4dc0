"""Worker processes of this machine for blocks: each block is done by somebody, whoever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from sciSR import errors
from sciSR.errors import ResourceError, SciSRError

ATTEMPTS = 3
"""How often a block may take a worker down before the run gives up."""


class BlockExecutor(Protocol):
    """Whatever runs blocks: this machine's processes, or a cluster."""

    def run(self, orders: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Answers of :func:`sciSR.workflow.cluster.blocks_worker.run_block`, as they come.

        Raises
        ------
        SciSRError
            A block failed; the others may be done or not.
        """
        ...


def raise_if_failed(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer; or the error that it tells of."""
    if "error" not in answer:
        return answer
    name, what, where, remedy = answer["error"]
    kind = getattr(errors, name, SciSRError)
    raise kind(what, where=where, remedy=remedy)


class _Worker:
    """One process; started when first used, and again when it died."""

    def __init__(self, threads: int, timeout: float | None) -> None:
        self._threads, self._timeout = threads, timeout
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def ask(self, order: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The answer; None if the process died over it, or was killed because none came in time."""
        if self._process is None:
            environment = os.environ | {
                "SCISR_BLOCK_THREADS": str(self._threads),
                "OMP_NUM_THREADS": str(self._threads),
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sciSR.workflow.cluster.blocks_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        watch = None if self._timeout is None else threading.Timer(self._timeout, process.kill)
        if watch is not None:
            watch.daemon = True
            watch.start()
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""
        finally:
            if watch is not None:
                watch.cancel()
        if line.endswith("\n"):
            answer: Mapping[str, Any] = json.loads(line)
            return answer
        self.stop()
        return None

    def stop(self, *, at_once: bool = False) -> None:
        """End the process: its stdin ends, and it with it; `at_once` kills it."""
        process, self._process = self._process, None
        if process is None:
            return
        if at_once:
            process.kill()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class LocalWorkers:
    """Blocks by several processes of this machine.

    Parameters
    ----------
    count : int
        Processes.
    threads : int, optional
        Threads of each; by default the cores are shared out.
    timeout : float, optional
        Seconds after which a worker that does not answer is killed, and its block done again. Starting a worker counts.
    """

    def __init__(self, count: int, threads: int | None = None, timeout: float | None = None) -> None:
        self.count = max(1, count)
        self.threads = threads or max(1, (os.cpu_count() or 1) // self.count)
        self._workers = [_Worker(self.threads, timeout) for _ in range(self.count)]

    @property
    def pids(self) -> list[int]:
        """Processes that live."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def run(self, orders: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """See :class:`BlockExecutor`; a block whose worker died is done again by a new one, three times at most."""
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            free.put(worker)
        stopped = threading.Event()

        def one(order: Mapping[str, Any]) -> Mapping[str, Any]:
            worker = free.get()
            try:
                for _ in range(ATTEMPTS):
                    if stopped.is_set():
                        break
                    answer = worker.ask(order)
                    if answer is not None:
                        return raise_if_failed(answer)
            finally:
                free.put(worker)
            raise ResourceError(
                f"block {order['block']['number']} took its worker process down {ATTEMPTS} times",
                where=order["path"],
                remedy="give smaller blocks or fewer workers: the memory may not suffice",
            )

        waiting = iter(orders)
        finished = False
        with ThreadPoolExecutor(self.count, thread_name_prefix="scisr-blocks") as threads:
            pending: set[Future[Mapping[str, Any]]] = set()
            try:
                while True:
                    while len(pending) < self.count and (order := next(waiting, None)) is not None:
                        pending.add(threads.submit(one, order))
                    if not pending:
                        finished = True
                        return
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for each in done:
                        yield each.result()
            finally:
                stopped.set()
                for worker in self._workers:
                    worker.stop(at_once=not finished)
