"""Masks, weights and errors that come as files of their own beside the images they belong to.

NOIRLab names its products by one letter: ``c4d_150411_035242_ooi_z_ls9.fits`` is an image, ``ood`` its data quality,
``oow`` its weight. Others append a word: ``m51_mask.fits``, ``m51.weight.fits`` (SWarp), ``x_cbcd.fits`` with
``x_cbunc.fits`` and ``x_bimsk.fits`` (Spitzer), ``y-int-3.fits`` with ``y-unc-3.fits`` and ``y-msk-3.fits`` (WISE).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sciSR.errors import SciSRWarning, UnsupportedError
from sciSR.image import Image, LazyArray
from scisr_astronomy.fits_file import FitsFile, open_fits
from scisr_astronomy.noise import Sky
from scisr_astronomy.reader import section_of
from scisr_astronomy.roles import is_science_shape
from scisr_astronomy.sections import MappedSection

_NOIRLAB = re.compile(r"([a-z0-9]{3}_\d{6}_\d{6}_[a-z]{2})([a-z])((?:[_.].*)?)$")
_NOIRLAB_KINDS = {"d": "mask", "w": "weight", "e": "other"}
_WORDS = {
    "mask": r"mask|msk|dq|bpm|badpix|bad|flags?|bimsk",
    "weight": r"weights?|wht|wtmap|conf",
    "inverse": r"ivar|invvar",
    "sigma": r"err|error|rms|unc|uncert|sigma|std|cbunc",
    "variance": r"var|variance",
    "other": r"exp|expmap|cov|coverage|ctx|seg|segm|segmap",
}
_IMAGE_WORDS = "image|img|sci|int|data|cbcd|bcd|drz|drc|flt|flc|cal|i2d|mosaic"
_SUFFIX = re.compile(r"\.(fits|fit|fts)(\.(gz|bz2|fz))?$", re.I)
_LAST_WORD = re.compile(r"(.+?)[._-]([a-z]+)((?:[._-][0-9]\w{0,2})?)$", re.I)
_AGREES = 4.0  # variance from a weight over measured variance, either way


@dataclass(frozen=True)
class Name:
    """What a file's name says: what is inside, and by which key it goes with others."""

    kind: str
    key: tuple[str, ...]


def read_name(path: Path) -> list[Name]:
    """What a name may mean: an image's has one reading for each word that could be left away."""
    stem = _SUFFIX.sub("", path.name)
    folder = str(path.resolve().parent)
    if match := _NOIRLAB.match(stem):
        return [Name(_NOIRLAB_KINDS.get(match[2], "image"), (folder, match[1], match[3]))]
    names = [Name("image", (folder, stem, ""))]
    if match := _LAST_WORD.match(stem):
        word = match[2].lower()
        for kind, pattern in _WORDS.items():
            if re.fullmatch(pattern, word):
                return [Name(kind, (folder, match[1], match[3]))]
        if re.fullmatch(_IMAGE_WORDS, word):
            names.append(Name("image", (folder, match[1], match[3])))
    return names


def pair_files(paths: Sequence[Path]) -> list[tuple[Path, dict[str, Path]]]:
    """The files that are images, in order, each with the mask, weight, ... among `paths` that go with it.

    A file with a companion's name and no image to go with is taken for an image itself, unless other images are
    there (a mask must never be fused) or NOIRLab's convention says what it is.
    """
    read = {path: read_name(path) for path in paths}
    images = [path for path in paths if read[path][0].kind == "image"]
    owners = {name.key: path for path in reversed(images) for name in read[path]}
    companions: dict[Path, dict[str, Path]] = {path: {} for path in images}
    alone = []
    for path in paths:
        name = read[path][0]
        if name.kind == "image":
            continue
        owner = owners.get(name.key)
        if owner is not None:
            companions[owner].setdefault(name.kind, path)
        else:
            alone.append(path)
    if not images and not any(_NOIRLAB.match(path.name) for path in alone):
        return [(path, {}) for path in paths]
    if alone:
        warnings.warn(
            f"{', '.join(p.name for p in alone[:3])}{' ...' if len(alone) > 3 else ''}: named as mask, weight or "
            "error of another file that is not here; not used",
            SciSRWarning,
            stacklevel=2,
        )
    return [(path, companions[path]) for path in images]


