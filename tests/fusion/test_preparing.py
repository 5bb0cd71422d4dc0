"""What is decided before and between the solutions: places, levels, outliers shared by many, and who is left out."""

from __future__ import annotations

from fractions import Fraction

import core_frames as core
import numpy as np
import pytest
import solver_frames as sim
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UnreadableError, UsageError
from sciSR.fusion.consensus import Consensus
from sciSR.fusion.diversity import nothing_to_gain
from sciSR.fusion.fuse import Settings
from sciSR.fusion.placing import place
from sciSR.fusion.prepared import Target
from sciSR.fusion.preparing import fwhm_of, prepare
from sciSR.fusion.registration import register
from sciSR.fusion.transforms import Affine

torch.set_num_threads(1)

SIZE = 64
shift = st.floats(-8, 8)


@pytest.fixture(scope="module")
def frames():
    scene = sim.sky(SIZE, seed=3)
    return core.frames_of(core.exposures(scene, sim.shifts(5, seed=4), SIZE, seed=5))


@pytest.fixture(scope="module")
def registration(frames):
    return register(frames, reference=2)


def test_one_entry_a_frame_in_their_order_and_the_reference_known(frames, registration):
    prepared = prepare(frames, registration, sim.target(SIZE))
    with prepared.store:
        assert [e.index for e in prepared.store.entries] == [0, 1, 2, 3, 4]
        assert prepared.reference.index == 2
        assert prepared.background.level == pytest.approx(core.SKY, abs=25)
        assert not prepared.left_out


def test_the_first_pass_brings_all_frames_to_one_level(frames, registration):
    prepared = prepare(frames, registration, sim.target(SIZE))
    with prepared.store:
        prepared.first_pass()
        for entry in prepared.store.entries:
            assert entry.match.gain == pytest.approx(1, abs=0.02)
            assert entry.rejected < 0.01 * SIZE**2
        assert prepared.reference.match.gain == 1


@pytest.mark.parametrize("reads", [0, 1])
def test_a_frame_that_breaks_is_left_out_and_named(frames, registration, reads):
    prepared = prepare(core.breaking(frames, 0, reads), registration, sim.target(SIZE))
    with prepared.store:
        assert [k for k, _ in prepared.left_out] == [0]
        assert [e.index for e in prepared.store.entries] == [1, 2, 3, 4]


def test_without_the_reference_there_is_nothing(frames, registration):
    with pytest.raises(UnreadableError):
        prepare(core.breaking(frames, 2, 0), registration, sim.target(SIZE))


def test_the_width_of_the_stars_is_that_of_the_frames(registration):
    assert fwhm_of(registration.frames) == pytest.approx(2.3548 * np.hypot(0.55, 12**-0.5), rel=0.25)
    assert fwhm_of([None]) is None


def settings(**changes) -> Settings:
    return Settings((Fraction(2), Fraction(2)), "map", **changes)


def test_a_reference_may_be_named_or_numbered(frames):
    for wish in (3, "frame 3"):
        assert place(frames, settings(reference=wish), lambda f: None).registration.reference == 3
    for wrong in (5, -1, "nothing"):
        with pytest.raises(UsageError):
            place(frames, settings(reference=wrong), lambda f: None)


def test_the_sharpest_frames_are_kept_and_the_reference_always(frames):
    soft = sim.sky(SIZE, seed=3)
    soft.sources[:30, 3] = 0.9
    images = core.exposures(soft, sim.shifts(5, seed=4)[1:3], SIZE, seed=8)
    mixed = core.frames_of([f.image.data for f in frames] + images)
    placed = place(mixed, settings(reference=0, keep_best=0.5), lambda f: None)
    kept = {k for k, f in enumerate(placed.registration.frames) if f is not None}
    assert 0 in kept
    assert not kept & {5, 6}
    assert placed.dropped == set(range(7)) - kept
    assert placed.quality(5) < placed.quality(0)


# -- outliers that many frames share


