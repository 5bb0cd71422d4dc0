"""The step on two-dimensional spectra is the operator of `sciSR.forward.kspace`, applied axis by axis there."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.forward.kspace import KSpaceCrop
from sciSR.inference.kspace_step import KSpaceSamples


@given(scale=st.integers(1, 4), height=st.integers(1, 17), width=st.integers(1, 17), seed=st.integers(0, 99))
def test_it_is_the_same_operator_with_the_same_inverse(
    scale: int, height: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(scale * height, scale * width, dtype=torch.float64, generator=generator)
    y = torch.randn(height, width, dtype=torch.float64, generator=generator)
    ours, judge = KSpaceSamples(scale), KSpaceCrop(scale)
    torch.testing.assert_close(ours.apply(x), judge.apply(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.pinv(y), judge.pinv(y), rtol=0, atol=1e-12)
    step = judge.pinv(y - judge.apply(x))
    torch.testing.assert_close(ours.correction(x, y).double(), step, rtol=0, atol=2e-5)
