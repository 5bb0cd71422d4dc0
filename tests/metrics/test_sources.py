"""Stars with known places and fluxes: found, counted, measured; judged by photutils."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sep
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UnsupportedError
from sciSR.metrics import (
    aperture_sums,
    census,
    centroid_offsets,
    detect_sources,
    empirical_psf,
    match_points,
    psf_fluxes,
    star_flux_error,
)
from sciSR.metrics.photometry import flux_error, relative_error
from sciSR.metrics.sources import Sources

SIGMA = 1.5
rng = np.random.default_rng(7)


def gaussian_stars(points: np.ndarray, fluxes: np.ndarray, shape: tuple[int, int] = (200, 220)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for (row, column), flux in zip(points, fluxes, strict=True):
        square = (y - row) ** 2 + (x - column) ** 2
        image += flux / (2 * np.pi * SIGMA**2) * np.exp(-square / (2 * SIGMA**2))
    return image


grid = np.stack(np.meshgrid(np.arange(20, 190, 24), np.arange(20, 210, 24), indexing="ij"), -1).reshape(-1, 2)
points = grid + rng.uniform(-3, 3, grid.shape)
fluxes = 10 ** rng.uniform(3, 4.5, len(points))
stars = gaussian_stars(points, fluxes)
truth = stars + 50 + rng.normal(size=stars.shape)


def test_all_stars_are_found_where_they_are() -> None:
    found = detect_sources(truth)
    pairs = match_points(found.points, points, 1.0)
    assert len(found) == len(pairs) == len(points)
    assert np.abs(found.points[pairs[:, 0]] - points[pairs[:, 1]]).max() < 0.3
    assert found.fwhm == pytest.approx(2.3548 * SIGMA, rel=0.25)
    assert found.noise == pytest.approx(1.0, rel=0.15)
    assert np.median(found.background) == pytest.approx(50, abs=0.3)
    assert (np.diff(found.flux) <= 0).all()


def test_masked_and_nan_stars_are_not_found() -> None:
    holed, mask = truth.copy(), np.ones(truth.shape, bool)
    row, column = np.round(points[0]).astype(int)
    holed[row - 8 : row + 9, column - 8 : column + 9] = np.nan
    row, column = np.round(points[1]).astype(int)
    mask[row - 8 : row + 9, column - 8 : column + 9] = False
    found = detect_sources(holed, mask=mask)
    assert len(match_points(found.points, points[:2], 3)) == 0
    assert len(match_points(found.points, points[2:], 1)) == len(points) - 2


@settings(max_examples=8)
@given(lost=st.integers(0, 10), invented=st.integers(0, 10))
def test_census_counts_what_was_lost_and_invented(lost: int, invented: int) -> None:
    between = grid[:invented] + 12.0
    image = gaussian_stars(
        np.concatenate([points[lost:], between]), np.concatenate([fluxes[lost:], np.full(invented, 3000.0)])
    )
    known = detect_sources(truth)
    found = detect_sources(image + 50 + rng.normal(scale=0.5, size=image.shape), noise=known.noise)
    counts = census(known, found, 2.0)
    n = len(points)
    assert (counts.lost, counts.invented) == (lost, invented)
    assert counts.completeness == pytest.approx((n - lost) / n)
    assert counts.purity == pytest.approx((n - lost) / (n - lost + invented))
    assert sum(each.n_truth for each in counts.bins) == n


def test_a_catalogue_is_complete_and_pure_against_itself_in_each_bin() -> None:
    known = detect_sources(truth)
    counts = census(known, known, 1.5, bins=[0, 2000, 1e9])
    assert counts.completeness == counts.purity == 1
    assert [each.completeness for each in counts.bins] == [1, 1]
    assert counts.as_dict()["bins"][0]["magnitude"][0] == pytest.approx(-2.5 * math.log10(2000))


def test_a_known_catalogue_is_a_truth() -> None:
    catalogue = Sources.of_catalogue(points, fluxes)
    assert (np.diff(catalogue.flux) <= 0).all()
    counts = census(catalogue, detect_sources(truth), 1.0)
    assert counts.completeness == counts.purity == 1


@given(
    a=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=12),
    b=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=12),
    radius=st.floats(0.1, 20),
)
def test_matches_are_one_to_one_and_near(a: list, b: list, radius: float) -> None:
    first, second = np.array(a).reshape(-1, 2), np.array(b).reshape(-1, 2)
    pairs = match_points(first, second, radius)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    apart = np.linalg.norm(first[pairs[:, 0]] - second[pairs[:, 1]], axis=1)
    assert (apart <= radius + 1e-9).all()
    left_a = np.delete(first, pairs[:, 0], axis=0)
    left_b = np.delete(second, pairs[:, 1], axis=0)
    if len(left_a) and len(left_b):  # nobody is left who could still be matched
        assert np.linalg.norm(left_a[:, None] - left_b[None], axis=-1).min() > radius - 1e-9


def test_centroids_tell_a_shift() -> None:
    moved = gaussian_stars(points + np.array([0.2, -0.1]), fluxes)
    found = centroid_offsets(stars, moved, points, 2.3548 * SIGMA)
    assert found.n == len(points)
    assert found.bias == pytest.approx((0.2, -0.1), abs=2e-3)
    assert found.scatter < 2e-3
    assert centroid_offsets(stars, stars, points, 3.0).bias == (0, 0)


def test_centroids_near_bad_pixels_are_left_out() -> None:
    holed = stars.copy()
    row, column = np.round(points[0]).astype(int)
    holed[row + 2, column] = np.nan
    assert centroid_offsets(stars, holed, points, 3.5).n == len(points) - 1


def test_apertures_agree_with_photutils() -> None:
    from photutils.aperture import CircularAperture, aperture_photometry

    judge = aperture_photometry(truth, CircularAperture(points[:, ::-1], 4.2), method="exact")["aperture_sum"]
    np.testing.assert_allclose(aperture_sums(truth, points, 4.2), judge, rtol=1e-4)


def test_an_aperture_with_a_bad_pixel_says_nothing() -> None:
    holed, mask = truth.copy(), np.ones(truth.shape, bool)
    row, column = np.round(points[0]).astype(int)
    holed[row, column] = np.nan
    row, column = np.round(points[1]).astype(int)
    mask[row, column + 1] = False
    assert np.isnan(aperture_sums(holed, points, 4.0, mask)[:2]).all()
    bias, scatter = flux_error(truth, holed * 1.1, points, 4.0, 0.0, mask)
    assert bias == pytest.approx(10)
    assert scatter == pytest.approx(0, abs=1e-6)


def test_psf_fluxes_agree_with_photutils() -> None:
    from astropy.table import QTable
    from photutils.psf import GaussianPRF, PSFPhotometry

    y, x = np.mgrid[-12:13, -12:13]
    model = GaussianPRF(x_fwhm=2.3548 * SIGMA, y_fwhm=2.3548 * SIGMA)
    psf = model(x, y)
    flat = truth - 50
    model.x_0.fixed = model.y_0.fixed = True
    judge = PSFPhotometry(model, (13, 13), aperture_radius=5)(
        flat, init_params=QTable({"x": points[:, 1], "y": points[:, 0]})
    )
    measured = psf_fluxes(flat, points, psf / psf.sum(), radius=6)
    np.testing.assert_allclose(measured, judge["flux_fit"], rtol=0.01)


def test_psf_photometry_parts_a_close_pair() -> None:
    pair, flux = np.array([[100.0, 100.0], [101.0, 102.3]]), np.array([5000.0, 2000.0])
    image = gaussian_stars(pair, flux)
    y, x = np.mgrid[-10:11, -10:11]
    psf = np.exp(-(y**2 + x**2) / (2 * SIGMA**2))
    np.testing.assert_allclose(psf_fluxes(image, pair, psf / psf.sum()), flux, rtol=2e-3)
    outside = psf_fluxes(image, np.array([[-30.0, 5.0]]), psf / psf.sum())
    assert math.isnan(outside[0])


def test_the_empirical_psf_is_that_of_the_stars_and_its_fluxes_follow_the_image() -> None:
    found = detect_sources(truth)
    flat = truth - found.background
    psf = empirical_psf(flat, found.points, 9)
    y, x = np.mgrid[-9:10, -9:10]
    expected = np.exp(-(y**2 + x**2) / (2 * SIGMA**2))
    assert psf.sum() == pytest.approx(1)
    assert np.abs(psf - expected / expected.sum()).max() < 0.03 * psf.max()
    one, other = (psf_fluxes(each, found.points, psf) for each in (flat, 0.9 * flat))
    bias, scatter = relative_error(one, other)
    assert bias == pytest.approx(-10)
    assert scatter == pytest.approx(0, abs=1e-6)
    with pytest.raises(UnsupportedError, match="too few"):
        empirical_psf(flat, found.points[:2], 9)


@pytest.mark.parametrize("gain", [0.8, 1.0, 1.3])
def test_star_flux_error_of_a_gain_is_its_share_of_the_flux(gain: float) -> None:
    found = star_flux_error(truth, 50 + gain * (truth - 50))
    assert found.relative == pytest.approx(abs(gain - 1), abs=1e-6)
    twice = star_flux_error(2 * truth, 2 * (50 + gain * (truth - 50)))
    assert twice.absolute == pytest.approx(2 * found.absolute, abs=1e-6)
    assert twice.n == found.n >= len(points)


def test_star_flux_error_takes_a_smooth_error_for_background_unless_told() -> None:
    found = star_flux_error(truth, truth + 5)
    assert found.absolute < 1e-4 * found.above_truth
    assert found.above_truth > 100


def test_star_flux_error_agrees_with_photutils() -> None:
    from photutils.aperture import EllipticalAperture

    image = truth + rng.normal(size=truth.shape)
    flats = []
    for each in (truth, image):
        background = sep.Background(each)
        flats.append(each - background.back())
        if len(flats) == 1:
            found = sep.extract(flats[0], 1.5, err=background.rms())
    sums = np.array(
        [
            [
                EllipticalAperture(
                    (s["x"], s["y"]), 2.5 * s["a"], 2.5 * s["b"], theta=s["theta"]
                ).do_photometry(flat, method="exact")[0][0]
                for s in found
            ]
            for flat in flats
        ]
    )
    assert star_flux_error(truth, image).absolute == pytest.approx(np.abs(sums[1] - sums[0]).mean(), rel=0.02)


def test_a_field_without_stars_has_no_answer() -> None:
    flat = np.full((64, 64), 3.0)
    assert len(detect_sources(flat)) == 0
    assert math.isnan(star_flux_error(flat, flat).absolute)
    assert math.isnan(census(detect_sources(flat), detect_sources(flat), 2.0).completeness)
    assert centroid_offsets(flat, flat, np.zeros((0, 2)), 3.0).n == 0
