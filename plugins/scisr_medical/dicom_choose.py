"""Choosing: one series of a folder, one echo of a series, one type of image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sciSR.errors import UnreadableError, UnsupportedError, UsageError
from scisr_medical.dicom_instance import Instance
from scisr_medical.dicom_listing import echo_times, listed, listing

_REMEDIES = (
    ("mosaic", "convert it with dcm2niix and give the NIfTI file"),
    ("Media Storage Directory", "give the folder that it lies in"),
    ("Secondary Capture", "give the MR or CT series that it was made from: a capture has no place in space"),
    ("colour", "give the MR or CT series that it was made from"),
    ("multi-frame", "convert it to enhanced or classic images, or to NIfTI"),
    ("CT localizer", "give the slices"),
    ("Modality LUT", "convert it to a linear rescale first"),
    ("", "give MR or CT images"),
)
"""What to do about an object that is refused, by a part of the name under which it is refused."""


class Choice(Protocol):
    """What lies in a folder: see :class:`scisr_medical.dicom_series.Found`."""

    where: Path
    notes: list[str]

    @property
    def series(self) -> Mapping[str, list[Instance]]: ...

    @property
    def refused(self) -> Sequence[Instance]: ...


def choose_series(found: Choice, wanted: str | None) -> list[Instance]:
    """The series asked for; without a wish the only one that could be upscaled. Never a guess between two.

    What is passed over without a wish is a scout: a localizer, or slices in several directions.

    Parameters
    ----------
    found : Choice
        A note is added where something was passed over.
    wanted : str or None
        A SeriesNumber or SeriesInstanceUID.

    Raises
    ------
    UnsupportedError
        No MR or CT images at all, or not in that series; says what there is.
    UsageError
        Several, or none that fits the wish; the known ones are listed, with their sizes.
    """
    if wanted is not None:
        return _wanted(found, wanted.strip())
    if not found.series:
        if found.refused:
            raise _unsupported(found.refused, found.where)
        raise UnreadableError(
            "holds no DICOM image", where=found.where, remedy="give a folder or file of MR or CT images"
        )
    if len(found.series) == 1:
        return next(iter(found.series.values()))
    usable = [s for s in found.series.values() if not _is_scout(s)]
    if len(usable) == 1:
        others = {u: s for u, s in found.series.items() if s is not usable[0]}
        found.notes.append(
            f"took the only volume, {listed(usable[0]).text()}; passed over scouts: {listing(others)}"
        )
        return usable[0]
    raise UsageError(
        f"holds {len(found.series)} series: {listing(found.series)}",
        where=found.where,
        remedy="choose one with --series NUMBER",
    )


def _wanted(found: Choice, wanted: str) -> list[Instance]:
    chosen = [s for uid, s in found.series.items() if wanted in (uid, str(s[0].series_number))]
    if len(chosen) == 1:
        return chosen[0]
    refused = [i for i in found.refused if wanted in (i.series_uid, str(i.series_number))]
    if refused and not chosen:
        raise _unsupported(refused, found.where)
    how = "no" if not chosen else "more than one"
    remedy = "choose one with --series NUMBER" if not chosen else "choose one with --series UID"
    known = listing(found.series) or "none"
    raise UsageError(f"{how} series is {wanted!r}; found {known}", where=found.where, remedy=remedy)


def _unsupported(refused: Sequence[Instance], where: Path) -> UnsupportedError:
    kinds = "; ".join(dict.fromkeys(str(i.refusal) for i in refused))
    return UnsupportedError(
        f"only MR and CT images are upscaled, this is: {kinds}",
        where=where,
        remedy=next(remedy for part, remedy in _REMEDIES if part in kinds),
    )


def _is_scout(instances: Sequence[Instance]) -> bool:
    return any("LOCALIZER" in i.image_type for i in instances) or listed(instances).orientations > 1


def choose_echo(instances: Sequence[Instance], echo: str, where: Path) -> list[Instance]:
    """The images of one echo: its number (1-based, by echo time) or its echo time in ms (``"4.92ms"``).

    Raises
    ------
    UsageError
        There is no such echo; the known ones are listed.
    """
    times = echo_times(instances)
    try:
        wish = echo.strip().lower()
        time = float(wish[:-2]) if wish.endswith("ms") else times[int(wish) - 1] if int(wish) >= 1 else None
    except (ValueError, IndexError):
        time = None
    chosen = (
        []
        if time is None
        else [i for i in instances if i.echo_time is not None and abs(i.echo_time - time) < 1e-3]
    )
    if not chosen:
        known = ", ".join(f"{k} (TE {t:g} ms)" for k, t in enumerate(times, 1)) or "none"
        raise UsageError(
            f"no echo {echo!r}; echoes: {known}", where=where, remedy="give --echo NUMBER or --echo TEms"
        )
    return chosen


def choose_image_type(instances: Sequence[Instance], wanted: str, where: Path) -> list[Instance]:
    """The images whose ImageType holds a value, e.g. ``"M"``, ``"P"``, ``"W"``.

    Raises
    ------
    UsageError
        There is none; the known values are listed.
    """
    chosen = [i for i in instances if wanted.upper() in i.kinds]
    if not chosen:
        known = (
            ", ".join(sorted({v for i in instances for v in (*i.image_type[2:], i.complex_part) if v}))
            or "none"
        )
        raise UsageError(f"no image has the type {wanted!r}; types: {known}", where=where)
    return chosen
