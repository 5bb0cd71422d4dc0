"""Which axis of a FITS cube is red, green, blue.

The standard knows no such axis. Aladin, astrometry.net and Siril (if told) say so by CTYPE3 = 'RGB'; MaxIm DL writes
three planes and nothing else, as Siril does by default, which a cube of three moments may be as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from sciSR.colour import RGB
from sciSR.errors import SciSRWarning, UsageError

ASKED = ("auto", "rgb", "planes")
_NAMES = ("rgb", "color", "colour")


def name_colours(
    header: Any, axes: tuple[str, ...], spatial: Sequence[str], shape: tuple[int, ...], asked: str, where: str
) -> tuple[str, ...]:
    """The names of a cube's axes, the one of red, green and blue as ``"rgb"``.

    Parameters
    ----------
    header : Header
    axes, spatial, shape
        In NumPy's order; named by CTYPE.
    asked : {"auto", "rgb", "planes"}
        By CTYPE; three planes are colours; no axis is one of colours.
    where : str

    Raises
    ------
    UsageError
        Colours are asked for and there is no one axis of three planes.
    """
    three = [axis for axis, name in enumerate(axes) if name not in spatial and shape[axis] == 3]
    told = [axis for axis in three if axes[axis] in _NAMES]
    if asked == "planes":
        return tuple(f"{name}planes" if axis in told else name for axis, name in enumerate(axes))
    if asked == "rgb":
        if len(three) != 1:
            raise UsageError("has no one axis of three planes", where=where, remedy="leave --colour away")
        told = three
    elif len(told) != 1:
        plain = len(three) == 1 and axes[three[0]] == f"n{len(axes) - three[0]}"
        if plain and sum(size > 1 for size in shape) == 3:
            warnings.warn(
                f"{where}: three planes without a CTYPE3 are upscaled each by itself "
                "(give --colour rgb if they are red, green and blue)",
                SciSRWarning,
                stacklevel=2,
            )
        return axes
    return tuple(RGB if axis == told[0] else name for axis, name in enumerate(axes))
