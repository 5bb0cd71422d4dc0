"""What the input shows stays; what was planted, split, or hidden where the input can't see it is flagged."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sciSR
from sciSR.errors import GeometryError, UnsupportedError, UsageError
from sciSR.forward.kspace import KSpaceCrop
from sciSR.image import Image
from sciSR.provenance import Provenance
from sciSR.trust import support as module
from sciSR.trust.support import Feature, Support, check_support

SIZE = 96
"""Input pixels a side."""
SIGMA = 1.0
PLACES = [(30.3, 40.8), (90.1, 130.4), (150.6, 60.2), (60.0, 160.0), (120.5, 30.5)]
"""Fine pixels."""


def stars(
    places: list[tuple[float, float]], fluxes: list[float], fwhm: float = 3.0, scale: int = 2
) -> np.ndarray:
    """A noiseless fine image, a density for each input pixel."""
    y, x = np.mgrid[: SIZE * scale, : SIZE * scale]
    unit = 4 * math.log(2) / (math.pi * fwhm**2) * scale**2
    image = np.zeros(y.shape)
    for (row, column), flux in zip(places, fluxes, strict=True):
        image += flux * unit * np.exp(-4 * math.log(2) * ((y - row) ** 2 + (x - column) ** 2) / fwhm**2)
    return image


def observed(fine: np.ndarray, seed: int = 0, scale: int = 2) -> np.ndarray:
    n = fine.shape[0] // scale
    mean = fine.reshape(n, scale, n, scale).mean((1, 3))
    return mean + SIGMA * np.random.default_rng(seed).standard_normal(mean.shape)


def sky(data: np.ndarray, **fields: object) -> Image:
    return Image.from_array(data, domain="astronomy", **fields)


def at(found: Support, place: tuple[float, float], within: float = 2.0) -> Feature:
    """The feature nearest to a place."""
    nearest = min(found.features, key=lambda f: math.dist(f.index, place))
    assert math.dist(nearest.index, place) < within
    return nearest


@pytest.fixture(scope="module")
def field() -> tuple[Image, np.ndarray]:
    truth = stars(PLACES, [40.0, 80.0, 300.0, 1000.0, 5000.0])
    return sky(observed(truth)), truth


@pytest.mark.parametrize("model", ["cubic", "espcn-astro-x2"])
def test_real_stars_are_supported_by_their_signal_to_noise(
    field: tuple[Image, np.ndarray], model: str
) -> None:
    image, _ = field
    found = check_support(image, sciSR.upscale(image, 2, model))
    for place in PLACES:
        assert at(found, place).is_supported
    order = [at(found, place).support for place in PLACES]
    assert order[0] < order[2] < order[3] < order[4]
    # the matched filter of a Gaussian: flux / (sigma sqrt(4 pi) s), s = 3 / 2.355 / 2 and the pixel's width
    width = math.hypot(3 / 2.355 / 2, math.sqrt(1 / 12))
    assert order[3] == pytest.approx(1000 / (SIGMA * math.sqrt(4 * math.pi) * width), rel=0.3)
    assert found.noise == pytest.approx(SIGMA, rel=0.15)


def test_planted_stars_are_flagged(field: tuple[Image, np.ndarray]) -> None:
    image, _ = field
    fakes = [(50.0, 100.0), (100.0, 90.0), (160.0, 150.0), (70.0, 60.0)]
    made = sciSR.upscale(image, 2, "cubic")
    found = check_support(image, made.replace(data=np.asarray(made) + stars(fakes, [60.0] * 4)))
    for place in fakes:
        assert not at(found, place).is_supported
    for place in PLACES:
        assert at(found, place).is_supported
    assert len(found.unsupported) >= 4


def test_star_paid_for_within_its_own_pixel_is_flagged(field: tuple[Image, np.ndarray]) -> None:
    image, _ = field
    made = np.asarray(sciSR.upscale(image, 4, "cubic")).astype(float)
    top, left = 4 * 50, 4 * 40  # the sixteen fine pixels of input pixel (50, 40)
    block = np.zeros((4, 4))
    block[1:3, 1:3] = 60.0
    made[top : top + 4, left : left + 4] += block - block.mean()
    found = check_support(image, image.replace(data=made, grid=image.grid.refine((4, 4))))
    assert not at(found, (top + 1.5, left + 1.5)).is_supported


def test_one_star_split_in_two_is_flagged_and_two_stars_are_not() -> None:
    middle, apart = (96.0, 96.0), 3.6  # 1.8 input pixels
    two = [(middle[0], middle[1] - apart / 2), (middle[0], middle[1] + apart / 2)]
    split = stars(two, [250.0, 240.0], fwhm=2.0)
    single = stars([middle], [490.0], fwhm=4.0)
    found = check_support(sky(observed(single)), sky(split), noise=SIGMA)
    near = [f for f in found.features if math.dist(f.index, middle) < 4]
    assert len(near) == 2
    assert [f.is_supported for f in sorted(near, key=lambda f: -f.strength)] == [True, False]
    wide = [(96.0, 91.0), (96.0, 101.0)]
    pair = stars(wide, [250.0, 240.0], fwhm=2.0)
    found = check_support(sky(observed(pair)), sky(pair), noise=SIGMA)
    assert all(at(found, place).is_supported for place in wide)


@settings(max_examples=8, deadline=None)
@given(gain=st.floats(-5, 5).map(lambda e: 10.0**e), level=st.floats(-1e3, 1e3))
def test_units_do_not_matter(gain: float, level: float) -> None:
    truth = stars(PLACES, [40.0, 80.0, 300.0, 1000.0, 5000.0])
    data, made = observed(truth), truth + stars([(50.0, 100.0)], [60.0])
    plain = check_support(sky(data), sky(made))
    other = check_support(sky(gain * (data + level)), sky(gain * (made + level)))
    assert [f.is_supported for f in other.features] == [f.is_supported for f in plain.features]
    for a, b in zip(plain.features, other.features, strict=True):
        assert b.support == pytest.approx(a.support, rel=1e-3, abs=1e-3)
        assert b.strength == pytest.approx(gain * a.strength, rel=1e-3)


def test_totals_are_shares_of_densities() -> None:
    truth = stars(PLACES, [40.0, 80.0, 300.0, 1000.0, 5000.0])
    data = observed(truth)
    density = check_support(sky(data), sky(truth))
    total = check_support(sky(data, quantity="total"), sky(truth / 4, quantity="total"))
    for a, b in zip(density.features, total.features, strict=True):
        assert b.support == pytest.approx(a.support, rel=1e-6)
        assert b.strength == pytest.approx(a.strength / 4, rel=1e-6)


def test_bands_see_what_the_whole_sees(
    field: tuple[Image, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, truth = field
    made = sky(truth)
    whole = check_support(image, made, noise=SIGMA, threshold=3.0)
    monkeypatch.setattr(module, "_BAND", 40)
    bands = check_support(image, made, noise=SIGMA, threshold=3.0)
    for place in PLACES:
        a, b = at(whole, place), at(bands, place)
        assert a.index == pytest.approx(b.index, abs=0.05)
        assert a.support == pytest.approx(b.support, rel=0.05)
    assert len(bands.features) == len(whole.features)


def test_bad_pixels_say_nothing(field: tuple[Image, np.ndarray]) -> None:
    image, truth = field
    data, made = np.array(image.data), truth.copy()
    data[40:50, 60:70], made[80:100, 120:140] = np.nan, np.nan
    found = check_support(sky(data), sky(made))
    assert at(found, PLACES[2]).is_supported
    assert all(math.isfinite(f.support) for f in found.features)
    assert not any(82 < f.index[0] < 98 and 122 < f.index[1] < 138 for f in found.features)


def test_error_planes_are_believed(field: tuple[Image, np.ndarray]) -> None:
    image, truth = field
    error = np.full(image.shape, SIGMA)
    error[:, SIZE // 2 :] *= 10
    plain = check_support(image, sky(truth), noise=SIGMA)
    told = check_support(image.replace(uncertainty=error), sky(truth), threshold=3.0)
    left, right = PLACES[2], PLACES[1]
    assert at(told, left).support == pytest.approx(at(plain, left).support, rel=0.1)
    assert at(told, right).support < 0.3 * at(plain, right).support


def test_cubes_are_looked_at_plane_by_plane() -> None:
    truth = stars([PLACES[2]], [300.0])
    cube, made = np.stack([observed(truth, k) for k in range(5)]), np.stack([truth] * 5)
    found = check_support(sky(cube), sky(made), planes=2)
    assert len({f.index[0] for f in found.features if f.is_supported}) == 2


# --- anatomy ---------------------------------------------------------------------------------------------------


def discs(places: list[tuple[float, float, float, float]], side: int = 128) -> np.ndarray:
    """A round head with discs (y, x, radius, contrast)."""
    over = 4
    axis = (np.arange(side * over) + 0.5) / over - 0.5
    y, x = axis[:, None], axis[None]
    image = 0.7 * (np.hypot(y - side / 2, x - side / 2) < 0.42 * side)
    for row, column, radius, contrast in places:
        image = image + contrast * (np.hypot(y - row, x - column) < radius)
    return image.reshape(side, over, side, over).mean((1, 3))


LESIONS = [(50.0, 50.0, 3.0, 0.2), (80.0, 70.0, 4.0, -0.2), (60.0, 85.0, 3.0, 0.3)]


def scanned(fine: np.ndarray, sigma: float = 0.02) -> Image:
    clean = KSpaceCrop(2).apply(torch.from_numpy(fine)).numpy()
    g = np.random.default_rng(2)
    noise = sigma * g.standard_normal((2, *clean.shape))
    return Image.from_array(np.hypot(clean + noise[0], noise[1]), domain="mr")


@pytest.mark.parametrize("model", ["fourier", "ecbsr-mr-kspace-x2"])
def test_lesions_are_supported_and_planted_ones_are_not(model: str) -> None:
    image = scanned(discs(LESIONS))
    made = sciSR.upscale(image, 2, model)
    found = check_support(image, made)
    for y, x, _, contrast in LESIONS:
        feature = at(
            replace(found, features=tuple(f for f in found.features if f.kind == "source")), (y, x), 3
        )
        assert feature.is_supported
        assert feature.strength * contrast > 0
    fakes = [(70.0, 50.0, 2.5, 0.2), (90.0, 85.0, 2.5, -0.2)]
    planted = np.asarray(made) + discs(fakes) - discs([])
    found = check_support(image, made.replace(data=planted))
    blobs = replace(found, features=tuple(f for f in found.features if f.kind == "source"))
    for y, x, *_ in fakes:
        assert not at(blobs, (y, x), 3).is_supported


def test_edges_of_the_input_are_supported_and_invented_ones_are_not() -> None:
    image = scanned(discs([]))
    made = np.asarray(sciSR.upscale(image, 2, "fourier")).astype(float)
    found = check_support(image, made_image(image, made))
    edges = [f for f in found.features if f.kind == "edge"]
    assert len(edges) > 20
    assert all(f.is_supported for f in edges if abs(math.dist(f.index, (63.5, 63.5)) - 0.42 * 128) < 3)
    y, x = np.mgrid[:128, :128]
    made[(np.abs(y - 64) < 20) & (np.abs(x - 64) < 16)] += 0.3  # a square that nobody scanned
    found = check_support(image, made_image(image, made))
    outside = [max(abs(f.index[0] - 64) - 20, abs(f.index[1] - 64) - 16) for f in found.features]
    both = zip(found.features, outside, strict=True)
    invented = [f for f, beyond in both if f.kind == "edge" and abs(beyond) < 3]
    assert len(invented) > 8
    assert sum(f.is_supported for f in invented) <= 0.1 * len(invented)


def made_image(image: Image, data: np.ndarray) -> Image:
    return image.replace(data=data, grid=image.grid.refine((2, 2)))


# --- manners ----------------------------------------------------------------------------------------------------


def test_the_forward_model_is_the_one_of_the_provenance() -> None:
    image = scanned(discs([]))
    made = made_image(image, np.zeros((128, 128)))
    for step, expected in (
        ({"consistency": "block"}, "block"),
        ({"consistency": "none", "forward_model": "gaussian"}, "gaussian"),
        ({"consistency": "none"}, "kspace"),
    ):
        history = Provenance().add(software="sciSR", **{"step": "upscale", **step})
        assert (
            module._forward(image, made.replace(provenance=history), module._factors(image, made)) == expected
        )


def test_what_is_no_refinement_is_refused() -> None:
    small, large = sky(np.zeros((8, 8))), sky(np.zeros((16, 16)))
    with pytest.raises(GeometryError, match="no refinement"):
        check_support(large, small)
    with pytest.raises(GeometryError, match="no refinement"):
        check_support(small, sky(np.zeros((2, 16, 16))))
    with pytest.raises(UsageError, match="unknown forward model"):
        check_support(small, large, forward="magic")
    with pytest.raises(UsageError, match="whole-number"):
        check_support(small, sky(np.zeros((12, 12))), forward="kspace")


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_empty_images_have_no_features(value: float) -> None:
    for domain in ("astronomy", "mr"):
        before = Image.from_array(np.full((32, 32), value), domain=domain)
        after = Image.from_array(np.full((64, 64), value), domain=domain)
        found = check_support(before, after)
        assert found.features == ()
        assert "no source or edge" in found.line()


def test_the_record_counts_and_the_line_says_it() -> None:
    features = tuple(Feature("source", (1.0, 2.0), 1.0, s, s >= 3) for s in (1.0, 4.0, 9.0))
    found = Support(features, 3.0, 0.5, 12.3)
    assert found.record() == {
        "features": 3,
        "unsupported": 1,
        "limit_sigma": 3.0,
        "noise": 0.5,
        "by_chance": 12,
    }
    assert found.line() == "1 of 3 sources and edges are not supported by the data at 3 sigma"


def test_features_that_were_left_out_are_said(monkeypatch) -> None:
    from sciSR.trust import anatomy

    rng = np.random.default_rng(0)
    before = Image.from_array(100 + 20 * rng.standard_normal((48, 48)), domain="natural")
    after = sciSR.upscale(before, 2, "cubic")
    every = sciSR.check_support(before, after, noise=1.0)
    assert not every.is_cut
    monkeypatch.setattr(anatomy, "MOST", 10)
    some = sciSR.check_support(before, after, noise=1.0)
    assert len(some.features) == 10 < len(every.features)
    assert some.record()["cut"]
    assert "the strongest 10" in some.line()


@pytest.mark.parametrize("kind", ["labels", "phase", "complex"])
def test_what_holds_no_intensities_is_refused(kind) -> None:
    values = np.ones((16, 16), np.complex64 if kind == "complex" else np.float32)
    image = Image.from_array(values) if kind == "complex" else Image.from_array(values).replace(kind=kind)
    with pytest.raises(UnsupportedError, match="intensities"):
        sciSR.check_support(image, image)
