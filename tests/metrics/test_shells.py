"""Shell correlation on volumes whose answer is known, with voxels longer along one axis."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.metrics.shells import central_block, fourier_shell_correlation

SHAPE, SPACING = (32, 40, 16), (1.0, 0.8, 2.0)


def radius() -> np.ndarray:
    axes = np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    return np.sqrt(sum(f**2 for f in axes))


def band_limited(keep: np.ndarray, seed: int = 0) -> np.ndarray:
    white = np.random.default_rng(seed).normal(size=SHAPE)
    return np.fft.ifftn(np.where(keep, np.fft.fftn(white), 0)).real


def halves(signal: np.ndarray, sigma: float, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed).normal(scale=sigma, size=(2, *SHAPE))
    return signal + noise[0], signal + noise[1]


def test_a_volume_correlates_fully_with_itself_up_to_each_axis_limit() -> None:
    volume = band_limited(radius() < 9)
    found = fourier_shell_correlation(volume, volume, spacing=SPACING, length_unit="mm")
    assert found.resolution("1/7").reached_end
    assert found.resolution("1/7").period == pytest.approx(1.6)
    for axis, size in enumerate(SPACING):
        assert found.resolution("1/7", axis).period == pytest.approx(2 * size)


def test_shells_are_those_of_a_loop_over_all_coefficients() -> None:
    a, b = halves(band_limited(radius() < 0.3), 0.3)
    found = fourier_shell_correlation(a, b, spacing=SPACING, window="none").whole
    spectra = [np.fft.fftn(each - each.mean()) for each in (a, b)]
    edge = 1 / max(n * d for n, d in zip(SHAPE, SPACING, strict=True))
    shell = np.ceil(radius() / edge - 1e-9)
    for k in (1, 4, 9, 15):
        u, v = (each[shell == k] for each in spectra)
        expected = (u * v.conj()).real.sum() / np.sqrt((abs(u) ** 2).sum() * (abs(v) ** 2).sum())
        where = int(np.argmin(abs(found.frequencies - radius()[shell == k].mean())))
        assert found.correlation[where] == pytest.approx(expected)
        assert found.n[where] == pytest.approx((shell == k).sum())


@given(cutoff=st.floats(0.15, 0.45))
def test_the_cutoff_of_a_band_limited_volume_is_its_resolution(cutoff: float) -> None:
    found = fourier_shell_correlation(
        *halves(band_limited(radius() < cutoff), 0.02), spacing=SPACING, window="none"
    )
    assert abs(found.resolution("1/7").frequency - cutoff) < 2 / 32


def test_each_axis_has_its_own_resolution() -> None:
    along_y = np.abs(np.fft.fftfreq(40, 0.8))[None, :, None]
    found = fourier_shell_correlation(
        *halves(band_limited(np.broadcast_to(along_y < 0.3, SHAPE)), 0.02), spacing=SPACING, window="none"
    )
    assert found.resolution("1/2", 1).frequency == pytest.approx(0.3, abs=0.06)
    assert found.resolution("1/2", 0).reached_end
    assert found.resolution("1/2", 2).reached_end


def test_noise_has_nothing_in_common() -> None:
    a, b = halves(np.zeros(SHAPE), 1.0)
    found = fourier_shell_correlation(a, b, spacing=SPACING)
    late = found.whole.n > 50
    assert np.abs(found.whole.correlation[late]).mean() < 2 / math.sqrt(found.whole.n[late].min())
    assert math.isnan(found.resolution("half-bit").frequency)


def test_units_of_length_and_of_values_only_rename_the_answer() -> None:
    a, b = halves(band_limited(radius() < 0.3), 0.1)
    mm = fourier_shell_correlation(a, b, spacing=SPACING, length_unit="mm")
    um = fourier_shell_correlation(7 * a + 3, 0.1 * b, spacing=[1000 * s for s in SPACING], length_unit="um")
    assert um.resolution("1/7").period == pytest.approx(1000 * mm.resolution("1/7").period)
    np.testing.assert_allclose(um.whole.correlation, mm.whole.correlation, atol=1e-9)
    told = json.loads(json.dumps(um.as_dict(["x", "y", "z"]), allow_nan=False))
    assert told["curves"]["z"]["frequency_unit"] == "cycles/um"


def test_bad_voxels_do_not_matter() -> None:
    a, b = halves(band_limited(radius() < 0.3), 0.1)
    clean = fourier_shell_correlation(a, b, spacing=SPACING)
    b[10, 10, 5] = np.nan
    mask = np.ones(SHAPE, bool)
    mask[:4] = False
    a[:4] = 1e9
    found = fourier_shell_correlation(a, b, spacing=SPACING, mask=mask)
    assert found.resolution("1/7").frequency == pytest.approx(clean.resolution("1/7").frequency, abs=0.01)


def test_planes_and_other_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="two equal volumes"):
        fourier_shell_correlation(np.ones((32, 32)), np.ones((32, 32)))
    with pytest.raises(UsageError, match="two equal volumes"):
        fourier_shell_correlation(np.ones((32, 32, 4)), np.ones((32, 32, 4)))


@given(shape=st.tuples(*[st.integers(1, 200)] * 3), most=st.integers(1000, 100_000))
def test_the_central_block_fits_and_is_central(shape: tuple[int, int, int], most: int) -> None:
    block = central_block(shape, most)
    sides = [s.stop - s.start for s in block]
    assert np.prod(sides) <= max(most, 1)
    for span, n in zip(block, shape, strict=True):
        assert span.start >= 0
        assert span.stop <= n
        assert abs((n - span.stop) - span.start) <= 1
