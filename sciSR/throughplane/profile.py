"""The slice profile of a volume: by name, from a file, or estimated from the volume's own spectra."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sciSR.errors import UsageError
from sciSR.forward.slice_profile import REACH
from sciSR.forward.slice_sampling import ProfileTable, table_of
from sciSR.image import Image
from sciSR.throughplane.target import Target


def resolve_profile(
    profile: str | ProfileTable, image: Image, target: Target, width: float
) -> tuple[str | ProfileTable, float, list[str]]:
    """Shape and width of the profile.

    Parameters
    ----------
    profile : {"gaussian", "rect", "sinc", "estimate"}, path, or ProfileTable
        A file has two columns, distance in mm and weight; its full width at half maximum is then the thickness.
    image : Image
    target : Target
    width : float
        Thickness over spacing.

    Returns
    -------
    shape : str or ProfileTable
    width : float
        Thickness over spacing.
    messages : list of str

    Raises
    ------
    UsageError
        No such profile, or a file that holds none.
    """
    if not isinstance(profile, str):
        return profile, width, []
    if profile in REACH:
        return profile, width, []
    if profile == "estimate":
        from sciSR.throughplane.estimate import estimate_width

        found = estimate_width(image, target)
        if not found.reliable:
            return "gaussian", width, [f"{found.message()}: not reliable, not used"]
        return "gaussian", found.width, [found.message()]
    path = Path(profile)
    if not path.is_file():
        raise UsageError(
            f"no slice profile is called {profile!r}",
            remedy=f"use {', '.join(REACH)}, estimate, or a file of two columns: distance in mm, weight",
        )
    shape, thickness = read_profile(path)
    relative = thickness / target.before[2]
    return shape, relative, [f"slice profile of {path.name}: {thickness:.4g} mm wide at half its maximum"]


def read_profile(path: Path) -> tuple[ProfileTable, float]:
    """A profile from a text file of two columns, separated by blanks or commas; ``#`` begins a comment.

    Returns
    -------
    shape : ProfileTable
        Centred on its centre of gravity.
    thickness : float
        Full width at half maximum, mm.

    Raises
    ------
    UsageError
        No two columns of numbers, or no profile in them.
    """
    try:
        text = path.read_text(encoding="utf-8").replace(",", " ").replace(";", " ")
        table = np.loadtxt(text.splitlines(), ndmin=2)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UsageError(
            f"no table of numbers ({error})", where=path, remedy="give two columns: distance in mm, weight"
        ) from error
    if table.shape[1] != 2 or len(table) < 3:
        raise UsageError(
            f"holds {table.shape[0]} rows of {table.shape[1]} numbers",
            where=path,
            remedy="give three or more rows of two: distance in mm, weight",
        )
    distance, weight = table[np.argsort(table[:, 0], kind="stable")].T
    total = float(np.trapezoid(weight, distance))
    if not total > 0:
        raise UsageError("a slice profile has a positive integral", where=path)
    distance = distance - float(np.trapezoid(weight * distance, distance)) / total
    thickness = half_width(distance, weight, path)
    return table_of(distance / thickness, weight), thickness


def half_width(distance: np.ndarray, weight: np.ndarray, where: Path | None = None) -> float:
    """Full width at half maximum, linear between the points; a profile above half its maximum at an end ends there."""
    half = float(weight.max()) / 2
    above = np.flatnonzero(weight >= half)
    first, last = int(above[0]), int(above[-1])
    left, right = float(distance[first]), float(distance[last])
    if first > 0:
        left = float(np.interp(half, weight[first - 1 : first + 1], distance[first - 1 : first + 1]))
    if last < len(weight) - 1:
        right = float(np.interp(half, weight[last : last + 2][::-1], distance[last : last + 2][::-1]))
    if right <= left:
        raise UsageError("a slice profile of no width", where=where)
    return right - left
