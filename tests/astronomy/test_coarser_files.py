"""FITS files on coarser pixels: world coordinates of every convention, companions, and what a rest at the end does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, faults, header_of, read, save, sky_error, wcs_of, write

from sciSR.image import Image
from sciSR.training.config import ForwardConfig
from sciSR.workflow.degrade_image import degrade

SHAPE = (36, 48)
LINEAR = {key: value for key, value in TAN.items() if not key.startswith("CD")}
PC = {"PC1_1": 0.9, "PC1_2": -0.3, "PC2_1": 0.3, "PC2_2": 0.9}
PV = {"PV1_1": 1.0, "PV1_4": 0.01, "PV2_1": 1.0, "PV2_5": 0.02}
SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 4e-4, "B_1_1": 2e-4}
PLATE = {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CDELT1": -0.01, "CDELT2": 0.01, "CRVAL2": 0.0}
CONVENTIONS = {
    "cd": TAN,
    "cdelt and pc": {**LINEAR, "CDELT1": -1e-4, "CDELT2": 1.2e-4, **PC},
    "crota": {**LINEAR, "CDELT1": -1e-4, "CDELT2": 1e-4, "CROTA2": 25.0},
    "tpv": {**TAN, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", **PV},
    "sip": {**TAN, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", **SIP},
    "car": {**LINEAR, **PLATE},
}


def image_hdu(name: str, data: np.ndarray, cards: dict, version: int = 1) -> fits.ImageHDU:
    hdu = fits.ImageHDU(data, fits.Header(cards), name)
    hdu.ver = version
    return hdu


def values(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4.0, 25.0, shape).astype(np.float32)


def lowered(path: Path, scale: int = 2, **options: object) -> Path:
    images: list[Image] = [degrade(image, scale, "detector") for image in read(path, **options)]
    return save(images, path.with_name("low.fits"))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_world_coordinates_stay_in_every_convention(tmp_path: Path, name: str, scale: int) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(values(), fits.Header(CONVENTIONS[name])))
    low = lowered(path, scale)
    assert faults(low) == (0, 0)
    before, after = wcs_of(fits.getheader(path)), wcs_of(fits.getheader(low))
    coarse = fits.getdata(low).shape
    # The judge scales up: from the coarse file to the fine one.
    assert sky_error(after, before, coarse, scale) < 1e-9


def test_look_up_distortions_follow(tmp_path: Path) -> None:
    header = header_of({**TAN, "BUNIT": "MJy/sr", "CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP"})
    tables = []
    for axis in (1, 2):
        for field, value in (("EXTVER", axis), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
            header[f"DP{axis}.{field}"] = float(value)
        place = {"CRPIX1": 1.0, "CRPIX2": 2.0, "CRVAL1": 3.0, "CRVAL2": 1.5, "CDELT1": 16.0, "CDELT2": 14.0}
        corrections = np.random.default_rng(axis).uniform(-2, 2, (4, 5)).astype(np.float32)
        tables.append(image_hdu("WCSDVARR", corrections, place, axis))
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), fits.ImageHDU(values(), header, "SCI"), *tables)
    low = lowered(path)
    with fits.open(path) as old, fits.open(low) as new:
        before, after = wcs_of(old["SCI"].header, old), wcs_of(new["SCI"].header, new)
        assert sky_error(after, before, new["SCI"].data.shape, 2) < 1e-9
        assert sky_error(wcs_of(header_of(TAN)), before, SHAPE, 1) > 1e-6  # the distortion is there


def test_pixels_without_a_sky_say_which_of_the_original_they_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(values()))
    header = fits.getheader(lowered(path, 3))
    # Physical pixels 1, 2, 3 (1-based) are the first coarse one: their middle, 2, is its centre, 1.
    assert header["LTM1_1"] * 2 + header["LTV1"] == pytest.approx(1)


@pytest.mark.parametrize(("unit", "total"), [("electron", True), ("MJy/sr", False)])
def test_companions_follow_to_coarser_pixels(tmp_path: Path, unit: str, total: bool) -> None:
    cards = {**TAN, "BUNIT": unit}
    positive = {
        name: values(seed=k) + 1 for k, name in enumerate(("VAR_POISSON", "VAR_RNOISE", "WHT", "IVAR"))
    }
    labels = np.random.default_rng(5).integers(0, 9, SHAPE).astype(np.int32)
    flags = np.zeros(SHAPE, np.uint8)
    flags[4, 6], flags[5, 7] = 3, 4
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        image_hdu("SCI", values(), cards),
        image_hdu("ERR", np.full(SHAPE, 2.0, np.float32), cards),
        *(image_hdu(name, data, cards) for name, data in positive.items()),
        image_hdu("DQ", flags, cards),
        image_hdu("SEG", labels, cards),
    )
    low = lowered(path)
    assert faults(low) == (0, 0)
    n = 1 if total else 4

    def blocks(name: str) -> np.ndarray:
        return positive[name].astype(float).reshape(18, 2, 24, 2)

    with fits.open(low) as new:
        assert [h.name for h in new][1:-1] == ["SCI", "ERR", *positive, "DQ", "SEG"]
        assert np.nanmax(np.abs(new["ERR"].data / (4.0 / n) - 1)) < 1e-6
        assert np.isnan(new["ERR"].data[2, 3])
        for name in ("VAR_POISSON", "VAR_RNOISE"):
            assert np.allclose(new[name].data, blocks(name).sum((1, 3)) / n**2, rtol=1e-6)
        assert np.allclose(new["IVAR"].data, n**2 / (1 / blocks("IVAR")).sum((1, 3)), rtol=1e-6)
        assert np.allclose(new["WHT"].data, blocks("WHT").mean((1, 3)), rtol=1e-6)
        assert new["DQ"].data.dtype == np.uint8
        assert new["DQ"].data[2, 3] == 7
        assert np.count_nonzero(new["DQ"].data) == 1
        assert new["SEG"].data.dtype.kind == "i"
        assert np.array_equal(new["SEG"].data, labels[1::2, 1::2])
        assert wcs_of(new["ERR"].header).wcs.compare(wcs_of(new["SCI"].header).wcs)


@pytest.mark.parametrize(("name", "known"), [("VAR", lambda s: s**2), ("IVAR", lambda s: s**-2.0)])
def test_the_one_error_there_is_holds_the_added_noise_too(tmp_path: Path, name: str, known: object) -> None:
    cards = {**TAN, "BUNIT": "MJy/sr"}
    given = known(np.full(SHAPE, 2.0, np.float32))  # type: ignore[operator]
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(),
        image_hdu("SCI", values(), cards),
        image_hdu(name, given, cards),
    )
    [image] = read(path)
    low = save(
        [degrade(image, 2, ForwardConfig("detector", noise="gaussian"), sigma=3.0)], tmp_path / "low.fits"
    )
    expected = known(np.sqrt(2.0**2 / 4 + 3.0**2))  # type: ignore[operator]
    assert np.allclose(fits.getdata(low, name), expected, rtol=1e-6)


def test_an_hst_constant_error_stays_a_constant(tmp_path: Path) -> None:
    err = fits.ImageHDU(name="ERR")
    err.header.update({"NPIX1": SHAPE[1], "NPIX2": SHAPE[0], "PIXVALUE": 2.0})
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), image_hdu("SCI", values(), {**TAN, "BUNIT": "electron"}), err
    )
    header = fits.getheader(lowered(path), "ERR")
    assert header["PIXVALUE"] == pytest.approx(4.0)
    assert (header["NPIX1"], header["NPIX2"]) == (24, 18)


def test_a_cube_keeps_its_spectral_axis(tmp_path: Path) -> None:
    cards = {**TAN, "CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CD3_3": 1e6}
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(values((3, 37, 49)), fits.Header(cards)))
    low = lowered(path)
    assert fits.getdata(low).shape == (3, 18, 24)
    before, after = wcs_of(fits.getheader(path)), wcs_of(fits.getheader(low))
    assert sky_error(after, before, (18, 24), 2) < 1e-9
