"""What registration returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sciSR.fusion.registration.models import frame_centre, position_covariance
from sciSR.fusion.transforms import Affine, Transform


@dataclass(frozen=True, eq=False)
class Registered:
    """One frame's place.

    Attributes
    ----------
    transform : Transform
        Reference pixel -> this frame's pixel.
    covariance : ndarray, (k, k)
        Of the parameters of `correction`, as listed in :mod:`sciSR.fusion.registration.models`: a shift (row,
        column) in this frame's pixels at this frame's centre, then rotation (rad), relative scale, or the four
        changes of the linear part. All zero for the reference.
    model : str
        ``"shift"``, ``"euclidean"``, ``"similarity"``, ``"affine"``, or ``"wcs+shift"``... where the world
        coordinates give the rest; ``"wcs"`` where nothing was fitted; ``"identity"`` for the reference.
    how : str
        ``"wcs"``, ``"stars"``, ``"phase"``, ``"reference"``.
    shape : (int, int)
        Of this frame.
    rms_px : float
        Robust rms length of the residuals of the stars used; NaN where none were.
    n_stars : int
        Stars that the transform was fitted to.
    fwhm_px : float
        Of the stars in this frame (with the pixel's own width), NaN where unknown.
    background, noise : float
        Median sky, and one standard deviation of a pixel of it, in the frame's unit.
    name : str
    note : str
        What the user should know of this frame's registration; mostly empty.
    """

    transform: Transform
    covariance: np.ndarray
    model: str
    how: str
    shape: tuple[int, int]
    rms_px: float = float("nan")
    n_stars: int = 0
    fwhm_px: float = float("nan")
    background: float = float("nan")
    noise: float = float("nan")
    name: str = ""
    note: str = ""

    @property
    def correction(self) -> str:
        """The linear model whose parameters `covariance` describes."""
        return {2: "shift", 3: "euclidean", 4: "similarity", 6: "affine"}[len(self.covariance)]

    @property
    def error_px(self) -> float:
        """One standard deviation of the position at the frame's centre: the root of the two axes' variances."""
        return float(np.sqrt(self.covariance[0, 0] + self.covariance[1, 1]))

    def position_covariance(self, points: np.ndarray) -> np.ndarray:
        """Covariance ``(..., 2, 2)`` of the frame position of reference points ``(..., 2)``, pixels squared."""
        offsets = self.transform(points) - frame_centre(self.shape)
        return position_covariance(self.covariance, self.correction, offsets)

    @property
    def matrix(self) -> Affine:
        """The transform's linear part at the frame's centre, ``frame = matrix @ (row, column, 1)``."""
        return linearised(self.transform, self.shape)

    def replace(self, **changes: Any) -> Registered:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes None."""
        local = self.matrix
        middle = frame_centre(self.shape)
        shift = middle - self.transform.inverse(middle)
        return {
            "name": self.name,
            "registered": True,
            "model": self.model,
            "how": self.how,
            "matrix": local.matrix.tolist(),
            "shift_px": [float(s) for s in shift],
            "rotation_deg": float(np.degrees(local.angle)),
            "scale": float(np.sqrt(abs(np.linalg.det(local.linear)))),
            "mirrored": local.mirrored,
            "transform": dict(self.transform.describe()),
            "covariance": self.covariance.tolist(),
            "covariance_of": self.correction,
            "error_px": _number(self.error_px),
            "rms_px": _number(self.rms_px),
            "n_stars": self.n_stars,
            "fwhm_px": _number(self.fwhm_px),
            "background": _number(self.background),
            "noise": _number(self.noise),
            "note": self.note,
        }


@dataclass(frozen=True, eq=False)
class Registration:
    """The places of all frames.

    Attributes
    ----------
    reference : int
        Index of the reference frame in the sequence.
    frames : tuple of Registered or None
        One per frame of the sequence; None where it could not be registered.
    left_out : tuple of (int, str)
        Index and reason of each frame that could not be registered.
    notes : tuple of str
        What was decided, for the user.
    """

    reference: int
    frames: tuple[Registered | None, ...]
    left_out: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    names: tuple[str, ...] = field(default_factory=tuple)

    def as_dict(self) -> Mapping[str, Any]:
        """JSON-ready: the reference's name and index, one entry per frame in order, the notes."""
        reasons = dict(self.left_out)
        entries = []
        for k, frame in enumerate(self.frames):
            name = self.names[k] if k < len(self.names) else f"frame {k}"
            if frame is None:
                entries.append({"index": k, "name": name, "registered": False, "reason": reasons.get(k, "")})
            else:
                entries.append({"index": k, **frame.as_dict(), "name": name})
        return {
            "reference": {
                "index": self.reference,
                "name": self.names[self.reference] if self.names else f"frame {self.reference}",
            },
            "convention": "matrix maps reference (row, column, 1), 0-based pixel centres, to frame (row, column)",
            "frames": entries,
            "left_out": [
                {"index": k, "name": self.names[k] if k < len(self.names) else f"frame {k}", "reason": why}
                for k, why in self.left_out
            ],
            "notes": list(self.notes),
        }


def linearised(transform: Transform, shape: tuple[int, int]) -> Affine:
    """The affine map that touches `transform` at the centre of the frame."""
    if isinstance(transform, Affine):
        return transform
    middle = np.asarray(transform.inverse(frame_centre(shape)), dtype=np.float64)
    step = 4.0
    around = middle + step * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    seen = transform(around)
    linear = np.column_stack([seen[0] - seen[1], seen[2] - seen[3]]) / (2 * step)
    return Affine(np.column_stack([linear, seen[4] - linear @ middle]))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
