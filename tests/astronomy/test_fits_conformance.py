"""The FITS adapter keeps every promise of the conformance suite; astropy judges the grids."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, faults, header_of, sky_error, wcs_of, write

from sciSR.testing import check_adapter
from sciSR.testing.tools import quiet
from scisr_astronomy.fits_adapter import adapter

RNG = np.random.default_rng(9)
SIP = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "A_ORDER": 2,
    "A_2_0": 2e-4,
    "B_ORDER": 2,
    "B_1_1": -3e-4,
}


def image(folder: Path) -> Path:
    return write(
        folder / "image.fits",
        fits.PrimaryHDU(RNG.normal(size=(12, 16)).astype("f4"), header_of(TAN | SIP | {"BUNIT": "ct"})),
    )


def packed(folder: Path) -> Path:
    return write(
        folder / "packed.fits.gz",
        fits.PrimaryHDU(RNG.integers(0, 99, (12, 16)).astype("i2"), header_of({"BUNIT": "MJy/sr"})),
    )


def tiled(folder: Path) -> Path:
    sci = fits.CompImageHDU(
        RNG.integers(0, 99, (12, 16)).astype("i4"), header_of(TAN | {"BUNIT": "K"}), name="SCI"
    )
    return write(folder / "tiled.fits.fz", fits.PrimaryHDU(), sci)


def chips(folder: Path) -> Path:
    hdus: list = [fits.PrimaryHDU()]
    for version in (1, 2):
        for name, kind in (("SCI", "f4"), ("ERR", "f4"), ("DQ", "i2")):
            hdus.append(
                fits.ImageHDU(
                    RNG.integers(0, 3, (12, 16)).astype(kind),
                    header_of(TAN | {"BUNIT": "electron"}),
                    name=name,
                )
            )
            hdus[-1].ver = version
    return write(folder / "chips.fits", *hdus, checksum=True)


def cube(folder: Path) -> Path:
    cards = TAN | {"CTYPE3": "VELO", "CD3_3": 10.0, "CRPIX3": 1.0, "BUNIT": "Jy/beam"}
    return write(folder / "cube.fits", fits.PrimaryHDU(RNG.normal(size=(3, 12, 16)), header_of(cards)))


def judge(source: Path, target: Path, scale: Fraction) -> None:
    assert faults(target) <= faults(source)
    with quiet(), fits.open(source) as old, fits.open(target) as new:
        for number, hdu in enumerate(old):
            if hdu.header.get("NAXIS", 0) >= 2 and "CTYPE1" in hdu.header:
                error = sky_error(wcs_of(hdu.header), wcs_of(new[number].header), hdu.shape, scale)
                assert error < 1e-8


@pytest.mark.parametrize("make", [image, packed, tiled, chips, cube])
def test_adapter_conforms(tmp_path: Path, make: object) -> None:
    inputs, work = tmp_path / "in", tmp_path / "work"
    inputs.mkdir()
    stranger = inputs / "notes.txt"
    stranger.write_text("SIMPLE notes, not FITS")
    check_adapter(adapter, [make(inputs)], work, strangers=[stranger], judge=judge)
