"""The normaliser follows the image exactly, and never fails on a strange one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.inference.normalise import KINDS, Normaliser, fit

rng = np.random.default_rng(0)
sky = 100 + rng.normal(0, 3, 5000) + 1e5 * (rng.random(5000) > 0.99)
stripped = np.where(rng.random(5000) > 0.999, rng.random(5000), 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image", [sky, stripped], ids=["sky", "mostly zero"])
@given(log_a=st.floats(-6, 6), b=st.floats(-1e5, 1e5))
def test_normalised_values_do_not_change_with_unit_or_pedestal(kind, image, log_a, b):
    a = 10**log_a
    b = b * a
    first, second = fit(image, kind), fit(a * image + b, kind)
    assert np.allclose(second.forward(a * image + b), first.forward(image), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_inverse_undoes_forward(kind):
    normaliser = fit(sky, kind)
    assert np.allclose(normaliser.inverse(normaliser.forward(sky)), sky, rtol=3e-6, atol=1e-3)
    tensor = torch.from_numpy(sky)
    assert np.array_equal(normaliser.forward(tensor).numpy(), normaliser.forward(sky))
    assert np.allclose(normaliser.inverse(normaliser.forward(tensor)).numpy(), sky, rtol=3e-6, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pedestal_costs_no_precision(kind):
    small = rng.normal(0, 1, 4000)
    z = fit(small + 1e9, kind).forward(small + 1e9)
    assert np.allclose(z, fit(small, kind).forward(small), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 7.5, -1e30])
def test_constant_images_stay_constant_whatever_the_network_does(kind, value):
    normaliser = fit(np.full(100, value), kind)
    assert np.all(normaliser.forward(np.full(10, value)) == 0)
    assert np.all(normaliser.inverse(rng.normal(size=10)) == value)


@pytest.mark.parametrize("kind", KINDS)
def test_strange_samples(kind):
    assert fit(np.array([]), kind) == Normaliser(kind, 0.0, 0.0)
    assert fit(np.array([np.nan, np.inf]), kind) == Normaliser(kind, 0.0, 0.0)
    one = fit(np.r_[np.zeros(9999), 1.0], kind)
    assert one.scale > 0
    assert fit(np.array([np.nan, 1, 2, 3, 4.0]), kind).scale > 0


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="sky"):
        fit(sky, "magic")
