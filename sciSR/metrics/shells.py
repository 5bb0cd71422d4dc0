"""How fine the detail is that two volumes share: Fourier shell correlation, over all directions and along each axis.

Sources: Harauz and van Heel, Optik 73, 146 (1986); thresholds as in :mod:`sciSR.metrics.resolution`; cones along
directions: Diebolder et al., J. Struct. Biol. 192, 162 (2015), and Tan et al., Nature Methods 14, 793 (2017). Voxels
may be longer along one axis than along the others: frequencies are in cycles per unit of length, and each axis ends at
its own limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import UsageError
from sciSR.metrics.resolution import (
    THRESHOLDS,
    Resolution,
    RingCorrelation,
    Threshold,
    bridgeable,
    correlated,
    curve_report,
    frc_resolution,
)
from sciSR.metrics.windowing import (
    Rings,
    centred,
    field_weight,
    frequency_axes,
    independent_share,
    rings,
)

CONE = 30.0
"""Half the opening angle of an axis's double cone, degrees: two fifths of all directions lie in one of the three."""


class ShellCorrelation(NamedTuple):
    """Curves of two volumes.

    Attributes
    ----------
    whole : RingCorrelation
        Over all directions, frequencies in cycles per unit of length, up to the finest axis's limit; beyond another
        axis's limit the directions that are resolved.
    axes : tuple of RingCorrelation
        Within a cone around each axis, up to that axis's limit; empty where the axis holds a single voxel.
    spacing : tuple of float
        Size of a voxel.
    length_unit : str
    """

    whole: RingCorrelation
    axes: tuple[RingCorrelation, ...]
    spacing: tuple[float, ...]
    length_unit: str

    def resolution(self, threshold: Threshold = "1/7", axis: int | None = None) -> Resolution:
        """Where the curve of an axis, or of all directions, falls below a threshold; period in `length_unit`."""
        if axis is None:
            return frc_resolution(self.whole, threshold, 0.5 / min(self.spacing))
        curve = self.axes[axis]
        if not len(curve.frequencies):
            return Resolution(math.nan, threshold)
        return frc_resolution(curve, threshold, 0.5 / self.spacing[axis])

    def as_dict(
        self, names: Sequence[str] = ("0", "1", "2"), thresholds: Sequence[Threshold] = THRESHOLDS
    ) -> dict[str, Any]:
        """JSON-ready, the axes by their names; NaN is None."""
        told: dict[str, Any] = {"length_unit": self.length_unit, "thresholds": thresholds}
        found = {"all": curve_report(self.whole, limit=0.5 / min(self.spacing), **told)}
        for name, curve, size in zip(names, self.axes, self.spacing, strict=True):
            if len(curve.frequencies):
                found[name] = curve_report(curve, limit=0.5 / size, **told)
        return {"spacing": list(self.spacing), "length_unit": self.length_unit, "curves": found}


def fourier_shell_correlation(
    a: NDArray,
    b: NDArray,
    *,
    spacing: float | Sequence[float] = 1.0,
    length_unit: str = "pixel",
    mask: NDArray | None = None,
    window: NDArray | Literal["hann", "tukey", "none"] = "hann",
    shell_width: float = 1.0,
    cone: float = CONE,
) -> ShellCorrelation:
    """Normalised cross-correlation of two volumes' spectra over shells of equal spatial frequency.

    ``FSC(q) = Re sum F_a conj(F_b) / sqrt(sum |F_a|^2 sum |F_b|^2)``, sums over the shell of frequency q.

    Parameters
    ----------
    a, b : ndarray, three axes
        Aligned, of the same shape; along any axis 8 voxels or more, or 1. NaN and infinite voxels of either are bad in
        both.
    spacing : float or three
        Size of a voxel in `length_unit`.
    length_unit : str
    mask : ndarray of bool, optional
        True where voxels count.
    window : ndarray, "hann", "tukey" or "none"
        As for :func:`sciSR.metrics.resolution.fourier_ring_correlation`.
    shell_width : float
        In Fourier pixels of the axis of the longest extent, at least 1.
    cone : float
        Half the opening angle around an axis, degrees.

    Returns
    -------
    ShellCorrelation

    Raises
    ------
    UsageError
        Shapes differ, are no volumes, or hardly any voxel counts.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 3 or any(1 < n < 8 for n in a.shape) or sorted(a.shape)[1] < 8:
        raise UsageError(
            f"shell correlation needs two equal volumes of 8 voxels or more a side, not {a.shape} and {b.shape}"
        )
    steps = tuple(float(s) for s in np.broadcast_to(np.asarray(spacing, np.float64), (3,)))
    good = np.isfinite(a) & np.isfinite(b)
    if mask is not None:
        good &= np.asarray(mask, bool)
    weight = field_weight(good, good | bridgeable(a, b, good), window)
    share = independent_share(weight)
    spectra = [np.fft.rfftn(centred(volume, good, weight)) for volume in (a, b)]
    shells = rings(a.shape, shell_width, steps)
    whole = _filled(correlated(spectra[0], spectra[1], shells, share))
    axes = tuple(_along(spectra, shells, a.shape, steps, axis, share, cone) for axis in range(3))
    return ShellCorrelation(whole, axes, steps, length_unit)


def _along(
    spectra: Sequence[NDArray],
    shells: Rings,
    shape: Sequence[int],
    spacing: Sequence[float],
    axis: int,
    share: float,
    cone: float,
) -> RingCorrelation:
    """Within a cone around one axis, in shells as wide as that axis's own Fourier pixels at least."""
    if shape[axis] == 1:
        none = np.zeros(0)
        return RingCorrelation(none, none, none)
    limit = 0.5 / spacing[axis]
    step = 1 / (shape[axis] * spacing[axis])
    number = max(1, int(limit / step + 1e-9))
    along = np.abs(frequency_axes(shape, spacing)[axis])
    inside = along >= math.cos(math.radians(cone)) * shells.radius
    ring = np.minimum(np.ceil(shells.radius / (limit / number) - 1e-9).astype(np.intp), number + 1)
    over = Rings(np.where(inside, ring, number + 1), shells.both, shells.radius, number + 2)
    return _filled(correlated(spectra[0], spectra[1], over, share))


def _filled(curve: RingCorrelation) -> RingCorrelation:
    """Only the shells that hold coefficients: a short axis leaves gaps between its planes of frequencies."""
    there = curve.n > 0
    return RingCorrelation(*(values[there] for values in curve))


def central_block(shape: Sequence[int], most: int) -> tuple[slice, ...]:
    """The central block of at most `most` voxels: the longest axes are cut, to one common length."""
    cap = max(shape)
    while cap > 1 and math.prod(min(n, cap) for n in shape) > most:
        cap -= 1
    sides = [min(n, cap) for n in shape]
    return tuple(slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(shape, sides, strict=True))
