"""Gzip with all cores: blocks are compressed side by side and joined to one ordinary gzip stream.

As pigz does it: each block is a piece of one deflate stream, primed with the 32 kB before it and ended on a byte
boundary, so that any reader of RFC 1952 sees a single member. The bytes depend on the content alone, not on the
number of cores; neither time nor name stands in the header.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

# As gzip(1). Float32 voxels hardly compress: level 1 gives 0.7 % more bytes 10 % faster (an upscaled T1).
_LEVEL = 6
_WINDOW = 32768
_BLOCK = 1 << 20
# Magic, deflate, no flags, no time, no extra flags, unknown system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """A file's content in blocks of one MiB."""
    while block := stream.read(_BLOCK):
        yield block


def write_gzip(blocks: Iterable[bytes], sink: BinaryIO) -> None:
    """Compress `blocks`, in order, to one gzip stream in `sink`; a few blocks a core are in memory at a time."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    crc, size, before = 0, 0, b""
    waiting: deque[Future[bytes]] = deque()
    sink.write(_HEADER)
    with ThreadPoolExecutor(workers) as pool:
        for block in blocks:
            waiting.append(pool.submit(_deflate, block, before))
            crc, size, before = zlib.crc32(block, crc), size + len(block), block[-_WINDOW:]
            if len(waiting) > 2 * workers:
                sink.write(waiting.popleft().result())
        while waiting:
            sink.write(waiting.popleft().result())
    sink.write(zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush())  # an empty last block
    sink.write(struct.pack("<2I", crc, size & 0xFFFFFFFF))


def _deflate(block: bytes, before: bytes) -> bytes:
    """One piece of a raw deflate stream, ended on a byte boundary but not final; zlib works without the GIL."""
    deflator = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return deflator.compress(block) + deflator.flush(zlib.Z_SYNC_FLUSH)
