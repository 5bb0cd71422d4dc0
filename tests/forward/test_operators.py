"""Every forward model is linear, has its adjoint and pseudo-inverse, keeps the level, and sits at the pixel edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import GeometryError
from sciSR.forward.bicubic import BicubicDecimation
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.lowpass import LowPassDecimation
from sciSR.forward.operator import Chain
from sciSR.forward.pixel import BlockMean
from sciSR.forward.psf_blur import PsfBlur


def pixels(scale: int) -> BlockMean:
    return BlockMean((scale, scale))


def detector(scale: int) -> Chain:
    return Chain((PsfBlur(0.8 * scale, "moffat", ellipticity=0.3, angle=0.5), pixels(scale)))


OPERATORS = [KSpaceCrop, GaussianDecimation, LowPassDecimation, BicubicDecimation, pixels]
sizes = st.integers(1, 9)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny tensors: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [*OPERATORS, detector])
@given(height=sizes, width=sizes, scale=st.integers(1, 4))
def test_adjoint_is_the_transpose(kind, height, width, scale):
    operator = kind(scale)
    x, y = noise(scale * height, scale * width), noise(height, width, seed=1)
    assert torch.isclose((operator.apply(x) * y).sum(), (x * operator.adjoint(y)).sum(), atol=1e-9)


@pytest.mark.parametrize("kind", OPERATORS)
@given(height=sizes, width=sizes, scale=st.integers(1, 4))
def test_pseudo_inverse_reproduces_the_measurement(kind, height, width, scale):
    operator, y = kind(scale), noise(height, width)
    assert torch.allclose(operator.apply(operator.pinv(y)), y, atol=1e-8)


@pytest.mark.parametrize("kind", OPERATORS)
@given(height=sizes, width=sizes, scale=st.integers(1, 3))
def test_pseudo_inverse_has_the_least_norm(kind, height, width, scale):
    operator, x = kind(scale), noise(scale * height, scale * width)
    seen = operator.pinv(operator.apply(x))
    assert torch.isclose((seen * (x - seen)).sum(), torch.zeros((), dtype=torch.float64), atol=1e-7)


@pytest.mark.parametrize("kind", [*OPERATORS, detector])
@given(gain=st.floats(0.1, 1e3), offset=st.floats(-1e3, 1e3), scale=st.integers(1, 4))
def test_gain_and_offset_may_come_before_or_after(kind, gain, offset, scale):
    operator, x = kind(scale), noise(5 * scale, 6 * scale)
    assert torch.allclose(operator.apply(gain * x + offset), gain * operator.apply(x) + offset, atol=1e-9)


@pytest.mark.parametrize("kind", OPERATORS)
def test_constants_keep_their_level(kind):
    operator = kind(2)
    assert torch.allclose(operator.apply(torch.full((12, 10), 7.0)), torch.full((6, 5), 7.0))
    assert torch.allclose(operator.pinv(torch.full((6, 5), 7.0)), torch.full((12, 10), 7.0), atol=1e-5)


@pytest.mark.parametrize("kind", [*OPERATORS, detector])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_blob_keeps_its_flux_and_its_place_in_the_field(kind, scale):
    """Its centroid, in units of the field, before and after: pixel i of n is centred on (i + 1/2)/n."""
    n, where = 24, (0.42, 0.55)
    fine = [(torch.arange(n * scale, dtype=torch.float64) + 0.5) / (n * scale) - at for at in where]
    blob = torch.exp(-0.5 * (fine[0][:, None] ** 2 + fine[1] ** 2) / 0.07**2)
    coarse = kind(scale).apply(blob)
    assert torch.isclose(coarse.mean(), blob.mean(), rtol=1e-6)
    for axis, at in enumerate(where):
        position = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        profile = coarse.sum(1 - axis)
        assert float((profile * position).sum() / profile.sum()) == pytest.approx(at, abs=2e-5)


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("scale", [2, 3])
def test_mirror_images_stay_mirror_images(kind, scale):
    """Only an edge-aligned grid commutes with a flip; a grid that keeps pixel 0 doesn't."""
    operator, x = kind(scale), noise(scale * 8, scale * 7)
    assert torch.allclose(operator.apply(x.flip(-1)), operator.apply(x).flip(-1), atol=1e-10)
    assert torch.allclose(operator.apply(x.flip(-2)), operator.apply(x).flip(-2), atol=1e-10)


