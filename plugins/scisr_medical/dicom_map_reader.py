"""Reads the uncertainty maps written beside a derived series; see :mod:`scisr_medical.dicom_parametric_map`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.image import Image, LazyArray
from sciSR.views import full_index
from scisr_medical.dicom_map_targets import map_name
from scisr_medical.dicom_parametric_map import NOT_KNOWN

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_HEAD = 12  # bytes of an element's tag, VR and length before its value
_CLOSE = 0.01  # mm by which the place of a slice may differ


class MapView:
    """Standard deviations of ``[z, y, x]`` or ``[z, y, x, t]``; frames are read when indexed, NaN where not known.

    Parameters
    ----------
    volumes : sequence of ndarray
        Frames ``[z, y, x]`` of each volume, in the order of the image's slices.
    shape : tuple of int
        Of the image.
    """

    def __init__(self, volumes: Sequence[NDArray], shape: tuple[int, ...]) -> None:
        self.volumes, self.shape, self.dtype = volumes, shape, np.dtype(np.float32)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        index = full_index(index, len(self.shape))
        if len(self.shape) == 3:
            values = np.asarray(self.volumes[0][index])
        elif isinstance(index[3], slice):
            chosen = [np.asarray(v[index[:3]]) for v in self.volumes[index[3]]]
            values = np.stack(chosen, axis=-1)
        else:
            values = np.asarray(self.volumes[index[3]][index[:3]])
        return np.where(values == NOT_KNOWN, np.float32("nan"), values).astype(np.float32)


def read_maps(path: Path, image: Image) -> LazyArray | None:
    """The standard deviation of an image that was read from `path`, or None where no map fits it."""
    count = image.shape[3] if len(image.shape) > 3 else 1
    files = (
        sorted(path.glob("SD_*.dcm"))
        if path.is_dir()
        else [map_name(path, k + 1, count) for k in range(count)]
    )
    if len(files) != count or not all(file.is_file() for file in files):
        return None
    volumes = [_frames(file, image) for file in files]
    if any(volume is None for volume in volumes):
        return None
    return MapView([volume for volume in volumes if volume is not None], image.shape)


def _frames(path: Path, image: Image) -> NDArray | None:
    """The frames of one map, mapped into memory, as the image's slices lie in space."""
    import pydicom

    with open(path, "rb") as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True)
        start = stream.tell() + _HEAD
    if header.SOPClassUID != PARAMETRIC_MAP:
        return None
    slices, rows, columns = image.shape[:3]
    if (int(header.NumberOfFrames), header.Rows, header.Columns) != (slices, rows, columns):
        return None
    groups = header.PerFrameFunctionalGroupsSequence
    places = np.array([g.PlanePositionSequence[0].ImagePositionPatient for g in groups], float)
    rest = [0] * (len(image.shape) - 1)
    wanted = np.stack([image.grid.world(np.array([k, *rest]))[:3] for k in range(slices)])
    if np.abs(places - wanted).max() > _CLOSE and np.abs(places[::-1] - wanted).max() > _CLOSE:
        return None
    frames = np.memmap(path, "<f4", "r", start, (slices, rows, columns))
    return frames if np.abs(places - wanted).max() <= _CLOSE else frames[::-1]
