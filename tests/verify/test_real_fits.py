"""Every readable real file, upscaled by a classical method and by a network, passes; small pieces of the large ones."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from astropy.io import fits

import sciSR
from sciSR.errors import SciSRError
from sciSR.workflow.run import upscale_file

pytestmark = [pytest.mark.realdata, pytest.mark.filterwarnings("ignore::sciSR.errors.SciSRWarning")]

SIDE = 48
CHECK = (
    "bolocam_gc", "chandra_ngc2207", "herschel_pacs70_ngc2207", "hst_acs_cosmos_galaxy_543", "hst_nicmos_f222m",
    "msx_gc_e", "proba2_swap_full_disc", "spitzer_irac_ngc2207", "vics82_test_J", "vics82_test_Ks", "vics82_test_i",
)  # fmt: skip
ODD = (
    "b10_uint8.fits", "drizzle_wfc3_flt_tiny_mef.fits", "m13_rice.fits", "wcs_1904-66_ZPN.fits", "wcs_blankimg.fits",
    "wheel_astropy_comp.fits", "wheel_astropy_compressed_with_nan.fits", "wheel_astropy_dist_lookup.fits.gz",
    "wheel_astropy_double_ext.fits", "wheel_astropy_fixed-1890.fits", "wheel_astropy_scale.fits",
    "wheel_astropy_sip-wcs.fits", "wheel_ccdproc_science-mef.fits", "wheel_reproject_aia_171_level1.fits",
    "wheel_reproject_image_with_distortion_map.fits",
)  # fmt: skip


def cropped(source: Path, target: Path) -> Path:
    """The middle of the images of a file, by astropy alone; the world stays where it is."""
    with fits.open(source, ignore_missing_end=True) as hdus:
        for hdu in hdus:
            if not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU) or hdu.data is None or hdu.data.ndim < 2:
                continue
            y, x = ((n - min(n, SIDE)) // 2 for n in hdu.data.shape[-2:])
            hdu.data = hdu.data[..., y : y + SIDE, x : x + SIDE].copy()
            for key in list(hdu.header):
                if match := re.fullmatch(r"(?:CRPIX|LTV)([12])[A-Z]?", key):
                    hdu.header[key] -= x if match[1] == "1" else y
        hdus.writeto(target, output_verify="silentfix", checksum=True)
    return target


def judge(source: Path, target: Path, model: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upscale_file(source, target, scale=2, model=model, device="cpu")
        found = sciSR.verify_files(source, target)
    assert [(c.part, c.name, c.message) for c in found.checks if c.status == "failed"] == []
    assert [(k.part, k.key, k.before, k.after) for k in found.keys if not k.allowed] == []
    assert found.keys
    assert found.passed


@pytest.mark.parametrize("model", ["cubic", "espcn-astro-x2"])
@pytest.mark.parametrize("name", CHECK)
def test_pieces_of_files_that_trained_nothing(
    shared_data: Path, tmp_path: Path, name: str, model: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = cropped(shared_data / "astro" / "check" / f"{name}.fits", tmp_path / "piece.fits")
    judge(source, tmp_path / "out.fits", model)


@pytest.mark.parametrize("name", ODD)
def test_odd_files(shared_data: Path, tmp_path: Path, name: str) -> None:
    model = "espcn-astro-x2" if len(name) % 2 else "lanczos"
    judge(shared_data / "astro" / "odd" / name, tmp_path / "out.fits", model)


def test_a_damaged_input_is_a_warning(shared_data: Path, tmp_path: Path) -> None:
    """Read in spite of its wrong DATASUM, on request; the output's own sums are right."""
    source = shared_data / "astro" / "odd" / "wheel_astropy_checksum_false.fits"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            upscale_file(source, tmp_path / "out.fits", model="cubic", options={"ignore_checksum": True})
    except SciSRError as error:
        pytest.skip(f"holds no image: {error}")
    assert sciSR.verify_files(source, tmp_path / "out.fits").passed
