"""The consistency step as a network's last layer while it trains.

The engine moves each result ``x`` to the nearest image that reproduces the measurement ``y``, ``x + A+ (y - A x)``
(`sciSR.inference.consistency`), so a network need not learn what was measured; only what the measurement leaves open is
left to it. Trained with that layer in place it learns faster and generalises better (Geiss and Hardin, "Strictly
enforcing invertibility and conservation in CNN-based super resolution for scientific datasets", Artificial Intelligence
for the Earth Systems 2, 2023, doi:10.1175/AIES-D-21-0012.1; their layer stretches a block within bounds, this one is
the orthogonal projection that the engine makes).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.training.pair import Batch

STEEPEST = 20.0
"""Largest absolute value that is unstretched in "sky" units: sinh(20) is 2e8 sky widths, and float32 ends at 88."""

MARGIN = {"kspace": 4, "gaussian": 4, "blockmean": 0}
"""Coarse pixels at a patch's border where the step differs from that on the whole image: the crop of k-space takes the
patch for periodic, the Gaussian mirrors it."""


def linear(z: Tensor, normalisation: str) -> Tensor:
    """Network units -> linear units (multiples of the normaliser's scale), in which fluxes add."""
    return z.clamp(-STEEPEST, STEEPEST).sinh() if normalisation == "sky" else z


def network(u: Tensor, normalisation: str) -> Tensor:
    """Linear units -> network units: the inverse of `linear`."""
    if normalisation != "sky":
        return u
    if u.requires_grad:
        return u.asinh()
    size = u.abs()  # the same function; nine times as fast as torch.asinh on a CPU
    return torch.log1p(size + size * size / (1 + (size * size + 1).sqrt())).copysign(u)


class Operator(Protocol):
    """A forward model and its pseudo-inverse on the last two axes."""

    def apply(self, x: Tensor) -> Tensor:
        """Fine ``[..., s h, s w]`` -> coarse ``[..., h, w]``."""
        ...

    def pinv(self, y: Tensor) -> Tensor:
        """Coarse -> the smallest fine image that it could come from."""
        ...


@dataclass(frozen=True)
class _Blocks:
    """Mean over each coarse pixel, ``[B, 1, s h, s w]``."""

    scale: int

    def apply(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.scale)

    def pinv(self, y: Tensor) -> Tensor:
        return F.interpolate(y, scale_factor=self.scale, mode="nearest")


@dataclass(frozen=True)
class _Gaussian:
    """`GaussianDecimation` with its pseudo-inverse as two small matrices: exact, and differentiable without the
    iterations (and the waiting for the device) of conjugate gradients."""

    scale: int

    def apply(self, x: Tensor) -> Tensor:
        return GaussianDecimation(self.scale).apply(x)

    def pinv(self, y: Tensor) -> Tensor:
        rows, columns = (_gaussian_pinv(n, self.scale, y.dtype, y.device) for n in y.shape[-2:])
        return rows @ y @ columns.mT


@functools.lru_cache(maxsize=32)
def _gaussian_pinv(size: int, scale: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Pseudo-inverse ``[s n, n]`` of the 1-D Gaussian decimation to `size` pixels."""
    unit = torch.eye(scale * size, dtype=torch.float64)[:, :, None].expand(-1, -1, scale)
    # constants are kept, so an image that is constant along its columns shows the action along its rows alone
    return torch.linalg.pinv(GaussianDecimation(scale).apply(unit)[..., 0].mT).to(device, dtype)


_OPERATORS = {"kspace": KSpaceCrop, "gaussian": _Gaussian, "blockmean": _Blocks}


@dataclass(frozen=True)
class Consistency:
    """The step for one forward model.

    Parameters
    ----------
    kind : {"blockmean", "gaussian", "kspace"}
        As in `sciSR.training.config.TrainConfig`; acts in linear units.
    normalisation : {"range", "sky", "unit"}
        What stands between linear and network units.
    """

    kind: str
    normalisation: str

    def __post_init__(self) -> None:
        if self.kind not in _OPERATORS:
            raise UsageError(
                f"there is no consistency step of kind {self.kind!r}",
                remedy=f"set consistency to one of {', '.join(_OPERATORS)}, or loss.consistency to none",
            )

    @property
    def margin(self) -> int:
        """Coarse pixels at a patch's border that are not to be judged."""
        return MARGIN[self.kind]

    def operator(self, scale: int) -> Operator:
        """The forward model for a factor."""
        return _OPERATORS[self.kind](scale)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """The image nearest to `x`, in linear units, that reproduces `y`.

        Parameters
        ----------
        x : Tensor, float ``[B, 1, s h, s w]``
            Network units.
        y : Tensor, float ``[B, 1, h, w]``
            Network units.

        Returns
        -------
        Tensor
            Like `x`; differentiable in both.
        """
        operator = self.operator(x.shape[-1] // y.shape[-1])
        u = linear(x, self.normalisation)
        residual = linear(y, self.normalisation) - operator.apply(u)
        return network(u + operator.pinv(residual), self.normalisation)

    def finish(self, x: Tensor, batch: Batch) -> Tensor:
        """What the engine would make of the network's output `x` ``[B, 1, s h, s w]`` for the inputs of a batch.

        For "kspace" the measured coefficients are taken from the truth: those of a patch are no part of those of the
        plane, but the truth's agree with the plane's, so the *error* that is left is the part beyond the band.
        """
        if self.kind == "kspace":
            return x - self.operator(x.shape[-1] // batch.input.shape[-1]).pinv(
                self._seen(x - batch.truth, batch)
            )
        return self.project(x, batch.input)

    def level(self, x: Tensor, batch: Batch) -> Tensor:
        """How far the bare output's prediction is from the input, ``[B, 1, h, w]`` in network units."""
        return network(self._seen(linear(x, self.normalisation), batch), self.normalisation) - batch.input

    def _seen(self, u: Tensor, batch: Batch) -> Tensor:
        return self.operator(u.shape[-1] // batch.input.shape[-1]).apply(u)
