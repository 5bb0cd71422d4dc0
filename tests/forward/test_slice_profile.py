"""Thick slices: transpose, level, place, and the width that was named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import GeometryError, UsageError
from sciSR.forward.slice_profile import SliceProfile

PROFILES = ("rect", "gaussian", "sinc")
profiles = st.builds(
    SliceProfile,
    scale=st.integers(1, 5),
    thickness=st.floats(0.3, 1.5),
    profile=st.sampled_from(PROFILES),
    axis=st.sampled_from([0, 1, 2, -1]),
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sized(operator: SliceProfile, n: int, coarse: bool) -> list[int]:
    shape = [3, 4, 5]
    shape[operator.axis] = n if coarse else n * operator.scale
    return shape


@settings(deadline=None)
@given(operator=profiles, n=st.integers(1, 7))
def test_adjoint_is_the_transpose_along_any_axis(operator, n):
    x, y = noise(*sized(operator, n, False)), noise(*sized(operator, n, True), seed=1)
    assert operator.apply(x).shape == y.shape
    assert torch.isclose((operator.apply(x) * y).sum(), (x * operator.adjoint(y)).sum(), atol=1e-9)


@settings(deadline=None)
@given(operator=profiles)
def test_constants_stay_and_the_weights_are_even(operator):
    x = torch.full(sized(operator, 4, False), 5.0, dtype=torch.float64)
    assert torch.allclose(operator.apply(x), torch.full(sized(operator, 4, True), 5.0, dtype=torch.float64))
    assert torch.allclose(operator.taps(), operator.taps().flip(0), atol=1e-15)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("thickness", [0.6, 1.0, 1.2])
def test_pseudo_inverse_reproduces_the_slices(profile, thickness):
    operator = SliceProfile(3, thickness, profile, axis=0)
    y = noise(6, 4, 4)
    assert torch.allclose(operator.apply(operator.pinv(y, iterations=200)), y, atol=1e-6)


def test_an_ideal_contiguous_slice_is_the_mean_of_its_fine_ones():
    x = noise(2, 3, 12)
    assert torch.allclose(SliceProfile(4, 1.0, "rect").apply(x), x.unflatten(-1, (3, 4)).mean(-1))


def test_gaps_are_not_seen():
    x = torch.zeros(1, 1, 20, dtype=torch.float64)
    x[..., ::5] = 1  # the outermost of five fine slices
    assert float(SliceProfile(5, 0.6, "rect").apply(x).abs().max()) == 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("thickness", [0.5, 1.0, 1.5])
def test_the_profile_is_as_wide_as_it_says(profile, thickness):
    operator = SliceProfile(41, thickness, profile)
    taps = operator.taps() / operator.taps().max()
    level = taps[len(taps) // 2] if profile != "sinc" else 1.0
    above = int((taps > 0.5 * level).sum())
    assert above == pytest.approx(41 * thickness, rel=0.06)


def test_a_longer_sinc_pulse_cuts_a_squarer_slice():
    def soft(time_bandwidth: float) -> int:
        taps = SliceProfile(101, 1.0, "sinc", time_bandwidth=time_bandwidth).taps()
        taps = taps / taps.max()
        return int(((taps > 0.1) & (taps < 0.9)).sum())

    assert soft(12) < soft(4) < soft(2)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_blob_stays_where_it_is_in_the_field(profile, scale):
    fine = (torch.arange(24 * scale, dtype=torch.float64) + 0.5) / (24 * scale)
    coarse = SliceProfile(scale, 1.0, profile).apply(torch.exp(-0.5 * ((fine - 0.43) / 0.08) ** 2)[None])[0]
    position = (torch.arange(24, dtype=torch.float64) + 0.5) / 24
    assert float((coarse * position).sum() / coarse.sum()) == pytest.approx(0.43, abs=2e-5)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="thickness"):
        SliceProfile(2, 0.0)
    with pytest.raises(UsageError, match="triangle"):
        SliceProfile(2, 1.0, "triangle")
    with pytest.raises(GeometryError, match="7 fine slices"):
        SliceProfile(2).apply(torch.zeros(3, 7))
