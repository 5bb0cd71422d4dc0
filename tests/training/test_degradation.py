"""One draw of the forward model: within its ranges, the same for the same seed, and local where it says so."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.partial_fourier import PartialFourier
from sciSR.training.config import ForwardConfig
from sciSR.training.degradation import Degradation, draw

WIDE = ForwardConfig(
    kind=("kspace", "gaussian", "detector", "bicubic"),
    psf=("gaussian", "moffat", "airy"),
    fwhm=(0.6, 1.8),
    ellipticity=(0.0, 0.3),
    partial_fourier=(0.6, 0.9),
    apodisation=(0.0, 1.0),
    noise="rician",
    snr=(20.0, 200.0),
    hot_pixels=(0.0, 0.01),
)
degradations = st.builds(
    lambda seed, scale: draw(WIDE, scale, np.random.default_rng(seed)),
    st.integers(0, 10**6),
    st.integers(1, 4),
)


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.5


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_draws_follow_from_the_seed_and_stay_in_their_ranges(seed):
    drawn = draw(WIDE, 2, np.random.default_rng(seed))
    assert drawn == draw(WIDE, 2, np.random.default_rng(seed))
    assert 20 <= drawn.snr <= 200
    assert 0 <= drawn.hot_pixels <= 0.01
    assert drawn.fwhm == 0 if drawn.kind in ("kspace", "bicubic") else 0.6 <= drawn.fwhm <= 1.8
    assert drawn.kspace == (drawn.kind == "kspace")
    if drawn.kspace:
        assert 0.6 <= drawn.partial_fourier <= 0.9
        assert 0 <= drawn.apodisation <= 1
    if drawn.kind == "detector":
        assert drawn.psf in WIDE.psf
        assert 0 <= drawn.ellipticity <= 0.3


def test_all_kinds_and_families_occur():
    drawn = [draw(WIDE, 2, np.random.default_rng(seed)) for seed in range(200)]
    assert {d.kind for d in drawn} == set(WIDE.kinds)
    assert {d.psf for d in drawn} == {"", *WIDE.psf}
    snr = np.array([d.snr for d in drawn])
    assert np.median(snr) == pytest.approx(math.sqrt(20 * 200), rel=0.2)  # logarithmic


def test_a_number_stands_for_itself():
    fixed = ForwardConfig(
        kind="detector", fwhm=1.25, beta=3.0, psf=("moffat",), ellipticity=0.2, noise="poisson", snr=50
    )
    for seed in range(5):
        drawn = draw(fixed, 3, np.random.default_rng(seed))
        assert (drawn.fwhm, drawn.beta, drawn.psf, drawn.ellipticity) == (1.25, 3.0, "moffat", 0.2)
        assert drawn.snr == pytest.approx(50)


def test_what_is_not_said_is_the_plain_model():
    x = image(24, 36)
    plain = {kind: draw(ForwardConfig(kind=kind), 2, np.random.default_rng(0)) for kind in WIDE.kinds}
    assert torch.allclose(plain["kspace"].apply(x), KSpaceCrop(2).apply(x).abs())
    assert torch.allclose(plain["gaussian"].apply(x), GaussianDecimation(2).apply(x))
    assert plain["gaussian"].fwhm == 1.0
    assert torch.allclose(
        plain["detector"].apply(x), x.unflatten(0, (12, 2)).unflatten(2, (18, 2)).mean((1, 3))
    )
    assert all(d.noise == "none" and d.snr == math.inf for d in plain.values())


@settings(deadline=None, max_examples=40)
@given(drawn=degradations)
def test_a_patch_cut_with_its_margin_is_a_cut_of_the_whole(drawn):
    """What the data pipeline relies on: only `margin` coarse pixels feel that the image ends."""
    if drawn.whole_plane:
        return
    m, s = drawn.margin, drawn.scale
    height, width = 2 * m + 9, 2 * m + 7
    x = image(s * (height + 6), s * (width + 4))
    whole = drawn.apply(x)[3 + m : 3 + height - m, 2 + m : 2 + width - m]
    cut = drawn.apply(x[3 * s : s * (3 + height), 2 * s : s * (2 + width)])[m : height - m, m : width - m]
    assert torch.allclose(whole, cut, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(drawn=degradations)
def test_level_shape_and_dtype(drawn):
    flat = drawn.apply(torch.full((2, 10 * drawn.scale, 12 * drawn.scale), 3.0))
    assert flat.shape == (2, 10, 12)
    assert flat.dtype == torch.float32
    assert torch.allclose(flat, torch.full((2, 10, 12), 3.0), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(drawn=degradations)
def test_the_linear_part_has_its_transpose(drawn):
    x, y = image(6 * drawn.scale, 8 * drawn.scale), image(6, 8, seed=1)
    y = torch.complex(y, y.flip(0)) if drawn.partial_fourier < 1 else y
    seen = drawn.operator.apply(x)
    assert torch.isclose((seen * y.conj()).real.sum(), (x * drawn.operator.adjoint(y)).sum(), rtol=1e-9)
    assert torch.allclose(drawn.apply(x), seen.abs() if drawn.kspace else seen)


@settings(deadline=None)
@given(drawn=degradations)
def test_the_record_is_plain_json_and_enough_to_do_it_again(drawn):
    record = json.loads(json.dumps(drawn.as_dict(), allow_nan=False))
    again = Degradation(**record)
    x = image(8 * drawn.scale, 9 * drawn.scale)
    assert torch.equal(again.apply(x), drawn.apply(x))
    assert (again.noise, again.snr, again.hot_pixels) == (drawn.noise, drawn.snr, drawn.hot_pixels)


def test_zero_filled_lines_leave_a_magnitude():
    x = image(32, 32)
    drawn = Degradation("kspace", 2, partial_fourier=0.6)
    expected = PartialFourier(0.6).apply(KSpaceCrop(2).apply(x)).abs()
    assert torch.allclose(drawn.apply(x), expected)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kind": "blur", "scale": 2}, "blur"),
        ({"kind": "kspace", "scale": 0}, "scale of 0"),
        ({"kind": "gaussian", "scale": 2, "fwhm": 0.0}, "FWHM 0"),
        ({"kind": "kspace", "scale": 2, "partial_fourier": 0.4}, "0.4"),
        ({"kind": "kspace", "scale": 2, "apodisation": 1.5}, "apodisation"),
        ({"kind": "detector", "scale": 2, "hot_pixels": 2.0}, "hot pixels"),
        ({"kind": "detector", "scale": 2, "psf": "moffat", "fwhm": 1.0, "beta": 0.9}, "Moffat"),
        ({"kind": "detector", "scale": 2, "psf": "box", "fwhm": 1.0}, "box"),
    ],
)
def test_impossible_parameters_are_refused(wrong, named):
    with pytest.raises(UsageError, match=named):
        Degradation(**wrong)


def test_numpy_and_torch_are_enough():
    """Networks are trained on machines that have little else."""
    code = (
        "import sys\n"
        "for name in ('scipy', 'astropy', 'nibabel', 'pydicom', 'skimage', 'pydantic', 'ruamel', 'click'):\n"
        "    sys.modules[name] = None\n"
        "import numpy, torch\n"
        "from sciSR.training.config import ForwardConfig\n"
        "from sciSR.training.degradation import draw\n"
        "kinds = ('kspace', 'gaussian', 'detector', 'bicubic')\n"
        "for kind in kinds:\n"
        "    config = ForwardConfig(kind, psf=('airy',), fwhm=1.0, partial_fourier=0.7, apodisation=0.5)\n"
        "    print(tuple(draw(config, 2, numpy.random.default_rng(0)).apply(torch.ones(24, 20)).shape))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:4] == ["(12, 10)"] * 4
