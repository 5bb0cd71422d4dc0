"""Scales as people write them: ``2``, ``1.5``, ``3/2``, ``2,1``."""

from __future__ import annotations

import re
from fractions import Fraction

from sciSR.errors import UsageError

Scale = Fraction | tuple[Fraction, Fraction]


def parse_scale(text: str | int | float | Fraction) -> Scale:
    """One factor for both axes, or one for each, ``rows,columns``, in the order of the data's axes.

    Parameters
    ----------
    text : str or number
        ``"2"``, ``"1.5"``, ``"3/2"``, ``"2,1"``.

    Returns
    -------
    Fraction or pair of Fraction

    Raises
    ------
    UsageError
        Not one or two numbers, or below 1.
    """
    words = [word for word in re.split(r"[,x]", str(text).strip().lower()) if word]
    if not 1 <= len(words) <= 2:
        raise UsageError(
            f"--scale {text}: give one factor, or two with a comma", remedy="e.g. 2, 1.5, 3/2 or 2,1"
        )
    try:
        factors = [Fraction(word) for word in words]
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--scale {text}: not a number", remedy="e.g. 2, 1.5, 3/2 or 2,1") from None
    if min(factors) < 1:
        raise UsageError(f"--scale {text}: must be 1 or more", remedy="sciSR only makes pixels finer")
    return factors[0] if len(set(factors)) == 1 else (factors[0], factors[1])


def scale_label(scale: Scale) -> str:
    """The scale in a file name, without commas and slashes: ``2``, ``1.5``, ``2x1``."""
    if isinstance(scale, tuple):
        return "x".join(scale_label(each) for each in scale)
    return f"{float(scale):.4g}"
