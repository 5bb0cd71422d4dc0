"""The propagated standard deviation: exact where it can be told, the same for any tiling and any unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.classical import axis_weights
from sciSR.errors import UsageError
from sciSR.forward.kspace import KSpaceCrop
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.consistency import block_means
from sciSR.inference.plan import upscale
from sciSR.inference.runner import Runner
from sciSR.inference.tiles import Span
from sciSR.uncertainty.interface import Calibration, Uncertain
from sciSR.uncertainty.propagation import StoredDeviation

NOISE_ALONE = Uncertain(model=None)


def scene(shape=(40, 48), seed=0):
    """Stars on a noisy sky."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    stars = [(9.3, 12.1, 300), (25.7, 30.2, 80), (31.0, 8.0, 900)]
    light = sum(f * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 4) for a, b, f in stars)
    return 50 + light + 2 * rng.standard_normal(shape)


def image(values=None, **fields):
    values = scene() if values is None else values
    return Image.from_array(
        values, **({"domain": "astronomy", "uncertainty": np.full(values.shape, 2.0)} | fields)
    )


def differences(plan, probe=0):
    """What one probe's noise changes, and the noise itself: ``(fine, coarse)``, relative to the plane's unit."""
    runner = Runner(plan.device, None, plan.consistency == "block" and not plan.settles_rows, 2)
    plane = plan.uncertain.plane(plan, (slice(None), slice(None)), 0, runner)
    with plane:
        for rows, band in plan.fine_rows(plane.source, runner):
            plane.take(rows, band)
        fine = np.concatenate([change for _, change in plane.differences(probe)])
        from sciSR.uncertainty.probes import NoisyPlane

        noisy = NoisyPlane(plane.source, plane.deviation, (plan.uncertain.settings.seed, probe, 0))
        return fine, noisy.noise(slice(0, plane.source.shape[0])) / plan.unit


@pytest.mark.parametrize(
    ("model", "scale"), [("espcn-astro-x2", 2), ("cubic", 2), ("cubic", 3), ("lanczos", 3)]
)
def test_block_means_carry_the_injected_noise_and_nothing_else(model, scale) -> None:
    plan = plan_upscale(image(), scale, model, uncertainty=NOISE_ALONE)
    assert plan.consistency == "block"
    fine, injected = differences(plan)
    assert block_means(fine, plan.factors, Span(0, len(injected))) == pytest.approx(injected, abs=2e-5)


def test_the_acquired_kspace_carries_the_injected_noise_and_nothing_else() -> None:
    plan = plan_upscale(image(domain="mr"), 2, "ecbsr-mr-kspace-x2", uncertainty=NOISE_ALONE)
    assert plan.consistency == "kspace"
    fine, injected = differences(plan)
    measured = KSpaceCrop(2).apply(torch.from_numpy(fine)).numpy()
    assert measured == pytest.approx(injected, abs=2e-5)


@pytest.mark.parametrize("model", ["linear", "cubic"])
def test_what_is_linear_has_the_sum_of_squared_weights(model) -> None:
    values = scene((48, 48))
    many = Uncertain(probes=64, model=None)
    out = upscale(image(values), 2, model, consistency="none", uncertainty=many)
    from fractions import Fraction

    weights = axis_weights(model, Fraction(2), (0, 96), (0, 48))
    exact = 2 * np.sqrt(np.square(weights) @ np.ones((48, 48)) @ np.square(weights).T)
    inner = (slice(8, -8), slice(8, -8))
    ratio = out.uncertainty[inner] / exact[inner]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 0.05


