"""Uncertainty of what is no plain intensity: found where it means something, else said or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.errors import UnsupportedError
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.plan import upscale
from sciSR.uncertainty.interface import Uncertain


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_complex_voxels_have_the_deviation_of_a_part() -> None:
    voxels = 50 + 3 * (normal((48, 48)) + 1j * normal((48, 48), 1))
    out = upscale(Image.from_array(voxels, domain="mr"), 2, "fourier", uncertainty=True)
    assert out.data.dtype == np.complex64
    assert out.uncertainty.dtype == np.float32
    assert np.median(out.uncertainty) == pytest.approx(3, rel=0.25)  # found from the pixels


def test_each_channel_of_a_colour_image_has_its_own_for_classical_methods() -> None:
    sigma = np.array([1.0, 2.0, 4.0])[:, None, None] * np.ones((3, 30, 32))
    image = Image.from_array(100 + sigma * normal(sigma.shape), axes=("rgb", "y", "x"), uncertainty=sigma)
    out = upscale(image, 2, "linear", uncertainty=Uncertain(model=None))
    red, green, blue = (np.median(channel) for channel in out.uncertainty)
    assert green / red == pytest.approx(2, rel=0.05)
    assert blue / red == pytest.approx(4, rel=0.05)


def test_colours_that_a_network_made_are_refused_with_the_remedy() -> None:
    image = Image.from_array(100 + normal((3, 30, 32)), axes=("rgb", "y", "x"), domain="astronomy")
    with pytest.raises(UnsupportedError, match="--model cubic"):
        plan_upscale(image, 2, "espcn-astro-x2", uncertainty=True)


@pytest.mark.parametrize("kind", ["probability", "phase"])
def test_probabilities_and_phases_have_none_and_that_is_said(kind) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (24, 24)) if kind == "probability" else normal((24, 24))
    plan = plan_upscale(
        Image.from_array(values, kind=kind, value_range=(0, 1) if kind == "probability" else (-np.pi, np.pi)),
        2,
        uncertainty=True,
    )
    assert plan.output.uncertainty is None
    assert sum("none is written" in said for said in plan.messages) == 1


@pytest.mark.parametrize("domain", ["astronomy", "mr"])
def test_images_without_anything_to_measure_noise_from_do_not_fail(domain) -> None:
    for values in (np.full((16, 16), 7.0), np.full((16, 16), np.nan), np.arange(4.0).reshape(2, 2)):
        out = upscale(Image.from_array(values, domain=domain), 2, "cubic", uncertainty=Uncertain(model=None))
        assert (np.isnan(out.uncertainty) == np.isnan(np.kron(values, np.ones((2, 2))))).all()
        assert not (out.uncertainty < 0).any()


def test_a_constant_image_is_not_called_calibrated() -> None:
    out = upscale(Image.from_array(np.full((32, 32), 7.0), domain="astronomy"), 2, "cubic", uncertainty=True)
    assert not out.provenance.steps[-1]["uncertainty"]["calibrated"]
