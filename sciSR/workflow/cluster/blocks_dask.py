"""Blocks over a dask cluster: tiny orders out, tiny answers back, pixels straight to the shared disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sciSR.errors import ResourceError
from sciSR.workflow.cluster.blocks_pool import ATTEMPTS, raise_if_failed
from sciSR.workflow.cluster.blocks_worker import answer

_ONE_AT_A_TIME = threading.Lock()


def _answer(order: Mapping[str, Any], threads: int | None) -> dict[str, Any]:
    """In a worker: one block at a time, since its tiles have threads of their own."""
    with _ONE_AT_A_TIME:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        return answer(order)


class DaskBlocks:
    """Runs blocks as tasks of a :class:`distributed.Client`.

    Parameters
    ----------
    client : distributed.Client
        Of workers that see input and output under the same paths.
    ahead : int
        Tasks in the cluster for each of its threads; the rest waits here.
    threads : int, optional
        That a block computes with; by default as the worker has it.
    """

    def __init__(self, client: Any, *, ahead: int = 2, threads: int | None = None) -> None:
        self.client, self.ahead, self.threads = client, max(1, ahead), threads

    def run(self, orders: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """See :class:`sciSR.workflow.cluster.blocks_pool.BlockExecutor`; dask does a lost worker's blocks again."""
        from distributed import as_completed

        room = self.ahead * max(1, sum(self.client.nthreads().values()))
        waiting = iter(orders)
        running = as_completed([], loop=self.client.loop)
        orders_of: dict[Any, Mapping[str, Any]] = {}

        def more() -> None:
            while len(orders_of) < room and (order := next(waiting, None)) is not None:
                future = self.client.submit(_answer, order, self.threads, pure=False, retries=ATTEMPTS)
                orders_of[future] = order
                running.add(future)

        more()
        try:
            while orders_of:
                future = next(running)
                order = orders_of.pop(future)
                if future.status in ("cancelled", "lost"):
                    raise ResourceError(
                        "the scheduler is gone",
                        where=order["path"],
                        remedy="finished blocks are kept: the same command goes on with them",
                    )
                if future.status == "error":
                    raise ResourceError(
                        f"block {order['block']['number']} took its workers down: {future.exception()}",
                        where=order["path"],
                        remedy="give smaller blocks, or workers more memory",
                    )
                found = future.result()
                future.release()
                more()
                yield raise_if_failed(found)
        finally:
            with contextlib.suppress(Exception):  # of a scheduler that is gone
                self.client.cancel(list(orders_of))