@pytest.mark.parametrize(
    ("model", "scale", "quantity"),
    [("cubic", 1.5, "density"), ("lanczos", 1.5, "total"), ("nearest", 1.5, "density"), ("cubic", 2, "total"),
     ("cubic", 4, "density"), ("espcn-astro-x2", 2, "density")],
)  # fmt: skip
def test_realisations_of_the_noise_scatter_as_much_as_is_written(model, scale, quantity) -> None:
    truth, rng = scene(), np.random.default_rng(5)
    sigma = np.where(np.arange(truth.shape[1]) < 24, 2.0, 6.0) * np.ones(truth.shape)

    def measured():
        return image(truth + sigma * rng.standard_normal(truth.shape), quantity=quantity, uncertainty=sigma)

    written = upscale(measured(), scale, model, uncertainty=Uncertain(probes=8, model=None)).uncertainty
    scatter = np.std([upscale(measured(), scale, model).data for _ in range(24)], axis=0, ddof=1)
    inner = (slice(6, -6), slice(6, -6))
    # At 1.5 neighbours are averaged over places that differ: the quietest of nine pixels has up to 16 % too much.
    typical = 0.06 if scale in (2, 4) else 0.12
    assert np.median(written[inner] / scatter[inner]) == pytest.approx(1, abs=typical)
    assert np.sqrt(np.mean(written[inner] ** 2) / np.mean(scatter[inner] ** 2)) == pytest.approx(1, abs=0.06)


def test_a_pixel_without_noise_of_its_own_has_its_neighbours() -> None:
    sigma = np.full((32, 32), 2.0)
    sigma[16, 16] = 0
    out = upscale(
        image(np.zeros((32, 32)), uncertainty=sigma), 2, "cubic", uncertainty=Uncertain(probes=64, model=None)
    )
    assert (out.uncertainty[32:34, 32:34] > 0.2).all()  # their sum is fixed, what is in which is not


def test_copies_have_the_very_noise_of_what_they_copy() -> None:
    error = np.random.default_rng(1).uniform(1, 3, (40, 48))
    out = upscale(image(uncertainty=error), 2, "nearest", uncertainty=NOISE_ALONE)
    assert out.uncertainty == pytest.approx(np.kron(error, np.ones((2, 2))))


def test_few_probes_agree_with_many() -> None:
    few, many = (
        upscale(image(), 2, "cubic", uncertainty=Uncertain(probes=k, model=None)).uncertainty for k in (4, 48)
    )
    assert np.std(few / many) < 0.17
    assert np.mean(few / many) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("model", "scale"), [("espcn-astro-x2", 2), ("cubic", 2), ("cubic", 1.5)])
def test_tiles_do_not_matter(model, scale) -> None:
    first, *others = (
        upscale(image(), scale, model, tile=tile, uncertainty=NOISE_ALONE).uncertainty
        for tile in (16, 23, 64)
    )
    for other in others:
        assert other == pytest.approx(first, rel=2e-4)


@settings(max_examples=6)
@given(gain=st.sampled_from([1e-9, 0.37, 4.0, 1e6]), level=st.sampled_from([-20.0, 0.0, 300.0]))
def test_a_change_of_unit_changes_the_deviation_by_its_factor_alone(gain, level) -> None:
    values = scene((24, 24))
    one = upscale(image(values), 2, "espcn-astro-x2", uncertainty=NOISE_ALONE).uncertainty
    changed = image(gain * (values + level), uncertainty=np.full(values.shape, 2.0 * gain))
    other = upscale(changed, 2, "espcn-astro-x2", uncertainty=NOISE_ALONE).uncertainty
    assert other / gain == pytest.approx(one, rel=2e-3)


def test_shares_of_a_total_have_their_share_of_the_deviation() -> None:
    density = upscale(image(), 2, "cubic", uncertainty=NOISE_ALONE)
    total = upscale(image(quantity="total"), 2, "cubic", uncertainty=NOISE_ALONE)
    assert total.uncertainty == pytest.approx(density.uncertainty / 4, rel=1e-5)


def test_bad_pixels_and_unknown_errors_have_no_deviation_over_their_footprint() -> None:
    values, error = scene(), np.full((40, 48), 2.0)
    values[5, 6], error[20, 30], error[21, 30] = np.nan, np.nan, -1.0
    mask = np.zeros(values.shape, dtype=bool)
    mask[30, 2] = True
    out = upscale(image(values, uncertainty=error, mask=mask), 2, "cubic", uncertainty=NOISE_ALONE)
    expected = np.isnan(values) | mask | ~(error >= 0)
    assert (np.isnan(out.uncertainty) == np.kron(expected, np.ones((2, 2), dtype=bool))).all()


