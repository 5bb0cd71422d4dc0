"""What ``scisr verify`` asks of FITS: places by astropy.wcs, every keyword, other HDUs, sums and fitsverify."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.image import Image
from sciSR.verify.claims import claims_of
from sciSR.verify.result import Check, KeyChange, Pair
from scisr_astronomy.verify_headers import opened
from scisr_astronomy.verify_rules import scales_of
from scisr_astronomy.wcs_keywords import is_wcs_keyword

if TYPE_CHECKING:
    from scisr_astronomy.verify_wcs import Places


class FitsVerifier:
    """See :class:`sciSR.verify.result.FormatVerifier`."""

    lenient: Mapping[str, Any] = {"ignore_checksum": True}
    holds_deviation = True

    def __init__(self) -> None:
        self._places: tuple[Pair, list[Places]] | None = None

    def _places_of(self, pair: Pair) -> list[Places]:
        """Of the pair that was asked about last: both geometry and keywords need them."""
        from scisr_astronomy.verify_wcs import places_of

        if self._places is None or self._places[0] is not pair:
            self._places = pair, places_of(pair)
        return self._places[1]

    def geometry(self, pair: Pair) -> list[Check]:
        """All world coordinate descriptions, and IRAF's physical pixels."""
        from scisr_astronomy.verify_wcs import geometry

        return geometry(pair, self._places_of(pair))

    def metadata(self, pair: Pair) -> list[KeyChange]:
        """Every keyword of the image's header."""
        from scisr_astronomy.verify_keywords import key_changes
        from scisr_astronomy.verify_wcs import broken_letters

        old, new = pair.before.metadata, pair.after.metadata
        broken = broken_letters(self._places_of(pair))
        with opened(old.file) as before, opened(new.file) as after:
            headers = before[old.hdu].header, after[new.hdu].header
            found = key_changes(*headers, scales_of(pair), pair.before.part, broken)
        return _fused(found) if claims_of(pair.before, pair.after).kind == "fuse" else found

    def validate(self, path: Path) -> list[Check]:
        """CHECKSUM and DATASUM of every HDU, and fitsverify."""
        from scisr_astronomy.verify_sums import validate

        return validate(path)

    def contents(self, pairs: Sequence[Pair]) -> tuple[list[Check], list[KeyChange]]:
        """HDUs that go with the images or were only carried over, and what the headers say beside the record."""
        from scisr_astronomy.verify_hdus import other_hdus
        from scisr_astronomy.verify_history import history_checks

        checks, keys = other_hdus(pairs)
        if any(claims_of(pair.before, pair.after).kind == "fuse" for pair in pairs):
            keys = _fused(keys)  # the primary header of frames in extensions is that of one frame too
        return [*checks, *history_checks(pairs)], keys

    def quantum(self, image: Image) -> float:
        """The step of integers; 0 for floating point."""
        header = image.metadata.file.peek(image.metadata.hdu)
        if int(header.get("BITPIX", -32)) < 0:
            return 0.0
        scale = header.get("BSCALE", 1.0)
        return abs(float(scale)) if isinstance(scale, int | float) else 1.0


def _fused(keys: Sequence[KeyChange]) -> list[KeyChange]:
    return [key if key.allowed or is_wcs_keyword(key.key) else _of_all_frames(key) for key in keys]


def _of_all_frames(key: KeyChange) -> KeyChange:
    """A fusion's header speaks of all its frames, and what they do not share stands in its table of frames."""
    return dataclasses.replace(key, allowed=True, rule="of all frames together; see the table of frames")
