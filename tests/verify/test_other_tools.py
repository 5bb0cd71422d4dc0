"""Outputs of other tools: those that keep their promises pass without a record, those that don't are found."""

from __future__ import annotations

import gzip
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import block_replicate
from fits_faults import SHAPE, scene
from scipy.ndimage import zoom

import sciSR
from sciSR.cli.main import main
from sciSR.verify.result import Verification

CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CRVAL2": 2.2, "CRPIX1": 21.3, "CRPIX2": 17.8,
    "CD1_1": -1.1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.1e-4, "OBJECT": "FIELD", "EXPTIME": 12.5,
}  # fmt: skip


def original(path: Path, unit: str = "MJy/sr") -> Path:
    hdu = fits.PrimaryHDU(scene(5).astype(np.float32))
    hdu.header.update({**CARDS, "BUNIT": unit})
    hdu.writeto(path)
    return path


def finer(header: Any, scale: int) -> Any:
    """The right header of pixels `scale` times finer, as a careful user writes it."""
    out = header.copy()
    for axis in (1, 2):
        out[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) * scale + 0.5
        out[f"CD{axis}_{axis}"] = header[f"CD{axis}_{axis}"] / scale
        out[f"NAXIS{axis}"] = header[f"NAXIS{axis}"] * scale
    return out


def saved(path: Path, pixels: np.ndarray, header: Any) -> Path:
    fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(path)
    return path


