"""What the values of a NIfTI file mean (``intent_code``), and which meanings no interpolation may touch.

Codes of nifti1.h, those of FSL (FNIRT and TOPUP) and those of CIFTI-2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sciSR.errors import UnsupportedError

INTENT_LABEL = 1002
_NEURONAME = 1003
LABELS = (INTENT_LABEL, _NEURONAME)
_VECTORS: Mapping[int, str] = {
    1004: "a matrix", 1005: "a symmetric matrix", 1006: "a displacement vector", 1007: "a vector",
    1008: "a point set", 1009: "triangles", 1010: "a quaternion", 2003: "an RGB vector", 2004: "an RGBA vector",
    2006: "a displacement vector (FNIRT)",
}  # fmt: skip
_WARPS = (1006, 1007, 2006)
_COEFFICIENTS: Mapping[int, str] = {
    2007: "cubic spline", 2008: "cosine transform", 2009: "quadratic spline",
    2016: "cubic spline", 2017: "quadratic spline",
}  # fmt: skip
_STATISTICS: Mapping[int, str] = {
    2: "correlations", 3: "t values", 4: "F values", 5: "z scores", 6: "chi-squared values", 22: "p values",
    23: "logarithms of p values", 24: "logarithms of p values",
} | dict.fromkeys((*range(7, 22),), "values of a test statistic")  # fmt: skip
_CIFTI = range(3000, 3100)


def refuse_intent(intent: int, shape: tuple[int, ...], where: Path) -> None:
    """Refuse by name what is no scalar image: vectors, matrices, warps, coefficients, grayordinates.

    Raises
    ------
    UnsupportedError
    """
    if intent in _CIFTI:
        raise UnsupportedError(
            f"is a CIFTI file (intent {intent}): values on a surface and in a list of voxels, not on a grid",
            where=where,
            remedy="extract a volume with 'wb_command -cifti-separate'",
        )
    if intent in _COEFFICIENTS:
        raise UnsupportedError(
            f"holds {_COEFFICIENTS[intent]} coefficients (intent {intent}), not an image",
            where=where,
            remedy="expand them to a field first, e.g. 'fnirtfileutils'",
        )
    if intent in _VECTORS and math.prod(shape[3:]) > 1:
        remedy = "split it into scalar volumes first"
        if intent in _WARPS:
            remedy = "a warp needs no finer grid, it can be applied to finer images as it is; else " + remedy
        raise UnsupportedError(
            f"holds {_VECTORS[intent]} per voxel (shape {list(shape)}, intent {intent}), whose components depend on "
            "direction",
            where=where,
            remedy=remedy,
        )


def intent_notes(fields: np.void, shape: tuple[int, ...]) -> tuple[str, ...]:
    """What a user should know about upscaling such values, one line each."""
    intent = int(fields["intent_code"])
    if intent in _STATISTICS:
        return (
            f"holds {_STATISTICS[intent]} (intent {intent}); finer voxels get interpolated values, not tests of "
            "their own",
        )
    if intent == 0 and shape[3:5] == (1, 3):
        return (
            "its fifth axis holds three values of unsaid meaning, taken for scalars; vectors and warps must not be "
            "upscaled",
        )
    return ()
