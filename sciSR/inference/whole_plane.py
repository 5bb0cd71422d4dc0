"""Consistency with what was measured on the whole plane at once: acquired k-space, samples of a Gaussian profile.

``x + A+ (y - A x)`` with A the central crop of the spectrum (:class:`sciSR.forward.kspace.KSpaceCrop`), which is
global (:mod:`sciSR.inference.kspace_step`), or blur and decimation
(:class:`sciSR.forward.gaussian.GaussianDecimation`), whose inverse fades with distance but ends nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.inference.kspace_step import KSpaceSamples as KSpaceSamples
from sciSR.inference.planes import Plane, Scratch
from sciSR.inference.tiles import Span, mirror_index


class PlaneOperator(Protocol):
    """A forward model with its pseudo-inverse, on whole planes ``[H, W]``, float64."""

    def apply(self, x: Tensor) -> Tensor: ...

    def pinv(self, y: Tensor) -> Tensor: ...

    def correction(self, x: Tensor, y: Tensor) -> Tensor:
        """``A+ (y - A x)``."""
        ...


WIDEST = 1.5
"""Input pixels: a Gaussian that is wider leaves less than a fifth of the finest measured detail on each axis, and
reproducing the samples exactly would blow the noise in it up by more."""


class GaussianSamples:
    """`GaussianDecimation` with its exact pseudo-inverse: separable, so one banded system per axis.

    Parameters
    ----------
    scale : int
    fwhm : float
        Full width at half maximum in *coarse* pixels, up to `WIDEST`.
    """

    def __init__(self, scale: int, fwhm: float) -> None:
        from sciSR.forward.gaussian import GaussianDecimation

        if not 0 < fwhm <= WIDEST:
            raise UsageError(
                f"samples of a Gaussian of {fwhm:g} input pixels can't be reproduced without blowing up noise",
                remedy=f"give a --psf-fwhm of at most {WIDEST:g}, or --consistency none",
            )
        self.scale, self.operator = scale, GaussianDecimation(scale, fwhm * scale)
        self.apply = self.operator.apply

    def pinv(self, y: Tensor) -> Tensor:
        """``A^T (A A^T)^-1 y``: of all images with these samples the smallest."""
        inner = self._solve(self._solve(y.double()).mT).mT
        return self.operator.adjoint(inner)

    def correction(self, x: Tensor, y: Tensor) -> Tensor:
        """``A+ (y - A x)``."""
        return self.pinv(y - self.apply(x))

    def _solve(self, y: Tensor) -> Tensor:
        """``(A A^T)^-1`` along the first axis."""
        from scipy.linalg import solveh_banded

        size = y.shape[0]
        system = self._system(size)
        return torch.from_numpy(solveh_banded(system, y.numpy(), lower=True, check_finite=False))

    def _system(self, size: int) -> np.ndarray:
        """``A A^T`` of one axis, its lower diagonals as rows (LAPACK's banded storage)."""
        from scipy.sparse import coo_array

        taps, before = self.operator.taps()
        fine = self.scale * size
        rows = np.repeat(np.arange(size), len(taps))
        columns = (self.scale * np.arange(size)[:, None] - before + np.arange(len(taps))[None]).ravel()
        columns = mirror_index(columns, fine)
        matrix = coo_array((np.tile(taps.numpy(), size), (rows, columns)), shape=(size, fine)).tocsr()
        square = matrix @ matrix.T
        width = min(size, 2 + 2 * -(-len(taps) // self.scale))
        system = np.zeros((width, size))
        for offset in range(width):
            system[offset, : size - offset] = square.diagonal(-offset)
        return system


def plane_step(
    x: Scratch,
    source: Plane,
    operator: PlaneOperator,
    written: Callable[[Tensor], Tensor] = lambda values: values,
) -> tuple[Scratch, float]:
    """The same step with an operator that needs the whole plane.

    Parameters
    ----------
    x, source : Plane
    operator : PlaneOperator
    written : callable
        What becomes of float64 values of the result by the time that they stand in a file, in the same unit.

    Returns
    -------
    plane : Scratch
    disagreement : float
        Largest ``|y - A x|`` that is left.
    """
    fine = torch.from_numpy(np.asarray(x.read(Span(0, x.shape[0])))).double()
    coarse = torch.from_numpy(
        np.asarray(source.region(Span(0, source.shape[0]), Span(0, source.shape[1])))
    ).double()
    fine += operator.correction(fine, coarse)
    rounded = fine.float()
    out = Scratch(x.shape)
    out.write(Span(0, x.shape[0]), rounded.numpy())
    after = float((coarse - operator.apply(written(fine.copy_(rounded)))).abs().max())
    return out, after
