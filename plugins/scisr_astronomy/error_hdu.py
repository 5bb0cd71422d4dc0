"""The HDU that holds the standard deviation of each upscaled pixel: the input's own ERR, VAR or IVAR with new values,
or a new extension ERR.

68.27 % of the true values lie within one of these standard deviations; the keywords say how many of them hold 95.45 %,
and whether that was found on files kept apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sciSR.image import Image
from sciSR.inference.kinds_parts import PartView
from sciSR.provenance import Provenance
from scisr_astronomy.carry import StoredForm, add_history, refine_header, tidy_structure

KEYWORDS = {
    "ERRCONF": (68.27, "per cent of true values within 1 of these"),
    "ERR95": (2.0, "of these hold 95.45 per cent"),
    "ERRCALIB": (False, "calibrated on files kept apart"),
    "ERRMODEL": ("noise only", "what the errors were found with"),
}
_FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigma": lambda values: values,
    "variance": np.square,
    "inverse": lambda values: 1 / np.square(values),
}
_WHAT = {"sigma": "standard deviation", "variance": "variance", "inverse": "inverse variance"}


def replaced(image: Image) -> dict[int, str]:
    """Companions of an image that get new values: HDU number and what it holds.

    Several variances (JWST's VAR_POISSON, VAR_RNOISE) are parts of a sum that is not known for the finer pixels; they
    stay the input's.
    """
    metadata = image.metadata
    found: dict[str, list[int]] = {}
    for index, role in metadata.roles.items():
        if role.kind in _FORMS and role.of == metadata.hdu and metadata.file.records[index].shape:
            found.setdefault(role.kind, []).append(index)
    chosen = {kind: all_[:1] if kind == "sigma" or len(all_) == 1 else [] for kind, all_ in found.items()}
    return {index: kind for kind, some in chosen.items() for index in some}


def renewed_header(image: Image, index: int, kind: str) -> Any:
    """A companion's header on the finer pixels, ready for new values."""
    metadata = image.metadata
    header, notes = refine_header(
        metadata.file.header(index),
        image.grid.factors,
        total=image.quantity == "total",
        keep_wcs=metadata.wcs == "keep",
    )
    StoredForm.of(np.float32).describe(header)
    tidy_structure(header, False)
    prepare(header, kind, notes)
    return header


def prepare(header: Any, kind: str, notes: list[str] | tuple[str, ...] = ()) -> None:
    """Keywords that :func:`complete` fills in once the values are known, and HISTORY."""
    for keyword, (value, comment) in KEYWORDS.items():
        header[keyword] = (value, comment)
    header["ERRMODEL"] = (" " * 30, KEYWORDS["ERRMODEL"][1])  # room for any name
    add_history(header, [f"{_WHAT[kind]} of each of the finer pixels, found anew", *notes])


def complete(header: Any, provenance: Provenance) -> None:
    """Say what the last step found about its errors."""
    found = next((s["uncertainty"] for s in reversed(provenance.steps) if "uncertainty" in s), {})
    header["ERR95"] = round(float(found.get("interval_95", 2.0)), 4)
    header["ERRCALIB"] = bool(found.get("calibrated", False))
    header["ERRMODEL"] = str(found.get("model", KEYWORDS["ERRMODEL"][0]))[:30]


def values_of(image: Image, kind: str) -> PartView:
    """What is stored, of a final image with its uncertainty."""
    assert image.uncertainty is not None
    return PartView(image.uncertainty, _quiet(_FORMS[kind]), np.float32)


def _quiet(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def run(values: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", over="ignore"):
            return function(values.astype(np.float64))

    return run
