"""Observations: input and truth of a pair belong together, in the units of the whole input image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sample_files import config_of, smooth, write_picture, write_sky, write_volume

from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.inference.normalise import fit
from sciSR.training import observation
from sciSR.training.config import ForwardConfig
from sciSR.training.degradation import Degradation
from sciSR.training.observation import observe_file, observe_sky
from sciSR.training.planes import open_planes
from sciSR.training.sky import block_mean, simulated_sky

WRITERS = {"mr": write_volume, "astronomy": write_sky, "natural": write_picture}


def observe(path, config, scale=2, patch=12, seed=0):
    return observe_file(open_planes(path, config.domain), config, scale, patch, np.random.default_rng(seed))


def file_of(tmp_path, domain, **how):
    ending = {"mr": "v.nii", "astronomy": "a.fits", "natural": "p.png"}[domain]
    return WRITERS[domain](tmp_path / ending, **how)


def pairs_of(seen, patch, count=8):
    generator = np.random.default_rng(3)
    return [seen.pair(patch, generator) for _ in range(count)]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("domain", "kind"),
    [("mr", "gaussian"), ("natural", "bicubic"), ("astronomy", "detector"), ("mr", "bicubic")],
)
def test_the_truth_degraded_is_the_input(tmp_path, domain, kind, scale):
    path = file_of(tmp_path, domain, shape=(220, 210, 2) if domain == "mr" else (220, 210))
    config = config_of(tmp_path, domain, forward=ForwardConfig(kind))
    operator = Degradation(kind, scale, 1.0 if kind == "gaussian" else 0.0)
    seen = observe(path, config, scale)
    linear = seen.normaliser.unstretch
    for pair in pairs_of(seen, 12):
        assert pair.input.shape == (12, 12)
        assert pair.truth.shape == (12 * scale, 12 * scale)
        again = operator.apply(torch.from_numpy(linear(pair.truth)).double()).numpy()
        rim = max(1, operator.margin)
        error = (again - linear(pair.input))[rim:-rim, rim:-rim]
        assert np.abs(error).max() < 1e-5 * max(1, np.abs(linear(pair.input)).max())


def test_k_space_is_truncated_of_the_whole_slice(tmp_path):
    values = smooth((60, 64, 1), 4)
    config = config_of(tmp_path)
    path = file_of(tmp_path, "mr", values=values)
    coarse = KSpaceCrop(2).apply(torch.from_numpy(values[..., 0].astype(np.float64))).abs().numpy()
    whole = fit(coarse.ravel(), "range")
    for pair in pairs_of(observe(path, config), 12):
        truth = whole.inverse(pair.truth)
        fine = np.lib.stride_tricks.sliding_window_view(values[..., 0], (24, 24))[::2, ::2]
        y, x = np.argwhere(np.abs(fine - truth).max((-1, -2)) < 1e-3)[0]
        assert np.allclose(whole.inverse(pair.input), coarse[y : y + 12, x : x + 12], atol=1e-3)


def test_all_patches_of_a_volume_have_the_volume_s_own_units(tmp_path):
    values = smooth((40, 44, 5), 5) * np.array([1, 2, 3, 4, 5], np.float32)
    path, forward = file_of(tmp_path, "mr", values=values), ForwardConfig("gaussian")
    coarse = GaussianDecimation(2).apply(
        torch.from_numpy(np.moveaxis(values, 2, 0).astype(np.float64)).contiguous()
    )
    whole = fit(coarse.numpy().ravel(), "range")
    for seed in range(5):
        seen = observe(path, config_of(tmp_path, forward=forward), seed=seed)
        assert seen.normaliser.offset == pytest.approx(whole.offset, rel=1e-6)
        assert seen.normaliser.scale == pytest.approx(whole.scale, rel=1e-6)


def test_a_patch_of_a_large_image_needs_only_a_piece_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(observation, "SIDE", 24)
    values = smooth((300, 280), 6)
    path = file_of(tmp_path, "astronomy", values=values)
    forward = ForwardConfig("detector", psf=("gaussian",), fwhm=1.5)
    operator = Degradation("detector", 2, 1.5, "gaussian")
    coarse = operator.apply(torch.from_numpy(values.astype(np.float64))).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(coarse, (12, 12))
    config = config_of(tmp_path, "astronomy", forward=forward)
    for seed in range(12):
        seen = observe(path, config, seed=seed)
        if seen.coarse.shape == coarse.shape:
            continue
        assert max(seen.coarse.shape) <= 60
        for pair in pairs_of(seen, 12, 3):
            given = seen.normaliser.inverse(pair.input)
            near = np.abs(windows - given).max((-1, -2)).min()
            if near < 1e-2:  # of the image itself, not of its block mean
                break
        else:
            continue
        break
    else:
        pytest.fail("no patch is what the whole image gives there")


def test_patches_hold_no_bad_pixel(tmp_path):
    values = smooth((90, 90), 7)
    values[30:34, 20:70] = np.nan
    path = file_of(tmp_path, "astronomy", values=values)
    for seed in range(8):
        seen = observe(path, config_of(tmp_path, "astronomy", resampled=0.5), seed=seed)
        if seen is None:
            continue
        assert np.isfinite(seen.fine).all()
        for y, x in seen.corners[:: max(1, len(seen.corners) // 20)]:
            if seen.fine.shape == (90, 90):
                assert np.isfinite(values[2 * y : 2 * y + 24, 2 * x : 2 * x + 24]).all()


def test_patches_of_a_slice_show_enough_of_the_body(tmp_path):
    values = np.zeros((80, 80, 1), np.float32)
    values[10:40, 10:40, 0] = smooth((30, 30), 8)
    path = file_of(tmp_path, "mr", values=values)
    seen = observe(path, config_of(tmp_path, foreground=0.5))
    for pair in pairs_of(seen, 12):
        assert (pair.input > observation.FOREGROUND).mean() >= 0.5
    assert observe(path, config_of(tmp_path, foreground=0.99), patch=30) is None


@pytest.mark.parametrize("values", [np.full((40, 40, 2), 7.0, np.float32), np.zeros((40, 40, 2), np.float32)])
def test_a_constant_image_has_no_patches(tmp_path, values):
    assert observe(file_of(tmp_path, "mr", values=values), config_of(tmp_path)) is None


def test_an_image_that_just_fits_gives_its_one_patch(tmp_path):
    seen = observe(file_of(tmp_path, "mr", shape=(24, 25, 1)), config_of(tmp_path))
    assert len(seen.corners) == 1
    assert observe(file_of(tmp_path, "mr", shape=(23, 40, 1)), config_of(tmp_path)) is None


def test_gamma_bends_the_truth_and_keeps_the_ends_of_its_range(tmp_path):
    path, forward = file_of(tmp_path, "mr"), ForwardConfig("gaussian")
    plain = observe(path, config_of(tmp_path, forward=forward))
    bent = observe(path, config_of(tmp_path, forward=forward, augment={"gamma": 0.5}))
    inside = (plain.fine > 0.01) & (plain.fine < 0.99)
    assert np.allclose(bent.fine[inside], plain.fine[inside] ** 0.5, atol=1e-4)
    again = GaussianDecimation(2).apply(torch.from_numpy(bent.fine).double()).numpy()
    assert np.allclose(again, bent.coarse, atol=1e-5)


def test_a_rescaled_image_is_sharp_at_its_new_size(tmp_path):
    path = file_of(tmp_path, "natural", shape=(90, 80))
    seen = observe(path, config_of(tmp_path, "natural", augment={"rescale": (0.6,)}))
    assert seen.fine.shape == (54, 48)
    assert seen.coarse.shape == (27, 24)


def test_conditions_are_those_of_the_patch(tmp_path):
    forward = ForwardConfig(("kspace", "gaussian"), fwhm=(0.8, 1.4))
    config = config_of(tmp_path, forward=forward, model={"conditions": ("noise", "fwhm", "kspace")})
    path, kinds = file_of(tmp_path, "mr"), set()
    for seed in range(12):
        noise, fwhm, kspace = observe(path, config, seed=seed).condition
        assert noise == 0
        assert (fwhm == 0) == (kspace == 1)
        assert fwhm == 0 or 0.8 <= fwhm <= 1.4
        kinds.add(float(kspace))
    assert kinds == {0.0, 1.0}
    config = config_of(tmp_path, forward=forward, model={"conditions": ("kspace",)})
    assert observe(path, config).condition.shape == (1,)


def test_noise_of_mr_is_the_bright_quantile_over_the_snr(tmp_path):
    values = smooth((60, 60, 2), 9)
    path = file_of(tmp_path, "mr", values=values)
    seen = observe(path, config_of(tmp_path, forward=ForwardConfig("kspace", noise="rician", snr=25.0)))
    v0, v1, zero = (float(value) for value in seen.noise)
    bright = seen.normaliser.offset + seen.normaliser.scale
    assert v1 == 0
    assert np.sqrt(v0) * seen.normaliser.scale == pytest.approx(bright / 25, rel=1e-5)
    assert seen.normaliser.inverse(np.array(zero)) == pytest.approx(0, abs=1e-2)
    assert np.quantile(values, 0.995) == pytest.approx(bright, rel=0.1)


def test_photons_have_the_variance_of_their_number(tmp_path):
    seen = observe(
        file_of(tmp_path, "mr"),
        config_of(tmp_path, forward=ForwardConfig("kspace", noise="poisson", snr=50.0)),
    )
    v0, v1, zero = (float(value) for value in seen.noise)
    assert v0 + v1 * zero == pytest.approx(0, abs=1e-9)
    assert np.sqrt(v0 + v1) == pytest.approx((1 - zero) / 50, rel=1e-4)


def test_real_skies_get_no_noise_on_top_of_their_own(tmp_path):
    forward = ForwardConfig("detector", noise="poisson")
    seen = observe(file_of(tmp_path, "astronomy"), config_of(tmp_path, "astronomy", forward=forward))
    assert seen.noise[:2].tolist() == [0, 0]


@pytest.mark.parametrize("resampled", [0.0, 1.0])
def test_the_noise_of_a_simulated_sky_is_what_its_detector_adds(tmp_path, resampled):
    config = config_of(tmp_path, "astronomy", forward=ForwardConfig("detector", noise="poisson"))
    sky = simulated_sky(11, 2, resampled)
    seen = observe_sky(sky, config, 2, 12, np.random.default_rng(0))
    u = np.sinh(seen.coarse.astype(float))
    given = (sky.observed - seen.normaliser.offset) / seen.normaliser.scale
    variance = seen.noise[0] + seen.noise[1] * u
    pull = ((given - u) / np.sqrt(np.maximum(variance, 1e-30)))[variance > 0.3 * np.median(variance)]
    assert np.median(np.abs(pull)) / 0.6745 == pytest.approx(1, abs=0.06)
    assert np.allclose(block_mean(np.sinh(seen.fine.astype(float)), 2), u, rtol=1e-3, atol=1e-3)
    quiet = observe_sky(sky, config_of(tmp_path, "astronomy"), 2, 12, np.random.default_rng(0))
    assert quiet.noise[:2].tolist() == [0, 0]
