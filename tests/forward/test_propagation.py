"""Variances of coarse pixels are those that many noisy fine images show."""

from __future__ import annotations

import pytest
import torch

from sciSR.forward.bicubic import BicubicDecimation
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.operator import Chain
from sciSR.forward.pixel import BlockMean
from sciSR.forward.propagation import SquaredWeights
from sciSR.forward.psf_blur import PsfBlur


def matrix_of(operator, fine: tuple[int, int]) -> torch.Tensor:
    """Every coarse pixel's weights: the operator applied to every unit image."""
    n = fine[0] * fine[1]
    return operator.apply(torch.eye(n, dtype=torch.float64).reshape(n, *fine)).flatten(1).T


def variances(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1


LOCAL = [
    (BlockMean((2, 2)), 2, 0),
    (GaussianDecimation(3), 3, 2),
    (BicubicDecimation(2), 2, 2),
    (Chain((PsfBlur(1.4, "moffat", ellipticity=0.2, angle=1.0), BlockMean((2, 2)))), 2, 4),
]


@pytest.mark.parametrize(("operator", "scale", "margin"), LOCAL)
def test_local_weights_agree_with_the_whole_matrix_inside(operator, scale, margin):
    coarse = 2 * margin + 4
    sigma2 = variances(coarse * scale, coarse * scale)
    exact = (matrix_of(operator, sigma2.shape) ** 2 @ sigma2.flatten()).reshape(coarse, coarse)
    told = SquaredWeights.local(operator, scale, margin).apply(sigma2)
    inside = slice(margin, coarse - margin)
    assert torch.allclose(told[inside, inside], exact[inside, inside], rtol=1e-9)


@pytest.mark.parametrize("size", [(10, 12), (9, 14)])
def test_periodic_weights_agree_with_the_whole_matrix(size):
    scale, operator = 2, KSpaceCrop(2)
    sigma2 = variances(*(scale * n for n in size))
    exact = (matrix_of(operator, sigma2.shape) ** 2 @ sigma2.flatten()).reshape(size)
    assert torch.allclose(SquaredWeights.periodic(operator, scale, size).apply(sigma2), exact, rtol=1e-9)


def test_the_mean_of_four_equal_errors_is_half_as_uncertain():
    weights = SquaredWeights.local(BlockMean((2, 2)), 2, 0)
    assert weights.total == pytest.approx(0.25)
    assert torch.allclose(
        weights.apply(torch.ones(6, 8, dtype=torch.float64)), torch.full((3, 4), 0.25).double()
    )
