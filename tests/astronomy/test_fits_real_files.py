"""Every real file is upscaled right, or refused with one clear line. Judges: astropy and fitsverify."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import faults, read, refined, save, sky_error, wcs_of

from sciSR.errors import SciSRError, UnreadableError, UnsupportedError
from sciSR.testing.tools import quiet
from scisr_astronomy.fits_adapter import adapter

pytestmark = pytest.mark.realdata

FOLDERS = ("train", "check", "odd", "sequence/*")
#: Refused by default, and why; anything else must be upscaled.
REFUSED = {
    "drizzle_j8bt06nyq_sip_flt.fits": (UnsupportedError, "header without pixels"),
    "snr_events.fits.bz2": (UnsupportedError, "is a table"),
    "wheel_astropy_blank.fits": (UnsupportedError, "1x1, too small"),
    "wheel_astropy_compressed_float_bzero.fits": (UnsupportedError, "one-dimensional"),
    "wheel_astropy_group_invalid.fits": (UnsupportedError, "header without pixels"),
    "wheel_astropy_history_header.fits": (UnsupportedError, "header without pixels"),
    "wheel_astropy_ie6d07ujq_wcs.fits": (UnsupportedError, "header without pixels"),
    "wheel_astropy_random_groups.fits": (UnsupportedError, "random groups"),
    "wheel_astropy_sip.fits": (UnsupportedError, "header without pixels"),
    "wheel_astropy_sip2.fits": (UnsupportedError, "header without pixels"),
    "wheel_astropy_zerowidth.fits": (UnsupportedError, "no pixels"),
    "chandra_ngc2207.fits": (UnreadableError, "DATASUM"),
    "wcs_region.fits": (UnreadableError, "CHECKSUM is wrong"),
    "wcs_tanpv.fits": (UnreadableError, "DATASUM"),
    "wheel_astropy_checksum_false.fits": (UnreadableError, "DATASUM"),
    "wheel_astropy_header_newlines.fits": (UnreadableError, "DATASUM"),
    "wheel_astropy_validate.fits": (UnreadableError, "DATASUM"),
    **{f"DEC-OBS04{letter}.mini.fits": (UnreadableError, "DATASUM") for letter in "abcde"},
}
SUMS = [name for name, (_, why) in REFUSED.items() if "SUM" in why]
NO_IMAGE = {"wheel_astropy_header_newlines.fits", "wheel_astropy_validate.fits"}


def files(shared: Path) -> list[Path]:
    found = sorted(path for folder in FOLDERS for path in shared.glob(f"astro/{folder}/*") if path.is_file())
    assert len(found) > 100
    return found


def scale_of(pixels: np.ndarray) -> float:
    """Rounding that astropy, which scales in float32, may show where BZERO cancels."""
    return 1e-6 * float(np.nanmax(np.abs(pixels), initial=0.0))


def judge(source: Path, target: Path, images: list, scale: int) -> None:
    """Grid, pixels, and other HDUs of a written file, by astropy alone."""
    with quiet(), fits.open(source) as old, fits.open(target, checksum=True) as new:
        for image in images:
            name = image.metadata.file.part(image.metadata.hdu)
            a, b = old[image.metadata.hdu], new[image.metadata.hdu]
            assert b.name in (a.name, ""), name
            alts = {key[6:] for key in a.header if key.startswith("CRPIX1")} | (
                {""} if "CTYPE1" in a.header else set()
            )
            for alt in alts:
                before, after = wcs_of(a.header, old, alt or " "), wcs_of(b.header, new, alt or " ")
                assert sky_error(before, after, a.shape, scale) < 1e-8, (name, alt)
            pixels = a.data.astype(np.float64).repeat(scale, -1).repeat(scale, -2)
            if image.quantity == "total":
                pixels = pixels / scale**2
            assert b.data.dtype == np.dtype(">f4")
            assert np.allclose(b.data, pixels, rtol=2e-6, atol=scale_of(pixels), equal_nan=True), name
            assert b.header.get("BUNIT") == a.header.get("BUNIT")


def round_trip(path: Path, target: Path, scale: int, **options: object) -> list:
    images = read(path, **options)
    save([refined(image, scale) for image in images], target, overwrite=True)
    judge(path, target, images, scale)
    before, after = faults(path), faults(target)
    assert after[0] <= before[0], f"{path.name}: warnings {before} -> {after}"
    assert after[1] <= before[1], f"{path.name}: errors {before} -> {after}"
    assert len(read(target)) == len(images)
    return images


def test_every_file_is_right_or_refused_for_the_known_reason(shared_data: Path, tmp_path: Path) -> None:
    for path in files(shared_data):
        assert adapter.sniff(path), path.name
        if path.name not in REFUSED:
            assert round_trip(path, tmp_path / "out.fits", 2), path.name
            continue
        kind, why = REFUSED[path.name]
        with pytest.raises(kind, match=why) as caught:
            read(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in SUMS if name not in NO_IMAGE])
def test_files_with_wrong_sums_are_right_when_asked_for(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = next(shared_data.glob(f"astro/**/{name}"))
    assert round_trip(path, tmp_path / "out.fits", 3, ignore_checksum=True)


@pytest.mark.parametrize("name", sorted(NO_IMAGE))
def test_files_with_wrong_sums_and_no_image_are_still_refused(shared_data: Path, name: str) -> None:
    with pytest.raises(SciSRError, match="no image to upscale"):
        read(shared_data / "astro/odd" / name, ignore_checksum=True)


def test_units_of_real_files_decide_the_quantity(shared_data: Path) -> None:
    expected = {
        "check/hst_acs_cosmos_galaxy_543.fits": "total",
        "check/hst_nicmos_f222m.fits": "total",
        "check/proba2_swap_full_disc.fits": "total",
        "check/spitzer_irac_ngc2207.fits": "density",
        "check/msx_gc_e.fits": "density",
        "check/bolocam_gc.fits": "density",
        "train/sdss_i_682x496.fits.bz2": "total",
        "train/jwst_nircam_f200w_abell2744_jw02561.fits": "density",
    }
    for name, quantity in expected.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [image.quantity for image in adapter.read(shared_data / "astro" / name)] == [quantity]


def test_decam_quality_masks_are_labels(shared_data: Path) -> None:
    folder = shared_data / "astro/sequence/decam_186p257"
    kinds = {path.name.split("_")[3]: read(path)[0].kind for path in folder.glob("c4d_150411_035242_*")}
    assert kinds == {"ood": "labels", "ooi": "intensity", "oow": "intensity"}


def test_every_file_can_be_described(shared_data: Path) -> None:
    import json

    for path in files(shared_data):
        with quiet():
            text = json.dumps(adapter.describe(path), allow_nan=False)
        assert path.name in text
