"""Bicubic reduction is MATLAB's: its weights, its edges, its transpose and its inverse."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.forward.bicubic import BicubicDecimation, imresize, keys, resize_matrix


@given(size=st.integers(1, 30), scale=st.integers(1, 6), up=st.booleans())
def test_each_output_pixel_is_a_weighted_mean(size, scale, up):
    factor = Fraction(scale) if up else Fraction(1, scale)
    shape = (size, size * scale) if up else (size * scale, size)
    matrix = resize_matrix(*shape, factor)
    assert torch.allclose(matrix.sum(1), torch.ones(shape[1], dtype=torch.float64), atol=1e-12)


def test_the_kernel_passes_through_its_samples():
    assert torch.equal(
        keys(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])), torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    )


def test_reduction_by_two_has_the_published_weights():
    """Keys' kernel at odd quarters of its width: what MATLAB's imresize(x, 0.5) applies inside an image."""
    row = resize_matrix(16, 8, Fraction(1, 2))[3]
    expected = torch.tensor(
        [-0.0117188, -0.0351562, 0.1132812, 0.4335938, 0.4335938, 0.1132812, -0.0351562, -0.0117188]
    )
    assert torch.allclose(row[3:11].float(), expected, atol=1e-6)
    assert float(row[:3].abs().sum() + row[11:].abs().sum()) == 0


def test_borders_are_mirrored_about_the_pixel_edge():
    x = torch.arange(12, dtype=torch.float64)[None].expand(12, -1)
    both = torch.cat([x.flip(-1), x, x.flip(-1)], -1)
    assert torch.allclose(
        imresize(both, Fraction(1, 2))[:, 6:12], imresize(x.repeat(1, 1), Fraction(1, 2)).repeat(2, 1)[:6]
    )


def test_straight_lines_stay_straight_inside():
    line = torch.arange(40, dtype=torch.float64)[None].expand(40, -1)
    coarse = BicubicDecimation(4).apply(line)[5, 2:-2]
    assert torch.allclose(coarse, 4 * torch.arange(2, 8, dtype=torch.float64) + 1.5, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_a_constant_changes_nothing(scale):
    assert torch.allclose(imresize(torch.full((5, 7), 3.0), scale), torch.full((5 * scale, 7 * scale), 3.0))
