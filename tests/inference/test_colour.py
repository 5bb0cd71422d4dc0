"""Colour goes through luminance, and each channel keeps what was measured in it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sciSR
from scenes import sky
from sciSR.colour import CHROMA, LUMA, rgb_axis, to_rgb
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.colour import ColourPlan

NETWORK = "espcn-astro-x2"


def picture(shape: tuple[int, int] = (40, 34), seed: int = 0) -> np.ndarray:
    """A reddish sky with stars of several colours, float32 ``[y, x, 3]``."""
    light = sky(shape, seed, peak=3e3)
    tint = np.random.default_rng(seed).uniform(0.4, 1.0, (*shape, 3)) * [1.0, 0.8, 0.5]
    return (light[..., None] * tint + [30, 20, 10]).astype(np.float32)


def image_of(data: np.ndarray, axes: tuple[str, ...] = ("y", "x", "rgb"), **fields: object) -> Image:
    return Image(**({"data": data, "axes": axes, "spatial": ("y", "x"), "domain": "astronomy"} | fields))


def block_means(fine: np.ndarray, scale: int) -> np.ndarray:
    height, width = fine.shape[0] // scale, fine.shape[1] // scale
    return fine.reshape(height, scale, width, scale, -1).astype(np.float64).mean((1, 3))


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
)
def test_yuv_and_back_is_the_identity(values: list[float]) -> None:
    rgb = np.array(values)
    back = to_rgb(LUMA @ rgb, *(CHROMA @ rgb))
    assert back == pytest.approx(rgb, rel=1e-12, abs=1e-12 * np.abs(rgb).max())


def test_yuv_is_that_of_the_standard() -> None:
    # ITU-R BT.470-6: U = 0.493 (B - Y), V = 0.877 (R - Y); saturated red, green and blue of BT.601.
    assert pytest.approx([0.299, 0.587, 0.114]) == LUMA
    assert CHROMA[0] == pytest.approx(0.493 * (np.array([0, 0, 1]) - LUMA), rel=3e-3)
    assert CHROMA[1] == pytest.approx(0.877 * (np.array([1, 0, 0]) - LUMA), rel=3e-3)
    assert np.abs(CHROMA).max(axis=1) == pytest.approx([0.436, 0.615])


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1000),
    model=st.sampled_from([NETWORK, "cubic", "lanczos", "nearest"]),
    order=st.permutations(["y", "x", "rgb"]),
    quantity=st.sampled_from(["density", "total"]),
)
def test_each_channel_keeps_the_mean_of_each_original_pixel(
    seed: int, model: str, order: list[str], quantity: str
) -> None:
    data = picture(seed=seed)
    axes = tuple(order)
    moved = data.transpose([("y", "x", "rgb").index(name) for name in axes])
    result = sciSR.upscale(image_of(moved, axes, spatial=("y", "x"), quantity=quantity), 2, model)
    assert result.axes == axes
    fine = np.asarray(result.data).transpose([axes.index(name) for name in ("y", "x", "rgb")])
    share = 1 if quantity == "density" else 4
    assert np.abs(block_means(fine, 2) * share - data).max() < 1e-6 * np.abs(data).max()
    assert result.provenance.steps[-1]["agreement"]["max_relative_to_range"] < 1e-6


def test_a_scale_that_is_no_whole_number_keeps_the_means_too() -> None:
    data = picture((30, 24))
    plan = plan_upscale(image_of(data), 2, NETWORK)
    assert isinstance(plan, ColourPlan)
    result = sciSR.upscale(image_of(data), Fraction(3, 2), "cubic")
    assert result.shape == (45, 36, 3)
    assert result.provenance.steps[-1]["agreement"]["max_relative_to_range"] < 1e-6


def test_luminance_is_the_networks_and_chroma_is_cubic() -> None:
    data = picture()
    result = np.asarray(sciSR.upscale(image_of(data), 2, NETWORK).data, dtype=np.float64)
    planes = {}
    for name, weights, model in (("Y", LUMA, NETWORK), ("U", CHROMA[0], "cubic"), ("V", CHROMA[1], "cubic")):
        plane = Image.from_array(data.astype(np.float64) @ weights, domain="astronomy")
        planes[name] = np.asarray(sciSR.upscale(plane, 2, model).data)
    expected = np.moveaxis(to_rgb(planes["Y"], planes["U"], planes["V"]), 0, -1)
    assert np.abs(result - expected).max() < 1e-6 * np.abs(expected).max()


def test_a_grey_picture_stays_grey_and_equals_the_plane() -> None:
    grey = sky((32, 30), 4, peak=500).astype(np.float32)
    colour = np.asarray(sciSR.upscale(image_of(np.repeat(grey[..., None], 3, axis=2)), 2, NETWORK).data)
    plane = np.asarray(sciSR.upscale(Image.from_array(grey, domain="astronomy"), 2, NETWORK).data)
    for channel in range(3):
        assert np.abs(colour[..., channel] - plane).max() < 1e-6 * np.abs(plane).max()


def test_the_result_does_not_depend_on_the_tile() -> None:
    data = picture((90, 70))
    one, other = (np.asarray(sciSR.upscale(image_of(data), 2, NETWORK, tile=t).data) for t in (16, 512))
    assert np.abs(one - other).max() < 1e-6 * np.abs(other).max()


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_a_pixel_bad_in_one_colour_is_bad_and_leaks_nowhere(garbage: float) -> None:
    data, mask = picture(), np.zeros((40, 34, 3), dtype=bool)
    spoilt = data.copy()
    spoilt[10:13, 7, 1] = garbage
    mask[10:13, 7, 1] = True
    fields = {} if not np.isfinite(garbage) else {"mask": mask}
    result = np.asarray(sciSR.upscale(image_of(spoilt, **fields), 2, NETWORK).data)
    spoilt[10:13, 7, 1] = -3.0
    reference = np.asarray(sciSR.upscale(image_of(spoilt, mask=mask), 2, NETWORK).data)
    footprint = np.zeros(result.shape[:2], dtype=bool)
    footprint[20:26, 14:16] = True
    assert np.array_equal(result[~footprint], reference[~footprint])
    assert np.isfinite(result[~footprint]).all()
    if not np.isfinite(garbage):
        assert not np.isfinite(result[footprint]).any()


def test_planes_of_a_sequence_in_colour_are_upscaled_each_by_itself() -> None:
    frames = np.stack([picture(seed=s) for s in (1, 2)])
    image = image_of(frames, ("t", "y", "x", "rgb"))
    result = np.asarray(sciSR.upscale(image, 2, NETWORK).data)
    assert result.shape == (2, 80, 68, 3)
    for fine, coarse in zip(result, frames, strict=True):
        assert np.abs(block_means(fine, 2) - coarse).max() < 1e-6 * np.abs(coarse).max()
    assert not np.array_equal(result[0], result[1])


def test_uncertainty_and_mask_follow_the_pixels() -> None:
    data = picture()
    error = np.full_like(data, 2.0)
    result = sciSR.upscale(image_of(data, uncertainty=error, quantity="total"), 2, NETWORK)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == result.shape
    assert np.all(np.asarray(result.uncertainty[:, :, :]) == 0.5)


def test_progress_only_grows_to_one() -> None:
    seen: list[float] = []
    sciSR.upscale(image_of(picture()), 2, NETWORK, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_an_rgb_axis_of_another_length_is_no_colour() -> None:
    assert rgb_axis(image_of(np.zeros((8, 8, 4), np.float32))) is None
    assert rgb_axis(image_of(np.zeros((8, 8, 3), np.float32))) == 2
    assert rgb_axis(image_of(np.zeros((8, 8, 3), np.uint8), kind="labels")) is None
