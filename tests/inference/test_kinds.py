"""Probabilities stay probabilities, phases go around the circle, complex values keep both parts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinds_samples import complex_values, last_step, probabilities, smooth, wrapped
from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.inference import plan_upscale, upscale
from sciSR.inference.kinds_bounds import bounded_block_mean_step
from sciSR.inference.kinds_ranges import Turn, known_turn

F = Fraction
METHODS = ["linear", "cubic", "lanczos", "fourier", "nearest"]


# -- phases -----------------------------------------------------------------------------------------------------------

UNITS = {
    "rad": (Turn(-np.pi, np.pi, "rad"), np.float32),
    "rad from 0": (Turn(0, 2 * np.pi, "rad", closed=False), np.float64),
    "degrees": (Turn(-180, 180, "deg"), np.float32),
    "8192 steps": (Turn(-4096, 4096, closed=False), np.int16),
    "4096 steps": (Turn(0, 4096, closed=False), np.uint16),
    "mrad": (Turn(-1000 * np.pi, 1000 * np.pi, "mrad"), np.int16),
}


def ramp(turn: Turn, shape: tuple[int, int], scale: int, dtype: type) -> np.ndarray:
    """A phase that rises steadily over several turns, on a grid `scale` times as fine, wrapped into its unit."""
    y, x = ((np.arange(n * scale) + 0.5) / scale - 0.5 for n in shape)
    angle = 0.31 * x[None] + 0.17 * y[:, None] + 0.05
    values = turn.middle + wrapped(angle, 2 * np.pi) * turn.period / (2 * np.pi)
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values)
        values[values >= turn.high] = turn.low
    return values.astype(dtype)


@pytest.mark.parametrize("name", UNITS)
def test_a_phase_ramp_goes_through_the_end_of_its_turn(name: str) -> None:
    turn, dtype = UNITS[name]
    image = Image.from_array(ramp(turn, (40, 48), 1, dtype), kind="phase", domain="mr")
    result = upscale(image, 2)
    expected = ramp(turn, (40, 48), 2, np.float64)
    inner = (
        slice(12, -12),
        slice(12, -12),
    )  # at the image's border a ramp can't be told from its mirror image
    step = 1 if np.issubdtype(dtype, np.integer) else 0  # input was rounded to whole steps
    error = wrapped(np.asarray(result.data, np.float64) - expected, turn.period)[inner]
    assert np.abs(error).max() < 2e-4 * turn.period + step
    assert last_step(result)["kind"]["turn"] == pytest.approx([turn.low, turn.high])


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    name=st.sampled_from(sorted(UNITS)),
    model=st.sampled_from(["auto", *METHODS]),
    scale=st.sampled_from([2, 1.5, (1, 3)]),
)
def test_a_phase_never_leaves_its_turn(seed: int, name: str, model: str, scale: Any) -> None:
    turn, dtype = UNITS[name]
    data = np.random.default_rng(seed).uniform(turn.low, turn.high, (2, 10, 12))
    data[0, 0, 0], data[0, 0, 1] = turn.low, turn.high if turn.closed else turn.low
    image = Image.from_array(data.astype(dtype), kind="phase", value_range=(turn.low, turn.high))
    values = np.asarray(upscale(image, scale, model).data)
    assert values.dtype == np.float32
    assert values.astype(np.float64).min() >= turn.low
    assert values.astype(np.float64).max() <= turn.high
    assert turn.closed or values.max() < turn.high


@settings(max_examples=10)
@given(offset=st.floats(-np.pi, np.pi), seed=st.integers(0, 99), model=st.sampled_from(["cubic", "linear"]))
def test_where_the_turn_begins_does_not_matter(offset: float, seed: int, model: str) -> None:
    angle = 0.7 * smooth((14, 15), seed)
    one, other = (
        np.asarray(
            upscale(Image.from_array(wrapped(angle + a, 2 * np.pi), kind="phase", unit="rad"), 2, model).data
        )
        for a in (0.0, offset)
    )
    difference = wrapped(other.astype(np.float64) - one - offset, 2 * np.pi)
    assert np.abs(difference).max() < 5e-6


def test_a_phases_agreement_is_that_of_what_is_written() -> None:
    data = wrapped(smooth((12, 13), 2) * 1.5, 2 * np.pi)
    image = Image.from_array(data, kind="phase")
    for scale in (2, 3):
        result = upscale(image, scale)
        z = np.exp(1j * np.asarray(result.data, np.float64))
        mean = z.reshape(12, scale, 13, scale).mean((1, 3))
        worst = np.abs(wrapped(np.angle(mean) - data, 2 * np.pi)).max()
        agreement = last_step(result)["agreement"]
        assert agreement["max_abs"] == pytest.approx(worst, rel=5e-3)
        assert not agreement["enforced"]


def test_bad_pixels_of_a_phase_keep_their_own_value() -> None:
    data = ramp(UNITS["rad"][0], (12, 12), 1, np.float32)
    mask = np.zeros(data.shape, bool)
    data[3, 3], data[6, 6], data[9, 9], mask[9, 9] = np.nan, np.inf, -99, True
    result = upscale(Image.from_array(data, kind="phase", mask=mask), 2)
    values = np.asarray(result.data)
    assert np.isnan(values[6:8, 6:8]).all()
    assert (values[12:14, 12:14] == np.inf).all()
    assert (values[18:20, 18:20] == -99).all()
    assert np.array_equal(result.mask[...], np.kron(mask, np.ones((2, 2), bool)))
    assert np.isfinite(values).sum() == values.size - 8
    assert last_step(result)["bad_pixels"] == 3


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (-3.1, 3.14159274, False, "rad"),
        (-0.2, 0.3, False, "rad"),
        (0.1, 6.2, False, "rad"),
        (-180, 179, True, "deg"),
        (-4096, 4094, True, ""),
        (0, 4095, True, ""),
        (-3141, 3141, True, "mrad"),
        (-17.0, 23.0, False, None),  # unwrapped
        (-3, 3, True, None),  # whole numbers are no radians
        (0, 1e5, True, None),
    ],
)
def test_the_values_tell_the_turn(low: float, high: float, whole: bool, expected: str | None) -> None:
    turn = known_turn(low, high, whole=whole)
    assert (None if turn is None else turn.unit) == expected
    if turn is not None:
        assert turn.low - 0.01 * turn.period <= low <= high <= turn.high + 0.01 * turn.period


def test_an_unwrapped_phase_is_refused_by_name() -> None:
    image = Image.from_array(np.linspace(-17, 23, 80).reshape(8, 10), kind="phase")
    with pytest.raises(UnsupportedError, match=r"-17 to 23 fills no turn.*--phase-range"):
        plan_upscale(image)
    assert "-20 to 30" in plan_upscale(image.replace(value_range=(-20, 30))).messages[-1]
    with pytest.raises(UsageError, match="can't run from 1 to 1"):
        plan_upscale(image.replace(value_range=(1, 1)))


# -- complex ----------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(
    seed=st.integers(0, 999),
    model=st.sampled_from(METHODS),
    scale=st.sampled_from([2, 1.5, 3]),
    quantity=st.sampled_from(["density", "total"]),
)
def test_complex_voxels_are_their_two_parts(seed: int, model: str, scale: Any, quantity: str) -> None:
    data = complex_values((2, 10, 11), seed)
    fields: dict[str, Any] = {"domain": "mr", "quantity": quantity}
    result = upscale(Image.from_array(data, **fields), scale, model)
    assert result.dtype == np.complex64
    for part in ("real", "imag"):
        alone = upscale(Image.from_array(getattr(data, part).copy(), **fields), scale, model)
        assert np.array_equal(getattr(np.asarray(result.data), part), alone.data)
    assert last_step(result)["kind"]["parts"] == ["real", "imaginary"]


@settings(max_examples=10)
@given(angle=st.floats(-3, 3), seed=st.integers(0, 99))
def test_turning_the_phase_of_complex_voxels_turns_that_of_the_result(angle: float, seed: int) -> None:
    data = complex_values((10, 12), seed).astype(np.complex128)
    turn = np.exp(1j * angle)
    one, other = (np.asarray(upscale(Image.from_array(d, domain="mr"), 2).data) for d in (data, turn * data))
    assert np.abs(other - turn * one).max() < 3e-6 * np.abs(data).max()


def test_the_k_space_of_complex_mr_stays_as_it_was_measured() -> None:
    result = upscale(Image.from_array(complex_values((12, 14), 0), domain="mr"), 2)
    agreement = last_step(result)["agreement"]
    assert last_step(result)["model"] == "fourier"
    assert agreement["operator"] == "k-space crop"
    assert agreement["max_relative_to_range"] < 1e-6


def test_a_voxel_that_is_bad_in_one_part_is_bad_in_both() -> None:
    data = complex_values((10, 12), 0)
    data[4, 5] = complex(np.nan, 7)
    values = np.asarray(upscale(Image.from_array(data), 2).data)
    assert np.isnan(values.real[8:10, 10:12]).all()
    assert (values.imag[8:10, 10:12] == 7).all()
    assert np.isfinite(values).sum() == values.size - 4


def test_complex_voxels_have_no_other_kind() -> None:
    with pytest.raises(UnsupportedError, match="complex voxels are no phase"):
        plan_upscale(Image.from_array(complex_values((4, 4), 0), kind="phase"))


# -- probabilities ----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    end=st.sampled_from([1, 100, 255]),
    model=st.sampled_from(["auto", *METHODS]),
    scale=st.sampled_from([2, 1.5, (2, 3)]),
    consistency=st.sampled_from(["auto", "block", "none"]),
)
def test_a_probability_stays_within_its_scale(
    seed: int, end: int, model: str, scale: Any, consistency: str
) -> None:
    data = probabilities((9, 10), seed) * end
    image = Image.from_array(data, kind="probability", domain="mr", value_range=(0, end))
    result = upscale(image, scale, model, consistency=consistency)
    assert result.kind == "probability"
    assert result.data.min() >= 0
    assert result.data.max() <= end
    assert last_step(result)["kind"]["bounds"] == [0, end]


@settings(max_examples=15)
@given(seed=st.integers(0, 999), model=st.sampled_from(METHODS), scale=st.sampled_from([2, 3]))
def test_a_probabilitys_agreement_is_measured_after_clipping(seed: int, model: str, scale: int) -> None:
    data = probabilities((9, 10), seed)
    for consistency in ("block", "none"):
        image = Image.from_array(data, kind="probability")
        result = upscale(image, scale, model, consistency=consistency)
        means = np.asarray(result.data, np.float64).reshape(9, scale, 10, scale).mean((1, 3))
        worst = np.abs(means - data).max()
        agreement = last_step(result)["agreement"]
        assert agreement["max_abs"] == pytest.approx(worst, rel=6e-3, abs=1e-9)
        if consistency == "block":
            assert agreement["enforced"]
            assert worst < 2e-7


@given(seed=st.integers(0, 999), spread=st.floats(0.1, 30), p=st.integers(1, 4), q=st.integers(1, 4))
def test_means_within_bounds_can_always_be_had_within_them(seed: int, spread: float, p: int, q: int) -> None:
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(np.clip(rng.normal(0.5, 0.6, (4, 5)), 0, 1))
    x = torch.from_numpy(rng.normal(0.5, spread, (4 * p, 5 * q)))
    out = bounded_block_mean_step(x, y, (p, q), (0.0, 1.0))
    assert out.min() >= 0
    assert out.max() <= 1
    assert (out.reshape(4, p, 5, q).mean((1, 3)) - y).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("values", "end"), [((0, 1), 1), ((-0.02, 1.03), 1), ((0, 97), 100), ((0, 200), 255)]
)
def test_the_scale_of_probabilities_is_told(values: tuple[float, float], end: int) -> None:
    image = Image.from_array(np.linspace(*values, 80).reshape(8, 10), kind="probability")
    assert f"kept within [0, {end}]" in plan_upscale(image).messages[-1]


def test_what_is_no_probability_is_refused() -> None:
    image = Image.from_array(np.linspace(-3, 3, 80).reshape(8, 10), kind="probability")
    with pytest.raises(UnsupportedError, match="are no probabilities"):
        plan_upscale(image)


def test_bad_pixels_of_a_probability_keep_their_own_value() -> None:
    data = probabilities((9, 10), 1)
    mask = np.zeros(data.shape, bool)
    data[2, 2], data[6, 6], mask[6, 6] = np.nan, -1, True
    values = np.asarray(upscale(Image.from_array(data, kind="probability", mask=mask), 2).data)
    assert np.isnan(values[4:6, 4:6]).all()
    assert (values[12:14, 12:14] == -1).all()
