"""FITS files as frames: single images, cubes of planes in time, and the several detectors of one exposure."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import SciSRError, SciSRWarning, UnreadableError, UnsupportedError
from sciSR.image import Image
from sciSR.planes import plane_of
from sciSR.reading import plane_name
from sciSR.sequence import Frame
from scisr_astronomy.companions import attach, attach_own_weight, check_weight
from scisr_astronomy.exposure_keywords import Exposure, exposure_of
from scisr_astronomy.fits_file import FitsFile, wrong_sum
from scisr_astronomy.noise import Sky, noise_of, sample_sky, saturation_of
from scisr_astronomy.reader import _mask, parse_bits, parse_size, read_fits
from scisr_astronomy.roles import COMPANIONS, named_kind

#: Most of JWST's flags tell a pixel's history (a jump was found and taken out); one says not to use it.
_JWST_DO_NOT_USE = 1
#: Bits of Rubin's masks that speak of what is seen, not of the pixel.
_RUBIN_HARMLESS = frozenset(
    {"DETECTED", "DETECTED_NEGATIVE", "NOT_DEBLENDED", "INEXACT_PSF", "BRIGHT_OBJECT", "SENSOR_EDGE"}
)
_SPECTRAL = (
    *("FREQ", "ENER", "WAVN", "VRAD", "WAVE", "VOPT", "ZOPT", "AWAV", "VELO", "BETA", "FELO"),
    *("LAMBDA", "WAVELENG", "WAVELENGTH", "VELOCITY", "CHANNEL"),
)
#: Axes that are plainly not time: spectral (FITS WCS paper III), polarisation, colour.
_NOT_TIME = {
    **dict.fromkeys(_SPECTRAL, "spectral"),
    "STOKES": "polarisation",
    **dict.fromkeys(("RGB", "COLOR", "COLOUR"), "colour"),
}


def read_fits_frames(
    path: Path,
    *,
    strict: bool = False,
    ignore_checksum: bool = False,
    dq_bits: str | int | None = None,
    companions: Mapping[str, Path] | None = None,
    **options: Any,
) -> list[Frame]:
    """The frames of one FITS file; see :meth:`scisr_astronomy.fits_adapter.FitsAdapter.read_frames`."""
    options.setdefault("colour", "planes")  # what three planes are is looked at below
    images = read_fits(path, ignore_checksum=True, dq_bits="all" if dq_bits is None else dq_bits, **options)
    file: FitsFile = images[0].metadata.file
    if not ignore_checksum:
        _look_at_sums(file, strict=strict)
    bits = -1 if dq_bits is None else parse_bits(dq_bits, path)
    if dq_bits is None and (found := _meaningful_bits(file)) != -1:
        bits = found
        images = [image.replace(mask=_mask(image.metadata, bits)) for image in images]
    frames: list[Frame] = []
    for image in images:
        _refuse_companions(image, chosen=bool(options.get("hdu")))
        limit = parse_size(options.get("max_inflated"), path)
        image, weighted = _with_companions(image, companions or {}, bits, limit=limit, strict=strict)
        frames += _frames(image, weighted=weighted)
    file.forget()
    return frames


def _meaningful_bits(file: FitsFile) -> int:
    """Flags that make a pixel bad, where an observatory's others tell something else; -1 for any flag."""
    if str(file.peek(0).get("TELESCOP", "")).strip().upper() == "JWST":
        return _JWST_DO_NOT_USE
    for record in file.records:
        if record.kind in ("image", "compressed") and record.name == "MASK":
            header = file.peek(record.index)
            planes = {k[3:]: header[k] for k in header if k.startswith("MP_")}
            if planes:  # Rubin's and Hyper Suprime-Cam's pipelines name each bit
                return sum(1 << int(bit) for name, bit in planes.items() if name not in _RUBIN_HARMLESS)
    return -1


def _warn(where: str, text: str) -> None:
    warnings.warn(f"{where}: {text}", SciSRWarning, stacklevel=3)


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
            data = what.startswith("DATASUM")
            detail = "DATASUM is wrong: the data were" if data else "CHECKSUM is wrong: the header was"
            _warn(
                file.where(record.index),
                f"{detail} changed or damaged since it was computed; used all the same",
            )


def _refuse_companions(image: Image, *, chosen: bool) -> None:
    """Never a mask or a weight as a frame, unless it was asked for by its name."""
    kind = named_kind(image.metadata.file, image.metadata.hdu)
    if image.kind == "labels" or (kind in COMPANIONS and not chosen):
        what = "flags or labels" if image.kind == "labels" or kind == "mask" else "weights or errors"
        raise UnsupportedError(
            f"holds {what}, no exposure", where=image.where, remedy="give the image itself"
        )


