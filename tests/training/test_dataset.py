"""Patches straight from files: order, resumption, parallel reading, bounded memory."""

from __future__ import annotations

import itertools
import os
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_files import config_of, with_data, write_picture, write_sky, write_volume

from sciSR.errors import SciSRWarning, UsageError
from sciSR.image import Image
from sciSR.training.config import ForwardConfig
from sciSR.training.dataset import FilePatches
from sciSR.training.observation import observe_file
from sciSR.training.observations import HOLD, VISITS, Observations
from sciSR.training.planes import OPEN_FILES, OpenPlanes, PlaneGroup


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    for k in range(4):
        write_volume(root / f"sub-{k}_T1.nii.gz", seed=k)
    return root


def take(patches, first, count, size=3, seed=5):
    iterator = patches.batches(first, size, seed)
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def same(a, b):
    return all(
        torch.equal(getattr(a, key), getattr(b, key)) for key in ("input", "truth", "noise", "condition")
    )


@pytest.fixture(scope="module")
def first_steps(volumes):
    patches = FilePatches(config_of(volumes))
    return patches, take(patches, 0, 3 * VISITS)


@settings(max_examples=12)
@given(first=st.integers(0, 3 * VISITS - 1))
def test_a_run_goes_on_at_any_step(first_steps, first):
    patches, whole = first_steps
    (batch,) = take(patches, first, 1)
    assert same(batch, whole[first])


def test_steps_and_seeds_differ(first_steps):
    patches, whole = first_steps
    assert len({batch.input.numpy().tobytes() for batch in whole}) == len(whole)
    assert not same(take(patches, 0, 1, seed=6)[0], whole[0])
    assert whole[0].input.shape == (3, 1, 12, 12)
    assert whole[0].truth.shape == (3, 1, 24, 24)
    assert whole[0].noise.shape == (3, 3)
    assert whole[0].condition.shape == (3, 0)


def test_a_step_far_away_comes_at_once(first_steps):
    patches, _ = first_steps
    assert take(patches, 10**12, 1)[0].input.shape == (3, 1, 12, 12)


def test_processes_change_nothing(volumes, first_steps):
    _, whole = first_steps
    patches = FilePatches(with_data(config_of(volumes), workers=2))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = take(patches, 1, VISITS + 2)
    assert all(same(a, b) for a, b in zip(found, whole[1:], strict=False))
    assert torch.equal(before, torch.get_rng_state())


def test_an_error_in_a_process_names_the_file(volumes):
    patches = FilePatches(with_data(config_of(volumes, patch=200), workers=1))
    with pytest.raises(UsageError, match=r"sub-\d_T1.*data\.patch") as caught:
        take(patches, 0, 1)
    assert "Traceback" not in str(caught.value)


def test_validation_is_the_same_in_every_run_and_of_other_subjects(volumes):
    first, second = (FilePatches(config_of(volumes)) for _ in range(2))
    assert same(first.validation(), second.validation())
    assert len(first.validation().input) == 6
    assert len(first.files.validation) == 1
    assert not set(first.files.validation) & set(first.files.train)


def test_validation_noise_is_drawn_once(volumes):
    def held_out(snr):
        forward = ForwardConfig("kspace", noise="rician", snr=snr)
        return FilePatches(config_of(volumes, forward=forward, model={"conditions": ("noise",)})).validation()

    quiet, noisy = held_out(1e9), held_out(10.0)
    assert same(noisy, held_out(10.0))
    assert torch.equal(noisy.truth, quiet.truth)
    assert (noisy.input - quiet.input).std() > 0.02
    assert (noisy.condition > 0).all()


@pytest.mark.parametrize("count", [1, 5, OPEN_FILES + 9])
def test_every_file_comes_equally_often(tmp_path, count):
    source = Observations(config_of(tmp_path), [tmp_path / str(k) for k in range(count)], 3)
    hold = HOLD if count > OPEN_FILES else 1
    visits = np.bincount(
        [source.file(number) for number in range(hold * OPEN_FILES * count)], minlength=count
    )
    assert (visits == visits[0]).all()