def failed(found: Verification) -> list[str]:
    return [f"{c.group}: {c.name}" for c in found.checks if c.status == "failed"] + [
        k.key for k in found.keys if not k.allowed
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return original(tmp_path / "in.fits")


def pixels_of(path: Path) -> tuple[np.ndarray, Any]:
    return fits.getdata(path).astype(np.float64), fits.getheader(path)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_scipy_zoom_on_edges_with_the_right_header_passes(source: Path, tmp_path: Path, order: int) -> None:
    pixels, header = pixels_of(source)
    grid = {"grid_mode": True, "mode": "nearest"}
    out = saved(tmp_path / "out.fits", zoom(pixels, 2, order=order, **grid), finer(header, 2))
    found = sciSR.verify_files(source, out)
    assert failed(found) == []
    assert found.made_by == ""
    assert [c.name for c in found.checks if c.group == "provenance" and c.status == "warning"] == ["present"]


def test_scipy_zoom_between_corner_centres_lies_beside_its_header(source: Path, tmp_path: Path) -> None:
    """``zoom`` keeps the corner pixels' centres by default: at the edges everything lies half a pixel off."""
    pixels, header = pixels_of(source)
    out = saved(tmp_path / "out.fits", zoom(pixels, 2, order=3, mode="nearest"), finer(header, 2))
    assert "geometry: place of the pixels" in failed(sciSR.verify_files(source, out))


@pytest.mark.parametrize("wrong", ["CRPIX", "old header", "half a pixel"])
def test_wrong_headers_are_found(source: Path, tmp_path: Path, wrong: str) -> None:
    pixels, header = pixels_of(source)
    right = finer(header, 2)
    if wrong == "CRPIX":  # the common mistake: reference pixels doubled
        right["CRPIX1"], right["CRPIX2"] = header["CRPIX1"] * 2, header["CRPIX2"] * 2
    elif wrong == "old header":
        right = header
    else:
        right["CRPIX2"] += 0.5
    out = saved(tmp_path / "out.fits", zoom(pixels, 2, order=1, grid_mode=True, mode="nearest"), right)
    found = sciSR.verify_files(source, out)
    assert any(each.startswith("geometry") for each in failed(found))
    assert "CRPIX2" in failed(found)
    assert main(["verify", str(source), str(out), "-q"]) == 6


def test_counts_need_their_sum_kept(tmp_path: Path) -> None:
    source = original(tmp_path / "counts.fits", "ct")
    pixels, header = pixels_of(source)
    good = saved(tmp_path / "good.fits", block_replicate(pixels, 2, conserve_sum=True), finer(header, 2))
    bad = saved(tmp_path / "bad.fits", block_replicate(pixels, 2, conserve_sum=False), finer(header, 2))
    assert failed(sciSR.verify_files(source, good)) == []
    found = sciSR.verify_files(source, bad)
    assert "flux: total" in failed(found)
    assert any("4 times as much" in c.message for c in found.checks if c.name == "total")
    assert failed(sciSR.verify_files(source, bad, quantity="density")) == []


def test_an_equal_header_in_another_form_passes(source: Path, tmp_path: Path) -> None:
    """PC and CDELT instead of CD, as astropy.wcs writes it."""
    from astropy.wcs import WCS

    pixels, header = pixels_of(source)
    other = WCS(finer(header, 2)).to_header()
    other.update({key: header[key] for key in ("OBJECT", "EXPTIME", "BUNIT")})
    out = saved(tmp_path / "out.fits", block_replicate(pixels, 2, conserve_sum=False), other)
    assert failed(sciSR.verify_files(source, out)) == []


@pytest.mark.parametrize("right", [True, False])
def test_reproject(source: Path, tmp_path: Path, right: bool) -> None:
    reproject = pytest.importorskip("reproject")
    pixels, header = pixels_of(source)
    target = finer(header, 2)
    told = target.copy()
    if not right:  # half an output pixel beside what is written into the file
        target["CRPIX1"] += 0.5
    shape = tuple(2 * n for n in SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values, _ = reproject.reproject_interp((pixels, header), target, shape_out=shape, order="bilinear")
    out = saved(tmp_path / "out.fits", np.where(np.isfinite(values), values, np.nanmedian(pixels)), told)
    found = failed(sciSR.verify_files(source, out))
    assert (found == []) if right else ("geometry: place of the pixels" in found)


def test_a_header_that_was_lost_is_named_key_by_key(source: Path, tmp_path: Path) -> None:
    pixels, _ = pixels_of(source)
    out = tmp_path / "bare.fits"
    fits.PrimaryHDU(zoom(pixels, 2, order=1, grid_mode=True, mode="nearest").astype(np.float32)).writeto(out)
    found = failed(sciSR.verify_files(source, out))
    assert {"OBJECT", "EXPTIME", "BUNIT", "values: unit"} <= set(found)
    assert any(each.startswith("geometry") for each in found)


def test_nan_spread_by_a_spline_is_found(tmp_path: Path) -> None:
    source = original(tmp_path / "in.fits")
    with fits.open(source, mode="update") as hdus:
        hdus[0].data[10, 10] = np.nan
    pixels, header = pixels_of(source)
    out = saved(
        tmp_path / "out.fits", zoom(pixels, 2, order=3, grid_mode=True, mode="nearest"), finer(header, 2)
    )
    assert "mask: no bad pixel spread" in failed(sciSR.verify_files(source, out))


def test_other_factors_and_compressed_files(source: Path, tmp_path: Path) -> None:
    pixels, header = pixels_of(source)
    out = saved(tmp_path / "x3.fits", block_replicate(pixels, 3, conserve_sum=False), finer(header, 3))
    with open(out, "rb") as plain, gzip.open(tmp_path / "x3.fits.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    assert failed(sciSR.verify_files(source, tmp_path / "x3.fits.gz")) == []


def test_size_without_a_common_factor_is_cropped(tmp_path: Path) -> None:
    """Without world coordinates and without a record, 95 pixels of 48 are not twice as many."""
    source = tmp_path / "in.fits"
    fits.PrimaryHDU(scene(5).astype(np.float32)).writeto(source)
    pixels, header = pixels_of(source)
    out = saved(tmp_path / "out.fits", block_replicate(pixels, 2, conserve_sum=False)[:, :-1], header)
    found = sciSR.verify_files(source, out)
    assert "field of view: factors" in failed(found)
    assert any("cropped by 1" in c.message for c in found.checks)
