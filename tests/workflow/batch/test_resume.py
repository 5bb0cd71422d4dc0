"""A run that is killed at any instant goes on: nothing lost, nothing done twice, nothing half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_tasks import expected, files_in, run, task, tasks, work

from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.ledger_journal import journal_of

CHILD = Path(__file__).with_name("killed_run.py")
ITEMS = 4


def child(folder: Path, lines: int, mode: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(CHILD), str(folder), str(ITEMS), str(lines), mode]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def check(folder: Path, mode: str) -> None:
    """Every item is either done, with its outputs byte for byte, or will be done again; then all is there once."""
    todo = tasks(folder, ITEMS)
    output = folder / "out"
    with Ledger.open(output, network=mode == "network") as ledger:
        for each in todo:
            if ledger.finished(each) is not None:
                assert {name: (output / name).read_bytes() for name in expected(each)} == expected(each)
        left = [each.key for each in todo if ledger.finished(each) is None]
        assert run(ledger, todo) == left
        assert run(ledger, todo) == []
        assert len(ledger.results()) == ITEMS
    wanted = {name: content for each in todo for name, content in expected(each).items()}
    assert files_in(output) == set(wanted)
    assert all((output / name).read_bytes() == content for name, content in wanted.items())


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill, unlike a power cut, needs no disk, and syncing takes no time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("mode", ["local", "network"])
def test_killed_at_any_line(mode: str, memory_folder: Path) -> None:
    """Killed again and again, at lines drawn from the whole run; each time it goes on from where it was."""
    draw = random.Random(7)
    kills = 0
    for number in range(5):
        folder = memory_folder / str(number)
        for _ in range(draw.choice([1, 1, 2])):
            ended = child(folder, draw.randrange(1, 6000), mode)
            assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
            kills += ended.returncode != 0
        check(folder, mode)
    assert kills >= 3


def test_killed_after_the_outputs_are_in_place_and_before_they_are_recorded(tmp_path: Path) -> None:
    """The moment in which files exist that the ledger doesn't know of: they are known again by the worker's note."""
    one = task(tmp_path, "one")
    with Ledger.open(tmp_path / "out") as ledger:
        ledger.started(one)
        work(one)
    assert journal_of(Path(one.scratch)).exists()
    with Ledger.open(tmp_path / "out") as ledger:
        assert ledger.why(one) == "interrupted before"
        assert sorted(ledger.outputs_of("one")) == ["more/one.txt", "one.txt"]
        assert run(ledger, [one]) == ["one"]
    assert not journal_of(Path(one.scratch)).exists()


def test_a_strangers_file_is_never_taken_for_ours(tmp_path: Path) -> None:
    """A note of a dead worker names a file that somebody has put there since: it stays."""
    one = task(tmp_path, "one")
    with Ledger.open(tmp_path / "out") as ledger:
        ledger.started(one)
        work(one)
    (tmp_path / "out" / "one.txt").write_bytes(b"precious")
    with Ledger.open(tmp_path / "out") as ledger:
        assert not ledger.owns("one.txt")
        assert ledger.owns("more/one.txt")
        assert ledger.outputs_of("one") == ["more/one.txt"]


def test_scratch_of_dead_runs_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "elsewhere"
    precious.mkdir()
    (precious / "file").write_text("precious")
    scratch = tmp_path / "out" / ".scisr" / "scratch"
    (scratch / "0123456789abcdef" / "01-read").mkdir(parents=True)
    (scratch / "0123456789abcdef" / "01-read" / "huge.fits").write_bytes(b"0" * 1000)
    (scratch / "0123456789abcdef" / "link").symlink_to(precious)
    (scratch / "link").symlink_to(precious)
    Ledger.open(tmp_path / "out").close()
    assert list(scratch.iterdir()) == []
    assert (precious / "file").read_text() == "precious"


def test_a_shard_leaves_the_scratch_of_others_alone(tmp_path: Path) -> None:
    mine, other = task(tmp_path, "mine"), task(tmp_path, "other")
    for name, each in (("ledger-1-of-2", mine), ("ledger-2-of-2", other)):
        with Ledger.open(tmp_path / "out", name=name) as ledger:
            ledger.started(each)
        Path(each.scratch).mkdir(parents=True)
    Ledger.open(tmp_path / "out", name="ledger-1-of-2").close()
    assert not Path(mine.scratch).exists()
    assert Path(other.scratch).exists()
