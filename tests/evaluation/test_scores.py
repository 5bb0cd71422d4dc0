"""Invariants of the protocols: perfection, units, forward models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UnsupportedError
from sciSR.evaluation import astronomy, methods, mr, natural
from sciSR.evaluation.measure import measure, measure_scene
from sciSR.evaluation.subject import Subject, cut, degrade, subject_of
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.image import Image
from sciSR.training.scenes import simulate

GAINS = st.sampled_from([1e-6, 0.3, 7.0, 1e6])


def head(shape: tuple[int, int] = (48, 40), count: int = 2) -> np.ndarray:
    """Smooth blobs on an exactly zero background, up to about 900."""
    g = np.random.default_rng(3)
    yy, xx = (np.arange(n) / n * 2 - 1 for n in shape)
    inside = (yy[:, None] ** 2 / 0.8 + xx[None] ** 2 / 0.7) < 1
    waves = sum(
        a * np.cos(k * yy[:, None] + p) * np.cos(q * xx[None] + r)
        for a, k, p, q, r in g.uniform((20, 3, 0, 3, 0), (90, 18, 6, 18, 6), (6, 5))
    )
    return np.stack([np.where(inside, 500 + (n + 1) * waves, 0.0) for n in range(count)])


def sky(seed: int = 5) -> np.ndarray:
    return simulate(
        seed, size=40, fixed={"stars": 60, "fwhm": 1.6, "frames": 50, "nebula": 0.0, "galaxies": 0}
    ).truth


def perfect(truth: np.ndarray) -> methods.Method:
    return methods.Method("perfect", "oracle", lambda sample, scale: (cut(truth, scale), 1.0))


@pytest.mark.parametrize("forward", ["kspace", "gaussian", "bicubic", "detector"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_perfect_method_is_perfect_by_every_measure(forward: str, scale: int) -> None:
    truth = head()
    scores = measure(
        Subject("head", "mr", truth), forward, scale, [perfect(truth), methods.classical("cubic")]
    )
    assert scores["perfect"]["psnr"] == math.inf
    assert scores["perfect"]["ssim"] == pytest.approx(1, abs=1e-12)
    assert scores["perfect"]["nrmse"] == scores["perfect"]["bias"] == 0
    assert 10 < scores["cubic"]["psnr"] < 60


def test_a_perfect_method_is_perfect_in_the_sky_and_for_pictures() -> None:
    truth = sky()[None]
    found = measure(Subject("sky", "astronomy", truth), "detector", 2, [perfect(truth)])["perfect"]
    assert (found["psnr"], found["psnr_linear"], found["nrmse"]) == (math.inf, math.inf, 0)
    assert (found["bias"], found["scatter"]) == (0, 0)
    plain = measure(Subject("picture", "generic", truth), "bicubic", 2, [perfect(truth)])["perfect"]
    assert (plain["psnr"], plain["bias"]) == (math.inf, 0)
    scene = simulate(7, size=40)
    ideal = methods.Method("perfect", "oracle", lambda sample, scale: (scene.truth[None], 1.0))
    assert measure_scene(scene, 2, [ideal])["perfect"]["psnr"] == math.inf


@given(GAINS)
def test_mr_scores_do_not_depend_on_the_unit(gain: float) -> None:
    truth, result = head(), head() * 1.02 + 3
    one, two = mr.scorer(truth, 2)(result), mr.scorer(gain * truth, 2)(gain * result)
    assert one == pytest.approx(two, rel=1e-9)


@given(GAINS, st.sampled_from([-500.0, 0.0, 1e4]))
def test_sky_scores_depend_on_neither_unit_nor_pedestal(gain: float, offset: float) -> None:
    truth = sky()[None]
    subject = Subject("sky", "astronomy", truth)
    _, sample = subject.degraded("detector", 2)
    result = np.repeat(np.repeat(sample.coarse, 2, 1), 2, 2)
    one = astronomy.scorer(truth, sample, 2)(result)
    other = methods.Sample(gain * (sample.coarse + offset), "astronomy")
    two = astronomy.scorer(gain * (truth + offset), other, 2)(gain * (result + offset))
    for key in ("psnr", "ssim", "nrmse", "psnr_linear"):
        assert two[key] == pytest.approx(one[key], rel=1e-6)


def test_a_loss_of_flux_is_seen_by_the_photometry() -> None:
    truth = sky()
    level = float(np.median(truth))
    dim = level + 0.95 * (truth - level)
    sources = astronomy.find_sources(truth, np.ones(truth.shape, bool), 2)
    found = astronomy.photometry(truth, dim, level, sources)
    assert found["bias"] == pytest.approx(-5, abs=0.3)
    assert found["scatter"] < 0.5
    blank = np.zeros((64, 64))
    empty = astronomy.photometry(blank, blank, 0.0, astronomy.find_sources(blank, blank == 0, 2))
    assert math.isnan(empty["bias"])


def test_the_mean_intensity_of_a_head_is_compared_within_it() -> None:
    truth = head()
    assert mr.scorer(truth, 2)(1.03 * truth)["bias"] == pytest.approx(3, abs=1e-9)
    outside = truth + np.where(truth == 0, 200.0, 0.0)
    assert mr.scorer(truth, 2)(outside)["psnr"] == math.inf, "air does not count"


def test_knowing_the_point_spread_function_helps() -> None:
    subject = Subject("head", "mr", head((80, 64)))
    scores = measure(subject, "gaussian", 2, [*methods.all_classical(), *mr.oracles("gaussian")])
    best = max(scores[name]["psnr"] for name in methods.CLASSICAL)
    assert scores["IBP (known PSF)"]["psnr"] > best + 1
    assert scores["Tikhonov (known PSF)"]["psnr"] > best
    assert mr.oracles("kspace") == []


def test_back_projection_reproduces_its_input() -> None:
    coarse = degrade(head(), "gaussian", 2)
    again = degrade(mr.back_projection(coarse, 2, iterations=60), "gaussian", 2)
    rms = float(np.sqrt(np.mean((again - coarse) ** 2)))
    assert rms < 0.02 * coarse.std()
    assert GaussianDecimation(2).fwhm is None


def test_noise_is_rician_for_heads_always_the_same_and_has_the_size_asked_for() -> None:
    truth = head((96, 80))
    subject = Subject("head", "mr", truth)
    clean = subject.degraded("detector", 2)[1].coarse
    noisy, again = (subject.degraded("detector", 2, snr=20)[1].coarse for _ in range(2))
    assert np.array_equal(noisy, again)
    sigma = np.quantile(clean, 0.995) / 20
    inside = clean > 10 * sigma
    assert (noisy - clean)[inside].std() == pytest.approx(sigma, rel=0.1)
    assert noisy[clean == 0].mean() == pytest.approx(1.2533 * sigma, rel=0.1), (
        "the mean of Rayleigh's distribution"
    )
    other = Subject("sky", "astronomy", truth - 100)
    clean, noisy = (other.degraded("detector", 2, snr)[1].coarse for snr in (None, 20))
    assert abs((noisy - clean).mean()) < 0.2 * (noisy - clean).std()


@pytest.mark.parametrize("forward", ["kspace", "gaussian", "bicubic", "detector"])
def test_a_bad_pixel_makes_its_coarse_pixel_bad_and_no_other(forward: str) -> None:
    fine = head()
    fine[1, 20, 11] = np.nan
    coarse = degrade(fine, forward, 2)
    expected = np.zeros(coarse.shape, bool)
    expected[1, 10, 5] = True
    assert np.array_equal(np.isnan(coarse), expected)
    for scores in measure(
        Subject("a", "astronomy", fine), forward, 2, [methods.classical("linear")]
    ).values():
        assert math.isfinite(scores["psnr"])


def test_the_central_planes_are_measured_and_the_whole_volume_normalises() -> None:
    volume = np.random.default_rng(0).gamma(2, 50, (9, 16, 20))
    subject = subject_of(Image.from_array(volume, domain="mr"), planes=4)
    assert np.array_equal(subject.planes, volume[2:6])
    _, sample = subject.degraded("detector", 2)
    assert sample.statistics is not None
    assert sample.statistics.size == 9 * 8 * 10
    assert subject_of(Image.from_array(volume[:4]), planes=4).around is None


def test_of_colours_the_luminance_is_measured() -> None:
    rgb = np.random.default_rng(0).random((3, 16, 20))
    found = subject_of(Image(rgb, ("rgb", "y", "x"), ("y", "x")))
    expected = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    assert np.allclose(found.planes, expected[None], rtol=1e-12)


def test_masked_pixels_are_bad_and_labels_are_refused() -> None:
    data = np.ones((16, 16))
    mask = np.zeros((16, 16), bool)
    mask[3, 4] = True
    found = subject_of(Image.from_array(data, mask=mask))
    assert np.isnan(found.planes[0, 3, 4])
    assert np.isnan(found.planes).sum() == 1
    with pytest.raises(UnsupportedError, match="labels"):
        subject_of(Image.from_array(data.astype(np.uint8), kind="labels"))
    with pytest.raises(UnsupportedError, match="too small"):
        cut(np.ones((1, 6, 40)), 2)


def test_luminance_is_matlabs() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]])
    assert natural.luminance(colours.astype(np.uint8)).tolist() == [[16, 235, 81, 145, 41, 126]]
    grey = np.array([[0, 77, 255]], np.uint8)
    assert natural.luminance(grey).tolist() == grey.tolist()
