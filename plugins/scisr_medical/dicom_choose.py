"""Choosing some images of a series: one echo, one type of image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sciSR.errors import UsageError
from scisr_medical.dicom_instance import Instance


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


def echo_times(instances: Sequence[Instance]) -> list[float]:
    """Distinct echo times in ms, rising."""
    times: list[float] = []
    for time in sorted(i.echo_time for i in instances if i.echo_time is not None):
        if not times or time - times[-1] > 1e-3:
            times.append(time)
    return times


def choose_image_type(instances: Sequence[Instance], wanted: str, where: Path) -> list[Instance]:
    """The images whose ImageType holds a value, e.g. ``"M"``, ``"P"``, ``"W"``.

    Raises
    ------
    UsageError
        There is none; the known values are listed.
    """
    chosen = [i for i in instances if wanted.upper() in i.image_type]
    if not chosen:
        known = ", ".join(sorted({v for i in instances for v in i.image_type[2:] if v})) or "none"
        raise UsageError(f"no image has the type {wanted!r}; types: {known}", where=where)
    return chosen
