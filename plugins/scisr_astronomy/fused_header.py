"""Headers of a fused product: the reference frame's, minus what is no longer true, plus what is.

The level of the pixels is that of *one* frame of the reference exposure, so photometric zero points and flux
conversions of the reference stay right, while ``EXPTIME`` is the exposure of all frames together (as in drizzled
products of STScI, where it goes with a rate; here ``EXPREF`` tells which exposure a level in counts belongs to).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from sciSR import __version__
from sciSR.fusion.product import FrameRecord, Fused
from sciSR.inference.choose import scale_text
from sciSR.sequence import Frame
from scisr_astronomy.carry import add_history, refine_header
from scisr_astronomy.detector_keywords import refine_detector
from scisr_astronomy.fused_keywords import (
    NOISE,
    card_text,
    differing,
    outdated,
    remove,
    tidy,
    without_structure,
)
from scisr_astronomy.fused_times import combined_times
from scisr_astronomy.fused_wcs import grid_cards, plane_only
from scisr_astronomy.physical_grid import add_physical
from scisr_astronomy.reader import FitsMetadata
from scisr_astronomy.wcs_keywords import has_wcs, is_wcs_keyword

_NAMED = 40  # frames named in HISTORY; all stand in the table


@dataclass(eq=False)
class Headers:
    """Attributes
    ----------
    primary, science : astropy.io.fits.Header
        Without structural cards (BITPIX, NAXIS, EXTNAME, ...).
    """

    primary: Any
    science: Any


def members(fused: Fused) -> tuple[list[tuple[FrameRecord, Frame]], Frame | None]:
    """Records and frames that are part of the result, in order, and the reference frame."""
    frames = list(fused.sequence.frames)
    if len(frames) == len(fused.records):
        pairs = list(zip(fused.records, frames, strict=True))
    else:
        by_name = {frame.name: frame for frame in frames}
        pairs = [(r, by_name[r.name]) for r in fused.records if r.name in by_name]
    used = [pair for pair in pairs if pair[0].used]
    reference = next((f for r, f in pairs if r.reference), used[0][1] if used else None)
    return used, reference


def combined_headers(fused: Fused) -> Headers:
    """The headers of the primary HDU and of SCI; see the top of this file."""

    used, reference = members(fused)
    frames = [frame for _, frame in used]
    total = fused.image.quantity == "total"
    metadata = None if reference is None else reference.image.metadata
    if isinstance(metadata, FitsMetadata):
        headers, notes = _from_reference(fused, metadata)
    else:
        headers, notes = Headers(_clip_cards(metadata), grid_cards(fused.image.grid)), []
    if not has_wcs(headers.science):
        add_physical(headers.science, list(reversed(fused.image.grid.factors)))
    gone = _drop(headers, metadata, frames)
    times = combined_times(frames)
    for header in (headers.primary, headers.science):
        for keyword, value, comment in times.cards:
            header[keyword] = (value, comment)
    _describe(headers.primary, fused, used, reference)
    if fused.image.unit:
        headers.science["BUNIT"] = card_text(fused.image.unit)
    _level(headers.science, reference, total=total)
    _gain(headers.science, frames, reference, total=total)
    _filters(headers, frames)
    add_history(headers.science, [*map(card_text, notes), "how it was made stands in the primary header"])
    add_history(headers.primary, [card_text(text) for text in _history(fused, used, [*times.notes, *gone])])
    return headers


def _clip_cards(metadata: Any) -> Any:
    """What a SER clip tells of observer and instrument; nothing for frames of another kind."""
    from astropy.io import fits

    from scisr_astronomy.ser import text_of
    from scisr_astronomy.ser_clip import SerMetadata

    header = fits.Header()
    if isinstance(metadata, SerMetadata):
        told = metadata.file.header
        for keyword, field in (
            ("OBSERVER", told.observer),
            ("INSTRUME", told.instrument),
            ("TELESCOP", told.telescope),
        ):
            if text := card_text(text_of(field)):
                header[keyword] = text
    return header


def _from_reference(fused: Fused, metadata: FitsMetadata) -> tuple[Headers, list[str]]:
    """The reference's headers on the fine grid. A simple file's one header is split: pixels' cards go to SCI."""
    from astropy.io import fits

    file, index = metadata.file, metadata.hdu
    total = fused.image.quantity == "total" and any(f != 1 for f in fused.image.grid.factors)
    factors = _whole_factors(fused.image.grid)
    science, notes = refine_header(file.header(index), factors, total=total, keep_wcs=metadata.wcs == "keep")
    science, more = plane_only(science, fused.image.grid)
    science = without_structure(science)
    if index:
        primary, _ = refine_detector(file.header(0), list(reversed(factors)), total=total)
        primary = without_structure(primary)
    else:
        primary, own = science.copy(), fits.Header()
        for card in science.cards:
            if is_wcs_keyword(card.keyword) or card.keyword.startswith(("WAT", "LTV", "LTM", "BUNIT")):
                own.append(card, end=True)
        remove(primary, [keyword for keyword in dict.fromkeys(own) if keyword])
        science = own
    tidy(primary)
    tidy(science)
    return Headers(primary, science), [*notes, *more]


def _whole_factors(grid: Any) -> tuple[Fraction, ...]:
    """Of the grid that the file's header describes: a plane's cube has more axes."""
    return tuple(getattr(grid, "source", grid).factors)


