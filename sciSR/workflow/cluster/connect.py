"""From what a user writes after ``--cluster`` to a connected client."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import ResourceError, UnreadableError, UsageError

if TYPE_CHECKING:
    from distributed import Client

    from sciSR.workflow.cluster.jobs import ClusterFile

KINDS = "tcp://host:8786, local:3, cuda, a scheduler file (.json) or a cluster file (.yaml)"
SATURATION = "distributed.scheduler.worker-saturation"
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://\S+")

SETTINGS = {
    # A worker is sent no second task while it has one: what waits at a worker that a poisonous task takes down counts
    # as suspicious too.
    SATURATION: 1.0,
    # Items run in processes of their own, so the loss of a worker is seldom an item's fault.
    "distributed.scheduler.allowed-failures": 3,
    # Workers have processes of their own below them.
    "distributed.worker.daemon": False,
    # No pages about what is being worked on, for whoever else is on this machine.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Work is never moved in memory; a worker's limit is that of its items.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
"""Of clusters that we start."""


class Connection:
    """A client, and the cluster that was started for it, if any. Ends both as a context manager.

    Parameters
    ----------
    spec : str
        What the user wrote; see :data:`KINDS`.
    wait : float
        Seconds until a scheduler must answer and a worker be there.

    Attributes
    ----------
    client : distributed.Client
    threads : int or None
        Of each item, where the cluster is ours; None: as the workers say.
    expected : int
        Workers that have been asked for; 0 if others decide that.
    """

    def __init__(self, spec: str, *, wait: float = 60.0) -> None:
        _need_distributed()
        self.spec = spec
        self.wait = wait
        self.threads: int | None = None
        self.expected = 0
        self._cluster: Any = None
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_quiet_logs())
        try:
            self._join(parse_spec(spec))
            self.wait_for_worker()
        except BaseException:
            self.close()
            raise

    @property
    def ours(self) -> bool:
        """Whether the cluster was started by us."""
        return self._cluster is not None

    def workers(self) -> dict[str, int]:
        """Addresses of the workers that are there now, and their threads; none where the scheduler is gone."""
        try:
            return {} if self.lost else dict(self.client.nthreads())
        except (OSError, TimeoutError, RuntimeError):
            return {}

    @property
    def lost(self) -> bool:
        """Whether the scheduler has gone; it may come back."""
        return self.client.status != "running"

    def renew(self) -> bool:
        """Connect again to a scheduler that went away, waiting for it and for a worker.

        Returns
        -------
        bool
            False if it has not come back in time.
        """
        self._end_client()
        if self.ours:
            return False
        try:
            self._join(parse_spec(self.spec))
            self.wait_for_worker()
        except ResourceError:
            return False
        return True

    def wait_for_worker(self) -> None:
        """Return when there is one.

        Raises
        ------
        ResourceError
            None came in time.
        """
        try:
            self.client.wait_for_workers(1, timeout=self.wait)
        except TimeoutError as error:
            raise ResourceError(
                f"no worker has come within {self.wait:.0f} s",
                where=self.spec,
                remedy="start some with 'dask worker ADDRESS --nthreads 1', or look into the queue",
            ) from error

    def close(self) -> None:
        """Let go of the scheduler; a cluster that we started ends."""
        self._end_client()
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=20)
            self._cluster = None
        self._quiet.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _end_client(self) -> None:
        client: Client | None = getattr(self, "client", None)
        if client is not None:
            with contextlib.suppress(Exception):
                client.close(timeout=5)

    def _join(self, target: str | Path | ClusterFile) -> None:
        from distributed import Client

        if not isinstance(target, str | Path):
            self._start(target)
        deadline = time.monotonic() + self.wait
        while True:
            left = max(deadline - time.monotonic(), 1.0)
            try:
                if self._cluster is not None:
                    self.client = Client(self._cluster, timeout=left, set_as_default=False)
                elif isinstance(target, Path):
                    self.client = Client(scheduler_file=str(target), timeout=left, set_as_default=False)
                else:
                    self.client = Client(target, timeout=left, set_as_default=False)
                return
            except (OSError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise ResourceError(
                        f"no scheduler answers within {self.wait:.0f} s",
                        where=self.spec,
                        remedy="is it running, and can this machine reach it?",
                    ) from error
                time.sleep(0.2)
            except ValueError as error:
                raise UsageError(f"can't connect: {error}", where=self.spec) from error

    def _start(self, file: ClusterFile) -> None:
        import dask

        from sciSR.workflow.cluster import jobs

        self.wait = max(self.wait, file.wait) if file.cluster in jobs.JOB_QUEUES else self.wait
        with dask.config.set(SETTINGS):
            if file.cluster == "local":
                self._cluster = start_local(file)
            elif file.cluster == "cuda":
                self._cluster = jobs.start_gpus(file)
            else:
                self._cluster = jobs.start_jobs(file)
        self.expected = file.workers or len(self._cluster.worker_spec)
        here = file.cluster in ("local", "cuda") and "cores" not in file.model_fields_set
        self.threads = max(1, _cores() // max(1, self.expected)) if here else file.cores


def connect(spec: str, *, wait: float = 60.0) -> Connection:
    """Join or start the cluster that a user names; for ``with connect(...) as connection: connection.client...``.

    Parameters
    ----------
    spec : str
        ``tcp://host:8786`` or ``tls://...`` of a running scheduler; its scheduler file (``.json``); ``local`` or
        ``local:3`` for workers on this machine; ``cuda`` for one worker a GPU on this machine; a cluster file
        (``.yaml``), see :class:`sciSR.workflow.cluster.jobs.ClusterFile`.
    wait : float
        Seconds until a scheduler must answer and a worker be there.

    Raises
    ------
    UsageError
        No such kind of cluster, or what it needs is not installed.
    ResourceError
        Nobody answers.
    """
    return Connection(spec, wait=wait)


def parse_spec(spec: str) -> str | Path | ClusterFile:
    """An address, a scheduler file, or what to start.

    Raises
    ------
    UsageError
    """
    from sciSR.workflow.cluster.jobs import ClusterFile, read_cluster_file

    text = spec.strip()
    if _ADDRESS.fullmatch(text):
        return text
    if found := re.fullmatch(r"(local|cuda)(?::([0-9]+))?", text):
        workers = int(found[2]) if found[2] else None
        if workers == 0:
            raise UsageError("a cluster of 0 workers", where=spec, remedy="give one or more, as in local:3")
        if found[1] == "cuda":
            return ClusterFile(cluster="cuda", workers=workers)
        return _local(workers)
    path = Path(text)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        if not path.is_file():
            raise UnreadableError("no such file", where=path)
        if path.suffix.lower() == ".json":
            return path
        file = read_cluster_file(path)
        if file.cluster != "local":
            return file
        return file.model_copy(update={"workers": file.workers or _local(None).workers})
    raise UsageError(f"{spec!r} is no cluster", remedy=f"give {KINDS}")


def start_local(file: ClusterFile) -> Any:
    """Workers on this machine that nobody outside of it can reach.

    Raises
    ------
    ResourceError
        They don't start.
    """
    from distributed import LocalCluster

    from sciSR.workflow.cluster.jobs import NO_PAGES

    arguments: dict[str, Any] = {
        "n_workers": file.workers,
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "scheduler_kwargs": NO_PAGES,
        "memory_limit": 0,
        "silence_logs": logging.CRITICAL,
        **file.options,
    }
    try:
        return LocalCluster(**arguments)
    except (RuntimeError, OSError, TimeoutError) as error:
        raise ResourceError(
            f"the workers don't start: {error}",
            remedy="in a script of your own, start runs below \"if __name__ == '__main__':\"",
        ) from error


def _local(workers: int | None) -> ClusterFile:
    from sciSR.workflow.cluster.jobs import ClusterFile

    return ClusterFile(cluster="local", workers=workers or max(1, _cores() // 2))


def _cores() -> int:
    from sciSR.workflow.batch.limits import core_count

    return core_count()


def _need_distributed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "clusters need Dask distributed", where="--cluster", remedy="pip install 'sciSR[cluster]'"
        ) from error


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """What the engine says about lost workers is said by us, in one line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
