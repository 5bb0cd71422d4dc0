"""Headers as astropy.io.fits reads them, for verification: cards that can be parsed, and those that can't."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

COMMENTARY = ("COMMENT", "HISTORY", "")
UNPARSABLE = "unparsable: "


@contextlib.contextmanager
def opened(file: Any) -> Iterator[Any]:
    """The HDUs of a :class:`scisr_astronomy.fits_file.FitsFile`, by astropy, without its warnings."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(file.plain, memmap=True, checksum=False) as hdus:
            yield hdus


def readable(header: Any) -> Any:
    """A copy with only the cards that can be parsed; what can't, as the comment that readers make of it."""
    from astropy.io import fits

    out = fits.Header()
    for card in header.cards:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _ = card.keyword, card.value, str(card)
        except Exception:  # astropy's own, and those of what it parses with
            image = getattr(card, "_image", None) or ""
            out.append(fits.Card("COMMENT", f"{UNPARSABLE}{image[:58]}"), end=True)
        else:
            if len(str(card)) % 80 == 0:
                out.append(card, end=True)
    return out


def values_of(header: Any) -> dict[str, list[Any]]:
    """The values of each keyword but the commentary ones, in order."""
    out: dict[str, list[Any]] = {}
    for card in header.cards:
        if card.keyword not in COMMENTARY:
            out.setdefault(card.keyword, []).append(card.value)
    return out


def lines_of(header: Any, keyword: str) -> list[str]:
    """The lines under ``COMMENT``, ``HISTORY`` or blank."""
    return [
        " ".join(str(c.value).split()) for c in header.cards if c.keyword == keyword and str(c.value).strip()
    ]


def for_wcs(header: Any) -> Any:
    """What wcslib is given: without long strings and IRAF's WAT, over which it stumbles and which it does not need."""
    from astropy.io import fits

    out = fits.Header()
    for card in readable(header).cards:
        text = isinstance(card.value, str) and len(card.value) > 68
        if card.keyword not in COMMENTARY and not text and not re.match(r"WAT\d", card.keyword):
            out.append(card, end=True)
    return out


def letters(header: Any) -> list[str]:
    """The alternate descriptions present, the primary one as the empty string."""
    found = set()
    for keyword in header:
        if match := re.match(r"(?:CRPIX|CRVAL|CDELT|CTYPE)\d+([A-Z]?)$|(?:CD|PC)\d+_\d+([A-Z]?)$", keyword):
            found.add(match[1] or match[2] or "")
        elif re.match(r"PC\d{6}$|CROTA\d+$|AMDX1$", keyword):
            found.add("")
    return sorted(found)
