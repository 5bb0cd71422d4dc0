"""What a killed run's workers had finished, and nobody had heard of: the ledger learns of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sciSR.workflow.cluster.deliveries import settled
from sciSR.workflow.pipelines.work import Task

if TYPE_CHECKING:
    from sciSR.workflow.batch.ledger import Ledger


def reclaim(ledger: Ledger, tasks: Iterable[Task]) -> int:
    """Record items that were delivered for an earlier run of this ledger, but not recorded when that run was killed.

    The ledger itself noted their inputs and parameters when they were begun, so that it judges them like all others
    afterwards: where either has changed since, they are done again, over their own outputs. After this, no worker of an
    earlier run can put anything into the output folder any more.

    Parameters
    ----------
    ledger : Ledger
        Open, so that no other run of its name is at work.
    tasks : iterable of Task
        All of the run that begins.

    Returns
    -------
    int
        Items that were recorded.
    """
    with settled(ledger.output, ledger.path.stem) as results:
        if not results:
            return 0
        by_key = {task.key: task for task in tasks}
        known = [result for result in results if result.key in by_key]
        for result in known:
            ledger.record(by_key[result.key], result)
    return len(known)
