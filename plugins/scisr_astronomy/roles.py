"""What each HDU of a file is: science to upscale, or something that goes with it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from scisr_astronomy.fits_file import FitsFile, string_card
from scisr_astronomy.preflight import HduRecord

#: Roles of an image that goes with a science image, by EXTNAME. Sources: HST and JWST data products, MUSE
#: (STAT), Astropy's CCDData (UNCERT, MASK), NOIRLab and DESI pipelines, Herschel (coverage).
_BY_NAME = (
    ("sigma", r"ERR|ERRORS?|UNC|UNCERT|UNCERTAINTY|SIGMA|STD|STDDEV|STDEV|RMS|NOISE"),
    ("variance", r"VAR|VARIANCE|STAT|VAR_\w+|VARPOISSON|VARRNOISE"),
    ("inverse", r"IVAR|INVVAR|IVM|INVERSE_VARIANCE"),
    (
        "mask",
        r"DQ|DQF|DQ\d|PIXELDQ|GROUPDQ|MASK|MASKS|MSK|BPM|BADPIX|BADPIXEL|FLAGS?|QUALITY|QUAL|DATA_QUALITY|DQM|OR_MASK",
    ),
    (
        "map",
        r"WHT|WEIGHTS?|WGT|SAMP|TIME|EXP|EXPOSURE|EXPMAP|COVERAGE|COV|NCOMB|NIMAGES?|AREA"
        r"|CON|CTX|CONTEXT|SEG|SEGM|SEGMAP|SEGMENTATION|OBJMASK|LABELS?",
    ),
    ("lookup", r"WCSDVARR|D2IMARR"),
    ("keep", r"PSF|EPSF|KERNEL|THUMBNAIL|PREVIEW"),
    ("drop", r"ASDF"),
)
LABELS = rf"{dict(_BY_NAME)['mask']}|CON|CTX|CONTEXT|SEG|SEGM|SEGMAP|SEGMENTATION|OBJMASK|LABELS?"
_UTYPES = {"STDDEVUNCERTAINTY": "sigma", "VARIANCEUNCERTAINTY": "variance", "INVERSEVARIANCE": "inverse"}
COMPANIONS = frozenset({"sigma", "variance", "inverse", "mask", "map"})


@dataclass(frozen=True)
class Role:
    """Attributes
    ----------
    kind : str
        ``science``; ``sigma``, ``variance``, ``inverse`` (of a variance), ``mask`` (data quality), ``map`` (exposure,
        weight, coverage, labels: a value of each pixel's own); ``lookup`` (distortion); ``keep`` (carried untouched);
        ``drop`` (can't be right any more).
    of : int or None
        The science HDU that a companion belongs to.
    """

    kind: str
    of: int | None = None


def is_science_shape(record: HduRecord) -> bool:
    """Whether an image has at least two axes longer than one pixel, and no empty one."""
    shape = record.shape
    return record.kind in ("image", "compressed") and 0 not in shape and sum(n > 1 for n in shape) >= 2


def roles_of(file: FitsFile) -> dict[int, Role]:
    """The role of each HDU, by its number."""
    names = {record.index: named_kind(file, record.index) for record in file.records}
    science = [r for r in file.records if names[r.index] == "science" and is_science_shape(r)]
    if not science:
        # A weight map alone in its file is the image the user means.
        science = [r for r in file.records if names[r.index] in COMPANIONS and is_science_shape(r)]
        names.update({r.index: "science" for r in science})
    chosen = {r.index for r in science}
    roles = {}
    for record in file.records:
        kind = names[record.index]
        if kind == "science":
            roles[record.index] = Role("science" if record.index in chosen else "keep")
        elif kind in COMPANIONS:
            owner = _owner(file, record, science)
            roles[record.index] = Role("keep") if owner is None else Role(kind, owner)
        else:
            roles[record.index] = Role(kind)
    return roles


def is_labels(file: FitsFile, index: int) -> bool:
    """Whether an image that is upscaled itself holds flags or labels: integers that must never be averaged.

    Known by the name of the HDU, by NOIRLab's PRODTYPE, or by its archive's file names (``c4d_*_ood_*``: the third
    letter is the product, d for data quality).
    """
    record = file.records[index]
    if record.bitpix < 0:
        return False
    product = (string_card(file.raw_header(0), "PRODTYPE") or "").lower()
    if re.match(r"[a-z0-9]{3}_\d{6}_\d{6}_[a-z]{2}d[_.]", file.source.name):
        return True
    return product == "dqmask" or re.fullmatch(LABELS, record.name) is not None


def named_kind(file: FitsFile, index: int) -> str:
    """The kind of :class:`Role` that an HDU's name tells; ``science`` for an image with any other name."""
    record = file.records[index]
    name = record.name
    if name == "ASDF":
        return "drop"
    if record.kind not in ("image", "compressed"):
        return "keep"
    if name in ("UNCERT", "UNCERTAINTY"):
        utype = (string_card(file.raw_header(record.index), "UTYPE") or "").upper()
        return _UTYPES.get(utype, "sigma")
    for kind, pattern in _BY_NAME:
        if re.fullmatch(pattern, name):
            return kind
    return "science"


def _owner(file: FitsFile, record: HduRecord, science: list[HduRecord]) -> int | None:
    """The science image of the same version and shape: the nearest before it, else the nearest after."""
    shape = record.shape or constant_shape(file, record)
    fitting = [s for s in science if s.shape == shape]
    fitting = [s for s in fitting if s.version == record.version] or (fitting if len(fitting) == 1 else [])
    before = [s.index for s in fitting if s.index < record.index]
    after = [s.index for s in fitting if s.index > record.index]
    return before[-1] if before else (after[0] if after else None)


def constant_shape(file: FitsFile, record: HduRecord) -> tuple[int, ...]:
    """Shape of an HST "constant array": NAXIS = 0, its size in NPIX1 and NPIX2, its value in PIXVALUE."""
    raw = file.raw_header(record.index)
    sizes = [string_card(raw, f"NPIX{n}") for n in (2, 1)]
    if record.kind != "image" or math.prod(record.shape) != 1 or not all(s and s.isdigit() for s in sizes):
        return ()
    return tuple(int(s) for s in sizes if s)