def _with_companions(
    image: Image, companions: Mapping[str, Path], bits: int | None, *, limit: int, strict: bool
) -> tuple[Image, bool]:
    """The image with what other files tell of it, and whether its uncertainty is a weight still to be checked."""
    weighted = False
    for kind in ("mask", "sigma", "variance", "inverse", "weight"):
        if kind not in companions:
            continue
        known = image.uncertainty is not None
        try:
            image = attach(image, {kind: companions[kind]}, bits, limit=limit)
        except SciSRError as error:
            if strict:
                raise
            _warn(image.where, f"used without its {kind}: {error}")
        else:
            weighted = kind == "weight" and not known
    return attach_own_weight(image) if image.uncertainty is None else (image, weighted)


def _frames(image: Image, *, weighted: bool) -> list[Frame]:
    file, hdu = image.metadata.file, image.metadata.hdu
    headers = [file.peek(hdu), *([file.peek(0)] if hdu else [])]
    exposure = exposure_of(headers)
    _look_at_kind(image, headers)
    others = [axis for axis, name in enumerate(image.axes) if name not in image.spatial]
    long = [axis for axis in others if image.shape[axis] > 1]
    if others:
        _check_axes(image, headers[0], long)
    fixed = dict.fromkeys(others, 0)
    step = 2 if _mosaic(headers) else 1
    if not long:
        plane = plane_of(image, fixed) if others else image
        return [_frame(plane, plane.where, exposure, weighted=weighted, step=step)]
    count = image.shape[long[0]]
    _warn(
        image.where,
        f"a cube: each of its {count} planes is taken for one exposure" + _colours(count, headers[0]),
    )
    if not any(h.get(k) for h in headers for k in ("DATE-END", "DATE_END", "MJD-END")):
        exposure = replace(exposure, end=None)  # start plus one exposure is not when the last plane ended
    first = _frame(plane_of(image, fixed), "", exposure, weighted=weighted, step=step)
    return [
        first.replace(
            image=_scaled_like(plane_of(image, fixed | {long[0]: k}), first), name=plane_name(image.where, k)
        )
        for k in range(count)
    ]


def _scaled_like(plane: Image, first: Frame) -> Image:
    """Planes of one cube share the factor of a relative weight; see :func:`check_weight`."""
    scaled = getattr(first.image.uncertainty, "factor", None)
    if scaled is None or plane.uncertainty is None:
        return plane
    from scisr_astronomy.companions import Scaled

    return plane.replace(uncertainty=Scaled(plane.uncertainty, scaled))


def _colours(count: int, header: Any) -> str:
    known = str(header.get("CTYPE3", "")).strip()
    return (
        " (three planes: if they are colours, split them and fuse each)" if count == 3 and not known else ""
    )


def _look_at_kind(image: Image, headers: list[Any]) -> None:
    """What the header calls a dark, flat or bias is hardly meant for a frame; a mosaic of colours is no image."""
    for header in headers:
        for keyword in ("IMAGETYP", "OBSTYPE", "FRAME", "EXPTYPE"):
            text = str(header.get(keyword, "")).strip()
            if re.match(r"(master ?)?(dark|bias|zero|flat|dflat|domeflat|skyflat)\b", text, re.I):
                _warn(
                    image.where,
                    f"{keyword} is {text!r}: is it meant as a frame, or as --dark, --flat or --bias?",
                )
                return
    if _mosaic(headers):
        _warn(image.where, "holds a mosaic of colour filters (BAYERPAT); its pixels are taken for one colour")


def _mosaic(headers: list[Any]) -> bool:
    return any(
        str(header.get("BAYERPAT", "")).strip().upper() in ("RGGB", "BGGR", "GRBG", "GBRG")
        for header in headers
    )


def _check_axes(image: Image, header: Any, long: list[int]) -> None:
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
                f"axis {number} (CTYPE{number}={kind}, {image.shape[axis]} planes) is {_NOT_TIME[base]}, not time: "
                "its planes are no frames of one scene",
                where=image.where,
                remedy="give single planes, or a cube along time",
            )


def _frame(image: Image, name: str, exposure: Exposure, *, weighted: bool, step: int) -> Frame:
    """One plane with what its header and a sample of its pixels tell."""
    sky = Sky(float("nan"), float("nan"))
    noise = note = None
    if image.uncertainty is None or weighted:
        sky = sample_sky(image, step=step)
        if not np.isfinite(sky.level):
            _warn(image.where, "hardly any pixel is good")
    if image.uncertainty is None:
        noise, note = noise_of(image, exposure, sky)
    elif weighted:
        image, note = check_weight(image, sky)
    if note:
        _warn(image.where, note)
    return Frame(
        image,
        name,
        exposure=exposure.seconds,
        start=exposure.start,
        end=exposure.end,
        filter=exposure.filter,
        noise=noise,
        saturation=saturation_of(image, exposure, sky),
    )
