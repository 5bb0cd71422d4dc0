"""Atomic writing and bounded reading, with real files, kills and limits."""

from __future__ import annotations

import bz2
import gzip
import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sciSR.errors import ResourceError, SciSRError, UnreadableError, UsageError
from sciSR.files import atomic_output, check_output, check_regular_file, inflate, translate_os_errors


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_a_file_appears_whole_with_the_usual_mode(tmp_path: Path) -> None:
    target = tmp_path / "out.fits"
    with atomic_output(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert content(tmp_path) == {"out.fits": b"new"}
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_the_old_target_and_no_litter(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "out"
    with atomic_output(target, folder=folder) as temporary:
        (temporary / "a" if folder else temporary).write_bytes(b"old")
    before = content(tmp_path)

    def fail() -> None:
        with atomic_output(target, overwrite=True, folder=folder) as temporary:
            (temporary / "b" if folder else temporary).write_bytes(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert content(tmp_path) == before
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_existing_target_is_replaced_on_request_only(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "out"
    for text in (b"old", b"new"):
        with atomic_output(target, overwrite=text == b"new", folder=folder) as temporary:
            (temporary / text.decode() if folder else temporary).write_bytes(text)
    assert content(tmp_path) == ({"out/new": b"new"} if folder else {"out": b"new"})
    with (
        pytest.raises(UsageError, match="exists already; give --overwrite"),
        atomic_output(target, folder=folder),
    ):
        pass
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "out"

    def write() -> None:
        with atomic_output(target, folder=folder) as temporary:
            (temporary / "a" if folder else temporary).write_bytes(b"mine")
            if folder:
                target.mkdir()
            (target / "theirs" if folder else target).write_bytes(b"theirs")

    with pytest.raises(UsageError, match="appeared while"):
        write()
    assert set(content(tmp_path).values()) == {b"theirs"}


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with atomic_output(target, folder=True) as temporary:
        (temporary / "a").write_bytes(b"x")
    assert content(tmp_path) == {"out/a": b"x"}


KILLED = """
import os, signal, sys
from pathlib import Path
from sciSR.files import atomic_output
calls = 0
def audit(event, arguments):
    global calls
    if event in ("os.rename", "os.link", "os.remove", "os.chmod", "open"):
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
with atomic_output(Path(sys.argv[1]), overwrite=True) as temporary:
    sys.addaudithook(audit)
    temporary.write_bytes(b"new" * 100)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_moment_old_or_new_is_there(tmp_path: Path) -> None:
    target = tmp_path / "out"
    seen = set()
    for moment in range(1, 20):
        target.write_bytes(b"old")
        command = [sys.executable, "-c", KILLED, str(target), str(moment)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        seen.add(target.read_bytes())
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert moment > 3
    assert seen == {b"old", b"new" * 100}


def test_what_can_not_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder does not exist"):
        check_output(tmp_path / "no" / "out")
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(UsageError, match="exists already"):
        check_output(tmp_path / "out")
    assert check_output(tmp_path / "out", overwrite=True) == tmp_path / "out"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        check_output(tmp_path / "link")


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        ("ENOSPC", ResourceError, "the disk is full; free some space"),
        ("EACCES", UsageError, "not permitted"),
        ("EIO", ResourceError, "can't be written: Input/output error"),
    ],
)
def test_errors_of_the_system_name_the_file(number: str, kind: type, text: str) -> None:
    import errno

    code = getattr(errno, number)
    with pytest.raises(kind, match=f"out: {text}"), translate_os_errors("out"):
        raise OSError(code, os.strerror(code))


def test_a_full_device_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with (
        pytest.raises(ResourceError, match="the disk is full"),
        translate_os_errors("out"),
        open("/dev/full", "wb", buffering=0) as sink,
    ):
        sink.write(b"x")


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "pointer").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    (tmp_path / "good").write_bytes(b"abc")
    cases = {
        "missing": "no such file",
        "empty": "0 bytes",
        "pointer": "run 'git lfs pull'",
        ".": "not a regular file",
    }
    for name, text in cases.items():
        with pytest.raises(UnreadableError, match=text):
            check_regular_file(tmp_path / name)
    assert check_regular_file(tmp_path / "good") == 3


PACK = {"gzip": gzip.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("compression", PACK)
def test_inflating_gives_the_content_and_its_size(tmp_path: Path, compression: str) -> None:
    plain = random.Random(1).randbytes(4_500_000)
    (tmp_path / "in").write_bytes(PACK[compression](plain))
    assert inflate(tmp_path / "in", tmp_path / "out", compression=compression, limit=len(plain)) == len(plain)
    assert (tmp_path / "out").read_bytes() == plain


@pytest.mark.parametrize("compression", PACK)
def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, compression: str) -> None:
    (tmp_path / "bomb").write_bytes(PACK[compression](bytes(60_000_000)))
    with pytest.raises(UnreadableError, match=r"grows beyond 0\.0 GB"):
        inflate(tmp_path / "bomb", tmp_path / "out", compression=compression, limit=10_000_000)
    assert (tmp_path / "out").stat().st_size <= 10_000_000


@pytest.mark.parametrize("compression", PACK)
def test_damage_anywhere_is_noticed(tmp_path: Path, compression: str) -> None:
    plain = bytes(range(256)) * 3
    good = PACK[compression](plain)
    silent = []
    for position in range(len(good)):
        for damaged in (
            good[:position],
            good[:position] + bytes([good[position] ^ 16]) + good[position + 1 :],
        ):
            (tmp_path / "in").write_bytes(damaged)
            try:
                inflate(tmp_path / "in", tmp_path / "out", compression=compression, limit=1 << 20)
            except SciSRError:
                continue
            if (tmp_path / "out").read_bytes() != plain:
                silent.append(position)
    # an empty stream is an empty file to both libraries; callers refuse files of 0 bytes themselves
    assert set(silent) <= {0}
