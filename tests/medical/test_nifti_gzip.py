"""Parallel gzip is plain gzip to every reader."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scisr_medical.nifti_gzip import blocks_of, write_gzip


def packed(blocks: list[bytes]) -> bytes:
    sink = io.BytesIO()
    write_gzip(blocks, sink)
    return sink.getvalue()


@given(st.lists(st.binary(max_size=200_000), max_size=6))
def test_any_blocks_come_back(blocks: list[bytes]) -> None:
    assert gzip.decompress(packed(blocks)) == b"".join(blocks)


def test_it_is_a_single_member_that_gzip_itself_accepts(tmp_path: Path) -> None:
    import zlib

    content = random.Random(1).randbytes(3_000_000) + bytes(3_000_000)
    path = tmp_path / "a.gz"
    path.write_bytes(packed(list(blocks_of(io.BytesIO(content)))))
    inflator = zlib.decompressobj(31)
    assert inflator.decompress(path.read_bytes()) == content
    assert inflator.eof
    assert inflator.unused_data == b""
    if shutil.which("gzip"):
        subprocess.run(["gzip", "-t", str(path)], check=True, capture_output=True)


def test_blocks_are_as_small_as_in_one_piece() -> None:
    # the 32 kB before each block are known to it: repeated content costs next to nothing
    content = random.Random(1).randbytes(30_000) * 200
    assert len(packed(list(blocks_of(io.BytesIO(content))))) < 1.02 * len(gzip.compress(content, 6)) + 100


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can't be chosen here")
def test_the_bytes_do_not_depend_on_the_number_of_cores() -> None:
    blocks = [random.Random(k).randbytes(1 << 18) for k in range(12)]
    many = packed(blocks)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert packed(blocks) == many
    finally:
        os.sched_setaffinity(0, cores)


def test_a_reader_that_fails_stops_the_writing() -> None:
    def broken():
        yield b"x" * 1000
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        write_gzip(broken(), io.BytesIO())
