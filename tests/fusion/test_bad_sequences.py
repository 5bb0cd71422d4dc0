"""Sequences that are no sequence: what is refused, and how."""

from __future__ import annotations

import numpy as np
import pytest
from matching_scene import Scene

import sciSR
from sciSR.errors import UnsupportedError, UsageError
from sciSR.fusion.registration import register
from sciSR.sequence import FrameSequence

SHIFTS = [(0.0, 0.0), (0.5, -1.5), (1.5, 0.5), (-1.0, 1.0)]


def frames(seeds: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [
        Scene(size=64, number=25, faintest=3.5, seed=seed).observe(random, shift)
        for seed, shift in zip(seeds, SHIFTS, strict=False)
    ]


def test_frames_without_anything_in_common_are_refused_and_not_passed_off_as_one() -> None:
    sequence = FrameSequence.from_arrays(frames([0, 1, 2, 3]))
    with pytest.raises(UnsupportedError, match="none of the other 3 frames can be registered"):
        sciSR.fuse(sequence, 2)


def test_two_frames_without_anything_in_common_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="the other frame, frame 1, can't be registered to it"):
        sciSR.fuse(FrameSequence.from_arrays(frames([0, 1])), 2, reference=0)


def test_frames_without_a_good_pixel_are_refused_as_input_not_as_usage() -> None:
    with pytest.raises(UnsupportedError, match="no frame has usable pixels") as caught:
        sciSR.fuse(FrameSequence.from_arrays([np.full((64, 64), np.nan)] * 3), 2)
    assert caught.value.exit_code == 3


def test_another_reference_is_only_taken_where_more_frames_fit_to_it() -> None:
    found = register(FrameSequence.from_arrays(frames([0, 1, 2, 3])))
    assert found.reference == 0
    assert not any("most frames" in note for note in found.notes)


def test_scale_one_averages_on_the_frames_own_pixels() -> None:
    sequence = FrameSequence.from_arrays(frames([0, 0, 0, 0]))
    fused = sciSR.fuse(sequence, 1, "mean", reference=0)
    assert fused.image.shape == (64, 64)
    single = np.asarray(sequence[0].image.data)
    truth = Scene(size=64, number=25, faintest=3.5).clean() + 150.0
    inner = np.s_[4:-4, 4:-4]
    quiet = truth[inner] < np.median(truth) + 20
    far = [np.std((np.asarray(a)[inner] - truth[inner])[quiet]) for a in (fused.image.data, single)]
    assert far[0] < 0.75 * far[1]


def test_frames_of_a_few_pixels_are_refused_in_words() -> None:
    random = np.random.default_rng(2)
    with pytest.raises(UnsupportedError, match="can be registered"):
        sciSR.fuse(FrameSequence.from_arrays([random.normal(size=(8, 8)) for _ in range(3)]), 2)


@pytest.mark.parametrize("wrong", [None, [np.ones((8, 8))], "frames/*.fits"])
def test_what_is_no_sequence_is_refused_with_the_way_to_make_one(wrong: object) -> None:
    with pytest.raises(UsageError, match="read_sequence"):
        sciSR.fuse(wrong, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("reference", [None, 1.5, -1])
def test_a_reference_is_a_whole_number_or_a_name(reference: object) -> None:
    with pytest.raises(UsageError, match="there is no frame"):
        sciSR.fuse(FrameSequence.from_arrays(frames([0, 0])), 2, reference=reference)  # type: ignore[arg-type]


def test_a_psf_without_deconvolution_is_refused_as_on_the_command_line() -> None:
    with pytest.raises(UsageError, match="deconvolve"):
        sciSR.fuse(FrameSequence.from_arrays(frames([0, 0])), 2, psf=np.ones((5, 5)))
