"""Features say the same whatever the unit, find what was done to an image, and are silent where nothing can be said."""

from __future__ import annotations

import io
import math

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciSR.training.scenes import simulate
from sciSR.trust.features import NAMES, edge_width, grid_of_8, measure, source_width

FIXED = {"sky": 100, "read_noise": 5, "frames": 1, "fwhm": 2.0, "stars": 200, "galaxies": 5, "nebula": 0,
         "faint": 20, "bright": 1e4}  # fmt: skip


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return simulate(9_400_001, size=160, fixed=dict(FIXED)).observed


@pytest.mark.parametrize("domain", ["astronomy", "mr"])
@settings(max_examples=15, deadline=None)
@given(
    gain=st.floats(-6, 6).map(lambda e: 10.0**e),
    level=st.floats(-30, 30),
    turn=st.integers(0, 3),
    flip=st.booleans(),
)
def test_unit_pedestal_and_orientation_do_not_matter(
    field: np.ndarray, domain: str, gain: float, level: float, turn: int, flip: bool
) -> None:
    plain = measure(field, domain)
    turned = np.rot90(field[::-1] if flip else field, turn)
    other = measure(gain * turned + gain * level * float(np.ptp(field)), domain)
    for each in (plain, other):  # a mirror changes the sense of turning
        each["turned_grid"] = abs(each["turned_grid"])
    for name in NAMES:
        assert other[name] == pytest.approx(plain[name], rel=1e-5, abs=1e-5, nan_ok=True), name


@settings(max_examples=12, deadline=None)
@given(down=st.integers(0, 7), across=st.integers(0, 7), quality=st.integers(20, 75))
def test_jpeg_is_seen_wherever_its_grid_begins(
    field: np.ndarray, down: int, across: int, quality: int
) -> None:
    low, high = field.min(), np.quantile(field, 0.999)
    bits = np.clip((field - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(bits).save(stream, "JPEG", quality=quality)
    image = np.asarray(PIL.Image.open(stream)).astype(float)[down:, across:]
    assert grid_of_8(field[down:, across:]) < 6 < grid_of_8(image)


@settings(max_examples=12, deadline=None)
@given(fwhm=st.floats(1.5, 5.0), seed=st.integers(0, 1000))
def test_width_of_sources_is_that_of_their_profile(fwhm: float, seed: int) -> None:
    g = np.random.default_rng(seed)
    image, (y, x) = np.zeros((256, 256)), np.mgrid[:256, :256]
    for row in range(20, 240, 36):
        for column in range(20, 240, 36):
            dy, dx = row + g.uniform(-0.5, 0.5), column + g.uniform(-0.5, 0.5)
            image += np.exp(-4 * math.log(2) * ((y - dy) ** 2 + (x - dx) ** 2) / fwhm**2)
    noisy = image + 1e-3 * g.standard_normal(image.shape)
    assert source_width(noisy, 1e-3) == pytest.approx(fwhm, rel=0.06)


def test_blurred_edges_are_wider() -> None:
    y, x = np.mgrid[:128, :128]
    disc = (np.hypot(y - 63, x - 66) < 40).astype(float)
    widths = [edge_width(ndimage.gaussian_filter(disc, blur)) for blur in (0.5, 1.0, 1.7)]
    assert widths == sorted(widths)
    assert widths[0] == pytest.approx(1.25, rel=0.15)  # sqrt(2 pi) times the blur
    assert widths[1] == pytest.approx(2.5, rel=0.1)


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_interpolation_leaves_no_noise_near_nyquist(field: np.ndarray, factor: float) -> None:
    found = measure(
        ndimage.zoom(field, factor, order=3, mode="reflect", grid_mode=True)[:256, :256], "astronomy"
    )
    plain = measure(field, "astronomy")
    assert found["fine_noise"] < plain["fine_noise"] - 12
    assert found["noise_band"] == pytest.approx(1 / factor, rel=0.25)


@pytest.mark.parametrize("angle", [5, 10, 20])
def test_turned_grids_are_told_from_the_pixels_own(angle: float) -> None:
    frame = simulate(9_400_001, size=256, fixed=dict(FIXED)).observed
    drops = np.kron(frame, np.ones((2, 2)))  # each pixel falls on a turned grid of half its size
    turned = ndimage.rotate(drops, angle, reshape=False, order=1, mode="reflect")[96:416, 96:416]
    assert abs(measure(frame, "astronomy")["turned_grid"]) < 4
    assert measure(turned, "astronomy")["turned_grid"] < -4
    assert measure(turned[::-1], "astronomy")["turned_grid"] > 4


def test_quantisation_is_the_step_over_the_noise() -> None:
    noise = 10 * np.random.default_rng(3).standard_normal((200, 200))
    assert measure(np.rint(noise / 25) * 25, "astronomy")["quantisation"] == pytest.approx(2.5, rel=0.35)
    assert measure(noise, "astronomy")["quantisation"] == 0


@pytest.mark.parametrize(
    "window",
    [np.full((64, 64), np.nan), np.full((64, 64), 3.0), np.zeros((5, 70)), np.full((64, 64), np.inf)],
    ids=["all bad", "constant", "narrow", "infinite"],
)
@pytest.mark.parametrize("domain", ["astronomy", "mr"])
def test_nothing_is_made_up_where_nothing_can_be_seen(window: np.ndarray, domain: str) -> None:
    assert all(math.isnan(value) for value in measure(window, domain).values())


def test_bad_pixels_change_little(field: np.ndarray) -> None:
    holed = field.copy()
    holed[::37, ::41] = np.nan
    plain, found = measure(field, "astronomy"), measure(holed, "astronomy")
    assert found["fine_noise"] == pytest.approx(plain["fine_noise"], abs=1.0)
    assert found["width"] == pytest.approx(plain["width"], rel=0.1)
