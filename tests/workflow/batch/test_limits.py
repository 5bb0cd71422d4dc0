"""Items at a time, what is worth another attempt, and memory seen from outside."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.workflow.batch.limits import Limits, Patience, core_count, job_count, passing
from sciSR.workflow.batch.memory import family, held_bytes
from sciSR.workflow.pipelines.work import ItemResult


def failed(kind: str, message: str = "") -> ItemResult:
    return ItemResult(key="a", status="failed", error={"kind": kind, "message": message, "exit_code": 3})


@given(memory=st.integers(min_value=1, max_value=10**15))
def test_auto_is_between_one_and_the_cores_and_fits_memory(memory: int) -> None:
    jobs = job_count("auto", Limits(memory=memory))
    assert 1 <= jobs <= core_count()
    assert jobs <= job_count("auto", Limits(memory=max(1, memory // 2)))


@pytest.mark.parametrize("kind", ["crash", "lost"])
def test_crashes_and_lost_workers_may_pass(kind: str) -> None:
    assert passing(failed(kind))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_failing_disks_and_networks_may_pass(number: int) -> None:
    assert passing(failed("ResourceError", f"a.fits: can't be written: {os.strerror(number)}"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("timeout", "took too long"),
        ("memory", "held too much"),
        ("UnreadableError", "truncated"),
        ("UsageError", os.strerror(errno.EIO)),
        ("ResourceError", "out of memory"),
        ("SciSRError", "unexpected RuntimeError"),
    ],
)
def test_what_happens_again_is_not_tried_again(kind: str, message: str) -> None:
    assert not passing(failed(kind, message))


def test_success_is_not_tried_again() -> None:
    assert not passing(ItemResult(key="a", status="done"))


@given(st.integers(min_value=1, max_value=20))
def test_pauses_never_get_shorter(attempt: int) -> None:
    assert 0 <= Patience().pause(attempt) <= Patience().pause(attempt + 1)
    assert Patience(pauses=()).pause(attempt) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tells mapped files apart on Linux only")
def test_memory_counts_what_children_hold_and_leaves_mapped_files_out() -> None:
    code = "held = b'x' * (200 << 20); print('ready', flush=True); input()"
    before = held_bytes(os.getpid())
    with (
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
        tempfile.TemporaryFile() as stream,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(os.getpid())
        with_child = held_bytes(os.getpid())
        assert with_child - before > 190 << 20
        stream.truncate(200 << 20)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert sum(mapped[:: mmap.PAGESIZE]) == 0
            assert held_bytes(os.getpid()) - with_child < 100 << 20
        child.communicate(b"\n")
    assert held_bytes(child.pid) == 0
    assert Path("/proc/self").exists()
