"""Thick slices become thin ones: the slices are kept, the field too, and nothing depends on units, tiles or chance."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import stack, texture, thick

from sciSR.errors import GeometryError, NothingToDo, UsageError
from sciSR.forward.slice_sampling import SliceSampling
from sciSR.image import Image
from sciSR.models.files import save_model
from sciSR.models.spec import ModelSpec
from sciSR.models.through_plane import ThroughPlane
from sciSR.throughplane import isotropic, plan_isotropic


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with weights of chance: whatever it says, the promises hold."""
    torch.manual_seed(3)
    network = ThroughPlane(8, 3)
    spec = ModelSpec(
        "toy", "ThroughPlane", {"features": 8, "blocks": 3}, 1, network.receptive_field(), 1, "slice_profile",
        "mr", "range",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    save_model(path, network, spec)
    return str(path)


@pytest.mark.parametrize("profile", ["gaussian", "rect", "sinc"])
@pytest.mark.parametrize(("n", "spacing"), [(12, 4.0), (11, 2.7)])
def test_the_result_seen_through_the_profile_is_the_slices(weights, profile, n, spacing):
    data = np.random.default_rng(0).normal(300, 50, (26, 30, n)).astype(np.float32)
    out = isotropic(stack(data, (1, 1, spacing)), model=weights, self_training="0", profile=profile)
    operator = SliceSampling(n, out.shape[2], 1.0, profile)
    again = operator.apply(torch.from_numpy(np.asarray(out.data, np.float64)), 2).numpy()
    assert np.abs(again - data).max() < 1e-6 * np.ptp(data)
    agreement = out.provenance.steps[-1]["agreement"]
    assert agreement["max_relative_to_range"] < 1e-6
    assert out.dtype == np.float32


def test_with_a_rect_profile_block_means_are_the_slices(weights):
    data = np.random.default_rng(1).normal(300, 50, (26, 30, 9)).astype(np.float32)
    out = isotropic(stack(data, (1, 1, 4)), model=weights, self_training="0", profile="rect")
    means = np.asarray(out.data, np.float64).reshape(26, 30, 9, 4).mean(3)
    np.testing.assert_allclose(means, data, atol=1e-6 * np.ptp(data))


@given(st.integers(2, 9), st.floats(1.1, 7.0), st.sampled_from([(1.0, 1.0), (0.7, 0.7), (0.7, 1.4)]))
@settings(max_examples=20)
def test_the_field_is_kept_exactly(n, spacing, pixel):
    image = stack(np.zeros((6, 7, n), np.float32) + np.arange(n, dtype=np.float32), (*pixel, spacing))
    try:
        plan = plan_isotropic(image, model="linear")
    except (NothingToDo, UsageError):
        assert round(n * spacing / min(pixel)) <= n * 1.03 or spacing < 1.03 * max(pixel)
        return
    before, after = image.grid, plan.output.grid
    for corner in np.ndindex(2, 2, 2):
        ends = [np.where(corner, np.array(g.shape) - 0.5, -0.5) for g in (before, after)]
        np.testing.assert_allclose(before.world(ends[0]), after.world(ends[1]), atol=1e-9)
    np.testing.assert_allclose(after.spacing, min(pixel), rtol=0.35)
    assert plan.output.shape == after.shape
    assert any("mm" in message for message in plan.messages)


def test_tiles_equal_the_whole(weights):
    data = thick(texture((70, 66, 24)), SliceSampling(8, 24)).astype(np.float32)
    image = stack(data, (1, 1, 3))
    whole = isotropic(image, model=weights, self_training="0").data
    tiled = isotropic(image, model=weights, self_training="0", tile=19).data
    np.testing.assert_allclose(tiled, whole, atol=2e-6 * np.ptp(data))


@pytest.mark.parametrize(("gain", "offset"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 1000.0), (3.0, -5.0)])
def test_units_do_not_change_the_result(weights, gain, offset):
    data = thick(texture(), SliceSampling(12, 48))
    one = np.asarray(isotropic(stack(data, (1, 1, 4)), model=weights, self_training="0").data)
    other = isotropic(stack(gain * data + offset, (1, 1, 4)), model=weights, self_training="0").data
    rounding = np.abs(gain * data + offset).max() * 2e-7
    np.testing.assert_allclose(other, gain * one + offset, atol=2e-5 * gain * np.ptp(data) + rounding)


