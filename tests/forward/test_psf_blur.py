"""Blur by a point spread function: a transpose that is one, flux that stays, nothing that moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from sciSR.errors import UsageError
from sciSR.forward import psf_blur
from sciSR.forward.psf_blur import PsfBlur

FAMILIES = ("gaussian", "moffat", "airy")
blurs = st.builds(
    PsfBlur,
    fwhm=st.floats(0.3, 4.0),
    family=st.sampled_from(FAMILIES),
    beta=st.floats(2.2, 5.0),
    obscuration=st.floats(0, 0.5),
    ellipticity=st.floats(0, 0.5),
    angle=st.floats(0, 3.1),
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(blur=blurs, height=st.integers(1, 20), width=st.integers(1, 20))
def test_adjoint_is_the_transpose_even_where_the_kernel_is_wider_than_the_image(blur, height, width):
    x, y = noise(height, width), noise(height, width, seed=1)
    assert torch.isclose((blur.apply(x) * y).sum(), (x * blur.adjoint(y)).sum(), atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(blur=blurs)
def test_constants_and_the_flux_of_the_whole_image_are_kept(blur):
    assert torch.allclose(blur.apply(torch.full((9, 14), 7.0)), torch.full((9, 14), 7.0))
    x = noise(24, 30).abs()
    upright = replace(blur, angle=0.0)
    assert torch.isclose(upright.apply(x).sum(), x.sum())  # mirrored: nothing leaves over the border
    assert torch.isclose(
        blur.apply(x).sum(), x.sum(), rtol=0.02
    )  # a tilted kernel's corners are no mirror images


@pytest.mark.parametrize("fwhm", [1.0, 4.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_sums_and_fourier_transform_convolve_alike(family, fwhm):
    x, blur = noise(20, 25), PsfBlur(fwhm, family, ellipticity=0.2, angle=1.0)
    direct = convolve2d(np.pad(x, blur.radius, mode="symmetric"), blur.kernel(), mode="valid")
    assert np.allclose(blur.apply(x), direct, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_point_becomes_the_profile_that_was_named(family):
    blur = PsfBlur(5.0, family, ellipticity=0.3, angle=0.4)
    point = torch.zeros(101, 101, dtype=torch.float64)
    point[50, 50] = 1
    image = blur.apply(point)
    r = blur.radius
    assert torch.allclose(image[50 - r : 51 + r, 50 - r : 51 + r], blur.kernel(), atol=1e-12)
    y, x = torch.meshgrid(*[torch.arange(101.0) - 50] * 2, indexing="ij")
    core = image * ((y**2 + x**2) < 36)
    angle = 0.5 * torch.atan2(2 * (core * x * y).sum(), (core * (x**2 - y**2)).sum())
    assert float(angle) == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_blob_stays_in_place(family):
    x = noise(40, 40).abs() * torch.exp(-0.1 * (torch.arange(40) - 19.5) ** 2)
    x = x * torch.exp(-0.1 * (torch.arange(40) - 19.5) ** 2)[:, None]
    blurred = PsfBlur(1.5, family).apply(x)
    axis = torch.arange(40.0, dtype=torch.float64)
    for image_axis in (0, 1):
        before, after = (float((i.sum(image_axis) * axis).sum() / i.sum()) for i in (x, blurred))
        assert after == pytest.approx(before, abs=2e-3)


def test_no_width_is_no_blur():
    x = noise(6, 7)
    assert torch.equal(PsfBlur(0.0).apply(x), x)
    assert torch.equal(PsfBlur(0.0).adjoint(x), x)


def test_faint_pixels_do_not_drown_in_the_rounding_of_bright_ones():
    x = torch.ones(64, 64)
    x[10, 10] = 1e7
    blurred = PsfBlur(6.0, "gaussian").apply(x)
    assert PsfBlur(6.0).kernel().shape[-1] > psf_blur.DIRECT  # through the Fourier transform
    assert torch.allclose(blurred[40:, 40:], torch.ones(24, 24), atol=1e-6)


def test_wide_wings_are_cut_where_little_is_left():
    assert PsfBlur(2.0, "gaussian").radius <= 4
    assert PsfBlur(2.0, "moffat", beta=2.5).radius <= 10
    assert float(PsfBlur(2.0, "moffat", beta=2.5).kernel().sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fwhm": -1.0}, "FWHM -1"),
        ({"fwhm": float("nan")}, "nan"),
        ({"fwhm": 2.0, "ellipticity": 1.0}, "ellipticity"),
        ({"fwhm": 2.0, "family": "moffat", "beta": 1.0}, "no finite flux"),
    ],
)
def test_impossible_shapes_are_refused(wrong, named):
    with pytest.raises(UsageError, match=named):
        PsfBlur(**wrong)
