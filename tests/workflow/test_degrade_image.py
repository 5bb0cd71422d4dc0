"""The forward model on whole images: the trained one, with geometry, flux, errors, bad pixels and noise right."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

import sciSR
from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.training.config import ForwardConfig
from sciSR.training.degradation import Degradation
from sciSR.workflow import degrade_planes
from sciSR.workflow.degrade_image import degrade, plan_degrade

KINDS = ("kspace", "gaussian", "detector", "bicubic")


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4.0, 25.0, shape)


def image(*shape: int, **fields: Any) -> Image:
    return Image.from_array(picture(*shape), **fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_it_is_the_operator_that_networks_are_trained_with(kind, scale):
    sharp = image(2, 12 * scale, 10 * scale)
    forward = Degradation(kind, scale, *((1.2,) if kind in ("gaussian", "detector") else ()), psf="moffat")
    low = degrade(sharp, forward=forward)
    assert low.shape == (2, 12, 10)
    assert low.dtype == np.float32
    expected = forward.apply(torch.from_numpy(np.asarray(sharp.data)))
    assert np.allclose(low.data, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole", [True, False])
def test_bands_of_rows_give_what_the_whole_plane_gives(kind, whole, monkeypatch):
    data = picture(1, 150, 60)
    data[0, 70:73, 20] = np.nan
    sharp = Image.from_array(data, uncertainty=np.sqrt(data), mask=np.zeros(data.shape, bool))
    forward = ForwardConfig(
        kind=kind, noise="gaussian", snr=30.0, hot_pixels=0.01, fwhm=1.1 if kind != "kspace" else None
    )
    monkeypatch.setattr(degrade_planes, "_BAND_BYTES", 1 << 40)
    once = degrade(sharp, 2, forward, seed=3)
    monkeypatch.setattr(degrade_planes, "_BAND_BYTES", 1)
    pieces = degrade(sharp, 2, forward, seed=3)
    assert np.allclose(once.data, pieces.data, rtol=1e-6, equal_nan=True)
    full = (slice(None),) * 3
    assert np.array_equal(once.mask[full], pieces.mask[full])
    one, other = once.uncertainty[full], pieces.uncertainty[full]
    assert np.allclose(one, other, rtol=1e-5, equal_nan=True)
    assert np.array_equal(other[:, 20:40, 5:9], pieces.uncertainty[:, 20:40, 5:9])  # any part of it alone


@pytest.mark.parametrize(("quantity", "share"), [("density", 1), ("total", 9)])
def test_totals_are_summed_and_densities_averaged(quantity, share):
    sharp = image(30, 24, quantity=quantity)
    low = degrade(sharp, 3, "detector")
    blocks = np.asarray(sharp.data).reshape(10, 3, 8, 3).mean((1, 3))
    assert np.allclose(low.data, share * blocks, rtol=1e-6)
    assert low.quantity == quantity


def test_independent_errors_average_or_add():
    sharp = image(20, 20, uncertainty=np.full((20, 20), 3.0))
    mean = degrade(sharp, 2, "detector")
    assert np.allclose(mean.uncertainty[:, :], 1.5)
    total = degrade(sharp.replace(quantity="total"), 2, "detector")
    assert np.allclose(total.uncertainty[:, :], 6.0)


def test_added_noise_is_in_the_uncertainty():
    sharp = Image.from_array(
        np.full((600, 600), 80.0), uncertainty=np.full((600, 600), 4.0), quantity="total"
    )
    low = degrade(sharp, 2, ForwardConfig("detector", noise="poisson"), gain=0.5, read_noise=3.0, seed=1)
    expected = np.sqrt(4 * 4.0**2 + (320 * 0.5 + 9) / 0.25)
    assert np.allclose(low.uncertainty[:, :], expected, rtol=1e-6)
    assert low.data.std() == pytest.approx(np.sqrt((320 * 0.5 + 9) / 0.25), rel=0.02)
    assert low.data.mean() == pytest.approx(320, rel=0.01)


def test_a_bad_fine_pixel_makes_its_coarse_pixel_bad_and_no_other_wrong():
    data = picture(40, 40)
    clean = degrade(Image.from_array(data), 2, "detector")
    data[11, 21] = np.nan
    mask = np.zeros(data.shape, bool)
    mask[30, 30] = True
    dirty = degrade(Image.from_array(data, mask=mask), 2, "detector")
    bad = dirty.mask[:, :]
    assert np.argwhere(bad).tolist() == [[5, 10], [15, 15]]
    assert np.isnan(dirty.data[bad]).all()
    assert np.array_equal(dirty.data[~bad], clean.data[~bad])


def test_what_leaks_out_of_bad_pixels_through_a_wide_psf_is_flagged_too():
    data = np.full((60, 60), 10.0)
    data[30, 30] = np.inf
    low = degrade(
        Image.from_array(data, mask=np.zeros(data.shape, bool)),
        2,
        Degradation("detector", 2, 2.0, "gaussian"),
    )
    bad = low.mask[:, :]
    assert 4 <= bad.sum() <= 25
    assert bad[15, 15]
    assert np.allclose(low.data[~bad], 10.0, rtol=1e-6)  # filled from its surroundings before the blur


def test_padding_stays_padding():
    data = picture(20, 20) + 100
    mask = np.zeros(data.shape, bool)
    mask[:6], data[:6] = True, -2000.0
    low = degrade(Image.from_array(data, mask=mask), 2, "gaussian")
    assert (low.data[:3] == -2000).all()
    assert low.mask[:3].all()
    assert low.data[4:].min() > 0


def test_noise_follows_from_the_seed_and_differs_between_planes_and_files():
    sharp = Image.from_array(np.ones((2, 40, 40)))
    noisy = ForwardConfig("detector", noise="gaussian", snr=10.0)
    one, again, other = (degrade(sharp, 2, noisy, seed=seed).data for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(one[0].ravel(), one[1].ravel())[0, 1]) < 0.15
    read = [sharp.replace(provenance=sharp.provenance.add(input_sha256=digest)) for digest in ("aa", "bb")]
    first, second = (degrade(each, 2, noisy, seed=1) for each in read)
    assert abs(np.corrcoef(first.data.ravel(), second.data.ravel())[0, 1]) < 0.1
    effective = first.provenance.steps[-1]["forward"]["noise_seed"]
    assert np.array_equal(degrade(sharp, 2, noisy, seed=effective).data, first.data)  # the record is enough


@pytest.mark.parametrize("kind", ["gaussian", "rician", "poisson"])
def test_signal_to_noise_is_that_of_a_bright_pixel(kind):
    sharp = Image.from_array(np.full((400, 400), 50.0))
    low = degrade(sharp, 2, ForwardConfig("detector", noise=kind, snr=25.0))
    assert low.data.mean() / low.data.std() == pytest.approx(25, rel=0.03)


def test_the_record_says_everything_and_is_json():
    forward = ForwardConfig(
        "detector", psf=("moffat",), fwhm=(1.0, 2.0), noise="poisson", snr=40.0, hot_pixels=0.001
    )
    low = sciSR.degrade(image(21, 22, quantity="total"), 2, forward, seed=5, read_noise=2.0)
    step = low.provenance.steps[-1]
    assert json.loads(json.dumps(step, allow_nan=False)) == step
    assert step["step"] == "degrade"
    assert step["scale"] == "1/2"
    assert step["cropped"] == [1, 0]
    assert 1 <= step["forward"]["fwhm"] <= 2
    assert {"psf", "beta", "ellipticity", "angle", "gain", "read_noise", "hot_pixels", "seed"} <= set(
        step["forward"]
    )
    line = low.provenance.summary()
    for key, value in step["forward"].items():
        text = f"{value:.9g}" if isinstance(value, float) else str(value)
        assert f"{key.replace('_', ' ')} {text}" in line


def test_what_fits_the_domain_is_chosen():
    for domain, kind in (
        ("astronomy", "detector"),
        ("mr", "kspace"),
        ("ct", "gaussian"),
        ("generic", "gaussian"),
    ):
        assert plan_degrade(image(8, 8, domain=domain)).degradation.kind == kind


def test_a_magnitude_has_no_sign():
    signed = Image.from_array(picture(16, 16) - 100)
    with pytest.raises(UsageError, match="% of the pixels are negative"):
        plan_degrade(signed, 2, "kspace")
    with pytest.raises(UsageError, match="Rician"):
        plan_degrade(signed, 2, ForwardConfig("gaussian", noise="rician"), sigma=1.0)
    assert (degrade(signed, 2, "gaussian").data < 0).any()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": 2.5}, "scale"),
        ({"scale": 30}, "16x16"),
        ({"seed": -1}, "seed"),
        ({"sigma": 1.0}, "kind none"),
        ({"forward": ForwardConfig("detector", noise="poisson"), "sigma": 1.0}, "sigma"),
        ({"forward": ForwardConfig("detector", noise="gaussian"), "sigma": -1.0}, "sigma"),
        ({"forward": ForwardConfig("detector", hot_pixels=0.1)}, "hot pixels"),
        ({"forward": "blur"}, "blur"),
    ],
)
def test_requests_without_sense_are_refused(arguments, named):
    with pytest.raises(UsageError, match=named):
        plan_degrade(image(16, 16), **arguments)


def test_labels_have_no_forward_model():
    labels = Image.from_array(np.ones((8, 8), np.int16), kind="labels")
    with pytest.raises(UnsupportedError, match="labels"):
        plan_degrade(labels)


def test_nothing_to_measure_a_signal_by():
    dark = Image.from_array(np.zeros((16, 16)))
    with pytest.raises(UsageError, match="signal to noise"):
        plan_degrade(dark, 2, ForwardConfig("detector", noise="gaussian", snr=10.0))
    assert math.isnan(plan_degrade(dark, 2, "detector").level)
