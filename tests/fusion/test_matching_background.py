"""Backgrounds are robust, and no more complicated than the data demand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_scene import SKY, Scene

from sciSR.errors import UsageError
from sciSR.fusion.matching import Background, estimate_background, fit_background, sky_level
from sciSR.sequence import FramePixels


def pixels(values, bad=None):
    return FramePixels(values.astype(np.float32), np.zeros(values.shape, bool) if bad is None else bad)


@settings(max_examples=15)
@given(
    level=st.floats(-1e4, 1e5), noise=st.floats(0.1, 100), share=st.floats(0, 0.2), seed=st.integers(0, 99)
)
def test_sky_survives_sources(level, noise, share, seed):
    rng = np.random.default_rng(seed)
    values = level + noise * rng.standard_normal(20_000)
    values[: int(share * values.size)] += noise * rng.exponential(30, int(share * values.size))
    found, error, spread = sky_level(values.astype(np.float32))
    assert abs(found - level) < (0.05 + 0.8 * share) * noise + 1e-6 * abs(level) + 5 * error
    assert abs(spread / noise - 1) < 0.06 + share


@settings(max_examples=10)
@given(
    shape=st.tuples(st.integers(64, 150), st.integers(64, 150)),
    slope=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
)
def test_a_plane_is_found_exactly_on_any_shape(shape, slope):
    y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij")
    plane = 1000 + slope[0] * y + slope[1] * x
    rng = np.random.default_rng(0)
    values = (plane + rng.normal(0, 1, shape)).astype(np.float32)
    found = fit_background(values, np.ones(shape, bool), kind="plane")
    assert np.abs(found.evaluate() - plane).max() < 0.35
    middle = slice(shape[0] // 3, shape[0] // 2)
    np.testing.assert_array_equal(found.evaluate(middle), found.evaluate()[middle])


def test_noise_alone_never_makes_a_gradient():
    kinds = set()
    for seed in range(30):
        values = np.random.default_rng(seed).normal(10, 3, (96, 128)).astype(np.float32)
        kinds.add(fit_background(values, np.ones(values.shape, bool)).kind)
    assert kinds == {"offset"}


def test_a_single_frames_nebula_is_left_alone():
    """A level is all that one frame can tell: neither a gradient nor a mesh may follow the nebula."""
    scene = Scene()
    values = scene.observe(np.random.default_rng(1))
    found = estimate_background(pixels(values))
    assert found.kind == "offset"
    assert SKY - 2 < found.level < SKY + 12


def test_masked_and_bad_pixels_have_no_say():
    values = np.random.default_rng(2).normal(50, 2, (80, 80))
    bad = np.zeros(values.shape, bool)
    bad[:40] = True
    values[:40] = 1e6
    mask = np.zeros(values.shape, bool)
    mask[40:60] = True
    values[40:60] += 3
    found = estimate_background(pixels(values, bad), mask=mask)
    assert abs(found.level - 50) < 0.2
    assert abs(found.noise - 2) < 0.2


def test_a_frame_without_good_pixels_has_no_background():
    values = np.ones((40, 40))
    assert estimate_background(pixels(values, np.ones(values.shape, bool))).kind == "none"
    assert estimate_background(pixels(values), kind="mesh").level == 1


def test_no_background_is_none_taken_off():
    values = np.random.default_rng(3).normal(50, 2, (64, 64))
    found = estimate_background(pixels(values), kind="none")
    assert not found.evaluate().any()
    assert abs(found.noise - 2) < 0.2


def test_a_mesh_fills_holes_and_keeps_its_unit():
    shape = (128, 128)
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    glow = 30 * np.sin(3 * x) * np.cos(4 * y)
    values = (glow + np.random.default_rng(4).normal(0, 1, shape)).astype(np.float32)
    good = np.ones(shape, bool)
    good[40:64, 40:64] = False
    values[~good] = 1e5
    found = fit_background(values, good, kind="mesh")
    assert np.sqrt(np.mean((found.evaluate() - glow)[good] ** 2)) < 1.0
    np.testing.assert_allclose(found.scaled(2.0).evaluate(), 2 * found.evaluate(), rtol=1e-5, atol=1e-4)


def test_wrong_kinds_are_refused():
    with pytest.raises(UsageError, match="auto, none, offset, plane, mesh"):
        estimate_background(pixels(np.ones((64, 64))), kind="poly")


def test_a_level_covers_any_rows():
    assert Background("offset", (10, 4), 3.0).evaluate(slice(2, 5)).tolist() == [[3.0] * 4] * 3