def _drop(headers: Headers, metadata: Any, frames: Sequence[Frame]) -> list[str]:
    """Remove what a combination can't have; notes that name it."""
    notes = []
    if not isinstance(metadata, FitsMetadata):
        return notes
    noise = {
        keyword: header[keyword]
        for header in (headers.primary, headers.science)
        for keyword in outdated(header)
        if NOISE.match(keyword)
    }
    for header in (headers.primary, headers.science):
        remove(header, outdated(header))
    if noise:
        listed = ", ".join(f"{keyword}={value}" for keyword, value in noise.items())
        notes.append(f"noise of the reference frame alone, dropped (ERR holds the result's): {listed}")
    # As in the file: some were updated for the finer pixels by now.
    own = _whole_header(metadata)
    left = {k: v for k, v in own.items() if k in headers.primary or k in headers.science}
    airmass = [own.get("AIRMASS")]

    def others() -> Iterator[Any]:
        for header in _other_headers(metadata, frames):
            airmass.append(header.get("AIRMASS"))
            yield header

    gone = sorted(differing(left, others()))
    if len(airmass) == len(frames) and all(isinstance(value, float) for value in airmass):
        headers.primary["AIRMASS"] = (round(math.fsum(airmass) / len(airmass), 6), "mean of the frames")
    for header in (headers.primary, headers.science):
        remove(header, gone)
    if gone:
        notes.append(f"dropped, not the same in all frames: {', '.join(gone)}")
    return notes


def _other_headers(reference: FitsMetadata, frames: Sequence[Frame]) -> Iterator[Any]:
    """Each other frame's primary and own header as one, parsed one at a time."""
    seen = {(str(reference.file.source), reference.hdu)}
    for frame in frames:
        metadata = frame.image.metadata
        if not isinstance(metadata, FitsMetadata):
            continue
        key = (str(metadata.file.source), metadata.hdu)
        if key in seen:
            continue
        seen.add(key)
        yield _whole_header(metadata)


def _whole_header(metadata: FitsMetadata) -> dict[str, Any]:
    """A frame's primary and own keywords as one; nothing stays parsed, since hundreds of headers add up."""
    file = metadata.file
    values = _values(file.header(0), file.header(metadata.hdu))
    file._cache.clear()
    return values


def _values(*headers: Any) -> dict[str, Any]:
    """Keywords and values; a later header's count more, and of one header's the first."""
    return {card.keyword: card.value for header in headers for card in reversed(header.cards)}


def _describe(
    header: Any, fused: Fused, used: Sequence[tuple[FrameRecord, Frame]], reference: Frame | None
) -> None:
    settings = fused.settings
    header["NCOMBINE"] = (len(used), "frames combined")
    header["FUSEMETH"] = (card_text(settings.get("method", ""))[:60], "method of fusion")
    header["FUSESCAL"] = (_scale(fused), "fine pixels per native pixel")
    header["REFFRAME"] = (
        "" if reference is None else card_text(reference.name)[:60],
        "defines grid and level",
    )
    if settings.get("deconvolve"):
        header["DECONV"] = (True, "blur of the optics was reduced")
    header["CREATOR"] = (f"sciSR {__version__}", "wrote this file")
    header["DATE"] = (datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "this file was written, UTC")


def _scale(fused: Fused) -> str:
    first, second = fused.image.grid.factors[-2:]
    return scale_text((Fraction(first), Fraction(second)))


def _level(header: Any, reference: Frame | None, *, total: bool) -> None:
    exposure = None if reference is None else reference.exposure
    if exposure is not None and math.isfinite(exposure):
        header["EXPREF"] = (float(exposure), "[s] exposure of the frame whose level this is")
    header.add_comment("The level is that of one frame of the reference exposure, EXPREF,")
    header.add_comment("not that of EXPTIME, the exposure of all frames together.")
    if total:
        header.add_comment("The fine pixels of a native pixel sum to its value in that frame.")
    else:
        header.add_comment("A fine pixel has the level of the native pixel it lies in.")


def _gain(header: Any, frames: Sequence[Frame], reference: Frame | None, *, total: bool) -> None:
    """Electrons that all frames together counted, per unit of the result: for the shot noise of sums over pixels."""
    noise = None if reference is None else reference.noise
    if not total or noise is None or reference is None or not reference.exposure:
        return
    if any(frame.noise is None or not frame.exposure for frame in frames):
        return
    # A frame of exposure t adds electrons in proportion to t, whatever its own gain.
    share = math.fsum(frame.exposure or 0.0 for frame in frames) / reference.exposure
    header["EFFGAIN"] = (noise.gain * share, "[electron] of all frames per unit of BUNIT")


def _filters(headers: Headers, frames: Sequence[Frame]) -> None:
    counts = Counter(frame.filter for frame in frames if frame.filter)
    if len(counts) > 1:
        headers.primary["FILTER"] = ("MIXED", "see HISTORY")
        remove(headers.science, ["FILTER"])
        listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        add_history(headers.primary, [card_text(f"filters: {listed}")])
    elif counts and "FILTER" not in headers.science and "FILTER" not in headers.primary:
        headers.primary["FILTER"] = (card_text(next(iter(counts)))[:60], "")


def _history(fused: Fused, used: Sequence[tuple[FrameRecord, Frame]], more: Sequence[str]) -> Iterator[str]:
    from scisr_astronomy.frame_table import complete

    rows = complete(fused.records, fused.sequence.left_out)
    method = fused.settings.get("method", "?")
    yield f"sciSR {__version__} fused {len(used)} of {len(rows)} frames, x{_scale(fused)}, method {method}"
    yield from dict.fromkeys([*fused.sequence.notes, *fused.notes])
    yield from more
    left = [row for row in rows if not row.used]
    for row in left[:_NAMED]:
        yield f"left out: {row.name}: {row.reason}"
    if len(left) > _NAMED:
        yield f"left out: {len(left) - _NAMED} more, see the table FRAMES"
    yield "each frame's transform, weight and background stand in the table FRAMES"
