"""The slice profile as a matrix: one definition with the convolution, exact inverses, any ratio."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.forward.slice_profile import SliceProfile
from sciSR.forward.slice_sampling import SliceSampling, table_of

PROFILES = ("rect", "gaussian", "sinc")
profiles = st.sampled_from(PROFILES)


@given(st.integers(2, 20), st.integers(2, 7), st.floats(0.4, 2.0), profiles)
def test_whole_ratios_are_the_convolution(coarse, ratio, thickness, profile):
    if thickness * ratio < 1.2:  # narrower than a thin slice: the matrix integrates, the convolution samples
        return
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, coarse * ratio)))
    matrix = SliceSampling(coarse, coarse * ratio, thickness, profile).apply(x)
    convolution = SliceProfile(ratio, thickness, profile).apply(x)
    assert torch.allclose(matrix, convolution, atol=2e-3 * float(x.abs().max()))


@given(st.integers(2, 24), st.floats(1, 8), st.floats(0.5, 1.5), profiles)
def test_constants_stay_and_inverses_invert(coarse, ratio, thickness, profile):
    fine = max(coarse, round(coarse * ratio))
    operator = SliceSampling(coarse, fine, thickness, profile)
    assert torch.allclose(operator.matrix.sum(1), torch.ones(coarse).double())
    y = torch.from_numpy(np.random.default_rng(1).standard_normal((coarse, 5)))
    if torch.linalg.cond(operator.matrix) > 500:
        return
    for thin in (operator.pinv(y, 0), operator.smoothest @ y):
        assert torch.allclose(operator.apply(thin, 0), y, atol=1e-6)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((fine, 5)))
    assert torch.allclose(operator.apply(operator.project(x, y, 0), 0), y, atol=1e-6)


@given(st.integers(2, 12), st.integers(2, 40))
def test_the_adjoint_is_the_transpose(coarse, fine):
    operator = SliceSampling(coarse, fine, 1.0)
    rng = np.random.default_rng(3)
    x, y = torch.from_numpy(rng.standard_normal(fine)), torch.from_numpy(rng.standard_normal(coarse))
    assert float(operator.apply(x) @ y) == pytest.approx(float(x @ operator.adjoint(y)), rel=1e-9, abs=1e-9)


def test_a_rect_as_wide_as_the_spacing_is_the_block_mean():
    x = torch.from_numpy(np.random.default_rng(4).standard_normal((4, 30)))
    assert torch.allclose(SliceSampling(10, 30, 1.0, "rect").apply(x), x.view(4, 10, 3).mean(2))


def test_a_tabulated_gaussian_is_the_gaussian():
    at = np.linspace(-1.7, 1.7, 400)
    table = table_of(at, np.exp(-4 * np.log(2) * at**2))
    one = SliceSampling(10, 37, 1.2, table).matrix
    assert torch.allclose(one, SliceSampling(10, 37, 1.2, "gaussian").matrix, atol=1e-4)


def test_reversal_commutes_with_sampling():
    matrix = SliceSampling(9, 31, 1.1, "sinc").matrix
    assert torch.allclose(matrix.flip(0, 1), matrix, atol=1e-12)


@pytest.mark.parametrize("thickness", [0.0, -1.0, float("nan"), float("inf")])
def test_no_width_is_refused(thickness):
    with pytest.raises(UsageError, match="thickness"):
        SliceSampling(4, 8, thickness)


@pytest.mark.parametrize(
    ("distance", "weight"), [([0, 1], [1, 1]), ([0, 0, 1], [1, 1, 1]), ([-1, 0, 1], [0, 0, 0])]
)
def test_tables_that_are_no_profile_are_refused(distance, weight):
    with pytest.raises(UsageError, match="slice profile"):
        table_of(distance, weight)
