"""FITS files as frames: single images, cubes of planes in time, and the several detectors of one exposure."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRWarning, UnreadableError, UnsupportedError
from sciSR.image import Image
from sciSR.planes import plane_of
from sciSR.reading import plane_name
from sciSR.sequence import Frame
from scisr_astronomy.exposure_keywords import Exposure, exposure_of
from scisr_astronomy.fits_file import FitsFile, wrong_sum
from scisr_astronomy.reader import read_fits

#: Names of axes that are plainly not time: spectral ones (FITS WCS paper III) and polarisation.
_NOT_TIME = {
    **dict.fromkeys(
        ("FREQ", "ENER", "WAVN", "VRAD", "WAVE", "VOPT", "ZOPT", "AWAV", "VELO", "BETA"), "spectral"
    ),
    **dict.fromkeys(("FELO", "LAMBDA", "WAVELENG", "VELOCITY", "VELO-LSR", "FREQ-LSR"), "spectral"),
    **dict.fromkeys(("STOKES",), "polarisation"),
    **dict.fromkeys(("RGB", "COLOR", "COLOUR"), "colour"),
}


def read_fits_frames(
    path: Path, *, strict: bool = False, ignore_checksum: bool = False, **options: Any
) -> list[Frame]:
    """The frames of one FITS file; see :meth:`scisr_astronomy.fits_adapter.FitsAdapter.read_frames`."""
    images = read_fits(path, ignore_checksum=True, **options)
    file: FitsFile = images[0].metadata.file
    if not ignore_checksum:
        _look_at_sums(file, strict=strict)
    frames = [frame for image in images for frame in _frames(image)]
    file._cache.clear()  # parsed headers of hundreds of files add up; they are parsed again when needed
    return frames


def _look_at_sums(file: FitsFile, *, strict: bool) -> None:
    """A wrong sum is told; in a sequence the other frames show whether the pixels are right."""
    for record in file.records:
        what = wrong_sum(file, record)
        if what and strict:
            raise UnreadableError(
                what, where=file.where(record.index), remedy="fetch the file again, or give --ignore-checksum"
            )
        if what:
            # Without the numbers: the same about many files is told once.
            kind = what.split(" is ")[0]
            detail = "the header was changed" if kind == "CHECKSUM" else "the data were changed or damaged"
            warnings.warn(
                f"{file.where(record.index)}: {kind} is wrong: {detail} since it was computed; used all the same",
                SciSRWarning,
                stacklevel=2,
            )


def _frames(image: Image) -> list[Frame]:
    exposure = exposure_of(image.metadata)
    others = [axis for axis, name in enumerate(image.axes) if name not in image.spatial]
    if not others:
        return [_frame(image, image.where, exposure)]
    long = [axis for axis in others if image.shape[axis] > 1]
    _check_axes(image, long)
    if len(long) == 0:
        return [_frame(plane_of(image, dict.fromkeys(others, 0)), image.where, exposure)]
    count = image.shape[long[0]]
    fixed = dict.fromkeys(others, 0)
    warnings.warn(
        f"{image.where}: a cube: each of its {count} planes is taken as one exposure",
        SciSRWarning,
        stacklevel=2,
    )
    return [
        _frame(plane_of(image, fixed | {long[0]: k}), plane_name(image.where, k), exposure)
        for k in range(count)
    ]


def _check_axes(image: Image, long: list[int]) -> None:
    header = image.metadata.file.header(image.metadata.hdu)
    sizes = ", ".join(f"NAXIS{len(image.shape) - axis}={image.shape[axis]}" for axis in long)
    if len(long) > 1:
        raise UnsupportedError(
            f"has more than one axis beside the plane ({sizes}); frames of a cube lie along one axis of time",
            where=image.where,
            remedy="split it into cubes of three axes",
        )
    for axis in long:
        number = len(image.shape) - axis
        kind = str(header.get(f"CTYPE{number}", "")).strip().upper()
        base = kind if kind in _NOT_TIME else kind.split("-")[0]
        if base in _NOT_TIME:
            raise UnsupportedError(
                f"its third axis (CTYPE{number}={kind}) is {_NOT_TIME[base]}, not time: its planes are no frames "
                "of one scene",
                where=image.where,
                remedy="give single planes or a cube along time",
            )


def _frame(image: Image, name: str, exposure: Exposure) -> Frame:
    return Frame(
        image,
        name,
        exposure=exposure.seconds,
        start=exposure.start,
        end=exposure.end,
        filter=exposure.filter,
        saturation=exposure.saturation,
    )
