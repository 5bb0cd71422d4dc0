"""Units and pedestals do not change the science; totals keep their sum and densities their level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

import sciSR
from scenes import astro_image, brain, mr_image, sky
from sciSR.errors import UnsupportedError
from sciSR.image import Image
from sciSR.inference import plan_upscale

TRAINED = ["espcn-astro-x2", "espcn-mr-kspace-x2", "espcn-mr-gaussian-x2"]
CLASSICAL = ["nearest", "linear", "cubic", "lanczos", "fourier"]


def image_for(model: str, data: np.ndarray, **fields: object) -> Image:
    return (mr_image if "mr" in model else astro_image)(data, **fields)


def upscaled(image: Image, model: str, scale: object = 2, **options: object) -> np.ndarray:
    return np.asarray(sciSR.upscale(image, scale, model, **options).data, dtype=np.float64)


def assert_equivariant(model: str, data: np.ndarray, a: float, b: float, quantity: str) -> None:
    image = image_for(model, data, quantity=quantity)
    other = image_for(model, a * data + b, quantity=quantity)
    share = 0.25 if quantity == "total" else 1.0
    expected = a * upscaled(image, model) + b * share
    # To 1e-5 of the brightest value near by and of the noise; float32 itself rounds relative to the pedestal.
    noise = a * 1.4826 * np.median(np.abs(data - np.median(data))) or a * data.std()
    near = maximum_filter(np.abs(expected - b * share), size=5)
    tolerance = 1e-5 * (near + noise * share) + 1.2e-7 * np.abs(expected)
    worst = np.max(np.abs(upscaled(other, model) - expected) / tolerance)
    assert worst <= 1, f"{worst:.3g} times the tolerance"


@pytest.mark.parametrize("quantity", ["density", "total"])
@pytest.mark.parametrize("model", TRAINED + CLASSICAL)
@given(exponent=st.floats(-6, 6), pedestal=st.floats(-50, 50))
def test_unit_and_pedestal_change_nothing(
    model: str, quantity: str, exponent: float, pedestal: float
) -> None:
    data = brain() if "mr" in model else sky((41, 37))
    a = 10.0**exponent
    assert_equivariant(model, data, a, a * pedestal, quantity)


@pytest.mark.realdata
@pytest.mark.parametrize("exponent", [-6, -1.7, 0, 3.3, 6])
@pytest.mark.parametrize(
    "name", ["astro/check/hst_nicmos_f222m.fits", "astro/train/jwst_nircam_f200w_abell2744_jw02561.fits"]
)
def test_unit_changes_nothing_on_real_images(shared_data, name: str, exponent: float) -> None:
    from astropy.io import fits

    with fits.open(shared_data / name) as hdus:
        data = next(h.data for h in hdus if h.data is not None and h.data.ndim == 2).astype(np.float64)
    data = data[:160, :150]
    data = np.where(np.isfinite(data), data, np.nanmedian(data))
    assert_equivariant("espcn-astro-x2", data, 10.0**exponent, 0.0, "total")


@pytest.mark.parametrize("model", ["espcn-astro-x2", *CLASSICAL])
@given(
    scale=st.sampled_from([2, 3, 4, "3/2", 1.31, "2,3"]),
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    seed=st.integers(0, 99),
)
def test_every_original_pixel_keeps_its_flux(
    model: str, scale: object, height: int, width: int, seed: int
) -> None:
    from sciSR.forward.pixel import BlockMean

    scale = scale if model in CLASSICAL else 2
    data = sky((height, width), seed) + 30.0
    for quantity in ("density", "total"):
        result = sciSR.upscale(astro_image(data, quantity=quantity), scale, model)

        factors = result.grid.factors
        share = 1.0 if quantity == "density" else float(1 / (factors[0] * factors[1]))
        means = BlockMean(factors).apply(torch.from_numpy(np.asarray(result.data, dtype=np.float64))).numpy()
        # 1e-6 relative, per original pixel; where a pixel is near zero, relative to what its fine pixels hold.
        size = BlockMean(factors).apply(torch.from_numpy(np.abs(np.asarray(result.data, np.float64)))).numpy()
        assert np.all(np.abs(means - data * share) <= 1e-6 * np.maximum(np.abs(data) * share, size))
        if quantity == "total":
            assert np.asarray(result.data, np.float64).sum() == pytest.approx(data.sum(), rel=1e-6)


@given(seed=st.integers(0, 99), height=st.integers(8, 41), width=st.integers(8, 41))
def test_acquired_kspace_is_kept_exactly(seed: int, height: int, width: int) -> None:
    import torch

    from sciSR.forward.kspace import KSpaceCrop

    data = brain((height, width), seed)
    result = upscaled(mr_image(data), "espcn-mr-kspace-x2")
    back = KSpaceCrop(2).apply(torch.from_numpy(result)).numpy()
    assert np.abs(back - data).max() <= 1e-6 * max(1.0, np.abs(data).max())


def test_the_agreement_is_measured_also_where_it_is_not_enforced() -> None:
    image = astro_image(sky())
    kept = sciSR.upscale(image, 2, "cubic").provenance.steps[-1]["agreement"]
    free = sciSR.upscale(image, 2, "cubic", consistency="none").provenance.steps[-1]["agreement"]
    assert kept["enforced"]
    assert kept["max_relative_to_range"] < 1e-6
    assert not free["enforced"]
    assert free["max_relative_to_range"] > 1e-3


@pytest.mark.parametrize("model", TRAINED + CLASSICAL)
@pytest.mark.parametrize("value", [0.0, -3.25, 7e20])
def test_a_constant_image_stays_constant(model: str, value: float) -> None:
    result = upscaled(image_for(model, np.full((20, 17), value)), model)
    assert np.all(result == np.float32(value))


def test_bf16_agrees_with_fp32_to_its_own_precision() -> None:
    data = brain((64, 64))
    fp32, bf16 = (upscaled(mr_image(data), "espcn-mr-kspace-x2", precision=p) for p in ("fp32", "bf16"))
    error = np.sqrt(np.mean((fp32 - bf16) ** 2)) / data.max()
    assert 0 < error < 10 ** (-50 / 20)


@pytest.mark.parametrize("model", ["nearest", "cubic", "espcn-astro-x2"])
@pytest.mark.parametrize("factor", [1e35, 1e-60])
def test_values_beyond_float32_are_refused_not_written_as_infinity_or_zero(model: str, factor: float) -> None:
    with pytest.raises(UnsupportedError, match="float32"):
        sciSR.upscale(astro_image(sky() * 1e6 * factor), 2, model)


def test_an_overshoot_beyond_float32_is_refused() -> None:
    data = np.zeros((24, 24), dtype=np.float32)
    data[8:16, 8:16] = np.finfo(np.float32).max
    with pytest.raises(UnsupportedError, match="float32"):
        sciSR.upscale(astro_image(data), 2, "cubic")


def test_kspace_agreement_is_measured_on_what_is_written() -> None:
    from sciSR.forward.kspace import KSpaceCrop

    data = brain((32, 32)) + 1e6  # float32 rounds to 0.06 here
    result = sciSR.upscale(mr_image(data), 2, "espcn-mr-kspace-x2")
    back = KSpaceCrop(2).apply(torch.from_numpy(np.asarray(result.data, dtype=np.float64))).numpy()
    told = result.provenance.steps[-1]["agreement"]["max_abs"]
    assert told == pytest.approx(np.abs(back - data).max(), rel=0.01)


@pytest.mark.parametrize("shape", [(40, 36), (41, 33)])
def test_zero_filling_of_mr_reports_that_it_keeps_kspace(shape: tuple[int, int]) -> None:
    data = brain(shape)
    result = sciSR.upscale(mr_image(data), 2, "fourier")
    agreement = result.provenance.steps[-1]["agreement"]
    assert agreement["operator"] == "k-space crop"
    assert agreement["max_relative_to_range"] < 1e-6
    bare = sciSR.upscale(mr_image(data), 2, "fourier", consistency="none")
    assert np.abs(np.asarray(result.data) - np.asarray(bare.data)).max() < 1e-6 * np.ptp(data)


def test_a_level_that_float32_can_not_carry_is_told() -> None:
    assert not any("float32" in m for m in plan_upscale(astro_image(sky() + 1e3)).messages)
    assert any("subtract the level" in m for m in plan_upscale(astro_image(sky() + 1e9), 2, "cubic").messages)


def test_agreement_is_relative_to_the_range_not_to_the_pedestal() -> None:
    data = sky() + 1e7  # float32 rounds to 0.5 here
    step = sciSR.upscale(astro_image(data), 2, "cubic").provenance.steps[-1]["agreement"]
    assert step["max_abs"] > 0.01
    assert step["max_relative_to_range"] == pytest.approx(step["max_abs"] / np.ptp(data), rel=0.01)


def test_repeated_pixels_report_their_rounding_to_float32() -> None:
    data = np.arange(16 * 16, dtype=np.int64).reshape(16, 16) + (1 << 30)
    result = sciSR.upscale(astro_image(data), 2, "nearest")
    worst = np.abs(np.asarray(result.data, np.float64) - np.repeat(np.repeat(data, 2, 0), 2, 1)).max()
    assert worst > 0
    assert result.provenance.steps[-1]["agreement"]["max_abs"] == pytest.approx(worst, rel=0.01)
