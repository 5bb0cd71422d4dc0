"""The record of what was done, as a small binary table ``SCISR_PROV`` at the end of the file.

One row per upscaled image: its HDU number, its name, and the steps as one line of JSON. A table, because JSON is
longer than a header card allows, and because every FITS reader can show a table.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from sciSR.errors import SciSRWarning
from sciSR.provenance import Provenance
from scisr_astronomy import checksum
from scisr_astronomy.header_bytes import block_padding, header_bytes

NAME = "SCISR_PROV"
_MAX_BYTES = 1 << 24


def read_provenance(file: Any, index: int) -> Provenance:
    """The steps recorded for HDU `index`; empty where the file has no record, or none that can be read (warned)."""
    from astropy.io import fits

    found = [r for r in file.records if r.kind == "table" and r.name == NAME and r.data_size <= _MAX_BYTES]
    if not found:
        return Provenance()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdu = fits.BinTableHDU.fromstring(file.read(found[-1].start, found[-1].end - found[-1].start))
            rows = {int(row["HDU"]): str(row["PROVENANCE"]) for row in hdu.data}
        steps = json.loads(rows[index]) if index in rows else []
        return Provenance(tuple(dict(step) for step in steps))
    except Exception as error:  # a damaged record is no reason to refuse good pixels
        warnings.warn(f"{file.source.name}[{NAME}]: can't be read: {error}", SciSRWarning, stacklevel=2)
        return Provenance()


def provenance_hdu(rows: Sequence[tuple[int, str, Provenance]]) -> bytes:
    """The table's HDU, with checksums, as bytes; empty where there is nothing to record.

    Parameters
    ----------
    rows : sequence of (HDU number, part, Provenance)
    """
    from astropy.io import fits

    cells = [
        (number, (part or str(number)).encode("ascii", "replace"), provenance.to_json().encode("ascii"))
        for number, part, provenance in rows
        if provenance.steps
    ]
    if not cells:
        return b""
    widths = [max(len(cell[column]) for cell in cells) for column in (1, 2)]
    table = np.array(cells, dtype=[("hdu", ">i4"), ("name", f"S{widths[0]}"), ("record", f"S{widths[1]}")])
    header = fits.Header(
        [
            ("XTENSION", "BINTABLE", "binary table"),
            ("BITPIX", 8),
            ("NAXIS", 2),
            ("NAXIS1", table.dtype.itemsize, "bytes in a row"),
            ("NAXIS2", len(cells), "upscaled images"),
            ("PCOUNT", 0),
            ("GCOUNT", 1),
            ("TFIELDS", 3),
            ("TTYPE1", "HDU", "number of the image in this file"),
            ("TFORM1", "J"),
            ("TTYPE2", "NAME", "its name"),
            ("TFORM2", f"{widths[0]}A"),
            ("TTYPE3", "PROVENANCE", "what was done to it: JSON, a list of steps"),
            ("TFORM3", f"{widths[1]}A"),
            ("EXTNAME", NAME, "written by sciSR"),
        ]
    )
    data = table.tobytes()
    data += block_padding(len(data))
    return header_bytes(header, checksum.add_to_sum(data)) + data
