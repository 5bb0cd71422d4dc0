"""Local warps of a planetary clip, against the truth of a simulation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from sciSR.errors import SciSRError, UsageError
from sciSR.fusion.planetary import PlanetaryRegistration, register_planetary
from sciSR.fusion.planetary.simulate import Clip, simulate_clip
from sciSR.fusion.registration import Registration
from sciSR.fusion.transforms import frame_positions
from sciSR.image import Image
from sciSR.sequence import Frame, FrameSequence

GOOD = {"bits": 12, "full_well": 20000.0, "blur": 1.2, "oversampling": 3}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return simulate_clip(size=112, radius=42.0, frames=30, seed=4, **GOOD)


@pytest.fixture(scope="module")
def registration(clip: Clip) -> PlanetaryRegistration:
    return register_planetary(FrameSequence.from_arrays(clip.frames), keep=0.5)


@pytest.fixture(scope="module")
def still() -> Clip:
    """Nothing but jitter."""
    return simulate_clip(
        size=96, radius=34.0, frames=8, warp=0.0, blur_spread=0.0, jitter=5.0, seed=9, oversampling=2, bits=12,
        full_well=20000.0,
    )  # fmt: skip


def errors(clip: Clip, registration: Registration) -> tuple[np.ndarray, np.ndarray]:
    """Position errors (frames, points, 2) on the disc, and their mean over frames, which no clip can tell.

    The mean warp of the frames is not known to anybody: it is the reference's own.
    """
    truth = clip.truth(1)
    disc = truth > 0.2 * truth.max()
    scene = np.stack(np.nonzero(disc), axis=-1).astype(np.float64)
    offset = clip.shifts[registration.reference].copy()
    for _ in range(3):  # where the reference's origin lies in the scene
        off = np.array(
            [
                frame.transform(scene + offset) - scene - clip.shifts[k] - clip.warps[k][disc]
                for k, frame in enumerate(registration.frames)
                if frame is not None
            ]
        )
        offset -= off.mean(axis=(0, 1))
    return off - off.mean(axis=0), off.mean(axis=0)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_warps_are_recovered_to_a_tenth_of_a_pixel(clip: Clip, registration: PlanetaryRegistration) -> None:
    own, common = errors(clip, registration)
    assert rms(clip.warps) > 1.2
    assert rms(own) < 0.1
    # All 30 frames, kept or not, average the atmosphere out: 1.4 / sqrt(30) px are left.
    assert rms(common) < 0.35


def test_the_stated_error_is_the_real_one(clip: Clip, registration: PlanetaryRegistration) -> None:
    own, _ = errors(clip, registration)
    stated = np.mean([frame.error_px for frame in registration.frames if frame is not None])
    assert 0.5 < stated / (np.sqrt(2) * rms(own)) < 2


def test_the_best_frames_are_kept_and_the_others_are_named(
    clip: Clip, registration: PlanetaryRegistration
) -> None:
    kept = [k for k, frame in enumerate(registration.frames) if frame is not None]
    assert len(kept) == 15
    assert registration.reference in kept
    assert np.mean(clip.blurs[kept]) < np.mean(clip.blurs) - 0.1
    left = dict(registration.left_out)
    assert sorted([*kept, *left]) == list(range(30))
    assert all("not among the 15 kept" in reason for reason in left.values())
    assert registration.not_kept == tuple(sorted(left))
    assert registration.as_dict()["frames"][kept[0]]["model"] == "local"


def test_transforms_can_be_inverted_and_sampled_densely(registration: PlanetaryRegistration) -> None:
    frame = registration.frames[registration.reference]
    assert frame is not None
    points = np.random.default_rng(0).uniform(10, 100, (200, 2))
    np.testing.assert_allclose(frame.transform.inverse(frame.transform(points)), points, atol=1e-4)
    dense = frame_positions(frame.transform, slice(0, 112), 112, step=4)
    np.testing.assert_allclose(frame.transform(dense[20:90, 20:90]), _grid(112)[20:90, 20:90], atol=0.02)


def _grid(size: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1).astype(float)


def test_the_disc_keeps_its_brightness(clip: Clip, registration: PlanetaryRegistration) -> None:
    assert registration.picture is not None
    picture, truth = registration.picture - pedestal(clip), clip.truth(1)
    middle = (slice(36, 76),) * 2
    assert picture[middle].mean() == pytest.approx(truth[middle].mean(), rel=0.01)
    # The mean warp of 30 frames still stretches the disc a little, here and there.
    assert picture.sum(dtype=float) == pytest.approx(truth.sum(dtype=float), rel=0.03)


def test_the_disc_keeps_its_flux_where_nothing_stretches_it(still: Clip) -> None:
    registration = register_planetary(FrameSequence.from_arrays(still.frames), reference=0)
    assert registration.picture is not None
    fused = np.sum(registration.picture - pedestal(still), dtype=float)
    assert fused == pytest.approx(np.sum(still.truth(1), dtype=float), rel=0.002)


def pedestal(clip: Clip) -> float:
    return clip.settings.pedestal * (2**clip.settings.bits - 1)


def test_the_picture_is_better_than_frames_shifted_as_a_whole(
    clip: Clip, registration: PlanetaryRegistration
) -> None:
    kept = [k for k, frame in enumerate(registration.frames) if frame is not None]
    home = clip.shifts[registration.reference]
    grid = np.moveaxis(_grid(112), -1, 0)
    whole = np.mean(
        [
            map_coordinates(
                clip.frames[k].astype(float), grid + (clip.shifts[k] - home)[:, None, None], order=3
            )
            for k in kept
        ],
        axis=0,
    )
    truth = map_coordinates(clip.truth(1), grid - home[:, None, None], order=3)
    inside = (slice(15, -15),) * 2
    assert registration.picture is not None
    ours, theirs = (_misfit(p[inside] - pedestal(clip), truth[inside]) for p in (registration.picture, whole))
    assert ours < 0.8 * theirs


def _misfit(picture: np.ndarray, truth: np.ndarray) -> float:
    """Rms difference after the best shift, which neither can know."""
    gradient = np.stack([np.gradient(truth, axis=k).ravel() for k in (0, 1)], axis=-1)
    left = (picture - truth).ravel()
    return rms(left - gradient @ np.linalg.lstsq(gradient, left, rcond=None)[0])


def test_without_structure_the_warp_is_none_rather_than_noise() -> None:
    y, x = np.mgrid[:96, :96] - 47.5
    disc = gaussian_filter(1000.0 * (np.hypot(y, x) < 36), 1.2)
    rng = np.random.default_rng(8)
    frames = [rng.poisson(disc) + rng.normal(20, 5, disc.shape) for _ in range(12)]
    registration = register_planetary(FrameSequence.from_arrays(frames))
    inside = np.stack(np.nonzero(np.hypot(y, x) < 20), axis=-1).astype(float)
    for frame in registration.frames:
        assert frame is not None
        assert np.abs(frame.transform(inside) - inside).max() < 0.15


def test_frames_that_only_moved_get_their_shift(still: Clip) -> None:
    registration = register_planetary(FrameSequence.from_arrays(still.frames))
    own, common = errors(still, registration)
    assert rms(own) < 0.05
    assert rms(common) < 0.05


@settings(max_examples=4)
@given(scale=st.sampled_from([1e-6, 1e-3, 37.0, 1e5]), pedestal=st.floats(-50, 500))
def test_unit_and_pedestal_do_not_change_the_transforms(still: Clip, scale: float, pedestal: float) -> None:
    frames = still.frames[:4].astype(np.float64)
    one = register_planetary(FrameSequence.from_arrays(frames), reference=0)
    two = register_planetary(FrameSequence.from_arrays((frames + pedestal) * scale), reference=0)
    points = _grid(96)[25:70:5, 25:70:5]
    for a, b in zip(one.frames, two.frames, strict=True):
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(a.transform(points), b.transform(points), atol=0.01)


def test_bad_pixels_and_static_hot_pixels_do_not_pull(still: Clip) -> None:
    frames = still.frames.astype(np.float64)
    rng = np.random.default_rng(1)
    frames[:, rng.random(frames.shape[1:]) < 0.002] += 3000
    frames[:, rng.random(frames.shape[1:]) < 0.005] = np.nan
    frames[:, 40] = np.nan
    registration = register_planetary(FrameSequence.from_arrays(frames))
    own, common = errors(still, registration)
    assert rms(own) < 0.1
    assert rms(common) < 0.1


def test_frames_that_show_something_else_are_named_and_left_out(still: Clip) -> None:
    rng = np.random.default_rng(2)
    other = simulate_clip(size=96, radius=34.0, frames=1, seed=77, oversampling=1, bits=12, full_well=20000.0)
    frames = [*still.frames, rng.normal(80, 5, (96, 96)), other.frames[0].T]
    registration = register_planetary(FrameSequence.from_arrays(frames), reference=0)
    assert registration.frames[8] is None
    assert registration.frames[9] is None
    reasons = dict(registration.left_out)
    assert "sharpness 0.000" in reasons[8] or "does not look like" in reasons[8]
    assert "match" in reasons[9] or "look like" in reasons[9]
    assert all(frame is not None for frame in registration.frames[:8])
    assert registration.not_kept == ()


def test_where_a_frame_is_blurred_it_counts_less(still: Clip) -> None:
    frames = still.frames.astype(np.float64)
    soft = gaussian_filter(frames[3], 1.5)
    frames[3][:, :48] = soft[:, :48]
    registration = register_planetary(FrameSequence.from_arrays(frames))
    multiplier = registration.variance_multiplier(3)
    assert multiplier.shape == (96, 96)
    assert multiplier[48, 25] > 1.5 * multiplier[48, 75]
    others = np.mean([registration.variance_multiplier(k)[48, 25] for k in (0, 1, 2, 4, 5, 6, 7)])
    assert multiplier[48, 25] > 2 * others


class Film:
    """Frames made when read; counts how often."""

    def __init__(self, clip: Clip, index: int, reads: list[int]) -> None:
        self.clip, self.index, self.reads = clip, index, reads
        self.shape, self.dtype = clip.frames.shape[1:], clip.frames.dtype

    def __getitem__(self, index: object) -> np.ndarray:
        self.reads.append(self.index)
        return self.clip.frames[self.index % len(self.clip.frames)][index].copy()


def _peak(clip: Clip, count: int) -> tuple[int, int]:
    reads: list[int] = []
    frames = [
        Frame(Image(Film(clip, k, reads), ("y", "x"), ("y", "x")), name=f"frame {k}") for k in range(count)
    ]
    tracemalloc.start()
    register_planetary(FrameSequence(tuple(frames)), reference=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, max(reads.count(k) for k in range(count))


def test_memory_does_not_grow_with_the_number_of_frames(still: Clip) -> None:
    few, _ = _peak(still, 6)
    many, reads = _peak(still, 30)
    # 24 more frames are 221 kB each as float32 pixels and its mask; their coefficients are a few kB.
    assert many - few < 12 * 96 * 96 * 4
    assert reads <= 7


def test_a_request_that_makes_no_sense_is_refused(still: Clip) -> None:
    sequence = FrameSequence.from_arrays(still.frames)
    with pytest.raises(UsageError, match="no frames"):
        register_planetary(FrameSequence(()))
    with pytest.raises(UsageError, match="one shape"):
        register_planetary(FrameSequence.from_arrays([np.zeros((40, 40)), np.zeros((40, 41))]))
    with pytest.raises(UsageError, match="reference"):
        register_planetary(sequence, reference=99)
    with pytest.raises(UsageError, match="keep-best"):
        register_planetary(sequence, keep="none")


@pytest.mark.parametrize(
    "arrays",
    [np.zeros((3, 40, 40)), np.full((3, 40, 40), np.nan), np.random.default_rng(0).normal(0, 1, (3, 64, 64))],
)
def test_frames_without_an_object_are_refused_with_a_remedy(arrays: np.ndarray) -> None:
    with pytest.raises(SciSRError, match="no planet"):
        register_planetary(FrameSequence.from_arrays(arrays))


def test_local_warps_are_followed_between_the_nodes_by_default(registration: PlanetaryRegistration) -> None:
    frame = registration.frames[registration.reference]
    assert frame is not None
    grid = _grid(112)
    dense = frame_positions(frame.transform, slice(0, 112), 112)
    np.testing.assert_allclose(dense, frame.transform.inverse(grid), atol=0.005)


def test_a_surface_that_fills_the_frame_is_aligned_too() -> None:
    clip = simulate_clip(size=96, radius=1000.0, frames=10, seed=6, **(GOOD | {"oversampling": 2}))
    registration = register_planetary(FrameSequence.from_arrays(clip.frames))
    middle = _grid(96)[20:76, 20:76]
    offset = clip.shifts[registration.reference].copy()
    for _ in range(3):
        off = np.array(
            [
                frame.transform(middle + offset) - middle - clip.shifts[k] - clip.warps[k][20:76, 20:76]
                for k, frame in enumerate(registration.frames)
                if frame is not None
            ]
        )
        offset -= off.mean(axis=(0, 1, 2))
    assert len(off) == 10
    assert rms(off - off.mean(axis=0)) < 0.1
