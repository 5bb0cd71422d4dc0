"""The shipped networks beat the classical methods on real and simulated images never trained on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from sciSR.training.scenes import simulate

spec = importlib.util.spec_from_file_location(
    "quality", Path(__file__).parents[2] / "benchmarks" / "quality.py"
)
quality = importlib.util.module_from_spec(spec)
spec.loader.exec_module(quality)


@pytest.mark.realdata
@pytest.mark.parametrize(("forward", "least"), [("kspace", 1.2), ("gaussian", 2.5)])
def test_mr_volume_of_another_site(shared_data, forward, least):
    path = shared_data / "mri/check/sct_t2_cervical_1mm.nii.gz"
    row = quality.mr_file(path, forward, f"espcn-mr-{forward}-x2", extra=False)
    assert quality.gain(row) > least


@pytest.mark.realdata
def test_infrared_map_of_another_instrument(shared_data):
    row = quality.astro_file(shared_data / "astro/check/msx_gc_e.fits", "espcn-astro-x2")
    assert quality.gain(row) > 0.5
    assert row["self-check"][0] > 0.5


def test_undersampled_simulated_sky():
    scene = simulate(9_200_001, size=96, fixed={"fwhm": 1.3, "frames": 300, "sky": 200, "read_noise": 5})
    row = quality.astro_scene(scene, "espcn-astro-x2")
    assert quality.gain(row) > 1
    assert abs(row["ESPCN"][1]) <= max(1.0, abs(row["cubic"][1]))
