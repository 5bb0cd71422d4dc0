"""Which image of the output was made of which image of the input, and by which factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.verify.claims import Claims, claims_of
from sciSR.verify.result import Check, Pair

_CROP = 2
"""Fine pixels: an axis that is so near a whole multiple, and is none, was cropped or padded."""


def pair_images(
    source: Path, output: Path, before: Sequence[Image], after: Sequence[Image], options: Mapping[str, Any]
) -> tuple[list[Pair], list[Check]]:
    """Pairs of images, by the names of their parts where these agree, else by order; and what is missing."""
    matched, checks = _matched(before, after)
    pairs = []
    for old, new in matched:
        if len(old.shape) != len(new.shape):
            what = f"{len(old.shape)} axes ({text(old.shape)}) became {len(new.shape)} ({text(new.shape)})"
            checks.append(Check("field of view", "axes", "failed", what, part=old.part))
            continue
        if old.axes == new.axes and old.spatial != new.spatial:
            # Which axes a reader calls the plane depends on the spacing, and thin slices may be nearly cubes.
            new = new.replace(spatial=old.spatial)
        factors, found = factors_of(old, new, claims_of(old, new))
        checks += found
        pairs.append(Pair(source, output, old, new, factors, dict(options)))
    return pairs, checks


def _matched(
    before: Sequence[Image], after: Sequence[Image]
) -> tuple[list[tuple[Image, Image]], list[Check]]:
    names, others = [image.part for image in before], [image.part for image in after]
    if len(set(names)) == len(names) and len(set(others)) == len(others) and set(names) & set(others):
        by_name = dict(zip(others, after, strict=True))
        found = [(image, by_name[image.part]) for image in before if image.part in by_name]
        missing = [name for name in names if name not in by_name]
    else:
        found = list(zip(before, after, strict=False))
        missing = names[len(after) :]
    lost = [
        Check(
            "field of view",
            "images",
            "failed",
            f"image {name or 'without a name'} is not in the output",
            part=name,
        )
        for name in missing
    ]
    return found, lost


def factors_of(before: Image, after: Image, claims: Claims) -> tuple[tuple[Fraction, ...], list[Check]]:
    """Output pixels per input pixel along each axis, and whether these can tile the same field.

    Parameters
    ----------
    before, after : Image
    claims : Claims
        Of the output: it may say that it is coarser.

    Returns
    -------
    factors : tuple of Fraction
    checks : list of Check
    """
    factors: list[Fraction] = []
    problems: list[str] = []
    # Other tools refine a volume along all three axes, and say nothing of it.
    volume = claims.kind == "isotropic" or (not claims.kind and isinstance(before.grid, AffineGrid))
    spatial = {*before.spatial, *(before.axes[:3] if volume else ())}
    rest = []
    for axis, (old, new) in enumerate(zip(before.shape, after.shape, strict=True)):
        name = before.axes[axis]
        if 0 < new < old and claims.kind != "isotropic":
            scale = round(old / new) if claims.scale is None else max(1, round(1 / claims.scale[0]))
            factor = Fraction(1, max(scale, 1))
            if old // max(scale, 1) != new:
                problems.append(f"{name}: {old} pixels can't give {new} whole ones")
                factor = Fraction(new, old)
            elif old % scale:
                rest.append(f"{old % scale} along {name}")
        else:
            factor = Fraction(new, old) if old else Fraction(1)
        if factor != 1 and name not in spatial:
            problems.append(f"{name}: {old} became {new}, an axis that is not of space")
        factors.append(factor)
    problems += _cropped(before, after, factors, claims)
    if problems:
        return tuple(factors), [
            Check("field of view", "factors", "failed", "; ".join(problems), part=before.part)
        ]
    words = " x ".join(factor_text(f) for f in factors)
    left = f"; input pixels left out at the far end: {', '.join(rest)}" if rest else ""
    message = f"{words}: {text(before.shape)} became {text(after.shape)}{left}"
    return tuple(factors), [Check("field of view", "factors", "passed", message, part=before.part)]


def text(shape: Sequence[int]) -> str:
    """``48x64``."""
    return "x".join(str(n) for n in shape)


def factor_text(factor: Fraction) -> str:
    """``2``, ``1.5`` or ``1/3``."""
    if factor.denominator == 1:
        return str(factor.numerator)
    return str(factor) if factor < 1 else f"{float(factor):.6g}"


def _cropped(before: Image, after: Image, factors: Sequence[Fraction], claims: Claims) -> list[str]:
    """Axes that lie a pixel or two beside a whole multiple, without a record or another axis that explains it."""
    if claims.scale is not None:
        return []
    finer = [
        (before.axes[axis], old, new)
        for axis, (old, new) in enumerate(zip(before.shape, after.shape, strict=True))
        if factors[axis] > 1
    ]
    out = []
    for name, old, new in finer:
        whole = round(new / old)
        miss = new - whole * old
        if miss and abs(miss) <= _CROP and not _common_scale(finer):
            what = "cropped" if miss < 0 else "padded"
            out.append(
                f"{name}: {new} pixels are {whole} x {old} {miss:+d}: {what} by {abs(miss)} output pixels"
            )
    return out


def _common_scale(axes: Sequence[tuple[str, int, int]]) -> bool:
    """Whether one simple factor, rounded to whole pixels on each axis, explains all sizes."""
    for denominator in (1, 2, 3, 4, 5, 10):
        _, old, new = max(axes, key=lambda a: a[1])
        scale = Fraction(round(new / old * denominator), denominator)
        if scale > 1 and all(math.floor(n * scale + Fraction(1, 2)) == m for _, n, m in axes):
            return True
    return False
