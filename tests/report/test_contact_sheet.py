"""The picture of a fusion: the same stretch, the same piece of sky, nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fused_samples import read_frames, shift_and_add, write_frames
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sciSR.errors import UsageError
from sciSR.fusion.product import Fused
from sciSR.report.contact_sheet import (
    Zoom,
    draw,
    native_level,
    pixel_arcsec,
    sharpest,
    title,
    write_contact_sheet,
)
from sciSR.report.stretch import Stretch, reduced, scatter


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Fused:
    return shift_and_add(read_frames(write_frames(tmp_path_factory.mktemp("frames"))))


def test_the_sheet_is_a_png_of_six_panels(fused: Fused, tmp_path: Path) -> None:
    path = write_contact_sheet(fused, tmp_path / "sheet.png")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    names = [axis.get_title() for axis in draw(fused).axes if axis.get_title()]
    assert names == [
        "reference frame",
        "drizzle",
        "mean",
        "error, one standard deviation",
        "coverage",
        "residual of the reference frame",
    ]


def test_the_same_fusion_gives_the_same_file(fused: Fused, tmp_path: Path) -> None:
    files = [write_contact_sheet(fused, tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    assert files[0] == files[1]


def test_an_existing_sheet_is_replaced_only_when_asked(fused: Fused, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        write_contact_sheet(fused, path)
    assert path.read_bytes() == b"mine"
    write_contact_sheet(fused, path, overwrite=True)
    assert len(path.read_bytes()) > 1000


def test_the_first_three_panels_share_stretch_and_field(fused: Fused) -> None:
    images = [axis.images[0] for axis in draw(fused).axes[:3]]
    assert len({tuple(image.get_extent()) for image in images}) == 1
    assert len({image.get_clim() for image in images}) == 1
    shown = [np.ma.median(image.get_array()) for image in images]
    assert np.ptp(shown) < 0.05, "one sky on one stretch is one grey"


def test_totals_are_shown_at_the_native_level(fused: Fused) -> None:
    image, native = native_level(fused)
    assert native == (24, 30)
    np.testing.assert_allclose(image, 4 * np.asarray(fused.image.data))


def test_missing_panels_and_uncovered_pixels_are_drawn_as_such(fused: Fused, tmp_path: Path) -> None:
    data = np.array(fused.image.data)
    data[:20] = np.nan
    bare = replace(
        fused, panels={}, image=fused.image.replace(data=data, uncertainty=None), records=fused.records[:1]
    )
    write_contact_sheet(bare, tmp_path / "sheet.png")
    texts = [text.get_text() for axis in draw(bare).axes for text in axis.texts]
    assert texts.count("not made") == 4


@pytest.mark.parametrize("value", [np.nan, 0.0, 7.0])
def test_an_image_without_any_detail_is_still_drawn(fused: Fused, tmp_path: Path, value: float) -> None:
    data = np.full(fused.image.shape, value, np.float32)
    write_contact_sheet(replace(fused, image=fused.image.replace(data=data)), tmp_path / "sheet.png")


def test_the_title_tells_frames_scale_method_and_pixel_size(fused: Fused) -> None:
    text = title(fused)
    assert "frame_0.fits" in text
    assert "4 of 4 frames, ×2, mean" in text
    assert pixel_arcsec(fused) == pytest.approx(0.0201, rel=0.01)
    assert '0.0402" to 0.0201" per pixel' in text


def test_the_sharpest_square_holds_the_detail() -> None:
    generator = np.random.default_rng(0)
    image = generator.normal(0, 1, (200, 240))
    image[120:150, 60:90] += 200 * (generator.random((30, 30)) > 0.7)
    zoom = sharpest(image, (100, 120))
    assert zoom.row <= 67 <= zoom.row + zoom.side
    assert zoom.column <= 37 <= zoom.column + zoom.side


@given(
    st.tuples(st.integers(3, 120), st.integers(3, 120)),
    st.sampled_from([1, 2, 3]),
    st.integers(0, 5),
)
def test_the_sharpest_square_lies_in_the_field(native: tuple[int, int], scale: int, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(native[0] * scale, native[1] * scale))
    zoom = sharpest(image, native)
    assert zoom.row >= 0
    assert zoom.column >= 0
    assert zoom.row + zoom.side <= native[0]
    assert zoom.column + zoom.side <= native[1]
    assert zoom.cut(image, native).shape == (zoom.side * scale, zoom.side * scale)


def test_a_piece_is_the_same_sky_at_any_sampling() -> None:
    native = np.arange(20 * 30.0).reshape(20, 30)
    fine = np.kron(native, np.ones((2, 2)))
    zoom = Zoom(4, 7, 6)
    np.testing.assert_array_equal(
        np.kron(zoom.cut(native, (20, 30)), np.ones((2, 2))), zoom.cut(fine, (20, 30))
    )


@given(arrays(np.float64, (12, 12), elements=st.floats(-1e6, 1e6)), st.floats(0.1, 1e3))
def test_a_stretch_keeps_the_order_of_values_within_its_range(image: np.ndarray, noise: float) -> None:
    shown = Stretch.of(image, noise)(image)
    assert shown.min() >= 0
    assert shown.max() <= 1
    order = np.argsort(image, axis=None)
    assert np.all(np.diff(shown.ravel()[order]) >= -1e-6)


def test_reduction_keeps_the_mean_and_ignores_what_is_not_there() -> None:
    image = np.random.default_rng(1).normal(5, 1, (1200, 900))
    image[:7] = np.nan
    small = reduced(image, 300)
    assert small.shape == (300, 225)
    assert np.isnan(small[0]).all()
    np.testing.assert_allclose(small[1], image[7].reshape(225, 4).mean(axis=1))
    np.testing.assert_allclose(small[2:].mean(), image[8:].mean())


def test_scatter_is_the_standard_deviation_of_gaussian_noise() -> None:
    noise = np.random.default_rng(2).normal(3, 2.5, 20_000)
    noise[::50] = 1e6
    assert scatter(noise) == pytest.approx(2.5, rel=0.05)
    assert scatter(np.array([np.nan])) == 0
