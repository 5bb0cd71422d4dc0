"""Is an upscaled file's grid the refinement of its input's? As libraries see both that have no part in sciSR."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SCALE = 2


class Refused(Exception):
    """The independent reader can't read the input."""


class WrongGrid(Exception):
    """The output lies elsewhere than its input, or can't be read."""


def judge(kind: str, source: Path, output: Path) -> None:
    """Compare two files.

    Raises
    ------
    WrongGrid
    Refused
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        _JUDGES[kind](source, output)


def _reading(read: Callable[[Path], Any], source: Path, output: Path) -> tuple[Any, Any]:
    try:
        before = read(source)
    except Exception as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    try:
        return before, read(output)
    except Exception as error:
        raise WrongGrid(f"the output can't be read: {type(error).__name__}: {error}") from error


def _landmarks(high: int, wide: int) -> np.ndarray:
    """0-based (x, y): corners, middles of edges, centre."""
    return np.array(
        [(x, y) for x in (-0.5, wide / 2 - 0.5, wide - 0.5) for y in (-0.5, high / 2 - 0.5, high - 0.5)]
    )


def _fits(source: Path, output: Path) -> None:
    before, after = _reading(lambda path: list(_fits_images(path)), source, output)
    found = dict(after)
    for index, (shape, name, wcs) in before:
        if index not in found:
            continue
        new_shape, new_name, new_wcs = found[index]
        if shape[-2:] == new_shape[-2:] or name != new_name:
            continue
        if tuple(new_shape[-2:]) != (SCALE * shape[-2], SCALE * shape[-1]):
            raise WrongGrid(f"HDU {index}: {shape} became {new_shape}")
        if wcs is None:
            continue
        if isinstance(wcs, Exception):
            raise Refused(f"WCS of HDU {index}: {wcs}")
        if new_wcs is None or isinstance(new_wcs, Exception):
            raise WrongGrid(f"HDU {index}: the WCS is lost ({new_wcs})")
        _compare_wcs(wcs, new_wcs, shape, index)


def _fits_images(path: Path) -> Iterator[tuple[int, tuple[Any, Any, Any]]]:
    from astropy.io import fits
    from astropy.wcs import WCS

    with fits.open(path, memmap=False) as hdus:
        for index, hdu in enumerate(hdus):
            if not getattr(hdu, "is_image", False) or len(hdu.shape) < 2:
                continue
            header, wcs = hdu.header, None
            if any(
                key[:5] in ("CTYPE", "CRVAL", "CDELT", "CRPIX") or key[:3] in ("CD1", "CD2") for key in header
            ):
                try:
                    wcs = WCS(header, hdus)
                except Exception as error:
                    wcs = error
            yield index, (hdu.shape, header.get("EXTNAME"), wcs)


def _compare_wcs(before: Any, after: Any, shape: Any, index: int) -> None:
    old = _landmarks(*shape[-2:])
    new = (old + 0.5) * SCALE - 0.5
    if before.naxis != after.naxis:
        raise WrongGrid(f"HDU {index}: {before.naxis} world axes became {after.naxis}")
    if before.naxis > 2:
        rest = np.zeros((len(old), before.naxis - 2))
        old, new = np.hstack([old, rest]), np.hstack([new, rest])
    if before.naxis < 2:
        return
    try:
        a = before.all_pix2world(old, 0)
    except Exception as error:
        raise Refused(f"WCS of HDU {index}: {error}") from error
    try:
        b = after.all_pix2world(new, 0)
    except Exception as error:
        raise WrongGrid(f"HDU {index}: the new WCS fails: {error}") from error
    size = np.nanmax(np.abs(a - a[:1]), axis=0, initial=0) + 1e-12 * np.nanmax(np.abs(a), axis=0, initial=0)
    far = np.abs(a - b)
    if before.has_celestial:
        far[:, before.wcs.lng] = np.minimum(far[:, before.wcs.lng], np.abs(360 - far[:, before.wcs.lng]))
    wrong = ~(far <= 1e-5 * size + 1e-12) & ~(np.isnan(a) & np.isnan(b)) & ~(np.isinf(a) & np.isinf(b))
    if wrong.any():
        row = int(np.argwhere(wrong)[0, 0])
        raise WrongGrid(
            f"HDU {index}: pixel {old[row].tolist()} was at {a[row].tolist()}, is at {b[row].tolist()}"
        )


def _nifti(source: Path, output: Path) -> None:
    before, after = _reading(_nifti_header, source, output)
    factors = [n / o for n, o in zip(after["shape"][:3], before["shape"][:3], strict=False)]
    if len(after["shape"]) != len(before["shape"]) or any(f not in (1, SCALE) for f in factors):
        raise WrongGrid(f"{before['shape']} became {after['shape']}")
    factors += [1.0] * (3 - len(factors))
    to_coarse = np.diag([*(1 / f for f in factors), 1.0])
    to_coarse[:3, 3] = [(1 / f - 1) / 2 for f in factors]
    for name in ("affine", "sform", "qform"):
        old, new = before[name], after[name]
        if old is None:
            continue
        expected = old @ to_coarse
        if new is None or not np.allclose(
            new, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max(), equal_nan=True
        ):
            raise WrongGrid(f"the {name} {old.tolist()} became {None if new is None else new.tolist()}")


def _nifti_header(path: Path) -> Mapping[str, Any]:
    import nibabel as nib

    image = nib.load(path)
    header = image.header
    coded = {
        name: getattr(header, f"get_{name}")(coded=True)[0] if hasattr(header, f"get_{name}") else None
        for name in ("sform", "qform")
    }
    return {"shape": image.shape, "affine": image.affine, **coded}


def _dicom(source: Path, output: Path) -> None:
    before, after = _reading(_dicom_planes, source, output)
    expected = [(shape, _refined(*plane)) for shape, *plane in before]
    for shape, position, orientation, spacing in after:
        if position is None:
            continue
        for old, plane in expected:
            if (SCALE * old[0], SCALE * old[1]) == shape and plane is not None:
                pairs = zip((position, orientation, spacing), plane, strict=True)
                if all(np.allclose(a, b, rtol=1e-5, atol=1e-4) for a, b in pairs):
                    break
        else:
            raise WrongGrid(
                f"no plane of the input is where {shape} at {position}, {orientation}, {spacing} is"
            )


def _dicom_planes(path: Path) -> list[Any]:
    """(shape, position, orientation, spacing) of each frame of a file or folder."""
    from pydicom import dcmread

    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    planes = []
    for file in files:
        raw = file.read_bytes()
        if path.is_dir() and (file.name == "DICOMDIR" or raw[128:132] != b"DICM"):
            continue
        try:
            dataset = dcmread(io.BytesIO(raw), force=True)
            shape = (int(dataset.Rows), int(dataset.Columns))
            frames = dataset.get("PerFrameFunctionalGroupsSequence") or [dataset]
            shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
            planes += [(shape, *_plane(frame, shared)) for frame in frames]
        except Exception:
            if not path.is_dir():
                raise
    if not planes:
        raise ValueError("no image")
    return planes


def _plane(frame: Any, shared: Any) -> tuple[Any, Any, Any]:
    def find(keyword: str, group: str) -> Any:
        for place in (frame, shared):
            if place is None:
                continue
            value = place.get(keyword)
            if value is None and place.get(group):
                value = place[group].value[0].get(keyword)
            if value is not None:
                return np.array([float(v) for v in value])
        return None

    return (
        find("ImagePositionPatient", "PlanePositionSequence"),
        find("ImageOrientationPatient", "PlaneOrientationSequence"),
        find("PixelSpacing", "PixelMeasuresSequence"),
    )


def _refined(position: Any, orientation: Any, spacing: Any) -> Any:
    if position is None or orientation is None or spacing is None:
        return None
    row, column = orientation[:3], orientation[3:]
    step = (1 / SCALE - 1) / 2
    return position + step * (spacing[1] * row + spacing[0] * column), orientation, spacing / SCALE


def _ser(source: Path, output: Path) -> None:
    def read(path: Path) -> tuple[int, ...]:
        return struct.unpack("<4i", path.read_bytes()[18:34])

    (color, _, *before), (_, _, *after) = _reading(read, source, output)
    scale = 1 if 8 <= color < 100 else SCALE  # a mosaic is read as colours of half its size
    if [scale * (n // 2 * 2 if scale == 1 else n) for n in before] != after:
        raise WrongGrid(f"{before} became {after}")


def _video(source: Path, output: Path) -> None:
    def read(path: Path) -> tuple[int, int]:
        import av

        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            return frame.width, frame.height

    before, after = _reading(read, source, output)
    if tuple(SCALE * n for n in before) != after:
        raise WrongGrid(f"{before} became {after}")


def _picture(source: Path, output: Path) -> None:
    def read(path: Path) -> tuple[int, int]:
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as image:
                image.load()
                return image.size
        import tifffile

        with tifffile.TiffFile(path) as image:
            page = image.pages[0]
            page.asarray()
            return page.imagewidth, page.imagelength

    before, after = _reading(read, source, output)
    if tuple(SCALE * n for n in before) != after:
        raise WrongGrid(f"{before} became {after}")


_JUDGES = {"fits": _fits, "nifti": _nifti, "dicom": _dicom, "ser": _ser, "video": _video, "picture": _picture}
