"""The result of a fusion: image, error, weight, coverage, and a record of each frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.image import Image
from sciSR.sequence import FrameSequence


@dataclass(frozen=True)
class FrameRecord:
    """One frame's part in the result; a row of the frame table.

    Attributes
    ----------
    name : str
    used : bool
    reason : str
        Why it was left out; empty where used.
    reference : bool
    model : str
        ``"shift"``, ``"euclidean"``, ``"similarity"``, ``"affine"``, ``"wcs"``, ``"wcs+shift"``, ``"local"``, ...
    how : str
        First guess: ``"wcs"``, ``"stars"``, ``"phase"``, ``"reference"``.
    matrix : tuple of 6 float
        Linear part at the centre, reference pixel (row, column) -> frame pixel, row by row.
    error_px : float
        One standard deviation of the position at the frame's centre, from the transform's covariance.
    rms_px : float
        Residual rms of the stars used, NaN where none were.
    n_stars : int
    fwhm_px : float
        Of stars in this frame, native pixels; NaN where unknown.
    background, gain, noise : float
        Level subtracted and factor applied to match the reference; sky noise (one sigma, the frame's unit).
    weight : float
        Relative weight in the result.
    rejected : int
        Pixels of this frame rejected as outliers.
    bad : int
        Pixels bad from the beginning (flags, NaN, saturation, static).
    exposure : float
        Seconds; NaN where unknown.
    start : str
    quality : float
        Sharpness rank, 0 to 1, where frames were ranked; else NaN.
    """

    name: str
    used: bool
    reason: str = ""
    reference: bool = False
    model: str = ""
    how: str = ""
    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    error_px: float = float("nan")
    rms_px: float = float("nan")
    n_stars: int = 0
    fwhm_px: float = float("nan")
    background: float = 0.0
    gain: float = 1.0
    noise: float = float("nan")
    weight: float = 0.0
    rejected: int = 0
    bad: int = 0
    exposure: float = float("nan")
    start: str = ""
    quality: float = float("nan")


@dataclass(frozen=True, eq=False)
class Fused:
    """What :func:`sciSR.fuse` returns.

    Attributes
    ----------
    image : Image
        On the reference frame's refined grid, float32, with `uncertainty` (one standard deviation), `mask` (True
        where no frame contributes; NaN there), the reference's `metadata`, and the provenance. For
        ``quantity="total"`` the fine pixels of a native pixel sum to its value.
    weight, coverage : ndarray, float32
        See :class:`sciSR.fusion.prepared.Solution`.
    context : ndarray or None
    sequence : FrameSequence
        As given to :func:`sciSR.fuse`: the frames' headers and times are needed for the output's header.
    records : tuple of FrameRecord
        One per frame, used or not, in the order given.
    settings : mapping
        Method, scale, and every setting, JSON-ready.
    notes : tuple of str
        What was decided on the way, and why.
    panels : mapping of str to ndarray
        For the contact sheet and report, at most ~1k pixels a side: ``"reference"``, ``"drizzle"``, ``"residual"``.
    report : mapping
        JSON-ready measurements: registration residuals, Fourier ring correlation of the half-sets, noise scale.
    """

    image: Image
    weight: np.ndarray
    coverage: np.ndarray
    context: np.ndarray | None
    sequence: FrameSequence
    records: tuple[FrameRecord, ...]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    panels: Mapping[str, np.ndarray] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the product; the suffix chooses the format (FITS). Atomic."""
        from sciSR.api import write_fused

        return write_fused(self, path, overwrite=overwrite)