def test_networks_that_are_applied_twice_carry_the_noise_through_both() -> None:
    out = upscale(
        image(scene((24, 24)), uncertainty=np.full((24, 24), 2.0)),
        4,
        "espcn-astro-x2",
        uncertainty=NOISE_ALONE,
    )
    assert out.uncertainty.shape == (96, 96)
    assert np.isfinite(out.uncertainty).all()
    assert 1 < np.median(out.uncertainty) < 6


def test_planes_of_a_cube_have_noise_of_their_own() -> None:
    cube = np.stack([scene((24, 24))] * 2)
    out = upscale(image(cube, uncertainty=np.full(cube.shape, 2.0)), 2, "cubic", uncertainty=NOISE_ALONE)
    assert not np.array_equal(out.uncertainty[0], out.uncertainty[1])


def test_the_same_seed_gives_the_same_and_the_output_does_not_depend_on_it() -> None:
    one, same, other = (
        upscale(image(), 2, "cubic", uncertainty=Uncertain(seed=seed, model=None)) for seed in (0, 0, 1)
    )
    assert (one.uncertainty == same.uncertainty).all()
    assert (one.uncertainty != other.uncertainty).any()
    plain = upscale(image(), 2, "cubic")
    assert (np.asarray(plain) == np.asarray(one)).all()
    assert (np.asarray(plain) == np.asarray(other)).all()


class OwnError:
    """A model whose own error is one robust scale everywhere."""

    name, sha256, scale, halo, normalisation = "one-scale", "0" * 64, 2, 3, "sky"
    calibration = Calibration(1.1, 2.2, 5, True)

    def total(self, coarse, fine, noise):
        assert coarse.shape == tuple(n // 2 for n in fine.shape)
        assert noise.shape == fine.shape
        return (noise.square() + 1).sqrt()


def test_an_error_model_has_the_last_word_and_is_named_in_the_record() -> None:
    told = Uncertain(model=OwnError())
    plain = upscale(image(), 2, "espcn-astro-x2", uncertainty=NOISE_ALONE)
    out = upscale(image(), 2, "espcn-astro-x2", uncertainty=told)
    scale = out.provenance.steps[-1]["normalisation"]["scale"]
    assert out.uncertainty == pytest.approx(np.hypot(plain.uncertainty, scale), rel=1e-5)
    record = out.provenance.steps[-1]["uncertainty"]
    assert record["calibrated"] is True
    assert (record["model"], record["interval_95"]) == ("one-scale", 2.2)
    assert plain.provenance.steps[-1]["uncertainty"]["calibrated"] is False


def test_what_does_not_fit_into_memory_is_in_a_file_that_goes_with_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stored = StoredDeviation((3, 40, 50), limit=0)
    block = np.random.default_rng(0).random((20, 50), dtype=np.float32)
    stored.put((1, slice(10, 30), slice(None)), block)
    assert (stored[1, 10:30] == block).all()
    assert np.asarray(stored).shape == stored.shape
    assert not list(tmp_path.iterdir())  # it has no name
    file = stored._file
    del stored
    assert file.closed


def test_labels_have_none_and_that_is_said() -> None:
    labels = Image.from_array(np.arange(24 * 24).reshape(24, 24) % 5, kind="labels")
    plan = plan_upscale(labels, 2, uncertainty=True)
    assert plan.output.uncertainty is None
    assert sum("labels have no uncertainty" in said for said in plan.messages) == 1


def test_no_probes_are_refused() -> None:
    with pytest.raises(UsageError, match="0 probes"):
        plan_upscale(image(), 2, "cubic", uncertainty=Uncertain(probes=0, model=None))