def test_learning_is_a_function_of_the_seed():
    image = stack(thick(texture(), SliceSampling(12, 48)), (1, 1, 4))

    def learned(seed: int) -> np.ndarray:
        plan = plan_isotropic(image, model="scratch", seed=seed)
        object.__setattr__(plan.method, "steps", 3)
        out = np.empty(plan.output.shape, np.float32)
        plan.run(lambda index, block: out.__setitem__(index, block))
        return out

    first, again, other = learned(1), learned(1), learned(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.slow
def test_a_network_that_learns_from_the_volume_alone_beats_the_known_inverse():
    truth = texture((64, 64, 64), seed=5)
    operator = SliceSampling(16, 64)
    image = stack(thick(truth, operator), (1, 1, 4), slice_thickness=4.0)
    inside = (slice(8, -8),) * 3

    def error(**options: object) -> float:
        out = np.asarray(isotropic(image, **options).data, np.float64)
        return float(np.sqrt(np.mean((out - truth)[inside] ** 2)))

    plan = plan_isotropic(image, model="scratch")
    object.__setattr__(plan.method, "steps", 60)
    out = np.empty(plan.output.shape, np.float32)
    plan.run(lambda index, block: out.__setitem__(index, block))
    learned = float(np.sqrt(np.mean((out - truth)[inside] ** 2)))
    assert learned < 0.93 * error(model="smoothest") < error(model="cubic", consistency="none")


def test_time_points_are_volumes_of_their_own(weights):
    rng = np.random.default_rng(2)
    data = rng.normal(300, 50, (20, 22, 6, 3)).astype(np.float32)
    every = isotropic(stack(data, (1, 1, 3)), model=weights, self_training="0")
    assert every.shape == (20, 22, 18, 3)
    operator = SliceSampling(6, 18)
    for t in range(3):
        again = operator.apply(torch.from_numpy(np.asarray(every.data[..., t], np.float64)), 2).numpy()
        np.testing.assert_allclose(again, data[..., t], atol=1e-6 * np.ptp(data))


def test_axes_in_any_order_give_the_same(weights):
    data = thick(texture(), SliceSampling(12, 48)).astype(np.float32)
    one = stack(data, (1, 1, 4))
    affine = one.grid.affine[:, [2, 1, 0, 3]]
    turned = one.replace(
        data=data.transpose(2, 1, 0),
        axes=("z", "y", "x"),
        grid=type(one.grid)(data.shape[::-1], affine),
    )
    for options in ({"model": "smoothest"}, {"model": weights, "self_training": "full"}):
        a, b = (plan_isotropic(image, **options) for image in (one, turned))
        for plan in (a, b):  # eight views see every side alike, so that the order of the axes can't matter
            object.__setattr__(plan.method, "steps", 0)
        assert b.output.grid.factors == (Fraction(4), Fraction(1), Fraction(1))
        results = []
        for plan in (a, b):
            out = np.empty(plan.output.shape, np.float32)
            plan.run(lambda index, block, out=out: out.__setitem__(index, block))
            results.append(out)
        np.testing.assert_allclose(results[1].transpose(2, 1, 0), results[0], atol=1e-5 * np.ptp(data))


def test_bad_voxels_come_back_and_do_not_leak(weights):
    data = thick(texture(), SliceSampling(12, 48)).astype(np.float32)
    clean = np.asarray(isotropic(stack(data, (1, 1, 4)), model="smoothest").data)
    for poison in (np.nan, np.inf, -np.inf):
        broken = data.copy()
        broken[10, 11, 5] = poison
        out = np.asarray(isotropic(stack(broken, (1, 1, 4)), model=weights, self_training="0").data)
        bad = ~np.isfinite(out)
        assert bad.sum() == 4
        np.testing.assert_array_equal(np.argwhere(bad)[:, 2], [20, 21, 22, 23])
        assert np.abs(out[~bad]).max() < 3 * np.abs(clean).max()


def test_pixels_are_made_larger_by_area_for_a_coarser_spacing():
    data = np.random.default_rng(3).normal(100, 10, (24, 20, 8)).astype(np.float32)
    out = isotropic(stack(data, (0.5, 0.5, 4.0)), spacing=1.0, model="smoothest")
    assert out.shape == (12, 10, 32)
    operator = SliceSampling(8, 32)
    means = data.astype(np.float64).reshape(12, 2, 10, 2, 8).mean((1, 3))
    again = operator.apply(torch.from_numpy(np.asarray(out.data, np.float64)), 2).numpy()
    np.testing.assert_allclose(again, means, atol=1e-5 * np.ptp(data))


def test_finer_than_the_pixels_goes_by_the_plane_first():
    data = thick(texture(), SliceSampling(12, 48)).astype(np.float32)
    out = isotropic(stack(data, (1, 1, 4)), spacing=0.5, model="smoothest")
    assert out.shape == (80, 88, 96)
    assert [step["step"] for step in out.provenance.steps] == ["upscale", "isotropic"]


def test_a_constant_stays_constant(weights):
    out = isotropic(stack(np.full((20, 20, 5), 7.0), (1, 1, 3)), model=weights, self_training="0")
    np.testing.assert_array_equal(out.data, 7)


def test_the_spread_of_views_is_an_uncertainty(weights):
    data = thick(texture(), SliceSampling(12, 48)).astype(np.float32)
    out = isotropic(stack(data, (1, 1, 4)), model=weights, self_training="0", uncertainty=True)
    spread = np.asarray(out.uncertainty[:, :, :])
    assert spread.shape == out.shape
    assert (spread >= 0).all()
    assert spread.max() > 0
    assert out.provenance.steps[-1]["spread"] > 0
    assert out.provenance.steps[-1]["uncertainty"]["calibrated"] is False


def test_the_slices_noise_is_carried_by_the_squares_of_the_weights():
    sigma = np.random.default_rng(2).uniform(1, 3, (6, 7, 5))
    image = stack(np.ones((6, 7, 5)), (1, 1, 3)).replace(uncertainty=sigma)
    for method, consistency in (("linear", "none"), ("smoothest", "auto")):
        settings = {"model": method, "consistency": consistency, "profile": "rect"}
        out = isotropic(image, **settings, uncertainty=True)
        columns = []
        for k in range(5):  # what is linear is known by what becomes of one slice alone
            one = np.zeros((6, 7, 5))
            one[..., k] = 1
            columns.append(np.asarray(isotropic(image.replace(data=one, uncertainty=None), **settings)))
        weights = np.stack(columns, -1)[0, 0]
        expected = np.sqrt(np.einsum("fc,xyc->xyf", weights**2, sigma**2))
        np.testing.assert_allclose(np.asarray(out.uncertainty), expected, rtol=1e-3)


def test_what_is_isotropic_is_left_alone():
    with pytest.raises(NothingToDo, match="already isotropic"):
        plan_isotropic(stack(np.zeros((8, 8, 8)), (1, 1, 1.01)))


def test_impossible_requests_are_refused():
    volume = stack(np.ones((30, 30, 6)), (1, 1, 4))
    with pytest.raises(GeometryError, match="one slice"):
        plan_isotropic(stack(np.ones((8, 8, 1)), (1, 1, 4)))
    with pytest.raises(GeometryError, match="no volume"):
        plan_isotropic(Image.from_array(np.ones((8, 8))))
    with pytest.raises(UsageError, match="finer than"):
        plan_isotropic(volume, spacing=6.0)
    with pytest.raises(UsageError, match="above 0"):
        plan_isotropic(volume, spacing=-1.0)
    with pytest.raises(UsageError, match="thickness"):
        plan_isotropic(volume, thickness=0.0)
    with pytest.raises(UsageError, match="no slice profile"):
        plan_isotropic(volume, profile="triangle")
    with pytest.raises(UsageError, match="must learn"):
        plan_isotropic(volume, model="scratch", self_training="0")
    with pytest.raises(UsageError, match="within the plane"):
        plan_isotropic(volume, model="ecbsr-mr-kspace-x2")
    with pytest.raises(UsageError, match="consistency"):
        plan_isotropic(volume, consistency="block")
    with pytest.raises(UsageError, match="64 times"):
        plan_isotropic(volume, spacing=0.01)


@pytest.mark.parametrize(
    ("thickness", "words"),
    [(None, "unknown"), (4.0, "contiguous"), (3.0, "gaps of 1 mm"), (5.0, "overlapping by 1 mm")],
)
def test_thickness_and_spacing_are_two_things(thickness, words):
    plan = plan_isotropic(
        stack(np.ones((30, 30, 6)), (1, 1, 4), slice_thickness=thickness), model="smoothest"
    )
    assert any(words in message for message in plan.messages)
    assert plan.operator.thickness == pytest.approx((thickness or 4.0) / 4.0)
    assert plan.output.slice_thickness == (None if thickness is None else pytest.approx(1.0))


def test_small_slices_get_the_network_as_it_is_and_say_so(weights):
    data = np.random.default_rng(6).normal(100, 10, (20, 22, 6))
    plan = plan_isotropic(stack(data, (1, 1, 4)), model=weights)
    assert plan.method.steps == 0
    assert any("too small to learn from" in message for message in plan.messages)
    with pytest.raises(UsageError, match="too small"):
        plan_isotropic(stack(data, (1, 1, 4)), model="scratch")


def test_probabilities_stay_probabilities():
    rng = np.random.default_rng(7)
    data = thick((texture() > 0.4).astype(float), SliceSampling(12, 48))
    image = stack(data.astype(np.float32), (1, 1, 4), kind="probability")
    out = isotropic(image)
    values = np.asarray(out.data)
    assert values.min() >= 0
    assert values.max() <= 1
    assert out.provenance.steps[-1]["agreement"]["max_relative_to_range"] < 0.05
    assert (
        np.asarray(
            isotropic(image.replace(data=np.clip(data + rng.normal(0, 0.1, data.shape), 0, 1))).data
        ).max()
        <= 1
    )


def test_complex_voxels_agree_in_both_parts():
    rng = np.random.default_rng(8)
    data = (rng.normal(size=(20, 22, 6)) + 1j * rng.normal(size=(20, 22, 6))).astype(np.complex64)
    out = np.asarray(isotropic(stack(data, (1, 1, 3))).data)
    operator = SliceSampling(6, 18)
    for part in (np.real, np.imag):
        again = operator.apply(torch.from_numpy(part(out).astype(np.float64)), 2).numpy()
        np.testing.assert_allclose(again, part(data), atol=2e-6)


def test_two_slices_are_enough(weights):
    data = np.random.default_rng(4).normal(100, 10, (24, 24, 2))
    out = isotropic(stack(data, (1, 1, 4)), model=weights, self_training="0")
    assert out.shape == (24, 24, 8)
    assert np.isfinite(out.data).all()
