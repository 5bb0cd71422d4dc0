"""Siemens mosaics: the slices of one volume, side by side in one classic image, taken apart where it can be done right.

A mosaic says in standard elements only where its own corner would lie; how many slices it holds and in which direction
they follow each other stands in Siemens' private CSA header, (0029,xx10), read here with nibabel. The rule of the
positions is nibabel's and dcm2niix's: the corner of the first slice lies half the difference between the mosaic's and
the slice's size into the mosaic, and the slices follow along the normal of the CSA header. Where the scan protocol,
(0029,xx20), came along, it has to agree; a mosaic that can't be placed for certain is refused by name.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from scisr_medical.dicom_checks import check_image
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_io import read_header

_KEPT_BYTES = 128 << 20
"""Of decoded mosaics: a time series is often gone through slice by slice, which takes a piece of each file."""
_PROTOCOL = re.compile(rb"### ASCCONV BEGIN.*?### ASCCONV END", re.DOTALL)
_SLICES = re.compile(rb"^\s*sSliceArray\.lSize\s*=\s*(\d+)", re.MULTILINE)
_PLACE = re.compile(
    rb"^\s*sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([-+.\deE]+)", re.MULTILINE
)


class _Unclear(Exception):
    """Why the slices of a mosaic can't be placed."""


def unpack(mosaic: Instance, pixels: dict[str, Any]) -> list[Instance]:
    """One instance a slice; the mosaic itself, with the reason in its `refusal`, where they can't be placed.

    Parameters
    ----------
    mosaic : Instance
        Of a classic MR image with MOSAIC in its ImageType.
    pixels : dict
        As :func:`~scisr_medical.dicom_io.read_header` gives it.
    """
    try:
        count, direction, protocol = _csa(mosaic)
        tiles = _tiles(mosaic, count, direction)
        _check_protocol(tiles, protocol)
    except _Unclear as reason:
        return [replace(mosaic, refusal=f"{mosaic.refusal}: {reason}")]
    check_image(replace(mosaic, refusal=None), pixels)
    return tiles


def _csa(mosaic: Instance) -> tuple[int, np.ndarray, bytes]:
    """Number of slices, their direction (LPS), and the scan protocol as text, empty where it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # nibabel calls its DICOM readers experimental; the CSA format is settled
        from nibabel.nicom import csareader

    header, _ = read_header(mosaic.path)
    try:
        found = csareader.get_csa_header(header, "image")
        count = None if found is None else csareader.get_n_mosaic(found)
        normal = None if found is None else csareader.get_slice_normal(found)
        first = 0 if found is None else csareader.get_scalar(found, "ProtocolSliceNumber")
    except Exception as error:  # damaged private bytes raise whatever struct and int do
        raise _Unclear(f"its CSA header can't be read ({type(error).__name__})") from error
    if not count or count < 1 or normal is None:
        raise _Unclear("its CSA header, which has the number and direction of its slices, is missing")
    if first:
        raise _Unclear(f"its first tile is slice {first} of the protocol")
    series = [
        e.value
        for e in header
        if e.tag.group == 0x0029 and e.tag.element & 0xFF == 0x20 and e.tag.element > 0xFF
    ]
    text = b"".join(bytes(v) for v in series if isinstance(v, bytes))
    found_text = _PROTOCOL.search(text)
    return int(count), np.asarray(normal, dtype=float), found_text.group() if found_text else b""


def _tiles(mosaic: Instance, count: int, direction: np.ndarray) -> list[Instance]:
    side = math.ceil(math.sqrt(count))
    rows, columns = mosaic.shape[0] // side, mosaic.shape[1] // side
    if (rows * side, columns * side) != mosaic.shape or min(rows, columns) < 1:
        raise _Unclear(f"{count} slices do not tile {mosaic.shape[0]}x{mosaic.shape[1]} pixels")
    if not mosaic.has_plane or not mosaic.spacing_between or mosaic.spacing_between < 0:
        raise _Unclear("it does not say where it lies, or how far its slices are apart")
    along = float(mosaic.normal @ direction)
    if abs(abs(along) - 1) > 1e-3:
        raise _Unclear("the slices' direction is not across the image plane")
    step = mosaic.normal * np.sign(along) * mosaic.spacing_between
    corner = mosaic.plane_affine() @ [(mosaic.shape[0] - rows) / 2, (mosaic.shape[1] - columns) / 2, 1]
    kinds = tuple(kind for kind in mosaic.image_type if kind != "MOSAIC")
    return [
        replace(
            mosaic,
            refusal=None,
            image_type=kinds,
            shape=(rows, columns),
            position=tuple(float(v) for v in corner + k * step),
            tile=(k // side * rows, k % side * columns),
            whole=mosaic.shape,
        )
        for k in range(count)
    ]


def _check_protocol(tiles: list[Instance], protocol: bytes) -> None:
    """Hold the slices' places against those that were planned on the scanner."""
    size = _SLICES.search(protocol)
    if size is None:
        return
    if int(size.group(1)) != len(tiles):
        raise _Unclear(f"its CSA header has {len(tiles)} slices, its protocol {int(size.group(1))}")
    planned = np.zeros((len(tiles), 3))  # a coordinate that is 0 is not written
    for number, axis, value in _PLACE.findall(protocol):
        if int(number) < len(tiles):
            planned[int(number), (b"Sag", b"Cor", b"Tra").index(axis)] = float(value)
    rows, columns = tiles[0].shape
    first, last = (t.plane_affine() @ [rows / 2, columns / 2, 1] for t in (tiles[0], tiles[-1]))
    # The slices may be numbered from either end. The table may have moved, so the nearer end counts.
    ends = planned[[0, -1]]
    if np.linalg.norm(first - ends[1]) < np.linalg.norm(first - ends[0]):
        ends = ends[::-1]
    if np.linalg.norm((last - first) - (ends[1] - ends[0])) > 0.1 * (tiles[0].spacing_between or 1.0):
        raise _Unclear("its protocol places the slices elsewhere, or in the other direction")


class Mosaics:
    """Decoded mosaics, the last few kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, np.ndarray] = OrderedDict()

    def cut(self, tile: Instance, decode: Any) -> np.ndarray:
        """The stored values of one slice.

        Parameters
        ----------
        tile : Instance
        decode : callable
            Given an instance, returns the stored values of its file's one image.
        """
        if tile.path not in self._kept:
            self._kept[tile.path] = decode(replace(tile, shape=tile.whole or tile.shape, tile=None))
            while len(self._kept) > 1 and sum(a.nbytes for a in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(tile.path)
        whole = self._kept[tile.path]
        if whole.shape != tile.whole or tile.tile is None:
            return whole  # of another shape than declared: refused where that is compared
        (row, column), (rows, columns) = tile.tile, tile.shape
        return whole[row : row + rows, column : column + columns]
