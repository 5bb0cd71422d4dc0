"""A patch sees what the whole image would; amplitudes and their errors are honest, with correlated noise too."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.pixel import BlockMean
from sciSR.trust.templates import Forward, fit, level_and_slope

FACTORS = [Fraction(2), Fraction(4), Fraction(3, 2)]


@settings(max_examples=25, deadline=None)
@given(
    factor=st.sampled_from(FACTORS), top=st.integers(0, 30), left=st.integers(0, 30), seed=st.integers(0, 99)
)
def test_patch_of_block_means_is_part_of_the_whole(factor: Fraction, top: int, left: int, seed: int) -> None:
    shape = (24, 30)
    fine = np.random.default_rng(seed).standard_normal(tuple(int(n * factor) for n in shape))
    whole = BlockMean((factor, factor)).apply(torch.from_numpy(fine)).numpy()
    box = (slice(top, min(top + 3, fine.shape[0])), slice(left, min(left + 4, fine.shape[1])))
    patch = Forward("block", (factor, factor), shape).patch(box)
    assert np.allclose(patch.apply(fine[patch.fine]), whole[patch.coarse], atol=1e-12)
    for cut, asked, f in zip(patch.fine, box, (factor, factor), strict=True):
        assert cut.start <= asked.start
        assert cut.stop >= asked.stop
        assert cut.start <= max(0, asked.start - 2 * f)


@pytest.mark.parametrize("kind", ["kspace", "gaussian"])
def test_compact_features_look_as_in_the_whole(kind: str) -> None:
    fine = np.zeros((96, 96))
    fine[44:52, 40:50] = np.random.default_rng(1).standard_normal((8, 10))
    fine = ndimage.gaussian_filter(fine, 1.5)
    operator = KSpaceCrop(2) if kind == "kspace" else GaussianDecimation(2)
    whole = operator.apply(torch.from_numpy(fine)).numpy()
    two = Fraction(2)
    patch = Forward(kind, (two, two), (48, 48)).patch((slice(38, 58), slice(34, 56)))
    seen = patch.apply(fine[patch.fine])
    assert np.abs(seen - whole[patch.coarse]).max() < 0.02 * np.abs(whole).max()


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_errors_are_those_of_repeated_measurements(correlation: float) -> None:
    g = np.random.default_rng(7)
    y, x = np.mgrid[:11, :11]
    template = np.exp(-((y - 5.3) ** 2 + (x - 4.8) ** 2) / 4)
    columns, sigma = [template, *level_and_slope((11, 11))], np.full((11, 11), 2.0)
    amplitudes, error = [], 0.0
    for _ in range(800):
        white = g.standard_normal((40, 40))
        for axis in (0, 1):  # an autoregressive process along each axis
            white = _recursive(white, correlation, axis)
        data = 2.0 * white[20:31, 20:31] + 3.0 * template + 7.0 - 0.3 * x
        found = fit(data, sigma, columns, (correlation, correlation))
        amplitudes.append(found.amplitude)
        error = found.error
    assert np.mean(amplitudes) == pytest.approx(3.0, abs=4 * error / np.sqrt(800))
    assert np.std(amplitudes) == pytest.approx(error, rel=0.1)


def _recursive(values: np.ndarray, correlation: float, axis: int) -> np.ndarray:
    moved = np.moveaxis(values.copy(), axis, 0)
    for k in range(1, len(moved)):
        moved[k] = correlation * moved[k - 1] + np.sqrt(1 - correlation**2) * moved[k]
    return np.moveaxis(moved, 0, axis)


def test_what_can_not_be_told_has_no_support() -> None:
    flat, sigma = np.ones((6, 6)), np.ones((6, 6))
    assert fit(flat, sigma, [np.zeros((6, 6)), flat]).support == 0
    assert fit(np.full((6, 6), np.nan), sigma, [flat]).support == 0
    assert abs(fit(flat, sigma, [flat, flat]).amplitude - 0.5) < 1e-9  # shared between two that are the same
