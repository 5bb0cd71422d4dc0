"""How noise and bad pixels of the sharp image reach the observed one.

With ``y_i = sum_j w_ij x_j`` and independent errors, ``var y_i = sum_j w_ij^2 var x_j``. The weights of one coarse
pixel come from the operator itself (its transpose applied to a point); they are the same for all coarse pixels but for
their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sciSR.forward.border import mirrored
from sciSR.forward.operator import LinearOperator
from sciSR.forward.psf_blur import correlate


@dataclass(frozen=True, eq=False)  # holds a tensor
class SquaredWeights:
    """The map from variances of fine pixels to those of coarse ones.

    Made by :meth:`local` or :meth:`periodic`. At a mirrored border the weights of a pixel and of its mirror image are
    squared one by one, so that variances come out a little low there.

    Attributes
    ----------
    weights : Tensor, float64
        Squares of the weights of one coarse pixel: ``[s (2 m + 1), s (2 m + 1)]`` around it, or for a periodic operator
        the whole plane ``[s H, s W]`` around coarse pixel 0.
    scale : int
    margin : int or None
        Coarse pixels that the weights reach beyond their own; None for periodic ones.
    """

    weights: Tensor
    scale: int
    margin: int | None

    @classmethod
    def local(cls, operator: LinearOperator, scale: int, margin: int) -> SquaredWeights:
        """Of an operator whose border reaches `margin` coarse pixels."""
        point = torch.zeros(2 * margin + 1, 2 * margin + 1, dtype=torch.float64)
        point[margin, margin] = 1
        return cls(operator.adjoint(point) ** 2, scale, margin)

    @classmethod
    def periodic(cls, operator: LinearOperator, scale: int, coarse: tuple[int, int]) -> SquaredWeights:
        """Of an operator for which the plane repeats, with a coarse size of `coarse`.

        For complex results: of the real part, which is the magnitude's where the signal is strong and real.
        """
        point = torch.zeros(coarse, dtype=torch.float64)
        point[0, 0] = 1
        return cls(operator.adjoint(point) ** 2, scale, None)

    @property
    def total(self) -> float:
        """Variance of a coarse pixel where that of all fine ones is 1."""
        return float(self.weights.sum())

    def apply(self, variance: Tensor) -> Tensor:
        """Variances of fine pixels ``[s H, s W]`` (float64, finite) -> those of coarse ones ``[H, W]``."""
        s = self.scale
        if self.margin is None:
            spectrum = torch.fft.rfft2(variance) * torch.fft.rfft2(self.weights).conj()
            return torch.fft.irfft2(spectrum, s=variance.shape)[::s, ::s].clamp_min(0)
        rows, columns = (mirrored(n, s * self.margin) for n in variance.shape)
        return correlate(variance[rows[:, None], columns], self.weights)[::s, ::s].clamp_min(0)
