"""Recipes, patches and the loop, at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sciSR.errors import UsageError
from sciSR.inference.normalise import fit
from sciSR.models.files import load_model
from sciSR.training.astro_patches import astro_patches, block_mean, resample
from sciSR.training.mr_patches import mr_pairs
from sciSR.training.recipe import Recipe, load_recipe
from sciSR.training.scenes import simulate
from sciSR.training.train import draw, loss_of, train

RECIPES = sorted((Path(__file__).parents[2] / "configs/train").glob("*.yaml"))
TOY = {
    "name": "toy", "architecture": "ESPCN", "forward_model": "kspace", "domain": "mr", "normalisation": "range",
    "data": {}, "steps": 6, "batch": 2, "loss": "out_of_band", "precision": "fp32",
}  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_load(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert not any("check" in name for name in recipe.data["files"])


def test_a_misspelt_key_is_named(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\nlerning_rate: 1e-3\n")
    with pytest.raises(UsageError, match="lerning_rate"):
        load_recipe(tmp_path / "r.yaml")


def test_simulated_scenes_are_repeatable_and_their_noise_is_known():
    first, again = simulate(5, size=64), simulate(5, size=64)
    assert np.array_equal(first.observed, again.observed)
    assert first.truth.shape == (128, 128)
    assert not np.array_equal(first.observed, simulate(6, size=64).observed)
    mean = block_mean(first.truth, 2)
    pull = (first.observed - mean) / np.sqrt((mean + first.read_noise**2) / first.frames)
    assert pull.std() == pytest.approx(1, abs=0.05)


def test_stars_lie_where_they_say():
    fixed = {
        "sky": 100,
        "frames": 1e4,
        "fwhm": 1.5,
        "stars": 1,
        "galaxies": 0,
        "nebula": 0,
        "bright": 1e4,
        "faint": 9e3,
    }
    scene = simulate(3, size=64, fixed=fixed)
    light = np.clip(scene.truth - scene.sky, 0, None)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert np.hypot(y - scene.stars[0, 0], x - scene.stars[0, 1]) <= 1


def test_astro_patches_shape_and_noise(tmp_path):
    from astropy.io import fits

    plane = np.random.default_rng(0).normal(10, 1, (80, 90)).astype(np.float32)
    plane[:5] = np.nan
    fits.writeto(tmp_path / "a.fits", plane)
    truth, variance = astro_patches([tmp_path / "a.fits"], 2, 16, 16, 0.25, seed=1)
    assert truth.shape[1:] == (32, 32)
    assert 8 <= len(truth) == len(variance) <= 16
    assert np.isfinite(truth).all()
    assert (variance[:4, 0] > 0).all()
    assert (variance[4:] == 0).all()


def test_resampled_mosaics_keep_their_level_and_have_smooth_noise():
    g = np.random.default_rng(2)
    flat = np.full((96, 96), 50.0)
    assert np.allclose(resample(flat, 0.0, g), 50)
    noisy = resample(flat, 2.0, g) - 50
    assert abs(noisy.mean()) < 0.3
    assert (noisy[:, 1:] * noisy[:, :-1]).mean() > 0.2 * noisy.var()


def test_mr_pairs_belong_together(tmp_path):
    import nibabel

    g = np.random.default_rng(0)
    volume = (500 + 300 * g.random((60, 64, 4))).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 4, 1])), tmp_path / "v.nii")
    pairs = list(mr_pairs([tmp_path / "v.nii"], "gaussian", 2, 16, 3, seed=1))
    assert len(pairs) == 3
    for coarse, fine in pairs:
        assert coarse.shape == (16, 16)
        assert fine.shape == (32, 32)
        assert np.corrcoef(coarse.ravel(), block_mean(fine, 2).ravel())[0, 1] > 0.9


def toy_patches(folder: Path) -> Path:
    g = np.random.default_rng(0)
    truth = g.random((30, 48, 48)).astype(np.float16)
    np.savez(
        folder / "toy.npz", truth=truth, input=block_mean(truth.astype(np.float32), 2).astype(np.float16)
    )
    return folder / "toy.npz"


def test_stopped_training_goes_on_exactly(tmp_path):
    recipe = Recipe(**TOY)
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    train(recipe, toy_patches(tmp_path / "whole"), tmp_path / "whole", report=3)
    patches = toy_patches(tmp_path / "parts")
    train(recipe, patches, tmp_path / "parts", report=3, stop_after=3)
    train(recipe, patches, tmp_path / "parts", report=3)
    whole, _, _ = load_model(tmp_path / "whole/toy.safetensors")
    parts, spec, _ = load_model(tmp_path / "parts/toy.safetensors")
    assert spec.receptive_field == 5
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("loss", ["image", "out_of_band", "consistent"])
def test_the_truth_has_no_loss(loss):
    recipe = Recipe(**{**TOY, "loss": loss, "domain": "astronomy" if loss == "consistent" else "mr"})
    truth = torch.rand(2, 1, 48, 48)
    linear = torch.nn.functional.avg_pool2d(truth.sinh(), 2).asinh()
    assert loss_of(truth, linear, truth, recipe, 5).item() < 1e-6
    assert loss_of(truth + torch.rand_like(truth), linear, truth, recipe, 5).item() > 1e-3


def test_batches_follow_from_seed_and_step(tmp_path):
    data = {k: torch.from_numpy(v) for k, v in np.load(toy_patches(tmp_path)).items()}
    recipe = Recipe(**TOY)
    one, again, other = (draw(data, recipe, step, 3)[0] for step in (7, 7, 8))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.realdata
def test_real_volume_gives_patches(shared_data):
    path = shared_data / "mri/train/pymskt_knee_mese_echo1.nii.gz"
    coarse, fine = next(iter(mr_pairs([path], "kspace", 2, 64, 1, seed=1)))
    assert fine.shape == (128, 128)
    assert 0.1 < coarse.mean() < 1.2
    assert fit(coarse.ravel().astype(float), "range").scale > 0