def test_few_files_are_in_turn_at_a_time(tmp_path):
    source = Observations(config_of(tmp_path), [tmp_path / str(k) for k in range(100)], 3)
    block = OPEN_FILES * HOLD
    for start in (0, 3 * block):
        assert len({source.file(number) for number in range(start, start + block)}) <= OPEN_FILES


def test_scales_take_turns_and_patches_cover_the_same(tmp_path):
    write_picture(tmp_path / "a.png", (150, 140))
    write_picture(tmp_path / "b.png", (150, 140), seed=1)
    config = config_of(tmp_path, "natural", model={"scale": 2, "scales": (2, 3, 4)})
    batches = take(FilePatches(config), 0, 3 * VISITS)
    sides = [(batch.input.shape[-1], batch.truth.shape[-1] // batch.input.shape[-1]) for batch in batches]
    assert sides == [(12, 2)] * VISITS + [(8, 3)] * VISITS + [(8, 4)] * VISITS


def test_simulated_skies_need_no_files(tmp_path):
    forward = ForwardConfig("detector", noise="poisson")
    config = config_of(tmp_path, "astronomy", forward=forward, train=(), simulated=1.0)
    patches = FilePatches(config)
    (batch,) = take(patches, 0, 1, size=2)
    assert (batch.noise[:, :2] > 0).all()
    assert same(take(patches, 0, 1, size=2)[0], batch)


def test_gamma_is_refused_for_skies(tmp_path):
    write_sky(tmp_path / "a.fits")
    config = config_of(tmp_path, "astronomy", augment={"gamma": (0.8, 1.2)})
    with pytest.raises(UsageError, match=r"augment\.gamma"):
        take(FilePatches(config), 0, 1)


def test_a_file_that_vanishes_is_told_once_and_replaced(tmp_path):
    for k in range(3):
        write_volume(tmp_path / f"sub-{k}.nii", seed=k)
    patches = FilePatches(config_of(tmp_path))
    patches.files.train[0].unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(take(patches, 0, 4 * VISITS)) == 4 * VISITS
    told = [str(each.message) for each in caught if issubclass(each.category, SciSRWarning)]
    assert len(told) == 1
    assert patches.files.train[0].name in told[0]


def open_handles():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files through /proc")
def test_memory_and_open_files_stay_the_same_over_many_files(tmp_path):
    for k in range(40):
        write_sky(tmp_path / f"f{k}.fits", (150, 150), seed=k, centre=(5.0 * k, 0.0))
    source = Observations(config_of(tmp_path, "astronomy"), sorted(tmp_path.glob("*.fits")), 1, hold=1)
    tracemalloc.start()
    try:
        peaks, handles = [], []
        for start in (0, 40, 80):
            tracemalloc.reset_peak()
            for number in range(start, start + 40):
                source.observe(number, 2)
            peaks.append(tracemalloc.get_traced_memory()[1])
            handles.append(open_handles())
    finally:
        tracemalloc.stop()
    assert len(source.cache) <= OPEN_FILES
    assert handles[2] == handles[0]
    assert peaks[2] < peaks[0] + 2e6


def test_a_huge_image_is_never_loaded(tmp_path):
    class Endless:
        """40,000 x 40,000 pixels that are made when they are read."""

        shape, dtype, read = (40_000, 40_000), np.dtype("f4"), 0

        def __getitem__(self, index):
            rows, columns = (
                np.arange(n)[cut].astype(np.float32) for n, cut in zip(self.shape, index, strict=True)
            )
            self.read += rows.size * columns.size
            return 100 + np.sin(rows[:, None] / 3) * np.cos(columns / 5) + np.sin(rows[:, None] * columns / 7)

    data = Endless()
    planes = OpenPlanes([PlaneGroup(Image(data=data, axes=("y", "x"), spatial=("y", "x")), (0, 1))])
    tracemalloc.start()
    try:
        seen = observe_file(planes, config_of(tmp_path, "astronomy"), 2, 48, np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen.pair(48, np.random.default_rng(0)).truth.shape == (96, 96)
    assert data.read < 3e6
    assert peak < 100e6
