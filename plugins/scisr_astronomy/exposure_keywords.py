"""What headers say of an exposure: how long, when, through which filter, with which detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exposure:
    """What is known of one exposure; None where the header doesn't tell.

    Attributes
    ----------
    seconds : float
    start, end : str
        ISO 8601, UTC, without a zone.
    filter : str
    gain : float
        Electrons per unit of the data.
    read_noise : float
        Electrons.
    saturation : float
        In the unit of the data.
    """

    seconds: float | None = None
    start: str | None = None
    end: str | None = None
    filter: str | None = None
    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None


def exposure_of(metadata: Any) -> Exposure:
    """From the image's own header, then the primary one."""
    file = metadata.file
    header = file.header(metadata.hdu)
    value = header.get("EXPTIME", file.header(0).get("EXPTIME"))
    return Exposure(seconds=float(value) if isinstance(value, int | float) and value > 0 else None)
