"""Stored values of single frames of multi-frame DICOM files: one frame is in memory at a time, never the file.

Uncompressed frames are sought in the file; of compressed ones only the fragments that belong to the frame are read,
found through the offset table, or one by one, or by the marks at the end of each frame (PS3.5 A.4).
"""

from __future__ import annotations

import threading
import weakref
from array import array
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sciSR.errors import UnreadableError
from scisr_medical.dicom_codestream import coded_size
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_io import open_dicom, walk_fragments

_OPEN_FILES = 4
_RLE = "1.2.840.10008.1.2.5"
_END_OF_IMAGE = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS, EOC of JPEG 2000."""


class FrameFiles:
    """The multi-frame files of one image, the last few kept open (a deflated one stays inflated meanwhile)."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _FrameFile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, instance: Instance) -> np.ndarray:
        """One frame as stored, shape (rows, columns), with whatever lies in the unused bits.

        Raises
        ------
        UnreadableError
            The frame's fragments are not where the offset table says, or can't be decoded.
        """
        with self._lock:
            if instance.path not in self._files:
                self._files[instance.path] = _FrameFile(instance)
                while len(self._files) > _OPEN_FILES:
                    self._files.popitem(last=False)
            self._files.move_to_end(instance.path)
            return self._files[instance.path].read(instance)


class _FrameFile:
    def __init__(self, instance: Instance) -> None:
        self.layout: Any = instance.layout
        self.stream = open_dicom(instance.path)
        weakref.finalize(self, self.stream.close)
        self._spans: _Spans | None = None

    def read(self, instance: Instance) -> np.ndarray:
        if not self.layout.encapsulated:
            return self._native(instance)
        if self._spans is None:
            self._spans = _Spans(self.stream, instance)
        return _decompress(self._spans.frame(self.stream, instance), instance)

    def _native(self, instance: Instance) -> np.ndarray:
        width = instance.bits_allocated // 8
        size = instance.shape[0] * instance.shape[1] * width
        start = (instance.frame or 0) * size
        # In big endian files bytes are swapped in pairs where they are written as words (PS3.5 section 8.1.1).
        swapped = width == 1 and self.layout.big_endian and self.layout.words
        first = start & ~1 if swapped else start
        self.stream.seek(self.layout.offset + first)
        raw = self.stream.read(start - first + size + (1 if swapped else 0))
        if swapped:
            pairs = np.frombuffer(raw[: len(raw) // 2 * 2], dtype=np.uint16).byteswap().tobytes()
            raw = pairs + raw[len(pairs) :]
        if len(raw) < start - first + size:
            raise UnreadableError("the file has become shorter since it was checked", where=instance.path)
        order = ">" if self.layout.big_endian else "<"
        stored = np.frombuffer(
            raw, dtype=f"{order}{'i' if instance.signed else 'u'}{width}", offset=start - first,
            count=instance.shape[0] * instance.shape[1],
        )  # fmt: skip
        return stored.astype(stored.dtype.newbyteorder("="), copy=False).reshape(instance.shape)


class _Spans:
    """Which fragments each frame of encapsulated pixel data has."""

    def __init__(self, stream: BinaryIO, instance: Instance) -> None:
        layout: Any = instance.layout
        end = stream.seek(0, 2)
        self.starts, self.sizes = array("Q"), array("Q")
        for start, size in walk_fragments(stream, layout.offset, end):
            if size < 0:
                raise UnreadableError("the compressed pixel data are truncated", where=instance.path)
            self.starts.append(start)
            self.sizes.append(size)
        stream.seek(self.starts[0])
        basic = stream.read(self.sizes[0])
        # The first item is the basic offset table, the last one the delimiter.
        self.starts, self.sizes = self.starts[1:-1], self.sizes[1:-1]
        if layout.frames == 1:
            self.first = [0, len(self.starts)]
        elif len(self.starts) == layout.frames:
            self.first = list(range(layout.frames + 1))
        else:
            self.first = self._from_table(layout, basic) or self._from_marks(stream, instance)

    def _from_table(self, layout: Any, basic: bytes) -> list[int]:
        """Index of each frame's first fragment; empty where there is no table or it can't be right."""
        raw, width = (layout.table, 8) if layout.table else (basic, 4)
        if len(raw) != width * layout.frames or not self.starts:
            return []
        # Offsets count from the item header of the first fragment.
        known = {start - self.starts[0]: k for k, start in enumerate(self.starts)}
        first = [known.get(int(offset), -1) for offset in np.frombuffer(raw, dtype=f"<u{width}")]
        ends = [*first, len(self.starts)]
        return ends if first[0] == 0 and all(a < b for a, b in pairwise(ends)) else []

    def _from_marks(self, stream: BinaryIO, instance: Instance) -> list[int]:
        """A frame ends with the fragment that ends with the mark of an image's end."""
        ends = [0]
        for k, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            tail = min(size, 8)
            stream.seek(start + size - tail)
            if _END_OF_IMAGE in stream.read(tail):
                ends.append(k + 1)
        frames = instance.layout.frames  # type: ignore[union-attr]
        if instance.syntax == _RLE or len(ends) != frames + 1 or ends[-1] != len(self.starts):
            raise UnreadableError(
                f"the compressed pixel data hold {len(self.starts)} fragments for {frames} frames, and nothing says "
                "where each frame begins",
                where=instance.path,
            )
        return ends

    def frame(self, stream: BinaryIO, instance: Instance) -> bytes:
        k = instance.frame or 0
        parts = []
        for fragment in range(self.first[k], self.first[k + 1]):
            stream.seek(self.starts[fragment])
            parts.append(stream.read(self.sizes[fragment]))
        return b"".join(parts)


def check_size(data: bytes, instance: Instance) -> None:
    """Refuse compressed data that declare another size than the header, before they are decoded.

    Raises
    ------
    UnreadableError
    """
    size = coded_size(data) if instance.syntax != _RLE else None
    if size is not None and size != instance.shape:
        raise UnreadableError(
            f"the compressed image of {instance.name} is {size[0]} x {size[1]}, the header says "
            f"{instance.shape[0]} x {instance.shape[1]}",
            where=instance.path,
        )


def _decompress(frame: bytes, instance: Instance) -> np.ndarray:
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    check_size(frame, instance)
    # pydicom's own RLE decoder checks what it reads; pylibjpeg's takes damaged headers for good ones.
    stored, _ = get_decoder(UID(instance.syntax)).as_array(
        encapsulate([frame], has_bot=False),
        raw=True,
        index=0,
        decoding_plugin="pydicom" if instance.syntax == _RLE else "",
        number_of_frames=1,
        rows=instance.shape[0],
        columns=instance.shape[1],
        samples_per_pixel=1,
        photometric_interpretation=instance.photometric,
        pixel_keyword="PixelData",
        pixel_representation=int(instance.signed),
        bits_allocated=instance.bits_allocated,
        bits_stored=instance.bits_stored,
        correct_unused_bits=False,
    )
    return np.asarray(stored)
