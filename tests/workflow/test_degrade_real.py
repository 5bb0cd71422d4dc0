"""Real files on coarser pixels: their field, their mean, and back again."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import sciSR

pytestmark = pytest.mark.realdata
FILES = [
    "astro/check/msx_gc_e.fits",
    "astro/check/hst_nicmos_f222m.fits",
    "astro/odd/wheel_astropy_dist_lookup.fits.gz",
    "astro/odd/drizzle_wfc3_flt_tiny_mef.fits",
    "astro/odd/allsky_rosat_ait.fits",
    "mri/check/sct_t2_cervical_1mm.nii.gz",
    "mri/odd/sheared_sform.nii.gz",
    "dicom/pydicomdata_MR-SIEMENS-DICOM-WithOverlays.dcm",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("scale", [2, 3])
def test_field_and_mean_of_real_files(shared_data: Path, tmp_path: Path, name: str, scale: int) -> None:
    path = shared_data / name
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sharp = sciSR.read_all(path)
        low = sciSR.write(
            [sciSR.degrade(each, scale, "gaussian") for each in sharp], tmp_path / f"low{suffix}"
        )
        written = sciSR.read_all(low)
    for before, after in zip(sharp, written, strict=True):
        first, second = before.spatial_axes
        ends = np.zeros((5, len(after.shape)))
        ends[:, first] = np.array([0, 0, 1, 1, 0.37]) * after.shape[first] - 0.5
        ends[:, second] = np.array([0, 1, 0, 1, 0.61]) * after.shape[second] - 0.5
        fine = ends.copy()
        fine[:, [first, second]] = (ends[:, [first, second]] + 0.5) * scale - 0.5
        there, expected = after.grid.world(ends), before.grid.world(fine)
        assert np.array_equal(np.isnan(there), np.isnan(expected))
        apart = np.abs(there - expected)
        apart = (
            np.minimum(apart, np.abs(360 - apart)) if "wcs" in str(before.grid.describe()["type"]) else apart
        )
        assert np.nanmax(apart, initial=0) < 1e-4 * (1 if apart.shape[1] == 3 else 1e-4)
        share = scale**2 if before.quantity == "total" else 1
        coarse = np.asarray(after, np.float64)
        known = np.asarray(before, np.float64)
        good = np.isfinite(coarse)
        for axis in (first, second):
            good = good.repeat(scale, axis)
        known = known[tuple(slice(n) for n in good.shape)][good]
        slack = 0.05 * float(np.std(known))
        assert np.nanmean(coarse) / share == pytest.approx(known.mean(), rel=0.01, abs=slack)
