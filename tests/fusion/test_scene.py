"""The benchmark's simulation is as exact as what it judges, and its scores say what they claim."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from fusion_light import ALPHA, BETA, MARGIN, OVER, optics, star_light
from fusion_scene import READ_NOISE, SKY, Sky, dithers, make_sky, simulate, write_frames
from fusion_score import Truth, score
from scipy.fft import irfft2, rfft2

SIZE = 64
FINE = (OVER * (SIZE + 2 * MARGIN),) * 2


def sky_of(stars: list[tuple[float, float, float]]) -> Sky:
    catalogue = np.array(stars)
    return Sky(rfft2(star_light(catalogue, FINE)), (SIZE, SIZE), catalogue)


def turned(degrees: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def integral_of_star(centre: np.ndarray, electrons: float) -> np.ndarray:
    """A star's light in each pixel, by Gauss-Legendre quadrature of the Moffat profile."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    out = np.zeros((SIZE, SIZE))
    for a, wa in zip(nodes / 2, weights / 2, strict=True):
        for b, wb in zip(nodes / 2, weights / 2, strict=True):
            r2 = (y + a - centre[0]) ** 2 + (x + b - centre[1]) ** 2
            out += wa * wb * (1 + r2 / ALPHA**2) ** -BETA
    return out * electrons * (BETA - 1) / (np.pi * ALPHA**2)


@pytest.mark.parametrize("degrees", [0.0, 0.3, 17.0])
def test_a_pixel_holds_the_integral_of_the_light_over_its_turned_square(degrees: float) -> None:
    sky, matrix = sky_of([(30.27, 33.61, 1e5)]), turned(degrees, (5.3, -2.8))
    centre = matrix[:, :2] @ sky.stars[0, :2] + matrix[:, 2]
    expected = integral_of_star(centre, 1e5)
    # 1e-6 of the peak is 120 dB: far beyond the 57 dB to be measured.
    np.testing.assert_allclose(sky.pixels(matrix, (SIZE, SIZE)), expected, atol=1e-6 * expected.max())


def test_the_centroid_of_a_star_lies_where_the_transform_puts_it() -> None:
    sky, matrix = sky_of([(30.27, 33.61, 1e5)]), 4 * turned(0.3, (-1.7, 2.2))
    # Quarter pixels: at native ones the first moment of an undersampled star errs by itself, by 2e-3 px.
    image = sky.pixels(matrix, (4 * SIZE, 4 * SIZE))
    place = [(image * g).sum() / image.sum() for g in np.mgrid[: 4 * SIZE, : 4 * SIZE]]
    np.testing.assert_allclose(place, matrix[:, :2] @ sky.stars[0, :2] + matrix[:, 2], rtol=0, atol=1e-4)


