"""Two runs never work on one folder; a dead one never keeps the next one out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sciSR.errors import ResourceError, UsageError
from sciSR.workflow.batch import lock as lock_module
from sciSR.workflow.batch.lock import STALE, RunLock, held_by

CHILD = Path(__file__).with_name("held_lock.py")
MODES = pytest.mark.parametrize("network", [False, True], ids=["local", "network"])

Holder = subprocess.Popen[str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    """Start a process that takes the lock and says so."""
    started: list[Holder] = []

    def begin(name: str = "ledger", network: bool = False) -> Holder:
        words = [sys.executable, str(CHILD), str(tmp_path), name, "network" if network else "local"]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def said(process: Holder) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@MODES
def test_another_process_is_named_and_its_death_frees_the_folder(
    network: bool, start: Callable[..., Holder], tmp_path: Path
) -> None:
    holder = start(network=network)
    assert said(holder) == "held"
    with pytest.raises(UsageError) as refused:
        RunLock(tmp_path, "ledger", network=network).acquire()
    assert f"process {holder.pid} on {socket.gethostname()}, since " in str(refused.value)
    assert held_by(tmp_path / "ledger.lock")
    holder.kill()
    holder.wait()
    with RunLock(tmp_path, "ledger", network=network) as lock:
        lock.check()
    assert list(tmp_path.glob("*.lock")) == []
    assert held_by(tmp_path / "ledger.lock") is None


@MODES
def test_of_many_that_start_at_once_one_gets_it(
    network: bool, start: Callable[..., Holder], tmp_path: Path
) -> None:
    holders = [start(network=network) for _ in range(6)]
    answers = [said(holder) for holder in holders]
    assert answers.count("held") == 1
    assert all(answer == "held" or "another run is at work here" in answer for answer in answers)


@pytest.mark.parametrize("first", [False, True])
def test_a_folder_reached_in_two_ways(first: bool, start: Callable[..., Holder], tmp_path: Path) -> None:
    """One run on the file server's own disk, one over the network."""
    assert said(start(network=first)) == "held"
    with pytest.raises(UsageError, match="another run is at work"):
        RunLock(tmp_path, "ledger", network=not first).acquire()


@MODES
def test_shards(network: bool, start: Callable[..., Holder], tmp_path: Path) -> None:
    assert said(start("ledger-1-of-2", network)) == "held"
    assert said(start("ledger-2-of-2", network)) == "held"
    assert "(shard 1/2)" in said(start("ledger", network))
    assert "(shard 1/2)" in said(start("ledger-1-of-3", network))


@contextmanager
def elsewhere(folder: Path, age: float) -> Iterator[Path]:
    """The lock file of a run on another machine, which last showed life `age` seconds ago."""
    path = folder / "ledger.lock"
    told = {"pid": 1, "host": "node17", "start": 1.7e9, "token": "theirs", "network": True}
    path.write_text(json.dumps(told))
    os.utime(path, (time.time() - age, time.time() - age))
    yield path


def test_another_machine_is_believed_as_long_as_it_shows_life(tmp_path: Path) -> None:
    with (
        elsewhere(tmp_path, age=STALE / 3),
        pytest.raises(UsageError, match="process 1 on node17, since 2023"),
    ):
        RunLock(tmp_path, "ledger", network=True).acquire()
    with elsewhere(tmp_path, age=STALE * 2), RunLock(tmp_path, "ledger", network=True) as lock:
        lock.check()


def test_a_run_that_slept_notices_that_it_was_given_up(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "ledger", network=True).acquire()
    with elsewhere(tmp_path, age=0) as theirs:
        with pytest.raises(ResourceError, match="another run has taken over"):
            lock.check()
        lock.release()
        assert json.loads(theirs.read_text())["token"] == "theirs"


def test_it_shows_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT", 0.01)
    with RunLock(tmp_path, "ledger", network=True) as lock:
        os.utime(lock.path, (1e9, 1e9))
        deadline = time.monotonic() + 30
        while lock.path.stat().st_mtime < 1.1e9:
            assert time.monotonic() < deadline
            os.sched_yield()


def test_a_link_in_the_locks_place_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "ledger.lock").symlink_to(precious)
    with pytest.raises((ResourceError, UsageError)):
        RunLock(tmp_path, "ledger", network=False).acquire()
    assert precious.read_text() == "precious"
