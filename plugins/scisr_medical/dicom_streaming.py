"""A DICOM file whose pixels are written block by block behind its header, so that no more than one is in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sciSR.errors import UnsupportedError

_PIXELS = {"PixelData": (0x7FE00010, b"OW"), "FloatPixelData": (0x7FE00008, b"OF")}
_LIMIT = 0xFFFFFFFE
"""Largest number of bytes that one element may declare (PS3.5 section 7.1.1)."""


def save_streamed(
    path: Path, dataset: Any, keyword: str, length: int, blocks: Iterable[bytes], *, remedy: str | None = None
) -> None:
    """Write explicit VR little endian: the header, `length` bytes of pixels, and what comes behind them.

    Parameters
    ----------
    path : Path
    dataset : pydicom.Dataset
        With file meta information, without pixel data.
    keyword : {"PixelData", "FloatPixelData"}
    length : int
        Bytes of all blocks; an even number.
    blocks : iterable of bytes
        One frame after another.
    remedy : str, optional
        What to do where the pixels are too many for one file.

    Raises
    ------
    UnsupportedError
        More bytes than one element can hold.
    """
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.filebase import DicomIO
    from pydicom.filewriter import write_dataset

    if length > _LIMIT:
        raise UnsupportedError(
            f"{length / 2**30:.1f} GiB of pixels do not fit into one DICOM file (4 GiB)",
            where=path.name,
            remedy=remedy,
        )
    tag, vr = _PIXELS[keyword]
    behind = Dataset()
    for later in [t for t in dataset.keys() if t > tag]:  # noqa: SIM118
        behind.add(dataset[later])
        del dataset[later]
    with open(path, "wb") as file:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        file.write(struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length))
        for block in blocks:
            file.write(block)
        if len(behind):
            stream = DicomIO(file)
            stream.is_little_endian, stream.is_implicit_VR = True, False
            write_dataset(stream, behind)