def with_neighbours(path: Path, found: Mapping[str, Path]) -> dict[str, Path]:
    """NOIRLab's mask and weight that lie beside an image, though they were not named."""
    out = dict(found)
    if match := _NOIRLAB.match(path.name):
        for letter, kind in _NOIRLAB_KINDS.items():
            neighbour = path.with_name(f"{match[1]}{letter}{match[3]}")
            if kind not in out and kind != "other" and match[2] == "i" and neighbour.is_file():
                out[kind] = neighbour
    return out


def attach(image: Image, companions: Mapping[str, Path], bits: int | None, *, limit: int) -> Image:
    """The image with masks and standard deviations from other files.

    Parameters
    ----------
    companions : mapping of str to Path
        By kind: ``mask``, ``weight`` (checked when used), ``inverse`` (of a variance), ``sigma``, ``variance``.
    bits : int or None
        See :func:`scisr_astronomy.reader.parse_bits`.

    Raises
    ------
    SciSRError
        A companion can't be read, or does not fit the image.
    """
    from scisr_astronomy.reader import _AnyOf, _bad

    if "mask" in companions and bits:
        flags = _matching(image, companions["mask"], limit)
        own = MappedSection(flags, lambda dq: _bad(dq, bits), bool)
        image = image.replace(mask=own if image.mask is None else _AnyOf([image.mask, own]))
    if image.uncertainty is None:
        for kind, function in _SIGMA.items():
            if kind in companions:
                source = _matching(image, companions[kind], limit)
                dtype = np.result_type(source.dtype, np.float32)
                return image.replace(uncertainty=MappedSection(source, function, dtype))
    return image


def attach_own_weight(image: Image) -> tuple[Image, bool]:
    """A weight map in the image's own file (WHT, WGT) as its uncertainty where there is none; to be checked."""
    metadata = image.metadata
    records = metadata.file.records
    for index, role in metadata.roles.items():
        named = re.fullmatch(r"WHT|WEIGHTS?|WGT", records[index].name)
        if named and role.of == metadata.hdu and records[index].shape == image.shape:
            source = section_of(metadata.file, index)
            dtype = np.result_type(source.dtype, np.float32)
            return image.replace(uncertainty=MappedSection(source, _SIGMA["weight"], dtype)), True
    return image, False


_SIGMA = {
    "sigma": lambda v: v,
    "variance": np.sqrt,
    "inverse": lambda w: 1 / np.sqrt(w),
    "weight": lambda w: 1 / np.sqrt(w),
}


def _matching(image: Image, path: Path, limit: int) -> LazyArray:
    """The image of the same name in another file; else the only one, or the one at the same place."""
    file = open_fits(path, limit=limit, ignore_checksum=True)
    mine: FitsFile = image.metadata.file
    record = mine.records[image.metadata.hdu]
    fitting = [r for r in file.records if is_science_shape(r) and r.shape == record.shape]
    same = [r for r in fitting if r.name and (r.name, r.version) == (record.name, record.version)]
    place = [r for r in fitting if r.index == record.index]
    chosen = same or (fitting if len(fitting) == 1 else place)
    if not chosen:
        raise UnsupportedError(
            f"holds no image of {_times(record.shape)} pixels that goes with {image.where}", where=path.name
        )
    return section_of(file, chosen[0].index)


def _times(shape: Iterable[int]) -> str:
    return "x".join(str(n) for n in reversed(list(shape)))


class Scaled(MappedSection):
    """Another section times a factor."""

    def __init__(self, source: LazyArray, factor: float) -> None:
        super().__init__(source, lambda values: values * factor, source.dtype)
        self.factor = factor


def check_weight(image: Image, sky: Sky) -> tuple[Image, str | None]:
    """A weight as an inverse variance, if it predicts the sky's noise; else relative, scaled until it does.

    Returns
    -------
    image, note
    """
    from scisr_astronomy.noise import sample_sky

    if image.uncertainty is None or not np.isfinite(sky.noise) or sky.noise <= 0:
        return image, None
    told = sample_sky(image.replace(data=image.uncertainty, uncertainty=None)).level
    if not np.isfinite(told) or told <= 0:
        return image, "no pixel with a positive weight was found"
    ratio = (told / sky.noise) ** 2
    if 1 / _AGREES <= ratio <= _AGREES:
        return image, None
    return image.replace(uncertainty=Scaled(image.uncertainty, sky.noise / told)), (
        "the weight is no inverse variance in the image's unit; taken as relative and scaled to the sky's noise"
    )
