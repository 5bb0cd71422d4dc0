"""Deliveries: many attempts at an item, one set of outputs, whatever is killed when."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import ResourceError, UsageError
from sciSR.provenance import file_sha256
from sciSR.workflow.cluster import deliveries as module
from sciSR.workflow.cluster.deliveries import FILES, Deliveries, settled
from sciSR.workflow.pipelines.work import ItemResult, OutputFile, Task

NAMES = ("a.fits", "sub/b.fits", "store.zarr")


def task_of(output: Path, **fields) -> Task:
    values = {"overwrite": False, "may_replace": (), **fields}
    return Task("item", (), {}, False, (), "{item}", str(output), str(output), str(output / "x"), **values)


def made(deliveries: Deliveries, text: str, names=NAMES) -> tuple[Path, ItemResult]:
    """An attempt whose steps have passed: two files and a folder."""
    attempt = deliveries.attempt("item")
    for name in names:
        path = attempt / FILES / name
        if name.endswith(".zarr"):
            path.mkdir(parents=True)
            path = path / "0"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text} {name}")
    outputs = tuple(OutputFile(name, file_sha256(attempt / FILES / name), 1) for name in names)
    return attempt, ItemResult("item", "done", outputs, seconds=len(text))


def content(output: Path) -> dict[str, str]:
    """All files but our own."""
    files = (path for path in output.rglob("*") if path.is_file() and ".scisr" not in path.parts)
    return {str(path.relative_to(output)): path.read_text() for path in files}


def expected(text: str, names=NAMES) -> dict[str, str]:
    return {(f"{n}/0" if n.endswith(".zarr") else n): f"{text} {n}" for n in names}


def test_a_delivery_is_in_place_and_nothing_else_is_left(tmp_path):
    deliveries = Deliveries.open(tmp_path)
    attempt, result = made(deliveries, "one")
    assert deliveries.delivered("item") is None
    assert deliveries.deliver(task_of(tmp_path), result, attempt) == result
    assert content(tmp_path) == expected("one")
    assert deliveries.delivered("item") == result
    assert not attempt.exists()
    deliveries.close()
    assert list((tmp_path / ".scisr/cluster/ledger").iterdir()) == []


def test_of_many_attempts_at_once_one_wins_and_all_tell_the_same(tmp_path):
    deliveries = Deliveries.open(tmp_path)
    attempts = [made(deliveries, f"attempt {'x' * n}") for n in range(12)]
    task = task_of(tmp_path)
    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda pair: deliveries.deliver(task, pair[1], pair[0]), attempts))
    assert len(set(map(str, told))) == 1
    winner = next(result for _, result in attempts if result == told[0])
    assert {each.path: file_sha256(tmp_path / each.path) for each in winner.outputs} == {
        each.path: each.sha256 for each in winner.outputs
    }


def test_an_attempt_that_comes_back_late_changes_nothing(tmp_path):
    deliveries = Deliveries.open(tmp_path)
    late = made(deliveries, "late")
    first = made(deliveries, "first")
    task = task_of(tmp_path, overwrite=True)
    deliveries.deliver(task, first[1], first[0])
    inodes = {name: os.stat(tmp_path / name).st_ino for name in NAMES}
    assert deliveries.deliver(task, late[1], late[0]) == first[1]
    assert content(tmp_path) == expected("first")
    assert {name: os.stat(tmp_path / name).st_ino for name in NAMES} == inodes


def test_a_worker_of_an_ended_run_delivers_nothing(tmp_path):
    old = Deliveries.open(tmp_path)
    attempt, result = made(old, "zombie")
    Deliveries.open(tmp_path)
    with pytest.raises(ResourceError, match="has ended"):
        old.deliver(task_of(tmp_path), result, attempt)
    with pytest.raises(ResourceError, match="has ended"):
        old.attempt("item")
    assert content(tmp_path) == {}


def test_shards_do_not_end_each_other(tmp_path):
    one = Deliveries.open(tmp_path, "ledger-1-of-2")
    Deliveries.open(tmp_path, "ledger-2-of-2")
    attempt, result = made(one, "one")
    one.deliver(task_of(tmp_path), result, attempt)
    assert content(tmp_path) == expected("one")


def test_what_is_in_the_way_is_kept_and_named(tmp_path):
    (tmp_path / "a.fits").write_text("mine")
    deliveries = Deliveries.open(tmp_path)
    attempt, result = made(deliveries, "one")
    with pytest.raises(UsageError, match=r"a\.fits: exists already"):
        deliveries.deliver(task_of(tmp_path), result, attempt)
    assert content(tmp_path) == {"a.fits": "mine"}
    assert deliveries.delivered("item") is None


def test_only_what_may_be_replaced_is_and_what_is_not_made_again_goes(tmp_path):
    deliveries = Deliveries.open(tmp_path)
    attempt, result = made(deliveries, "one", (*NAMES, "old.fits"))
    deliveries.deliver(task_of(tmp_path), result, attempt)
    (tmp_path / "other.fits").write_text("another's")
    deliveries = Deliveries.open(tmp_path)
    attempt, result = made(deliveries, "two")
    deliveries.deliver(task_of(tmp_path, may_replace=(*NAMES, "old.fits")), result, attempt)
    assert content(tmp_path) == {**expected("two"), "other.fits": "another's"}


def test_links_in_the_output_folder_are_not_written_through(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    output = tmp_path / "out"
    output.mkdir()
    (output / "sub").symlink_to(outside)
    deliveries = Deliveries.open(output)
    attempt, result = made(deliveries, "one")
    with pytest.raises(UsageError, match="symbolic link"):
        deliveries.deliver(task_of(output, overwrite=True), result, attempt)
    assert list(outside.iterdir()) == []


def _deliver_and_die(output: Path, steps: int, **fields) -> None:
    """A process that delivers and is killed before its call number `steps` that changes something on the disk."""
    left = [steps]

    def counted(function):
        def call(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    deliveries = Deliveries.open(output)
    attempt, result = made(deliveries, "one")
    for name in ("rename", "link", "replace"):
        setattr(module.os, name, counted(getattr(os, name)))
    module.shutil.rmtree = counted(module.shutil.rmtree)
    Path.unlink = counted(Path.unlink)
    deliveries.deliver(task_of(output, **fields), result, attempt)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("steps", range(9))
def test_a_kill_at_any_instant_leaves_all_or_nothing_after_the_next_run(tmp_path, steps, old):
    if old:
        before = Deliveries.open(tmp_path)
        attempt, result = made(before, "old")
        before.deliver(task_of(tmp_path), result, attempt)
    child = multiprocessing.get_context("fork").Process(
        target=_deliver_and_die, args=(tmp_path, steps), kwargs={"may_replace": NAMES if old else ()}
    )
    child.start()
    child.join(30)
    with settled(tmp_path) as results:
        found = [result.seconds for result in results]
    assert content(tmp_path) == (expected("one") if found == [3] else expected("old") if old else {})
    assert child.exitcode in (0, -signal.SIGKILL)
    if steps == 0:  # killed before the attempt got its place
        assert found == []
    if child.exitcode == 0:
        assert found == [3]


def test_kills_were_really_tried_at_all_instants(tmp_path):
    child = multiprocessing.get_context("fork").Process(target=_deliver_and_die, args=(tmp_path, 8))
    child.start()
    child.join(30)
    assert child.exitcode == 0  # eight changes are all there are


@given(st.lists(st.sampled_from(["attempt", "deliver", "reopen", "look"]), max_size=12))
def test_any_order_of_events_leaves_one_attempts_outputs(tmp_path_factory, events):
    output = tmp_path_factory.mktemp("out")
    deliveries, attempts, number, winner = Deliveries.open(output), [], 0, None
    for event in events:
        if event == "attempt":
            number += 1
            attempts.append((deliveries, *made(deliveries, "x" * number)))
        elif event == "deliver" and attempts:
            whose, attempt, result = attempts.pop(0)
            try:
                told = whose.deliver(task_of(output, overwrite=True), result, attempt)
                if whose is deliveries and winner is None:
                    winner = result
                assert told == winner
            except ResourceError:
                assert whose is not deliveries
        elif event == "reopen":
            deliveries, winner = Deliveries.open(output), None
        elif event == "look":
            assert deliveries.delivered("item") == winner
        if winner is not None:
            assert content(output) == expected("x" * int(winner.seconds))
