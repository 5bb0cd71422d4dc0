"""Point spread functions have the width they claim; the detector has the variance it claims."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.errors import UsageError
from sciSR.forward import noise, psf


@pytest.mark.parametrize("kind", [psf.gaussian, psf.moffat, psf.airy])
@pytest.mark.parametrize("fwhm", [6.0, 11.0])
def test_half_of_the_peak_lies_at_half_the_width(kind, fwhm):
    kernel = kind(201, fwhm)
    row = kernel[100, 100:] / kernel[100, 100]
    assert np.interp(0.5, row[:20][::-1], np.arange(20)[::-1]) == pytest.approx(fwhm / 2, rel=0.02)
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel[::-1, ::-1])


def test_ellipticity_stretches_one_axis():
    kernel = psf.gaussian(61, 10.0, ellipticity=0.4, angle=0.0)
    y, x = np.mgrid[-30:31, -30:31]
    assert np.sqrt((kernel * y**2).sum() / (kernel * x**2).sum()) == pytest.approx(0.6, rel=1e-3)


def test_even_sizes_are_refused():
    with pytest.raises(UsageError, match="odd"):
        psf.gaussian(20, 3.0)


def test_detector_mean_and_variance():
    level = np.full((400, 400), 50.0)
    image = noise.expose(level, 4.0, np.random.default_rng(0))
    assert image.mean() == pytest.approx(50, abs=0.1)
    assert image.var() == pytest.approx(noise.variance(level, 4.0)[0, 0], rel=0.02)
