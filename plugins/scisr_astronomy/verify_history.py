"""What the output's headers say beside its record, and its pixels as astropy reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sciSR.provenance import Provenance
from sciSR.verify.claims import claims_of
from sciSR.verify.result import Check, Pair
from scisr_astronomy.provenance_table import NAME as PROVENANCE
from scisr_astronomy.verify_headers import lines_of, opened, readable

_ROWS = 5


def history_checks(pairs: Sequence[Pair]) -> list[Check]:
    """HISTORY tells the same story as the table of provenance; pixels are what astropy reads."""
    if not pairs:
        return []
    checks = []
    table = any(record.name == PROVENANCE for record in pairs[0].after.metadata.file.records)
    with opened(pairs[0].after.metadata.file) as hdus:
        for pair in pairs:
            hdu, part = hdus[pair.after.metadata.hdu], pair.before.part
            step = claims_of(pair.before, pair.after).step
            told = _bare(" ".join(lines_of(readable(hdu.header), "HISTORY")))
            if not pair.after.provenance.steps and _promised(pair, told):
                what = (
                    "can't be read"
                    if table
                    else f"is not there, though HISTORY speaks of it: no HDU {PROVENANCE}"
                )
                checks.append(Check("provenance", "record", "failed", f"the record {what}", part=part))
            if step and "frames" not in step:
                wanted = _bare(Provenance((step,)).summary()[:500].encode("ascii", "replace").decode())
                good = wanted in told
                message = "HISTORY says the same as the record" if good else (
                    f"HISTORY does not say what the record says: {Provenance((step,)).summary()[:80]}"
                )  # fmt: skip
                checks.append(Check("provenance", "record in HISTORY", _word(good), message, part=part))
            checks.append(_same_pixels(pair, hdu))
    return checks


def _promised(pair: Pair, told: str) -> bool:
    """Whether HISTORY names a record, and not only because the input's did."""
    return f"fullrecordin{PROVENANCE}" in told and any(f != 1 for f in pair.factors)


def _word(good: bool) -> str:
    return "passed" if good else "failed"


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _same_pixels(pair: Pair, hdu: object) -> Check:
    """A few rows, so that an error of our own reader can't hide one of the writer."""
    shape, part, name = pair.after.shape, pair.before.part, "pixels as astropy reads them"
    rows = sorted({int(v) for v in np.linspace(0, shape[-2] - 1, _ROWS)})
    for row in rows:
        index = (*(n // 2 for n in shape[:-2]), row, slice(None))
        try:
            theirs = np.asarray(hdu.section[index], np.float64)  # type: ignore[attr-defined]
        except Exception as error:  # what astropy can't read at all
            return Check(
                "values", name, "warning", f"astropy: {type(error).__name__}: {error}"[:120], part=part
            )
        ours = np.asarray(pair.after.data[index], np.float64)
        if not np.allclose(theirs, ours, rtol=1e-6, atol=0, equal_nan=True):
            return Check("values", name, "failed", f"row {row} reads differently", part=part)
    return Check("values", name, "passed", f"{len(rows)} rows compared", part=part)
