"""What `auto` decides, and what it says about it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import sciSR
from scenes import astro_image, brain, mr_image, sky
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.choose import parse_scale, scale_text
from sciSR.inference.gate import check
from sciSR.inference.spectrum import occupied_fraction
from sciSR.models.files import load_model


def model_of(image: Image) -> str:
    return image.provenance.steps[-1]["model"]


def test_mr_gets_a_kspace_network() -> None:
    plan = plan_upscale(mr_image(brain((96, 96))), 2)
    assert plan.models[0][1].domain == "mr"
    assert plan.choice.forward == "kspace" in plan.models[0][1].forward_models
    assert plan.consistency == "kspace"


@pytest.mark.parametrize(("domain", "expected"), [("ct", "cubic"), ("generic", "cubic")])
def test_a_domain_without_a_network_gets_a_classical_method_and_a_message(domain: str, expected: str) -> None:
    plan = plan_upscale(Image.from_array(brain(), domain=domain), 2)
    assert plan.choice.name == expected
    assert any("no trained network" in m for m in plan.messages)


def test_times_four_is_times_two_twice_and_says_so() -> None:
    plan = plan_upscale(mr_image(brain((96, 96))), 4, "espcn-mr-kspace-x2")
    assert plan.choice.times == 2
    assert any("twice" in m for m in plan.messages)
    assert sciSR.upscale(mr_image(brain((96, 96))), 4, "espcn-mr-kspace-x2").shape == (384, 384)


def test_a_scale_without_a_network_falls_back_and_says_so() -> None:
    plan = plan_upscale(astro_image(sky()), "3/2")
    assert not plan.choice.trained
    assert any("no trained network" in m for m in plan.messages)


def test_an_image_outside_the_training_range_gets_the_classical_method_and_a_message() -> None:
    """Each value repeated over 4x4 pixels: no telescope makes sharp square blocks."""
    blocks = np.kron(np.random.default_rng(0).normal(size=(64, 64)), np.ones((4, 4)))
    image = astro_image(blocks)
    plan = plan_upscale(image, 2)
    assert not plan.choice.trained
    assert any("outside the training range" in m for m in plan.messages)
    named = plan_upscale(image, 2, "espcn-astro-x2")
    assert named.choice.trained


def test_an_image_with_an_empty_middle_is_checked_elsewhere() -> None:
    corner = np.full((1800, 1700), np.nan)
    corner[:300, -280:] = sky((300, 280), peak=1e3)
    blank = np.stack([sky((300, 280), peak=1e3), np.full((300, 280), np.nan), np.zeros((300, 280))])
    for data in (corner, blank):
        messages = plan_upscale(astro_image(data), 2).messages
        assert any("on the image's own block mean" in m for m in messages)


def test_the_gate_follows_the_measured_gain() -> None:
    """A network that is replaced by nearest neighbour loses and is overruled; one that knows the truth is kept."""
    image = astro_image(sky((256, 256), peak=1e3))
    _, spec, _ = load_model("espcn-astro-x2")
    choice = plan_upscale(image, 2, "espcn-astro-x2").choice

    def run(perfect: bool):
        def each(plane: np.ndarray, method: str) -> np.ndarray:
            if method != spec.name:
                return np.asarray(sciSR.upscale(Image.from_array(plane), 2, method).data, np.float64)
            return np.asarray(image.data) if perfect else plane.repeat(2, 0).repeat(2, 1) * 1.5

        return each

    assert check(image, choice, spec, run(True)).trained
    assert not check(image, choice, spec, run(False)).trained


@pytest.mark.parametrize("shape", [(64, 64), (24, 24)])
def test_an_mr_image_that_can_not_be_checked_says_so(shape: tuple[int, int]) -> None:
    data = brain(shape)
    data[3, 4] = np.nan
    plan = plan_upscale(mr_image(data), 2)
    assert plan.choice.trained
    assert any("not checked against the network's training range" in m for m in plan.messages)


def test_labels_are_only_ever_repeated() -> None:
    labels = np.array([[0, 1], [7, 300]], dtype=np.int16)
    image = Image.from_array(labels, kind="labels")
    result = sciSR.upscale(image, 2)
    assert np.array_equal(np.asarray(result.data), labels.repeat(2, 0).repeat(2, 1))
    assert result.dtype == np.int16
    with pytest.raises(sciSR.SciSRError, match="nearest"):
        sciSR.upscale(image, 2, "cubic")


def test_a_zero_filled_spectrum_is_recognised() -> None:
    noise = np.random.default_rng(0).normal(100, 10, (128, 128))
    assert min(occupied_fraction(noise)) > 0.95
    zero_filled = np.asarray(sciSR.upscale(Image.from_array(noise), 2, "fourier", consistency="none").data)
    assert max(occupied_fraction(zero_filled)) < 0.65


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (2, (2, 2)),
        ("3/2", (Fraction(3, 2),) * 2),
        (1.5, (Fraction(3, 2),) * 2),
        ("2,3", (2, 3)),
        ((2, 1), (2, 1)),
        (np.float32(1.5), (Fraction(3, 2),) * 2),
        (np.array([2, 3]), (2, 3)),
    ],
)
def test_scales_are_read_as_exact_fractions(given: object, expected: tuple) -> None:
    assert parse_scale(given) == expected


@pytest.mark.parametrize("given", [1, 0, -2, "x", "nan", 1e9, "2,3,4", None, float("inf"), "1/0"])
def test_a_scale_that_makes_no_sense_is_refused(given: object) -> None:
    with pytest.raises(sciSR.SciSRError) as caught:
        parse_scale(given)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_scale_one_is_a_scale_only_where_it_means_something() -> None:
    assert parse_scale("1", native=True) == (1, 1)
    with pytest.raises(sciSR.SciSRError, match="scale 1 changes nothing"):
        parse_scale(1)


def test_a_bare_array_is_refused_with_the_way_to_wrap_it() -> None:
    with pytest.raises(sciSR.SciSRError, match=r"Image\.from_array"):
        sciSR.upscale(np.ones((8, 8)), 2)


@pytest.mark.parametrize("scale", [1.001, "1.01,1"])
def test_a_scale_that_adds_no_pixel_is_refused(scale: object) -> None:
    with pytest.raises(sciSR.SciSRError, match="makes no pixel more"):
        plan_upscale(astro_image(sky((20, 21))), scale)


def test_scales_are_written_briefly() -> None:
    assert [scale_text(parse_scale(s)) for s in (2, "3/2", "2,3")] == ["2", "1.5", "2,3"]


@pytest.mark.parametrize(
    "options", [{"model": "nosuch"}, {"device": "tpu9"}, {"precision": "fp8"}, {"tile": 0}, {"tile": "big"}]
)
def test_unknown_names_are_usage_errors(options: dict) -> None:
    with pytest.raises(sciSR.SciSRError) as caught:
        sciSR.upscale(astro_image(sky()), **options)
    assert caught.value.exit_code == 2


def test_pixels_that_are_no_numbers_are_refused_by_name() -> None:
    with pytest.raises(sciSR.SciSRError, match="datetime64"):
        sciSR.upscale(Image.from_array(np.zeros((8, 8), "datetime64[s]")))


def test_provenance_holds_the_normalisation() -> None:
    step = sciSR.upscale(astro_image(sky() + 7), 2, "espcn-astro-x2").provenance.steps[-1]
    assert step["normalisation"]["kind"] == "sky"
    assert step["normalisation"]["offset"] == pytest.approx(np.median(sky() + 7))


def test_provenance_names_the_weights() -> None:
    step = sciSR.upscale(mr_image(brain()), 2, "espcn-mr-kspace-x2").provenance.steps[-1]
    assert step["model"] == "espcn-mr-kspace-x2"
    assert len(step["weights_sha256"]) == 64
    assert step["agreement"]["enforced"]


def test_time_series_and_any_axis_order_are_upscaled_plane_by_plane() -> None:
    data = np.random.default_rng(0).gamma(2, 50, (12, 3, 10, 2))
    image = Image(data=data, axes=("x", "z", "y", "t"), spatial=("y", "x"), domain="mr")
    result = np.asarray(sciSR.upscale(image, 2, "cubic").data)
    assert result.shape == (24, 3, 20, 2)
    plane = np.asarray(sciSR.upscale(Image.from_array(data[:, 1, :, 1], domain="mr"), 2, "cubic").data)
    np.testing.assert_allclose(result[:, 1, :, 1], plane, rtol=1e-5)