def test_outliers_shared_by_many_frames_are_taken_back_and_cosmic_rays_are_not():
    random = np.random.default_rng(1)
    moves = random.uniform(-5, 5, (10, 2))
    core_at, consensus, masks = np.array([30.0, 40.0]), Consensus((SIZE, SIZE)), []
    for move in moves:
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        mask[tuple(np.rint(core_at + move).astype(int))] = True  # a star's core moves with the sky
        mask[tuple(random.integers(0, 20, 2))] = True  # a cosmic ray falls anywhere
        masks.append(mask)
        consensus.add(Affine.shift(*move), mask)
    for move, mask in zip(moves, masks, strict=True):
        doubtful = consensus.doubtful(Affine.shift(*move), mask)
        assert doubtful.sum() == 1
        assert doubtful[tuple(np.rint(core_at + move).astype(int))]


def test_a_defect_of_the_detector_is_not_taken_back_where_the_frames_are_dithered():
    moves = [(6.0 * k, -5.0 * k) for k in range(8)]
    consensus, hot = Consensus((SIZE, SIZE)), np.zeros((SIZE, SIZE), dtype=bool)
    hot[32, 20] = True
    for move in moves:
        consensus.add(Affine.shift(*move), hot)
    assert not any(consensus.doubtful(Affine.shift(*m), hot).any() for m in moves)


@given(number=st.integers(1, 30), hit=st.integers(0, 30))
def test_three_frames_and_three_tenths_of_all_make_a_consensus(number, hit):
    hit = min(hit, number)
    mask = np.zeros((16, 16), dtype=bool)
    mask[5, 7] = True
    consensus = Consensus((16, 16))
    for k in range(number):
        consensus.add(Affine.identity(), mask if k < hit else np.zeros_like(mask))
    found = consensus.doubtful(Affine.identity(), mask).any()
    assert found == (hit >= max(3, round(0.3 * number)))


def test_outliers_beyond_the_reference_s_field_are_kept():
    mask = np.ones((16, 16), dtype=bool)
    consensus = Consensus((16, 16))
    for _ in range(5):
        consensus.add(Affine.shift(10, 0), mask)
    doubtful = consensus.doubtful(Affine.shift(10, 0), mask)
    assert doubtful[10:].all()
    assert not doubtful[:10].any()
    assert not consensus.doubtful(Affine.shift(99, 99), mask).any()


# -- whether there is anything to gain


@given(rows=st.lists(st.integers(-9, 9), min_size=2, max_size=6), error=st.floats(-0.015, 0.015))
def test_whole_shifts_gain_nothing(rows, error):
    moves = [Affine.identity(), *(Affine.shift(r + error, -r) for r in rows)]
    assert "same places" in nothing_to_gain(moves, sim.target(SIZE))


@given(dy=shift, dx=shift)
def test_fractional_shifts_gain_something(dy, dx):
    apart = max(abs(dy - round(dy)), abs(dx - round(dx)))
    reason = nothing_to_gain([Affine.identity(), Affine.shift(dy, dx)], sim.target(SIZE))
    assert (not reason) == (apart >= 0.04)


def test_a_turn_gains_something_and_one_frame_nothing():
    turned = Affine.about((32, 32), np.radians(0.3))
    assert nothing_to_gain([Affine.identity(), turned], sim.target(SIZE)) == ""
    assert nothing_to_gain([Affine.identity()], sim.target(SIZE)) == "only one frame"
    native = Target((SIZE, SIZE), (Fraction(1), Fraction(1)))
    assert nothing_to_gain([Affine.identity(), Affine.identity()], native) == ""


def test_what_one_frame_alone_shows_over_a_neighbourhood_is_an_outlier_and_no_misfit():
    from sciSR.fusion.consensus import Consensus
    from sciSR.fusion.transforms import Affine

    alone, both = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    alone[10:16, 20:30] = True  # a broad track, in one frame
    both[40:50, 40:50] = True  # a difference in colour, in both
    shared = Consensus((64, 64), share=0.0, least=2)
    masks, places = [alone | both, both], [Affine.identity(), Affine.shift(1.4, -2.3)]
    for mask, where in zip(masks, places, strict=True):
        shared.add(where, np.roll(mask, np.rint(where.offset).astype(int), axis=(0, 1)))
    kept = shared.doubtful(places[0], masks[0])
    assert not kept[alone].any()
    assert kept[both].mean() > 0.9
