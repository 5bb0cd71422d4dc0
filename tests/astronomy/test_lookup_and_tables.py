"""Look-up distortions and -TAB coordinates follow the finer pixels exactly, in the written file too."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, header_of, read, save, sky_error, upscaled, wcs_of, write
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import GeometryError, UsageError
from sciSR.testing.tools import quiet
from scisr_astronomy.wcs_grid import WcsGrid

RNG = np.random.default_rng(8)
SHAPE = (24, 36)


def lookup(name: str, version: int, shape: tuple[int, int] = (7, 9)) -> fits.ImageHDU:
    header = header_of(
        {"CRPIX1": 1.0, "CRPIX2": 2.0, "CRVAL1": 3.0, "CRVAL2": 1.5, "CDELT1": 4.5, "CDELT2": 4.0}
    )
    hdu = fits.ImageHDU(RNG.uniform(-2, 2, size=shape).astype(np.float32), header, name=name)
    hdu.ver = version
    return hdu


def distorted(*, d2im: bool = True) -> list:
    cards = TAN | {"BUNIT": "MJy/sr", "CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP"}
    header = header_of(cards)
    uses = [("DP1", 1, 1), ("DP2", 2, 2), *([("D2IM1", 1, 1)] if d2im else [])]
    if d2im:
        header["D2IMDIS1"] = "LOOKUP"
    for prefix, _, version in uses:
        for field, value in (("EXTVER", version), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
            header[f"{prefix}.{field}"] = float(value)
    tables = [lookup("WCSDVARR", 1), lookup("WCSDVARR", 2), *([lookup("D2IMARR", 1)] if d2im else [])]
    return [fits.PrimaryHDU(), fits.ImageHDU(RNG.normal(size=SHAPE), header, name="SCI"), *tables]


@pytest.mark.parametrize("scale", [(2, 2), (3, 2), (Fraction(3, 2), Fraction(5, 4))])
def test_look_up_distortions_of_the_written_file_agree(tmp_path: Path, scale: tuple) -> None:
    path = write(tmp_path / "a.fits", *distorted())
    target = upscaled(path, tmp_path / "b.fits", scale)
    with fits.open(path) as old, fits.open(target) as new, quiet():
        before, after = wcs_of(old["SCI"].header, old), wcs_of(new["SCI"].header, new)
        plain = wcs_of(header_of(TAN))
        assert sky_error(before, after, SHAPE, scale) < 1e-8
        assert sky_error(plain, before, SHAPE, 1) > 1e-6  # the distortion is there


@given(st.floats(0, 23), st.floats(0, 35))
def test_grid_inverts_distortions(y: float, x: float) -> None:
    with quiet():
        grid = GRID.refine([Fraction(2), Fraction(3)])
        index = np.array([y, x])
        assert np.allclose(grid.index(grid.world(index)), index, atol=1e-6)


def _grid() -> WcsGrid:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        sip = {"A_ORDER": 2, "A_2_0": 2e-4, "B_ORDER": 2, "B_1_1": -3e-4}
        header = header_of(TAN | sip | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "BUNIT": "ct"})
        return read(write(Path(folder) / "a.fits", fits.PrimaryHDU(np.zeros(SHAPE), header)))[0].grid


GRID = _grid()


def test_a_cube_with_sip_agrees_with_the_plane_alone(tmp_path: Path) -> None:
    """astropy evaluates SIP in two dimensions only; the grid of a cube must not lose it."""
    sip = TAN | {
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "A_ORDER": 2,
        "A_2_0": 2e-4,
        "B_ORDER": 2,
    }
    cards = sip | {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CD3_3": 1e6, "CRPIX3": 1.0, "BUNIT": "K"}
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(np.zeros((3, *SHAPE), "f4"), header_of(cards)))
    grid = read(path)[0].grid
    index = np.array([[0.0, 3.0, 30.0], [2.0, 20.5, 7.25]])
    with quiet():
        plane = wcs_of(header_of(sip)).all_pix2world(index[:, :0:-1], 0)
        found = grid.world(index)
        fine = grid.refine([1, 2, 3])
        assert np.allclose(found[:, :2], plane, rtol=0, atol=1e-12)
        assert np.allclose(found[:, 2], [1e9, 1.002e9])
        assert np.allclose(fine.world((index + 0.5) * [1, 2, 3] - 0.5), found, rtol=1e-13)
        assert np.allclose(grid.index(found), index, atol=1e-6)


def test_a_missing_look_up_table_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *distorted()[:3])
    with pytest.raises(GeometryError, match=r"WCSDVARR,2.*--wcs none"):
        read(path)


def test_without_wcs_the_tables_are_carried_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *distorted())
    target = upscaled(path, tmp_path / "b.fits", wcs="none")
    with fits.open(path) as old, fits.open(target) as new:
        assert "CPDIS1" not in new["SCI"].header
        assert "CRPIX1" not in new["SCI"].header
        assert np.array_equal(old["WCSDVARR", 2].data, new["WCSDVARR", 2].data)


def test_tables_shared_with_an_image_that_stays_are_refused(tmp_path: Path) -> None:
    hdus = distorted(d2im=False)
    other = hdus[1].copy()
    hdus[1].ver, other.ver = 1, 2
    path = write(tmp_path / "a.fits", *hdus, other)
    images = read(path, hdu="SCI,1")
    with pytest.raises(UsageError, match=r"WCSDVARR,1 is shared"):
        upscaled(path, tmp_path / "b.fits", hdu="SCI,1")
    assert not (tmp_path / "b.fits").exists()
    assert len(images) == 1
    both = upscaled(path, tmp_path / "c.fits")
    with fits.open(path) as old, fits.open(both) as new, quiet():
        for version in (1, 2):
            before, after = (wcs_of(h["SCI", version].header, h) for h in (old, new))
            assert sky_error(before, after, SHAPE, 2) < 1e-8


def test_tab_coordinates_of_the_written_file_agree(tmp_path: Path) -> None:
    """A cube with a table of wavelengths, and an image whose first axis is one itself."""
    waves = np.array([5000.0, 5010.0, 5040.0, 5100.0, 5200.0, 5400.0]) * 1e-10
    column = fits.Column("WAVES", format="6D", dim="(1,6)", array=waves.reshape(1, 6, 1), unit="m")
    table = fits.BinTableHDU.from_columns([column], name="COORDS")
    tab = {
        "CTYPE1": "WAVE-TAB",
        "CUNIT1": "m",
        "PS1_0": "COORDS",
        "PS1_1": "WAVES",
        "PV1_1": 1,
        "PV1_2": 1,
        "PV1_3": 1,
    }
    cards = tab | {
        "CRPIX1": 1.0,
        "CRVAL1": 1.0,
        "CDELT1": 0.14,
        "CTYPE2": "LINEAR",
        "CRPIX2": 1.0,
        "CDELT2": 1.0,
    }
    sci = fits.ImageHDU(np.zeros(SHAPE, dtype=np.float32), header_of(cards | {"BUNIT": "ct"}), name="SCI")
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), sci, table)
    target = upscaled(path, tmp_path / "b.fits", (2, 3))
    with fits.open(path) as old, fits.open(target) as new, quiet():
        before, after = wcs_of(old["SCI"].header, old), wcs_of(new["SCI"].header, new)
        p = np.array([[x, 3.0] for x in np.linspace(1, 30, 20)])
        a = before.wcs_pix2world(p, 1)
        b = after.wcs_pix2world((p - 0.5) * [3, 2] + 0.5, 1)
    assert np.allclose(a, b, rtol=1e-13)
    assert np.ptp(a[:, 0]) > 1e-8


def test_a_missing_tab_table_is_refused(tmp_path: Path) -> None:
    cards = {"CTYPE1": "WAVE-TAB", "PS1_0": "COORDS", "PS1_1": "WAVES", "BUNIT": "ct"}
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(np.zeros(SHAPE), header_of(cards)))
    with pytest.raises(GeometryError, match=r"COORDS,1.*--wcs none"):
        read(path)


def test_one_image_out_of_several_can_be_written_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *distorted())
    images = read(path)
    assert save(images, tmp_path / "same.fits").exists()  # nothing refined: factor 1
