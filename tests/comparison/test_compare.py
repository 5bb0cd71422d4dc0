"""Comparisons of images in memory: scores that are known, grids that are checked, masks that hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import sciSR
from sciSR.comparison import field as fields
from sciSR.comparison.render import number, render, render_halves
from sciSR.comparison.resample import resampled
from sciSR.comparison.self_check import self_resolution
from sciSR.errors import UnsupportedError, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.metrics import hfen, nrmse, psnr, ssim

rng = np.random.default_rng(3)
AXES = {"axes": ("x", "y", "z"), "spatial": ("x", "y"), "domain": "mr", "unit": None}


def sky(noise: float = 1.0, seed: int = 0, gain: float = 1.0) -> Image:
    draw = np.random.default_rng(5)
    scene = np.zeros((120, 130))
    places = np.stack(np.meshgrid(np.arange(12, 110, 18), np.arange(12, 120, 18), indexing="ij"), -1).reshape(
        -1, 2
    )
    scene[tuple(places.T)] = 10 ** draw.uniform(3.2, 4.5, len(places))
    stars = gaussian_filter(scene, 1.5) * gain
    return Image.from_array(
        stars + 20 + np.random.default_rng(seed).normal(scale=noise, size=stars.shape),
        domain="astronomy",
        unit="MJy/sr",
    )


def volume(values: np.ndarray, offset: float = 0.0, spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> Image:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = offset
    return Image(data=values, grid=AffineGrid(values.shape, affine), **AXES)


def body(shape: tuple[int, int, int] = (40, 36, 12), seed: int = 0) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(a**2 for a in axes[:2]) < 0.7
    texture = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return np.where(inside, 100 + 60 * texture, 1.0)


def test_an_identical_image_is_perfect_and_the_best() -> None:
    truth, other = sky(), sky(noise=4.0, seed=9)
    found = sciSR.compare(truth, truth, other)
    part = found.parts[0]
    perfect = {
        "psnr": math.inf,
        "ssim": 1,
        "nrmse": 0,
        "hfen": 0,
        "gradient_correlation": 1,
        "mean_bias": 0,
        "psnr_asinh": math.inf,
        "aperture_bias": 0,
        "aperture_scatter": 0,
        "psf_bias": 0,
        "centroid_bias": 0,
        "completeness": 100,
        "purity": 100,
        "star_flux_error": 0,
        "frc_1/7": 2,
        "frc_1/2": 2,
    }
    for key, value in perfect.items():
        assert found.score(key) == pytest.approx(value), key
    for measure in part.measures:
        assert part.best(measure)[0] == part.rows[0].name
    assert found.score("nrmse", image=1) > 0.01
    json.dumps(found.as_dict(), allow_nan=False)


def test_scores_are_those_of_the_metrics() -> None:
    truth, other = sky(), sky(noise=2.0, seed=1)
    a, b = np.asarray(truth), np.asarray(other)
    found = sciSR.compare(truth, other, data_range=500.0)
    assert found.score("psnr") == pytest.approx(psnr(a, b, 500.0))
    assert found.score("ssim") == pytest.approx(ssim(a, b, 500.0, whole=True))
    assert found.score("nrmse") == pytest.approx(nrmse(a, b))
    assert found.score("hfen") == pytest.approx(hfen(a, b))
    assert found.parts[0].settings["data_range"] == {"value": 500.0, "unit": "MJy/sr", "chosen": "given"}


def test_ssim_is_that_of_scikit_image_and_a_mask_is_as_good_as_a_crop() -> None:
    from skimage.metrics import structural_similarity

    truth, image, cut = sky(), sky(noise=4, seed=2), (slice(20, 90), slice(10, 100))
    mask = np.zeros(truth.shape)
    mask[cut] = 1
    arrays = [np.asarray(each.data)[cut] for each in (truth, image)]
    known = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 500}
    expected = structural_similarity(*arrays, **known)
    for chosen in ({"region": "20:90,10:100"}, {"mask": Image.from_array(mask)}):
        found = sciSR.compare(truth, image, data_range=500, **chosen)
        assert found.score("ssim") == pytest.approx(expected, rel=1e-9)


def test_a_gain_is_a_photometric_bias_by_both_methods() -> None:
    found = sciSR.compare(sky(), sky(seed=4, gain=0.9))
    assert found.score("aperture_bias") == pytest.approx(-10, abs=0.5)
    assert found.score("psf_bias") == pytest.approx(-10, abs=1)
    assert found.score("completeness") == 100
    assert found.parts[0].rows[0].details["star_flux_error"]["relative"] == pytest.approx(0.1, abs=0.02)


def test_the_data_range_is_chosen_and_said() -> None:
    told = sciSR.compare(sky(), sky(seed=1)).parts[0].settings["data_range"]
    low, high = np.quantile(np.asarray(sky()), [0.001, 0.999])
    assert told["value"] == pytest.approx(high - low)
    assert "0.1 %" in told["chosen"]


def test_a_mask_excludes_exactly() -> None:
    truth, other = sky(), sky(noise=2.0, seed=1)
    mask = np.zeros(truth.shape, np.uint8)
    mask[10:100, 20:110] = 1
    wild = rng.normal(size=truth.shape) * 1e5
    scrambled = other.replace(data=np.where(mask > 0, np.asarray(other), wild))
    found = sciSR.compare(truth, other, scrambled, mask=Image.from_array(mask))
    for measure in found.parts[0].measures:
        assert found.score(measure.key, 1) == pytest.approx(found.score(measure.key, 0), rel=1e-9), (
            measure.key
        )
    assert found.parts[0].settings["counted"]["pixels"] == mask.sum()


def test_a_bad_pixel_of_any_image_counts_in_none() -> None:
    truth, other = sky(), sky(noise=2.0, seed=1)
    holed = np.array(other)
    holed[5:9, 6] = np.nan
    found = sciSR.compare(truth, other, other.replace(data=holed))
    assert found.parts[0].settings["counted"]["pixels"] == holed.size - 4
    assert found.score("psnr", 0) == found.score("psnr", 1)
    flagged = other.replace(data=np.where(np.isfinite(holed), holed, 1e9), mask=~np.isfinite(holed))
    assert sciSR.compare(truth, flagged).score("psnr") == pytest.approx(found.score("psnr"))


def test_a_region_is_that_of_a_crop() -> None:
    truth, other = sky(), sky(noise=2.0, seed=1)
    cut = [each.replace(data=np.asarray(each)[10:90, :100], grid=None) for each in (truth, other)]
    one, two = sciSR.compare(truth, other, region="10:90,:100"), sciSR.compare(*cut)
    for measure in one.parts[0].measures:
        assert one.score(measure.key) == pytest.approx(two.score(measure.key), nan_ok=True), measure.key


@pytest.mark.parametrize("text", ["5", "a:b,c:d", "90:10,0:5", "0:5,500:600", "1:2,3:4,5:6,7:8"])
def test_regions_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="region"):
        sciSR.compare(sky(), sky(), region=text)


@settings(max_examples=5)
@given(seed=st.integers(0, 100))
def test_a_volume_plane_by_plane_has_the_scores_of_the_whole(seed: int) -> None:
    a = body(seed=seed)
    b = a + np.random.default_rng(seed + 1).normal(scale=5, size=a.shape)
    found = sciSR.compare(volume(a), volume(b), mask="all", data_range=100.0)
    assert found.score("psnr") == pytest.approx(psnr(a, b, 100.0))
    assert found.score("nrmse") == pytest.approx(nrmse(a, b))
    similar = [ssim(a[..., k], b[..., k], 100.0, whole=True) for k in range(a.shape[2])]
    score = found.parts[0].rows[0].scores["ssim"]
    assert score.value == pytest.approx(np.mean(similar))
    assert score.spread == pytest.approx(np.std(similar))


def test_mr_is_scored_in_its_foreground_with_shells_along_each_axis() -> None:
    a = body()
    background = np.where(a > 50, 0, np.random.default_rng(8).normal(scale=20, size=a.shape))
    found = sciSR.compare(volume(a), volume(a + background * 0.01 + 1))
    assert found.parts[0].settings["counted"]["what"] == "foreground"
    assert found.score("mean_bias") == pytest.approx(1, abs=0.05)
    keys = [measure.key for measure in found.parts[0].measures]
    assert {"frc_1/2_x", "frc_1/2_y", "frc_1/2_z"} <= set(keys)
    assert found.score("frc_1/2_z") == pytest.approx(4.0)  # two voxels of 2 mm
    assert found.score("frc_1/2_x") == pytest.approx(2.0)
    assert not any(key.startswith("aperture") for key in keys)


def test_a_plane_too_large_to_hold_is_summed_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, other = sky(), sky(noise=2.0, seed=1)
    whole = sciSR.compare(truth, other)
    monkeypatch.setattr(fields, "MOST_PIXELS", 64 * 64)
    banded = sciSR.compare(truth, other)
    for key in ("psnr", "nrmse", "mean_bias"):
        assert banded.score(key) == pytest.approx(whole.score(key))
    assert banded.parts[0].settings["counted"] == whole.parts[0].settings["counted"]
    assert banded.score("ssim") == pytest.approx(whole.score("ssim"), abs=0.02)


def test_a_shifted_grid_is_refused_with_its_offset() -> None:
    a = body()
    with pytest.raises(UsageError) as caught:
        sciSR.compare(volume(a), volume(a, offset=0.5))
    message = str(caught.value)
    assert "+0.5, +0.5, +0.25 pixels" in message
    assert "mm" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_a_cutout_on_whole_pixels_is_compared_where_it_lies() -> None:
    a = body()
    b = a + rng.normal(size=a.shape)
    part = volume(b[3:35, 2:30, 1:11])
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = 3, 2, 2
    part = part.replace(grid=AffineGrid(part.shape, affine))
    found = sciSR.compare(volume(a), part, mask="all", data_range=100.0)
    assert found.score("psnr") == pytest.approx(psnr(a[3:35, 2:30, 1:11], b[3:35, 2:30, 1:11], 100.0))
    assert "covers a part" in found.parts[0].rows[0].notes[0]
    affine[0, 3] = 3.3
    with pytest.raises(UsageError, match="pixels"):
        sciSR.compare(volume(a), part.replace(grid=AffineGrid(part.shape, affine)))


def test_a_grid_that_differs_by_rounding_is_the_same() -> None:
    a = body()
    assert sciSR.compare(volume(a), volume(a, offset=1e-5)).score("psnr") == math.inf


def test_worlds_that_point_to_opposite_sides_are_one_world() -> None:
    a = volume(body())
    other = a.replace(grid=a.grid.toward("LPS+"))
    assert sciSR.compare(a, other).score("psnr") == math.inf


def test_a_coarser_image_is_resampled_only_when_asked_and_said() -> None:
    a = body((40, 36, 12))
    coarse = a.reshape(20, 2, 18, 2, 12).mean((1, 3))
    image = volume(coarse).replace(grid=AffineGrid(coarse.shape, _coarse_affine()))
    with pytest.raises(UsageError, match=r"20x18x12 pixels.*of the same field"):
        sciSR.compare(volume(a), image)
    scores = {}
    for method in ("nearest", "linear", "cubic"):
        found = sciSR.compare(volume(a), image, resample=method)
        assert found.parts[0].rows[0].notes == (f"resampled to the truth's pixels ({method})",)
        assert method in render(found)
        scores[method] = found.score("psnr")
    nearest = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    assert scores["nearest"] == sciSR.compare(volume(a), volume(nearest)).score("psnr")
    assert len(set(scores.values())) == 3


def _coarse_affine() -> np.ndarray:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:2, 3] = 0.5
    return affine


def test_resampling_keeps_ramps_totals_and_holes() -> None:
    rows, columns = np.mgrid[:20, :24].astype(float)
    coarse = Image.from_array(3 * rows - columns)
    fine = Image.from_array(np.zeros((40, 48)))
    values = np.asarray(resampled(coarse, fine, "linear"))
    at = [(np.arange(n) + 0.5) / 2 - 0.5 for n in (40, 48)]
    np.testing.assert_allclose(values[1:-1, 1:-1], (3 * at[0][:, None] - at[1])[1:-1, 1:-1], atol=1e-9)
    total = np.asarray(resampled(coarse.replace(quantity="total"), fine, "nearest"))
    assert total.sum() == pytest.approx(np.asarray(coarse).sum())
    holed = np.array(coarse)
    holed[7, 9] = np.nan
    bad = np.isnan(np.asarray(resampled(coarse.replace(data=holed), fine, "nearest")))
    assert np.argwhere(bad).tolist() == [[14, 18], [14, 19], [15, 18], [15, 19]]


def test_a_common_change_of_unit_changes_no_score_but_the_units_own() -> None:
    truth, other = sky(), sky(noise=2.0, seed=1)
    one = sciSR.compare(truth, other)
    two = sciSR.compare(*(each.replace(data=np.asarray(each) * 1e-6) for each in (truth, other)))
    for measure in one.parts[0].measures:
        factor = 1e-6 if measure.unit == "MJy/sr" else 1
        expected = factor * one.score(measure.key)
        assert two.score(measure.key) == pytest.approx(expected, rel=2e-3, abs=1e-12), measure.key


def test_what_can_not_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        sciSR.compare(sky())
    with pytest.raises(UnsupportedError, match="labels"):
        sciSR.compare(sky(), sky().replace(kind="labels"))
    with pytest.raises(UnsupportedError, match="complex"):
        sciSR.compare(sky(), sky().replace(data=np.asarray(sky()).astype(complex)))
    with pytest.raises(UsageError, match="data range"):
        sciSR.compare(sky(), sky(), data_range=-1)
    with pytest.raises(UsageError, match="the mask has"):
        sciSR.compare(sky(), sky(), mask=Image.from_array(np.ones((8, 8))))
    plane = Image(data=np.ones((4, 5)), grid=AffineGrid((4, 5), np.eye(4)), **AXES | {"axes": ("x", "y")})
    with pytest.raises(UsageError, match=r"has 4x5 pixels, .* has 3x4x5"):
        sciSR.compare(volume(np.ones((3, 4, 5))), plane)
    with pytest.raises(UsageError, match="no pixel counts"):
        sciSR.compare(sky(), sky(), mask=Image.from_array(np.zeros((120, 130))))


def test_units_that_differ_are_said() -> None:
    found = sciSR.compare(sky(), sky(seed=1).replace(unit="Jy/pixel"))
    assert "its unit is Jy/pixel" in found.parts[0].rows[0].notes[0]


def test_halves_tell_the_resolution_of_a_blurred_scene() -> None:
    white = np.random.default_rng(0).normal(size=(128, 128))
    radius = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    scene = np.fft.ifft2(np.where(radius < 0.25, np.fft.fft2(white), 0)).real
    a, b = (Image.from_array(scene + rng.normal(scale=0.2, size=scene.shape)) for _ in range(2))
    found = sciSR.compare_halves(a, b)[0]
    assert found.period("1/7") == pytest.approx(4.0, rel=0.1)
    assert found.period("half-bit") == pytest.approx(4.0, rel=0.1)
    assert "pixels" in render_halves([found])
    json.dumps(found.as_dict(), allow_nan=False)
    assert sciSR.compare_halves(a, b, mask="all")[0].period("1/7") == found.period("1/7")
    with pytest.raises(UsageError, match="foreground"):
        sciSR.compare_halves(a, b, mask="foreground")
    noise = [Image.from_array(rng.normal(size=(128, 128))) for _ in range(2)]
    assert math.isnan(sciSR.compare_halves(*noise)[0].period("half-bit"))


def test_one_image_twice_is_no_pair_of_halves_and_that_is_said() -> None:
    assert "no halves" in "".join(sciSR.compare_halves(sky(), sky())[0].notes)
    assert sciSR.compare_halves(sky(), sky(seed=1))[0].notes == ()


def test_halves_of_a_volume_are_in_millimetres() -> None:
    signal = body((32, 32, 16))
    a, b = (
        volume(signal + rng.normal(scale=1.0, size=signal.shape), spacing=(0.5, 0.5, 1.0)) for _ in range(2)
    )
    found = sciSR.compare_halves(a, b)[0]
    assert found.resolved.length_unit == "mm"
    assert set(found.resolved.curves) == {"all", "x", "y", "z"}
    assert found.period("1/7", "z") >= 2.0


def test_the_table_marks_the_best_and_folds() -> None:
    found = sciSR.compare(sky(), sky(seed=1), sky(noise=3, seed=2))
    text = render(found, width=70)
    assert max(map(len, text.splitlines()[:20])) <= 72
    assert text.count("image #1") >= 2
    assert "*" in text
    markdown = render(found, markdown=True)
    assert "|---" in markdown
    assert number(math.inf, 2) == "inf"
    assert str(found) == render(found)


def test_the_self_check_tells_a_network_from_nearest_neighbours() -> None:
    image = sky(noise=0.2)
    cubic, nearest = (self_resolution(image, 2, model) for model in ("cubic", "nearest"))
    assert cubic.forward == "detector"
    assert cubic.method == "cubic"
    low = cubic.curve.frequencies < 0.2
    assert cubic.curve.correlation[low].mean() > nearest.curve.correlation[low].mean()
    assert cubic.as_dict()["length_unit"] == "pixel"
    with pytest.raises(UsageError, match="labels"):
        self_resolution(image.replace(kind="labels"))