def test_the_optics_of_extended_light_are_those_of_stars() -> None:
    point = np.zeros(FINE)
    point[FINE[0] // 2, FINE[1] // 2] = OVER**2 * 1e4
    spread = irfft2(rfft2(point) * optics(FINE), s=FINE)
    place = (FINE[0] // 2 + 0.5) / OVER - 0.5 - MARGIN
    star = star_light(np.array([[place, place, 1e4]]), FINE)
    np.testing.assert_allclose(spread, star, atol=1e-6 * star.max())


@pytest.mark.parametrize("scale", [2, 3])
def test_fine_pixels_of_the_truth_average_to_the_native_ones(scale: int) -> None:
    sky = make_sky(size=SIZE, seed=5)
    blocks = sky.truth(scale).reshape(SIZE, scale, SIZE, scale).mean(axis=(1, 3))
    native = sky.pixels(np.eye(2, 3), (SIZE, SIZE))
    np.testing.assert_allclose(blocks, native, atol=2e-6 * native.max())


def test_frames_have_the_noise_they_claim() -> None:
    simulation = simulate(size=SIZE, frames=4, seed=3, bad_pixels=False, rays=False)
    for frame, matrix in zip(simulation.frames, simulation.transforms, strict=True):
        expected = simulation.sky.pixels(matrix, (SIZE, SIZE)) + SKY
        pull = (frame - expected) / np.sqrt(expected + READ_NOISE**2)
        assert abs(pull.mean()) < 4 / SIZE
        assert abs(pull.std() - 1) < 4 / (SIZE * np.sqrt(2))


def test_everything_follows_from_the_seed() -> None:
    first, again, other = (simulate(size=SIZE, frames=2, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert (first.frames != other.frames).any()
    assert first.frames.dtype == np.uint16
    np.testing.assert_array_equal(first.transforms[0], np.eye(2, 3))


def test_hot_pixels_stay_and_dead_pixels_give_nothing() -> None:
    simulation = simulate(size=256, frames=3, seed=1)
    assert simulation.hot.sum() == pytest.approx(8e-4 * 256**2, rel=0.4)
    assert (simulation.frames[:, simulation.hot] > SKY + 400).all()
    assert (simulation.frames[:, simulation.dead] == 0).all()


def test_dithers_turn_about_the_middle_of_the_frame() -> None:
    moves = dithers(50, (SIZE, 2 * SIZE), np.random.default_rng(0))
    middle = np.array([SIZE - 1, 2 * SIZE - 1]) / 2
    shifts = moves[:, :, :2] @ middle + moves[:, :, 2] - middle
    assert np.abs(shifts).max() < 6
    assert np.abs(shifts).max() > 5
    assert np.degrees(np.abs(moves[:, 1, 0])).max() < 0.3


def test_world_coordinates_put_a_star_at_one_place_in_the_sky(tmp_path: Path) -> None:
    from astropy.io import fits
    from astropy.wcs import WCS

    simulation = simulate(size=SIZE, frames=4, seed=2, rays=False)
    point = np.array([20.0, 50.0])
    places = []
    for path, matrix in zip(write_frames(simulation, tmp_path, wcs=True), simulation.transforms, strict=True):
        header = fits.getheader(path)
        assert header["EXPTIME"] == 60
        row, column = matrix[:, :2] @ point + matrix[:, 2]
        places.append(WCS(header).wcs_pix2world([[column, row]], 0)[0])
    arcsec = 3600 * np.abs(np.array(places) - places[0])
    assert arcsec.max() < 1e-4


@pytest.fixture(scope="module")
def judged() -> tuple[Sky, Truth]:
    """Four bright stars on a faint nebula, 128 pixels a side."""
    sky = make_sky("extended", size=128, seed=4)
    stars = np.array([[40.3, 41.7, 2e4], [44.1, 88.2, 3e4], [83.6, 45.5, 5e4], [85.2, 84.9, 8e4]])
    spectrum = sky.spectrum + rfft2(star_light(stars, sky.fine))
    sky = Sky(spectrum, sky.native, stars)
    return sky, Truth.of(sky, 2, SKY + READ_NOISE**2, 16)


def test_the_truth_itself_is_perfect_whatever_its_sky_level(judged: tuple[Sky, Truth]) -> None:
    found = score(judged[1].image + 150.0, judged[1])
    assert found.psnr > 120
    assert found.ssim == pytest.approx(1, abs=1e-6)
    assert (found.bad, found.missing, found.stars) == (0, 0, 4)
    assert abs(found.bias) < 1e-3
    assert found.centroid < 1e-4
    assert found.size == pytest.approx(found.size_truth, abs=1e-3)


def test_a_wrong_gain_is_a_bias_of_fluxes(judged: tuple[Sky, Truth]) -> None:
    found = score(1.01 * judged[1].image, judged[1])
    # The median over the image, not that of blank sky, is subtracted: the nebula moves it a little.
    assert found.bias == pytest.approx(1, abs=0.02)
    assert found.scatter < 0.02


def test_a_shifted_grid_is_an_error_of_centroids_and_known_offsets_are_allowed_for(
    judged: tuple[Sky, Truth],
) -> None:
    sky, truth = judged
    moved = Truth.of(sky, 2, truth.variance, 16, offset=(0.5, -0.5))
    noise = np.random.default_rng(0).normal(0, 0.1, truth.image.shape)
    assert score(moved.image + noise, truth).centroid == pytest.approx(0.25, rel=0.15)
    assert score(moved.image + noise, moved).centroid < 1e-3


def test_noise_gives_the_psnr_and_the_coverage_it_must(judged: tuple[Sky, Truth]) -> None:
    truth, sigma = judged[1], 3.0
    noise = np.random.default_rng(0).normal(0, sigma, truth.image.shape)
    found = score(truth.image + noise, truth, np.full(truth.image.shape, sigma))
    inner = truth.image[28:-28, 28:-28].astype(float)
    peak = np.percentile(inner, 99.95) - np.median(inner)
    assert found.psnr == pytest.approx(20 * np.log10(peak / sigma), abs=0.1)
    assert found.within == pytest.approx(68.3, abs=1)
    assert found.specks < 1


def test_a_hot_pixel_left_in_is_counted(judged: tuple[Sky, Truth]) -> None:
    truth = judged[1]
    image = truth.image + np.random.default_rng(0).normal(0, 1, truth.image.shape)
    clean = score(image, truth)
    faint = truth.image[40:-40, 40:-40]
    row, column = np.array(np.unravel_index(faint.argmin(), faint.shape)) + 40
    image[row : row + 4, column] += 500
    found = score(image, truth)
    pixels = (256 - 56) ** 2
    assert found.bad - clean.bad == pytest.approx(4e4 / pixels)
    assert found.specks > clean.specks


def test_pixels_without_value_are_counted_and_do_not_spread(judged: tuple[Sky, Truth]) -> None:
    truth = judged[1]
    image = truth.image.copy()
    image[60:62, 120] = np.nan
    found = score(image, truth)
    assert found.missing == 2
    assert np.isfinite(found.psnr)
