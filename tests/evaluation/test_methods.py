"""What is measured is what a user gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sciSR
from networks import NAMES, scales_of, write_network
from sciSR.evaluation import methods
from sciSR.evaluation.methods import Sample
from sciSR.image import Image
from sciSR.models.files import load_model


def planes(count: int = 3, shape: tuple[int, int] = (22, 26), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 50.0, (count, *shape))


@pytest.mark.parametrize("name", [name for name in methods.CLASSICAL if name != "quintic"])
@pytest.mark.parametrize("domain", ["mr", "astronomy"])
def test_a_classical_method_is_the_engine_s_own(name: str, domain: str) -> None:
    image, _ = methods.classical(name).run(Sample(planes(), domain), 3)
    user = sciSR.upscale(Image.from_array(planes(), domain=domain), 3, name)
    assert np.array_equal(image, np.asarray(user.data))


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_network_is_measured_as_the_engine_runs_it(name: str, tmp_path: Path) -> None:
    scale = scales_of(name)[0]
    weights = write_network(tmp_path, name, scale)
    method = methods.trained(weights)
    image, seconds = method.run(Sample(planes(2), "mr", "kspace"), scale)
    user = sciSR.upscale(Image.from_array(planes(2), domain="mr"), scale, weights, device="cpu")
    assert np.array_equal(image, np.asarray(user.data))
    assert seconds > 0


def test_some_planes_of_a_volume_come_out_as_they_do_in_the_whole_volume() -> None:
    volume = planes(6)
    volume[0] *= 5  # the normaliser must not be that of the middle planes
    part = Sample(volume[2:4], "mr", "kspace", volume.ravel())
    image, _ = methods.trained("espcn-mr-kspace-x2").run(part, 2)
    user = sciSR.upscale(Image.from_array(volume, domain="mr"), 2, "espcn-mr-kspace-x2", device="cpu")
    assert np.array_equal(image, np.asarray(user.data)[2:4])


def test_a_network_that_can_undo_several_is_told_the_forward_model(tmp_path: Path) -> None:
    method = methods.trained(write_network(tmp_path, "ConditionalECBSR", 2))
    cut, blurred = (method.run(Sample(planes(1), "mr", forward), 2)[0] for forward in ("kspace", "gaussian"))
    assert not np.allclose(cut, blurred)


@pytest.mark.parametrize("name", methods.CLASSICAL)
def test_bad_pixels_stay_bad_and_nothing_else_is(name: str) -> None:
    coarse = planes(1)
    coarse[0, 5, 7] = np.nan
    image, _ = methods.classical(name).run(Sample(coarse, "astronomy"), 2)
    expected = np.repeat(np.repeat(~np.isfinite(coarse), 2, 1), 2, 2)
    assert np.array_equal(~np.isfinite(image), expected)


def test_quintic_keeps_the_flux_of_each_pixel_in_the_sky_and_is_plain_for_mr() -> None:
    sky, mr = (
        methods.classical("quintic").run(Sample(planes(), domain), 2)[0] for domain in ("astronomy", "mr")
    )
    blocks = sky.reshape(3, 22, 2, 26, 2).mean((2, 4))
    assert np.allclose(blocks, planes(), rtol=1e-12)
    assert not np.allclose(mr, sky)
    assert np.array_equal(methods.alone("quintic").run(Sample(planes(), "astronomy"), 2)[0], mr)


def test_branches_that_run_as_one_convolution_are_counted_as_one(tmp_path: Path) -> None:
    weights = write_network(tmp_path, "SPAN", 2)
    trained = sum(p.numel() for p in load_model(weights)[0].parameters())
    assert methods.trained(weights).parameters < trained
    assert methods.trained("espcn-mr-kspace-x2").info.parameters == 58212
