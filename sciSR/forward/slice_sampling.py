"""Thick slices from thin ones at any ratio, as a matrix along one axis.

A volume has few slices, so the operator is written out: one row for each thick slice, one column for each thin one.
Its inverses are then exact, and no ratio is special: ``fine`` thin slices cover the same field as ``coarse`` thick
ones, edge to edge, whatever the two numbers are. :class:`sciSR.forward.slice_profile.SliceProfile` is the same operator
for whole ratios, as a convolution.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward.slice_profile import REACH, profile_density

ProfileTable = tuple[tuple[float, ...], tuple[float, ...]]
"""Distances from the slice's centre in units of its thickness, ascending, and the profile's weight there."""


@dataclass(frozen=True)
class SliceSampling:
    """What slice-selective acquisition makes of ``fine`` thin slices: ``coarse`` thick ones over the same field.

    Parameters
    ----------
    coarse, fine : int
        Numbers of slices.
    thickness : float
        Full width at half maximum of the profile in units of the thick slices' *spacing*: 1 contiguous, below 1 with
        gaps, above 1 overlapping.
    profile : {"rect", "gaussian", "sinc"} or ProfileTable
        See :class:`sciSR.forward.slice_profile.SliceProfile`; or its shape as a table, for measured ones.

    Notes
    -----
    Thin slice `j` is centred at ``(j + 1/2) coarse/fine - 1/2`` thick ones. Its weight is the integral of the profile
    over its width for "rect", and the profile at its centre otherwise (its mean over the width, where the profile is
    narrower than a thin slice). Rows sum to 1; the field is mirrored about its end faces.
    """

    coarse: int
    fine: int
    thickness: float = 1.0
    profile: str | ProfileTable = "gaussian"

    def __post_init__(self) -> None:
        if self.coarse < 1 or self.fine < 1:
            raise UsageError(f"{self.coarse} slices from {self.fine}", remedy="give at least one of each")
        if not (math.isfinite(self.thickness) and self.thickness > 0):
            raise UsageError(f"a slice thickness of {self.thickness:g}", remedy="give a width above 0")

    @property
    def matrix(self) -> Tensor:
        """Weights ``[coarse, fine]``, float64; each row sums to 1."""
        return _matrix(self)

    @property
    def inverse(self) -> Tensor:
        """Least-norm inverse ``[fine, coarse]``, float64: ``matrix @ inverse`` is the identity, as well as it can be.

        Singular values below 0.03 of the largest are left alone: slices that overlap by more than twice their spacing
        leave hardly anything to divide by, and noise would be all there is.
        """
        return _inverse(self)

    @property
    def exact(self) -> bool:
        """Whether any thick slices can be reproduced, to rounding."""
        rest = self.matrix @ self.inverse - torch.eye(self.coarse, dtype=torch.float64)
        return float(rest.abs().max()) < 1e-9

    @property
    def smoothest(self) -> Tensor:
        """The smoothest reproduction ``[fine, coarse]``: least squared second difference among all that agree.

        With a profile much narrower than the spacing this is the cubic spline through the slices; with a broad one the
        spline whose slices, seen through the profile, are the measured ones.
        """
        return _smoothest(self)

    def apply(self, x: Tensor, axis: int = -1) -> Tensor:
        """Thin ``[..., fine, ...]`` -> thick ``[..., coarse, ...]`` along `axis`."""
        return along(self.matrix, x, axis)

    def adjoint(self, y: Tensor, axis: int = -1) -> Tensor:
        """Transposed operator, thick -> thin."""
        return along(self.matrix.T, y, axis)

    def pinv(self, y: Tensor, axis: int = -1) -> Tensor:
        """Least-norm inverse, thick -> thin."""
        return along(self.inverse, y, axis)

    def project(self, x: Tensor, y: Tensor, axis: int = -1) -> Tensor:
        """The volume nearest to `x` whose thick slices are `y`."""
        return x + self.pinv(y - self.apply(x, axis), axis)


def along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """``matrix [m, n]`` applied along one axis of length n, in the precision of `x`."""
    return torch.tensordot(x, matrix.to(x), dims=([axis], [1])).movedim(-1, axis)


@functools.lru_cache(maxsize=32)
def _matrix(operator: SliceSampling) -> Tensor:
    coarse, fine = operator.coarse, operator.fine
    ratio = coarse / fine  # width of a thin slice, in spacings
    width = max(
        operator.thickness, 4 * ratio / _POINTS
    )  # narrower ones lie between the points, all the same slice
    reach = _reach(operator.profile) * width + ratio
    before = max(1, math.ceil(reach * fine / coarse))
    column = torch.arange(-before, fine + before)
    centre = (column.double() + 0.5) * ratio - 0.5
    n = 1 if width >= ratio else _POINTS
    points = (torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5
    where = centre[None, :, None] + points * ratio - torch.arange(coarse, dtype=torch.float64)[:, None, None]
    if operator.profile == "rect":
        low = centre[None] - ratio / 2 - torch.arange(coarse, dtype=torch.float64)[:, None]
        weight = (torch.clamp_max(low + ratio, width / 2) - torch.clamp_min(low, -width / 2)).clamp_min(0)
    else:
        weight = profile_density(operator.profile, where, width).mean(-1)
    period = 2 * fine
    at = torch.remainder(column, period)
    at = torch.where(at < fine, at, period - 1 - at)
    matrix = torch.zeros(coarse, fine, dtype=torch.float64).index_add_(1, at, weight)
    total = matrix.sum(1, keepdim=True)
    if not bool((total > 1e-6 * matrix.abs().sum(1, keepdim=True)).all()):
        raise UsageError("a slice profile whose weights add up to nothing", remedy="give one of positive sum")
    return matrix / total


_POINTS = 32


def _reach(profile: str | ProfileTable) -> float:
    if isinstance(profile, str):
        return REACH[profile]
    return max(abs(profile[0][0]), abs(profile[0][-1]))


@functools.lru_cache(maxsize=32)
def _inverse(operator: SliceSampling) -> Tensor:
    return torch.linalg.pinv(_matrix(operator), rtol=_RTOL)


_RTOL = 0.03


@functools.lru_cache(maxsize=32)
def _smoothest(operator: SliceSampling) -> Tensor:
    matrix, fine = _matrix(operator), operator.fine
    if fine < 3 or operator.coarse < 2:
        return _inverse(operator)
    bend = torch.diff(torch.eye(fine, dtype=torch.float64), n=2, dim=0)
    # min |D x|^2 with A x = y, as the minimum of |D x|^2 + |A x - y|^2/eps and a projection onto A x = y: the bordered
    # system itself is singular where slices overlap.
    weight = _STIFFNESS * float((bend.T @ bend).diagonal().max())
    normal = bend.T @ bend + weight * matrix.T @ matrix
    rough = torch.linalg.solve(normal, weight * matrix.T)
    return rough + _inverse(operator) @ (torch.eye(operator.coarse, dtype=torch.float64) - matrix @ rough)


_STIFFNESS = 1e3


def table_of(distance: Sequence[float], weight: Sequence[float]) -> ProfileTable:
    """A profile as a table.

    Parameters
    ----------
    distance : sequence of float
        From the slice's centre, in units of its thickness (full width at half maximum); ascending.
    weight : sequence of float
        Its sensitivity there; zero beyond the ends.

    Raises
    ------
    UsageError
        Fewer than three points, not ascending, not finite, or of no positive sum.
    """
    d, w = [float(v) for v in distance], [float(v) for v in weight]
    ascending = all(b > a for a, b in itertools.pairwise(d))
    if len(d) < 3 or len(d) != len(w) or not ascending or not all(map(math.isfinite, d + w)) or sum(w) <= 0:
        raise UsageError(
            "a slice profile needs three or more points, ascending, finite, of positive sum",
            remedy="give two columns: distance in mm, weight",
        )
    return tuple(d), tuple(w)
