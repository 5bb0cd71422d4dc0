"""Workers for all tests of this folder: what they are forked from takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sciSR.workflow.batch.worker_source import WorkerSource


@pytest.fixture(scope="session")
def source() -> Iterator[WorkerSource]:
    """Workers that know the hostile steps."""
    made = WorkerSource(("hostile_workers",))
    yield made
    made.close()
