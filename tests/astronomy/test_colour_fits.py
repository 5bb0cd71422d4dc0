"""FITS cubes of red, green and blue go through luminance, and stay the cubes that they were."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from colour_samples import scene

import sciSR
from sciSR.errors import SciSRWarning, UnsupportedError, UsageError
from sciSR.testing import check_adapter
from sciSR.workflow.run import upscale_file
from scisr_astronomy.fits_adapter import adapter

NETWORK = "espcn-astro-x2"
SKY = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 12.0, "CRPIX2": 9.0,
    "CDELT1": -1e-3, "CDELT2": 1e-3,
}  # fmt: skip


def write_cube(path: Path, *, planes: int = 3, **cards: Any) -> np.ndarray:
    data = np.moveaxis(scene(23, 20, channels=planes, top=65535), 2, 0).astype(np.float32) / 16
    hdu = fits.PrimaryHDU(data)
    hdu.header.update({"BUNIT": "adu"} | cards)
    hdu.writeto(path)
    return data


def read(path: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        return sciSR.read(path, **options)


@pytest.mark.parametrize("name", ["RGB", "rgb", "COLOR", "COLOUR"])
def test_an_axis_called_rgb_is_colour(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m51.fits"
    data = write_cube(path, CTYPE3=name)
    image = read(path)
    assert image.axes == ("rgb", "y", "x")
    assert np.array_equal(np.asarray(image), data)
    assert adapter.describe(path)["parts"][0]["axes"] == ["rgb", "y", "x"]


def test_three_planes_without_a_name_are_colour_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "m51.fits"
    write_cube(path)
    with pytest.warns(SciSRWarning, match="three planes without a CTYPE3 .*give --colour rgb"):
        assert sciSR.read(path).axes == ("n3", "y", "x")
    assert read(path, colour="rgb").axes == ("rgb", "y", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SciSRWarning)
        assert sciSR.read(path, colour="planes").axes == ("n3", "y", "x")


def test_planes_can_be_taken_each_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "m51.fits"
    data = write_cube(path, CTYPE3="RGB")
    image = read(path, colour="planes")
    assert "rgb" not in image.axes
    result = np.asarray(sciSR.upscale(image, 2, NETWORK).data)
    alone = sciSR.Image.from_array(data, domain="astronomy", quantity="total")
    assert np.array_equal(result, np.asarray(sciSR.upscale(alone, 2, NETWORK).data))


@pytest.mark.parametrize(
    ("planes", "cards"), [(4, {"CTYPE3": "RGB"}), (3, {"CTYPE3": "WAVE"}), (3, {"CTYPE3": "STOKES"})]
)
def test_other_axes_are_no_colour(tmp_path: Path, planes: int, cards: dict[str, str]) -> None:
    path = tmp_path / "cube.fits"
    write_cube(path, planes=planes, **cards)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SciSRWarning)
        image = sciSR.read(path)
    assert "colour" not in sciSR.upscale(image, 2, "cubic").provenance.steps[-1]
    if planes == 4:
        with pytest.raises(UsageError, match="no one axis of three planes"):
            sciSR.read(path, colour="rgb")


@pytest.mark.parametrize("cards", [{}, SKY, SKY | {"WCSAXES": 2}], ids=["plain", "sky", "sky_2_axes"])
def test_a_colour_cube_keeps_flux_and_place_in_each_channel(tmp_path: Path, cards: dict[str, Any]) -> None:
    path = tmp_path / "m51.fits"
    data = write_cube(path, CTYPE3="RGB", **cards)
    outcome = upscale_file(path, scale=2, model=NETWORK)
    with fits.open(outcome.output) as hdus:
        fine, header = hdus[0].data, hdus[0].header
    assert fine.shape == (3, 46, 40)
    assert header["CTYPE3"] == "RGB"
    sums = fine.reshape(3, 23, 2, 20, 2).astype(np.float64).sum((2, 4))  # adu are totals
    assert np.abs(sums - data).max() < 1e-6 * data.max()
    assert outcome.parts[0].step["colour"]["luminance"] == NETWORK
    if cards:
        assert (header["CRPIX1"], header["CDELT1"]) == (2 * (12 - 0.5) + 0.5, -5e-4)
    again = read(outcome.output)
    assert again.axes == ("rgb", "y", "x")
    assert again.provenance.steps[-1]["colour"]["chroma"] == "cubic"


def test_a_pixel_without_one_colour_is_missing_in_all(tmp_path: Path) -> None:
    data = np.moveaxis(scene(23, 20, top=65535), 2, 0).astype(np.float32)
    data[1, 5, 6] = np.nan
    path = tmp_path / "m51.fits"
    hdu = fits.PrimaryHDU(data)
    hdu.header.update({"CTYPE3": "RGB", "BUNIT": "MJy/sr"})
    hdu.writeto(path)
    fine = fits.getdata(upscale_file(path, scale=2, model=NETWORK).output)
    expected = np.zeros(fine.shape, bool)
    expected[:, 10:12, 12:14] = True
    assert np.array_equal(np.isnan(fine), expected)


def test_a_colour_cube_is_no_sequence_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "m51.fits"
    write_cube(path, CTYPE3="RGB")
    with pytest.raises(UnsupportedError, match="is colour, not time"):
        sciSR.read_sequence(path)


def test_the_adapter_keeps_its_promises_for_colour_too(tmp_path: Path) -> None:
    path = tmp_path / "m51.fits"
    write_cube(path, CTYPE3="RGB", **SKY)
    (tmp_path / "work").mkdir()
    check_adapter(adapter, [path], tmp_path / "work")
