"""All of an item's outputs or none, through errors at any operation; and after a kill at any moment, the next time."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import ResourceError, UsageError
from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines.commit import commit, place_of
from sciSR.workflow.pipelines.work import Task

MOMENTS = {"open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree"}
NEW = {
    "a.fits": b"new a",
    "b.txt": b"new b",
    "sub/c.json": b"new c",
    "series/1": b"new 1",
    "series/2": b"new 2",
}
OLD = {"a.fits": b"old a", "b.txt": b"old b", "series/1": b"old 1", "series/3": b"old 3", "gone.txt": b"old"}


def task_in(folder: Path, **fields: Any) -> Task:
    output = folder / "out"
    (output / ".scisr" / "scratch").mkdir(parents=True, exist_ok=True)
    scratch = str(output / ".scisr" / "scratch" / "x")
    plain = {"files": (), "facts": {}, "sequence": False, "nodes": (), "name": "", "input": "", "key": "x"}
    return Task(**{**plain, "output": str(output), "scratch": scratch, **fields})


def staged(task: Task) -> dict[str, Path]:
    """The new outputs, finished, in the scratch folder."""
    shutil.rmtree(task.scratch, ignore_errors=True)
    folder = Path(task.scratch) / "01-write"
    fill(folder, NEW)
    return {"a.fits": folder / "a.fits", "b.txt": folder / "b.txt", "sub/c.json": folder / "sub/c.json"} | {
        "series": folder / "series"
    }


def fill(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def found(task: Task) -> dict[str, bytes]:
    output = Path(task.output)
    files = [p for p in output.rglob("*") if p.is_file() and ".scisr" not in p.parts]
    return {str(p.relative_to(output)): p.read_bytes() for p in files}


def in_a_child(work: Callable[[], None], at: Callable[[int], None]) -> int:
    """Run in a forked process, with `at` called at each change of the file system by its number; the wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    count = 0

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in MOMENTS:
            count += 1
            at(count)

    try:
        sys.addaudithook(audit)
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def kill_at(fatal: int) -> Callable[[int], None]:
    def at(count: int) -> None:
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


CASES = {
    "fresh": {},
    "again": {"may_replace": ("a.fits", "b.txt", "series", "gone.txt")},
    "over": {"overwrite": True},
}


@pytest.mark.parametrize("case", CASES)
def test_after_a_kill_at_any_moment_the_next_run_puts_everything_in_place(tmp_path: Path, case: str) -> None:
    before = {} if case == "fresh" else OLD
    wanted = NEW | ({"gone.txt": b"old"} if case == "over" else {})
    fatal, killed = 1, True
    while killed:
        task = task_in(tmp_path / str(fatal), **CASES[case])
        fill(Path(task.output), before)
        ready = staged(task)
        status = in_a_child(lambda task=task, ready=ready: commit(task, ready), kill_at(fatal))
        killed = os.WIFSIGNALED(status)
        left = found(task)
        for name, content in left.items():
            assert content in (before.get(name), NEW.get(name)), (fatal, name)
        for name in set(before) - set(left) - {"gone.txt"}:
            assert name.startswith("series/"), (fatal, name)  # a folder can't be replaced in one step
        if killed and left != wanted:
            staged(task)
            made = commit(task, ready)
            assert {each.path: each.sha256 for each in made} == {
                name: file_sha256(Path(task.output) / name) for name in ready
            }
        if case == "over":
            wanted.pop("series/3", None)
        assert found(task) == wanted, fatal
        fatal += 1
    assert fatal > 15


@pytest.mark.parametrize("case", CASES)
def test_an_error_at_any_rename_leaves_what_was_there(tmp_path: Path, case: str) -> None:
    before = {} if case == "fresh" else OLD
    for fatal in range(1, 60):
        task = task_in(tmp_path / str(fatal), **CASES[case])
        fill(Path(task.output), before)
        ready = staged(task)

        def fail(count: int, fatal: int = fatal) -> None:
            if count == fatal:
                raise OSError(errno.EIO, "Input/output error")

        def work(task: Task = task, ready: Mapping[str, Path] = ready) -> None:
            try:
                commit(task, ready)
            except ResourceError:
                os._exit(7)

        code = os.WEXITSTATUS(in_a_child(work, fail))
        assert code in (0, 7)
        if code == 7:
            assert found(task) == before, fatal
            assert not (Path(task.output) / "sub").exists()
        else:  # the operation was one whose failure does no harm
            assert {name: found(task).get(name) for name in NEW} == NEW, fatal


def test_what_a_killed_commit_left_is_replaced_unless_somebody_has_changed_it(tmp_path: Path) -> None:
    for change in (False, True):
        task = task_in(tmp_path / str(change))
        ready = staged(task)
        fatal = 1
        while len(found(task)) < 2:
            staged(task)
            in_a_child(lambda task=task, ready=ready: commit(task, ready), kill_at(fatal))
            fatal += 1
        assert 0 < len(found(task)) < len(NEW)
        if change:
            fill(Path(task.output), {"a.fits": b"mine"})
        staged(task)
        if change:
            with pytest.raises(UsageError, match=r"a\.fits: exists already"):
                commit(task, ready)
            assert found(task)["a.fits"] == b"mine"
        else:
            commit(task, ready)
            assert found(task) == NEW


def test_doing_it_again_replaces_nothing_unless_told_to(tmp_path: Path) -> None:
    task = task_in(tmp_path)
    commit(task, staged(task))
    with pytest.raises(UsageError, match="exists already"):
        commit(task, staged(task))


def test_what_exists_is_not_replaced_and_nothing_is_put_beside_it(tmp_path: Path) -> None:
    task = task_in(tmp_path)
    fill(Path(task.output), {"b.txt": b"mine"})
    with pytest.raises(UsageError, match="exists already"):
        commit(task, staged(task))
    assert found(task) == {"b.txt": b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", ["a.fits", "sub", "series"])
def test_symbolic_links_are_not_written_through(tmp_path: Path, link: str, overwrite: bool) -> None:
    task = task_in(tmp_path, overwrite=overwrite)
    elsewhere = tmp_path / "elsewhere"
    fill(elsewhere, {"c.json": b"mine", "1": b"mine"})
    (Path(task.output) / link).symlink_to(elsewhere if link != "a.fits" else elsewhere / "1")
    with pytest.raises(UsageError, match="symbolic link"):
        commit(task, staged(task))
    assert {p.name: p.read_bytes() for p in elsewhere.iterdir()} == {"c.json": b"mine", "1": b"mine"}
    assert set(found(task)) <= {"a.fits"}


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", ".scisr"]), min_size=1, max_size=5))
def test_no_name_leads_out_of_the_output_folder(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    output = tmp_path_factory.getbasetemp()
    name = "/".join(parts)
    try:
        place = place_of(output, name)
    except UsageError:
        return
    assert output in place.parents
    assert output.resolve() in place.resolve().parents
    assert place.relative_to(output).parts[0] != ".scisr"


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    task = task_in(tmp_path, overwrite=True)
    fill(Path(task.output), {"sub": b"a file"})
    with pytest.raises(UsageError, match="sub"):
        commit(task, staged(task))
    assert found(task) == {"sub": b"a file"}


def test_links_among_finished_files_are_refused(tmp_path: Path) -> None:
    """A step's result that is a link would put another file's content into the output folder."""
    task = task_in(tmp_path)
    ready = staged(task)
    ready["a.fits"].unlink()
    ready["a.fits"].symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="no finished file"):
        commit(task, ready)
    assert found(task) == {}
