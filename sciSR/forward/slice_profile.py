"""The slice profile: how a slice-selective acquisition sees the depth of the body, along one axis.

Fine slices of the true object are averaged with the profile's weight and taken at the centres of the coarse slices.
Thickness (the profile's width) and spacing (the distance of slices) are two things: thinner than the spacing leaves
gaps, thicker makes slices overlap.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sciSR.errors import GeometryError, UsageError
from sciSR.forward.inverse import least_norm
from sciSR.forward.strided import down, up

Profile = Literal["rect", "gaussian", "sinc"]


@dataclass(frozen=True)
class SliceProfile:
    """Thick slices from thin ones, as an operator on volumes.

    Parameters
    ----------
    scale : int
        Slice spacing in fine slices, >= 1.
    thickness : float
        Full width of the profile at half maximum in units of the *spacing*: 1 contiguous, below 1 with gaps, above 1
        overlapping.
    profile : {"rect", "gaussian", "sinc"}
        "rect": the ideal slice, each fine slice weighted by its overlap. "gaussian": a Gaussian RF pulse. "sinc": the
        profile that a sinc pulse under a Hann window excites, with soft edges and ripples.
    axis : int
        Of the volume, across the slices.
    time_bandwidth : float
        Of the sinc pulse (its duration times its bandwidth): the larger, the squarer the profile.

    Notes
    -----
    Linear; constants are kept, edges are aligned, and the volume is mirrored about its end faces. For "sinc" the
    excitation is taken as linear, the Fourier transform of the pulse (small tip angles: Pauly, Nishimura & Macovski,
    J. Magn. Reson. 81, 43, 1989, doi:10.1016/0022-2364(89)90265-5).
    """

    scale: int = 2
    thickness: float = 1.0
    profile: Profile = "gaussian"
    axis: int = -1
    time_bandwidth: float = 4.0
    name = "slice-profile"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.thickness) and self.thickness > 0):
            raise UsageError(f"a slice thickness of {self.thickness:g}", remedy="give a width above 0")
        if self.profile not in _PROFILES:
            raise UsageError(
                f"no slice profile is called {self.profile!r}", remedy=f"use {', '.join(_PROFILES)}"
            )

    def taps(self) -> Tensor:
        """Weights of fine slices, float64, sum 1; as many before the coarse slice's first one as after its last."""
        return _taps(self)

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., s n, ...]`` -> coarse ``[..., n, ...]`` along `axis`."""
        if x.shape[self.axis] % self.scale:
            raise GeometryError(
                f"slice profile: {x.shape[self.axis]} fine slices are no multiple of {self.scale}",
                remedy="crop the volume first",
            )
        return down(x.movedim(self.axis, -1), self.taps(), self.scale).movedim(-1, self.axis)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed operator, coarse -> fine."""
        return up(y.movedim(self.axis, -1), self.taps(), self.scale).movedim(-1, self.axis)

    def pinv(self, y: Tensor, damping: float = 0.0, iterations: int = 60) -> Tensor:
        """Least-norm inverse along `axis` by conjugate gradients; `damping` > 0 limits the noise it amplifies.

        Overlapping slices (thickness well above 1) are badly conditioned: give a damping then.
        """
        return least_norm(self, y, damping / self.scale, iterations, axes=(self.axis,))


REACH = {"rect": 0.5, "gaussian": 1.7, "sinc": 2.0}
"""How far a profile reaches from its centre, in widths; what is beyond is below 1e-3."""


def profile_density(
    profile: str | tuple[tuple[float, ...], tuple[float, ...]],
    distance: Tensor,
    width: float,
    time_bandwidth: float = 4.0,
) -> Tensor:
    """A slice's sensitivity at distances from its centre, up to a factor; 0 beyond its reach.

    Parameters
    ----------
    profile : {"rect", "gaussian", "sinc"} or pair of tuple of float
        As a table: distances in units of `width`, ascending, and weights; linear in between.
    distance : Tensor, float64
        Any shape, in the unit of `width`.
    width : float
        Full width at half maximum.
    time_bandwidth : float
        Of a sinc pulse, see `SliceProfile`.

    Returns
    -------
    Tensor
        As `distance`.
    """
    x = distance.double() / width
    if not isinstance(profile, str):
        at, weight = (torch.tensor(v, dtype=torch.float64) for v in profile)
        upper = torch.searchsorted(at, x.contiguous()).clamp(1, len(at) - 1)
        share = (x - at[upper - 1]) / (at[upper] - at[upper - 1])
        value = weight[upper - 1] + share * (weight[upper] - weight[upper - 1])
        return torch.where((x >= at[0]) & (x <= at[-1]), value, 0.0)
    if profile not in _PROFILES:
        raise UsageError(f"no slice profile is called {profile!r}", remedy=f"use {', '.join(_PROFILES)}")
    if profile == "rect":
        value = torch.where(x.abs() < 0.5, 1.0, torch.where(x.abs() == 0.5, 0.5, 0.0)).double()
    elif profile == "gaussian":
        value = torch.exp(-4 * math.log(2) * x**2)
    else:
        value = _sinc(x.reshape(-1), 1.0, time_bandwidth).reshape(x.shape)
    return torch.where(x.abs() <= REACH[profile], value, 0.0)


@functools.lru_cache(maxsize=64)
def _taps(operator: SliceProfile) -> Tensor:
    width = operator.thickness * operator.scale
    centre = 0.5 * (operator.scale - 1)
    reach = REACH[operator.profile]
    before = max(0, math.ceil(reach * width - centre))
    distance = torch.arange(-before, operator.scale + before, dtype=torch.float64) - centre
    weights = _PROFILES[operator.profile](distance, width, operator.time_bandwidth)
    return weights / weights.sum()


def _rect(distance: Tensor, width: float, _: float) -> Tensor:
    """Overlap of each fine slice with the thick one."""
    return (torch.minimum(distance + 0.5, distance.new_tensor(width / 2))
            - torch.maximum(distance - 0.5, distance.new_tensor(-width / 2))).clamp_min(0)  # fmt: skip


def _gaussian(distance: Tensor, width: float, _: float) -> Tensor:
    squared = distance**2
    return torch.exp(-4 * math.log(2) * (squared - squared.min()) / width**2)


def _sinc(distance: Tensor, width: float, time_bandwidth: float) -> Tensor:
    """Cosine transform of the pulse ``sinc(TB t) (1 + cos 2 pi t)/2``, |t| < 1/2, at ``TB distance/width`` cycles."""
    t = (torch.arange(512, dtype=torch.float64) + 0.5) / 1024  # half of it: the pulse is even
    pulse = torch.sinc(time_bandwidth * t) * 0.5 * (1 + torch.cos(2 * math.pi * t))
    return torch.cos(2 * math.pi * time_bandwidth * (distance / width)[:, None] * t) @ pulse


_PROFILES = {"rect": _rect, "gaussian": _gaussian, "sinc": _sinc}
