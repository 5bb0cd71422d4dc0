"""Prepared patch files: complete, small, and read with NumPy and torch alone."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_files import config_of

from sciSR.errors import SciSRError, UsageError
from sciSR.training.config import ForwardConfig
from sciSR.training.patch_file import VERSION, PatchFile, save

COUNT = 11


def contents(tmp_path, scales=(2,), eight_bit=False, **config):
    """What a patch file of `COUNT` numbered pairs holds."""
    model = {"scale": scales[0], "scales": scales if len(scales) > 1 else ()} | config.pop("model", {})
    settings_ = config_of(tmp_path, model=model, **config)
    about = {
        "version": VERSION,
        "config": settings_.as_dict(),
        "scales": list(scales),
        "pairs": {f"x{scale}": COUNT for scale in scales},
        "validation_pairs": 3,
        "files": [],
    }
    generator, arrays = np.random.default_rng(0), {}
    kind = np.uint8 if eight_bit else np.float16
    for name, scale, count in [(f"train_x{s}", s, COUNT) for s in scales] + [
        (f"validation_x{scales[0]}", scales[0], 3)
    ]:
        arrays[f"{name}_input"] = np.broadcast_to(np.arange(count)[:, None, None], (count, 12, 12)).astype(
            kind
        )
        arrays[f"{name}_truth"] = generator.integers(0, 200, (count, 12 * scale, 12 * scale)).astype(kind)
        arrays[f"{name}_noise"] = generator.random((count, 3)).astype(np.float32)
        arrays[f"{name}_condition"] = np.zeros((count, len(model.get("conditions", ()))), np.float32)
        if eight_bit:
            arrays[f"{name}_levels"] = np.tile(np.float32([0.5, -3.0]), (count, 1))
    return about, arrays


def written(tmp_path, *args, **how):
    save(tmp_path / "p.npz", *contents(tmp_path, *args, **how))
    return PatchFile(tmp_path / "p.npz")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return written(tmp_path_factory.mktemp("plain"))


def take(patches, first, count, size=4, seed=3):
    return list(itertools.islice(patches.batches(first, size, seed), count))


def numbers(batches):
    return torch.cat([batch.input[:, 0, 0, 0] for batch in batches]).int().tolist()


def test_every_pair_comes_once_an_epoch_in_an_order_of_its_own(plain):
    order = numbers(
        take(plain, 0, COUNT)
    )  # four epochs, though a batch may hold the end of one and the next's start
    epochs = [order[k : k + COUNT] for k in range(0, len(order), COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


@settings(max_examples=25)
@given(first=st.integers(0, 40), size=st.integers(1, 9), seed=st.integers(0, 5))
def test_a_batch_follows_from_seed_and_step(plain, first, size, seed):
    whole = numbers(take(plain, 0, first + 2, size, seed))
    assert numbers(take(plain, first, 2, size, seed)) == whole[first * size :]


def test_pairs_keep_together(plain):
    _, arrays = contents(plain.path.parent)
    for batch in take(plain, 0, 3):
        for k, number in enumerate(numbers([batch])):
            assert np.array_equal(batch.truth[k, 0], arrays["train_x2_truth"][number])
            assert np.array_equal(batch.noise[k], arrays["train_x2_noise"][number])
    assert batch.input.dtype == batch.truth.dtype == torch.float32


def test_scales_take_turns_and_each_goes_through_its_pairs(tmp_path):
    batches = take(written(tmp_path, (2, 3, 4)), 0, 3 * COUNT)
    assert [batch.truth.shape[-1] // 12 for batch in batches] == [2, 3, 4] * COUNT
    assert sorted(numbers(batches[1::3])) == sorted(list(range(COUNT)) * 4)


def test_eight_bits_become_the_values_they_stand_for(tmp_path):
    patches = written(tmp_path, eight_bit=True)
    _, arrays = contents(tmp_path, eight_bit=True)
    (batch,) = take(patches, 5, 1)
    expected = sorted((0.5 * arrays["train_x2_truth"].astype(float) - 3).sum((1, 2)))
    assert all(any(np.isclose(t.sum(), e, rtol=1e-6) for e in expected) for t in batch.truth.double())


def test_validation_noise_is_drawn_once_and_told(tmp_path):
    how = {"forward": ForwardConfig("kspace", noise="gaussian"), "model": {"conditions": ("noise",)}}
    first, second = written(tmp_path, **how).validation(), PatchFile(tmp_path / "p.npz").validation()
    assert torch.equal(first.input, second.input)
    assert not torch.equal(first.input[:, 0, 0, 0], torch.arange(3.0))
    assert torch.allclose(first.condition[:, 0], first.noise[:, 0].sqrt())


def test_a_batch_may_be_changed_without_changing_the_file(plain):
    (batch,) = take(plain, 0, 1)
    kept = batch.noise.clone()
    for tensor in (batch.input, batch.truth, batch.noise):
        tensor.zero_()
    (again,) = take(plain, 0, 1)
    assert torch.equal(again.noise, kept)
    assert again.truth.abs().sum() > 0


def test_what_does_not_fit_is_left_away(tmp_path):
    about, arrays = contents(tmp_path, (2, 3))
    generator = np.random.default_rng(1)
    for key in [key for key in arrays if key.startswith("train") and key.endswith("truth")]:
        arrays[key] = generator.standard_normal(arrays[key].shape).astype(np.float16)
    _, whole = save(tmp_path / "w.npz", about, arrays)
    less, size = save(tmp_path / "p.npz", about, arrays, limit=int(0.6 * whole))
    assert size <= 0.6 * whole
    assert 3 <= less["pairs"]["x2"] == less["pairs"]["x3"] < 8
    patches = PatchFile(tmp_path / "p.npz")
    assert patches.count(2) == less["pairs"]["x2"] == patches.about["pairs"]["x2"]
    assert len(patches.validation().input) == 3
    with pytest.raises(UsageError, match=r"data\.patches"):
        save(tmp_path / "p.npz", about, arrays, limit=1000)


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "other", "newer", "pickle"])
def test_what_is_no_patch_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "p.npz"
    about, arrays = contents(tmp_path)
    save(path, {**about, "version": VERSION + 1} if damage == "newer" else about, arrays)
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "other":
        np.savez(path, x=np.zeros(3))
    elif damage == "pickle":
        np.savez(path, about=np.array([{"version": VERSION}], dtype=object))
    with pytest.raises(SciSRError, match=r"p\.npz.*prepare") as caught:
        PatchFile(path)
    assert "\n" not in str(caught.value)


def test_it_takes_numpy_and_torch_alone(plain):
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"astropy", "nibabel", "pydicom", "pydantic", "ruamel", "click", "scipy", "skimage",
                                  "PIL", "highdicom", "rich", "matplotlib"}}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from sciSR.training.patch_file import PatchFile
patches = PatchFile({str(plain.path)!r})
print(next(patches.batches(3, 4, 1)).truth.shape[-1], len(patches.validation().input), patches.config.name)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["24", "3", "sample"], run.stderr


def test_the_configuration_comes_back_as_it_was(plain):
    about = json.loads(json.dumps(plain.about))
    assert plain.config.as_dict() == about["config"]
    assert plain.config == config_of(plain.path.parent, model={"scale": 2, "scales": ()})
