"""Frames that can't be used are named and left out, or refused; the others are fused as if they were not there."""

from __future__ import annotations

import core_frames as core
import numpy as np
import pytest
import solver_frames as sim
import torch

import sciSR
from sciSR.errors import SciSRError, SciSRWarning, UnsupportedError
from sciSR.sequence import FrameSequence

torch.set_num_threads(1)

SIZE = 64


@pytest.fixture(scope="module")
def scene():
    return sim.sky(SIZE, seed=3)


@pytest.fixture(scope="module")
def arrays(scene):
    return core.exposures(scene, sim.shifts(6, seed=4), SIZE, seed=5)


@pytest.fixture(scope="module")
def good(arrays):
    return sciSR.fuse(core.frames_of(arrays[:5]), 2, reference=0, device="cpu")


def fuse(sequence: FrameSequence, **settings):
    return sciSR.fuse(sequence, 2, reference=0, device="cpu", **settings)


def same(one, other) -> bool:
    return np.array_equal(core.values(one), core.values(other), equal_nan=True)


def test_no_frames_are_refused():
    with pytest.raises(UnsupportedError, match="no frame to fuse"):
        sciSR.fuse(FrameSequence(()), 2)


def elsewhere(arrays):
    other = core.exposures(sim.sky(SIZE, seed=99), [(0.0, 0.0)], SIZE, seed=7)
    return core.frames_of([*arrays[:5], other[0]])


def noise_only(arrays):
    noise = np.random.default_rng(1).poisson(core.SKY, (SIZE, SIZE)).astype(np.float32)
    return core.frames_of([*arrays[:5], noise])


def all_masked(arrays):
    return core.frames_of([*arrays[:5], np.full((SIZE, SIZE), np.nan, np.float32)])


@pytest.mark.parametrize("make", [elsewhere, noise_only, all_masked])
def test_a_frame_of_something_else_is_left_out_and_named(arrays, good, make):
    with pytest.warns(SciSRWarning, match="left out: frame 5"):
        out = fuse(make(arrays))
    assert [r.used for r in out.records] == [True] * 5 + [False]
    assert out.records[5].reason
    assert same(out, good)


@pytest.mark.parametrize("make", [elsewhere, noise_only, all_masked])
def test_where_asked_to_be_strict_it_is_refused_by_name(arrays, make):
    with pytest.raises(SciSRError, match="frame 5"):
        fuse(make(arrays), strict=True)


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_frame_that_breaks_half_way_is_left_out(arrays, good, reads):
    frames = core.frames_of(arrays)
    broken = core.breaking(frames, 5, reads)
    with pytest.warns(SciSRWarning, match="left out: frame 5"):
        out = fuse(broken)
    assert not out.records[5].used
    assert "ends in the middle" in out.records[5].reason
    again = core.breaking(frames, 5, reads)
    with pytest.raises(SciSRError, match="ends in the middle"):
        fuse(again, strict=True)


def test_borders_of_nan_are_no_harm(scene, arrays):
    framed = [a.copy() for a in arrays]
    for a in framed:
        a[:3], a[-2:], a[:, :4] = np.nan, np.nan, np.nan
    out = fuse(core.frames_of(framed))
    truth = core.truth(scene, SIZE)
    drizzled = core.values(sciSR.fuse(core.frames_of(framed), 2, "drizzle", reference=0, device="cpu"))
    inner = np.s_[16:-16, 16:-16]
    assert np.isfinite(core.values(out)[inner]).all()
    image = np.nan_to_num(core.values(out), nan=core.SKY)
    assert sim.psnr(image, truth, 16) > sim.psnr(np.nan_to_num(drizzled, nan=core.SKY), truth, 16) + 5


def test_frames_of_different_shapes_fuse_on_the_reference_s(scene, arrays):
    shapes = [arrays[0], arrays[1][:56], arrays[2][:, :60], *arrays[3:]]
    out = fuse(core.frames_of(shapes))
    assert out.image.shape == (2 * SIZE, 2 * SIZE)
    assert all(r.used for r in out.records)
    assert any("3 shapes" in note for note in out.notes)
    truth = core.truth(scene, SIZE)
    assert sim.psnr(core.values(out), truth) > sim.psnr(np.kron(arrays[0], np.ones((2, 2))), truth) + 6


def test_what_flagged_pixels_hold_is_never_looked_at(arrays):
    flags = [np.random.default_rng(k).random((SIZE, SIZE)) < 0.02 for k in range(5)]

    def run(value: float):
        frames = [np.where(f, np.float32(value), a) for f, a in zip(flags, arrays[:5], strict=True)]
        sequence = core.frames_of(frames)
        for k, flag in enumerate(flags):
            sequence = core.replaced(sequence, k, bad=flag)
        return fuse(sequence)

    sane, absurd, none = run(0.0), run(1e30), run(np.nan)
    assert same(sane, absurd)
    assert same(sane, none)


def test_what_is_saturated_in_every_frame_is_nan(scene):
    bright = sim.Blobs(np.concatenate([scene.sources, [[32.0, 32.0, 8e5, 0.9]]]))
    limit = 30000.0
    arrays = [np.minimum(a, limit) for a in core.exposures(bright, sim.shifts(6, seed=4), SIZE, seed=5)]
    out = fuse(core.frames_of(arrays, saturation=limit))
    assert np.isnan(core.values(out)[64, 64])
    assert np.asarray(out.image.mask)[64, 64]
    assert any("saturated in every frame" in note for note in out.notes)
    assert np.isfinite(core.values(out)[:40]).all()


def test_every_frame_of_something_else_is_a_refusal():
    random = np.random.default_rng(1)
    frames = [random.poisson(core.SKY, (SIZE, SIZE)).astype(np.float32) for _ in range(4)]
    with pytest.raises(SciSRError):
        fuse(core.frames_of(frames), strict=True)