@pytest.mark.parametrize("kind", [*OPERATORS, detector])
def test_other_axes_are_batch_and_the_dtype_is_kept(kind):
    x = noise(2, 3, 12, 10).float()
    many = kind(2).apply(x)
    assert (many.dtype, many.shape) == (torch.float32, (2, 3, 6, 5))
    assert torch.allclose(many[1, 2], kind(2).apply(x[1, 2]), atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_kspace_samples_a_wave_at_the_pixel_centres(scale):
    n = 16
    fine = (torch.arange(scale * n, dtype=torch.float64) + 0.5) / scale - 0.5
    coarse = torch.arange(n, dtype=torch.float64)

    def wave(position):
        return torch.cos(2 * torch.pi * 3 * position / n + 0.7)

    plane = wave(fine)[None].expand(scale * 4, -1)
    assert torch.allclose(KSpaceCrop(scale).apply(plane), wave(coarse)[None].expand(4, -1), atol=1e-12)
    assert torch.allclose(KSpaceCrop(scale).pinv(wave(coarse)[None].expand(4, -1)), plane, atol=1e-12)


def test_kspace_measured_coefficients_survive_consistency():
    operator, y, x = KSpaceCrop(2), noise(9, 12), noise(18, 24, seed=2)
    after = x + operator.pinv(y - operator.apply(x))
    assert torch.allclose(operator.apply(after), y, atol=1e-12)
    assert torch.allclose(operator.out_of_band(after), operator.out_of_band(x), atol=1e-12)
    assert operator.apply(operator.out_of_band(x)).abs().max() < 1e-12


def test_lowpass_is_the_truncated_cosine_transform():
    from scipy.fft import dctn, idctn

    x = noise(18, 24)
    kept = dctn(x.numpy(), norm="ortho")[:6, :8] / 3
    assert np.allclose(LowPassDecimation(3).apply(x), idctn(kept, norm="ortho"), atol=1e-12)


def test_lowpass_does_not_wrap_around():
    step = torch.zeros(32, 32, dtype=torch.float64)
    step[:, 16:] = 1
    near, far = LowPassDecimation(2).apply(step)[8, [0, -1]]
    assert (abs(float(near)), abs(float(far) - 1)) < (0.02, 0.02)
    assert abs(float(KSpaceCrop(2).apply(step)[8, 0])) > 0.04  # its neighbour is the other border


def test_gaussian_agrees_with_a_direct_sum():
    operator, x = GaussianDecimation(2), noise(16, 16)
    sigma = 2 / (2 * np.sqrt(2 * np.log(2)))
    d = np.arange(16) - (2 * 3 + 0.5)
    row = np.exp(-0.5 * (d / sigma) ** 2) * (np.abs(d) <= 4 * sigma + 0.5)
    row /= row.sum()
    assert float(operator.apply(x)[3, 3]) == pytest.approx(row @ x.numpy() @ row, rel=2e-3, abs=2e-4)


def test_a_vanishing_gaussian_takes_the_nearest_pixels():
    x = noise(8, 8)
    assert torch.allclose(GaussianDecimation(2, 1e-3).apply(x), pixels(2).apply(x))
    assert torch.allclose(GaussianDecimation(1, 1e-3).apply(x), x)


@pytest.mark.parametrize("kind", [KSpaceCrop, GaussianDecimation, LowPassDecimation, pixels])
def test_wrong_sizes_are_refused_by_name(kind):
    with pytest.raises(GeometryError, match=r"\(5, 6\)"):
        kind(2).apply(torch.zeros(5, 6))
