"""A real sequence, fused without options, agrees with its own frames and leaves no pattern of its own."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from fusion_sequences import fuse_both, measure
from sequence_stars import Plane, fine_matrix, fluxes, positions

import sciSR
from sciSR.sequence import FrameSequence

pytestmark = pytest.mark.realdata

FIELD = slice(330, 470), slice(90, 250)
"""Of frames of 500 x 650 pixels: some forty stars, none saturated beyond the middle of one."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Any, ...]]:
    """Six frames of one minute from a small unguided telescope: no WCS, seeing that differs, six pixels of drift."""
    shared = Path(__file__).parents[3] / "shared" / "data"
    paths = sorted((shared / "astro" / "sequence" / "exotic_hatp32").glob("*.FITS"))
    frames = [f.read().values[FIELD] for f in sciSR.read_sequence(paths)]
    sequence = FrameSequence.from_arrays(frames, exposure=60.0, saturation=4095.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield fuse_both(sequence, 2)


@pytest.fixture(scope="module")
def found(pair: tuple[Any, ...]) -> Any:
    return measure("a corner of exotic_hatp32", *pair)


def test_every_frame_of_a_real_night_is_used(found: Any) -> None:
    assert found.used == found.frames == 6


def test_stars_keep_their_fluxes_within_the_errors_of_the_frames(found: Any) -> None:
    assert found.stars >= 10
    assert abs(found.flux_ratio) < 0.02
    assert abs(found.flux_pull) < 1
    assert found.flux_z < 1.3
    assert found.flux_beyond <= 0.15


def test_stars_stay_where_the_frames_have_them(found: Any) -> None:
    assert abs(found.offset_px) < max(0.02, 2 * found.frames_px)
    assert found.scatter_px < max(0.05, 3 * found.frames_px)


def test_stars_become_no_wider_than_drizzle_makes_them(found: Any) -> None:
    assert found.width["map"] < 1.02 * found.width["drizzle"]


def test_empty_sky_is_no_noisier_than_so_many_frames_allow(found: Any) -> None:
    assert found.noise["map"] < 1.1


def test_bright_stars_have_no_dark_ring(found: Any) -> None:
    assert found.ring > -1.0  # per cent of their peaks


def test_there_is_no_pattern_of_the_fine_grid_beside_the_stars(pair: tuple[Any, ...]) -> None:
    """Frames that differ in sharpness must not end in stripes a fine pixel wide: nothing is darker than the sky."""
    fused, drizzled = (np.asarray(p.image.data) for p in pair[:2])
    inside = slice(20, -40), slice(20, -20)
    sky = np.nanmedian(drizzled)
    noise = 1.4826 * np.nanmedian(np.abs(drizzled - sky))
    assert np.nanmean(fused[inside] < sky - 5 * noise) < 1e-3


def test_halves_of_the_frames_share_finer_detail_than_two_frames(found: Any) -> None:
    assert found.resolution["map"] <= 1.02 * found.resolution["frame"]


def test_the_judge_finds_the_flux_and_place_of_a_star_it_was_given() -> None:
    """The measurements themselves, on a star of known flux and position seen by a native and by a fine image."""
    rng = np.random.default_rng(5)
    place, flux, sigma = np.array([[31.3, 28.6]]), 4000.0, 1.1
    for factor, matrix in ((1, np.array([[1, 0, 0.4], [0, 1, -0.7]])), (2, fine_matrix(2))):
        centre = place @ matrix[:, :2].T + matrix[:, 2]
        y, x = np.mgrid[: 64 * factor, : 64 * factor]
        r2 = (y - centre[0, 0]) ** 2 + (x - centre[0, 1]) ** 2
        star = flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * r2 / (sigma * factor) ** 2)
        image = (100 + star + rng.normal(0, 0.5, star.shape)).astype(np.float32)
        plane = Plane(image, np.zeros(image.shape, bool), matrix.astype(float), factor, 1.0, 0.5)
        light, error = fluxes(plane, place, 5.0)
        assert light[0] == pytest.approx(flux, abs=4 * error[0])
        assert positions(plane, place, 2.5)[0] == pytest.approx(place[0], abs=0.01)
