"""`scisr degrade`: coarse files whose geometry astropy, nibabel and pydicom confirm, reproducible from their record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import sciSR
from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
CD = {"CD1_1": -1.1e-4, "CD1_2": 2.0e-5, "CD2_1": 1.9e-5, "CD2_2": 1.2e-4}
CARDS = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "CRVAL1": 202.47,
    "CRVAL2": 47.195,
    "CRPIX1": 20.3,
}
SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 4e-4, "A_1_1": -2e-4, "B_0_2": 3e-4, "B_1_1": 1e-4}


def scisr(*words: Any) -> int:
    return main([str(word) for word in words])


def frame(
    folder: Path, shape: tuple[int, int] = (60, 72), unit: str = "electron", name: str = "sharp.fits"
) -> Path:
    """A multi-extension file with errors, flags, an exposure map, SIP and detector keywords."""
    data = np.random.default_rng(1).gamma(4.0, 25.0, shape).astype(np.float32)
    header = fits.Header(
        {**CARDS, "CRPIX2": 11.8, **CD, **SIP, "BUNIT": unit, "PIXSCALE": 0.4, "CCDSUM": "1 1"}
    )
    header["DATASEC"] = f"[1:{shape[1]},1:{shape[0]}]"
    header["SATURATE"] = 60000.0
    flags = np.zeros(shape, np.uint16)
    flags[10, 20], flags[11, 21] = 1, 4
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(data, header, "SCI"),
        fits.ImageHDU(np.sqrt(data), header, "ERR"),
        fits.ImageHDU(flags, header, "DQ"),
        fits.ImageHDU(np.full(shape, 300.0, np.float32), header, "EXP"),
    ]
    fits.HDUList(hdus).writeto(folder / name)
    return folder / name


def corners(height: float, width: float) -> np.ndarray:
    """(x, y) of the outer corners, and of a point inside."""
    ends = [(x, y) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)]
    return np.array([*ends, (0.3 * width, 0.6 * height)])


@pytest.mark.parametrize("scale", [2, 3])
def test_fits_keeps_its_sky_its_flux_and_what_goes_with_it(tmp_path: Path, scale: int) -> None:
    sharp, low = frame(tmp_path), tmp_path / "low.fits"
    assert scisr("degrade", sharp, "-o", low, "--scale", scale) == 0
    with fits.open(sharp) as old, fits.open(low) as new:
        for name in ("SCI", "ERR", "DQ", "EXP"):
            height, width = new[name].data.shape
            assert (height, width) == (60 // scale, 72 // scale)
            fine = (corners(height, width) + 0.5) * scale - 0.5
            before, after = WCS(old[name].header), WCS(new[name].header)
            there = after.all_pix2world(corners(height, width), 0)
            assert np.allclose(there, before.all_pix2world(fine, 0), rtol=0, atol=1e-9)
        good = new["DQ"].data == 0
        blocks = old["SCI"].data.reshape(height, scale, width, scale)
        assert np.allclose(new["SCI"].data[good], blocks.sum((1, 3))[good], rtol=1e-5)  # electrons: totals
        assert np.allclose(new["ERR"].data[good], np.sqrt(blocks.sum((1, 3)))[good], rtol=1e-5)
        assert np.isnan(new["SCI"].data[~good]).all()
        united = np.bitwise_or.reduce(np.bitwise_or.reduce(old["DQ"].data.reshape(blocks.shape), 1), -1)
        assert np.array_equal(new["DQ"].data, united)
        assert (new["EXP"].data == 300).all()
        header = new["SCI"].header
        assert header["PIXSCALE"] == pytest.approx(0.4 * scale)
        assert header["CCDSUM"] == f"{scale} {scale}"
        assert header["DATASEC"] == f"[1:{width},1:{height}]"
        assert header["SATURATE"] == pytest.approx(60000 * scale**2)
        assert all(hdu.verify_checksum() == 1 for hdu in new if "CHECKSUM" in hdu.header)


def test_fits_densities_are_averaged(tmp_path: Path) -> None:
    sharp, low = frame(tmp_path, unit="MJy/sr"), tmp_path / "low.fits"
    assert scisr("degrade", sharp, "-o", low) == 0
    with fits.open(sharp) as old, fits.open(low) as new:
        good = new["DQ"].data == 0
        blocks = old["SCI"].data.reshape(30, 2, 36, 2)
        assert np.allclose(new["SCI"].data[good], blocks.mean((1, 3))[good], rtol=1e-5)
        assert np.allclose(new["ERR"].data[good], np.sqrt(blocks.sum((1, 3)))[good] / 4, rtol=1e-5)
        assert new["SCI"].header["SATURATE"] == 60000


def test_a_rest_that_fills_no_pixel_is_left_out_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharp, low = frame(tmp_path, (61, 73)), tmp_path / "low.fits"
    assert scisr("degrade", sharp, "-o", low, "--scale", 2) == 0
    assert "1 of 61 pixels at the far end of y" in capsys.readouterr().err
    with fits.open(sharp) as old, fits.open(low) as new:
        assert new["SCI"].data.shape == new["ERR"].data.shape == (30, 36)
        points = corners(30, 36)
        before, after = WCS(old["SCI"].header), WCS(new["SCI"].header)
        fine = (points + 0.5) * 2 - 0.5
        assert np.allclose(after.all_pix2world(points, 0), before.all_pix2world(fine, 0), rtol=0, atol=1e-9)


def test_all_parameters_and_the_seed_stand_in_the_header_and_do_it_again(tmp_path: Path) -> None:
    sharp, low = frame(tmp_path), tmp_path / "low.fits"
    words = [
        "--psf",
        "moffat",
        "--fwhm",
        "1.1,1.9",
        "--ellipticity",
        "0.1",
        "--set",
        "beta=2.8",
        "--seed",
        "7",
    ]
    words += ["--noise", "poisson", "--gain", "1.5", "--read-noise", "4"]
    assert scisr("degrade", sharp, "-o", low, *words) == 0
    history = " ".join(str(line).strip() for line in fits.getheader(low, "SCI")["HISTORY"])
    for part in (
        "kind detector",
        "psf moffat",
        "beta 2.8",
        "ellipticity 0.1",
        "gain 1.5",
        "read noise 4",
        "seed 7",
    ):
        assert part in history
    step = json.loads(json.dumps(dict(sciSR.read(low).provenance.steps[-1])))
    assert 1.1 <= step["forward"]["fwhm"] <= 1.9
    again = tmp_path / "again.fits"
    assert scisr("degrade", sharp, "-o", again, *words) == 0
    assert np.array_equal(fits.getdata(low, "SCI"), fits.getdata(again, "SCI"), equal_nan=True)


def test_nifti_keeps_its_world(tmp_path: Path) -> None:
    low = tmp_path / "low.nii.gz"
    words = ["--forward", "kspace", "--noise", "rician", "--snr", "40", "--set", "apodisation=0.5"]
    assert scisr("degrade", SAMPLES / "phantom.nii.gz", "-o", low, "--scale", 2, *words) == 0
    before, after = nibabel.load(SAMPLES / "phantom.nii.gz"), nibabel.load(low)
    assert after.shape == (before.shape[0] // 2, before.shape[1] // 2, before.shape[2])
    ends = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    there = nibabel.affines.apply_affine(after.affine, ends * after.shape - 0.5)
    assert np.allclose(
        there, nibabel.affines.apply_affine(before.affine, ends * before.shape - 0.5), atol=1e-4
    )
    assert after.header["qform_code"] == before.header["qform_code"]
    assert float(after.get_fdata().min()) >= 0


def test_dicom_keeps_its_place_in_the_patient(tmp_path: Path) -> None:
    low = tmp_path / "low"
    assert (
        scisr("degrade", SAMPLES / "phantom_dicom", "-o", low, "--forward", "gaussian", "--fwhm", "1.2") == 0
    )
    fine, coarse = (
        sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda d: d.InstanceNumber)
        for folder in (SAMPLES / "phantom_dicom", low)
    )
    assert len(fine) == len(coarse)

    def place(d: Any, row: float, column: float) -> np.ndarray:
        across, down = np.array(d.ImageOrientationPatient).reshape(2, 3)
        step = np.array(d.PixelSpacing, float)
        return np.array(d.ImagePositionPatient, float) + across * step[1] * column + down * step[0] * row

    by_place = {round(float(d.SliceLocation), 3): d for d in coarse}
    for old in fine:
        new = by_place[min(by_place, key=lambda z: abs(z - float(old.SliceLocation)))]
        assert (new.Rows, new.Columns) == (old.Rows // 2, old.Columns // 2)
        for row, column in [(-0.5, -0.5), (new.Rows - 0.5, new.Columns - 0.5)]:
            there = place(old, 2 * (row + 0.5) - 0.5, 2 * (column + 0.5) - 0.5)
            assert np.allclose(place(new, row, column), there, atol=1e-5)
        assert new.SOPInstanceUID != old.SOPInstanceUID
        assert "fwhm 1.2" in new.DerivationDescription


@pytest.mark.parametrize("scale", [2, 3])
def test_upscaling_it_again_gives_the_geometry_back(tmp_path: Path, scale: int) -> None:
    sharp, low, back = frame(tmp_path), tmp_path / "low.fits", tmp_path / "back.fits"
    assert scisr("degrade", sharp, "-o", low, "--scale", scale) == 0
    assert scisr("upscale", low, "-o", back, "--scale", scale, "--model", "nearest") == 0
    with fits.open(sharp) as old, fits.open(back) as new:
        assert new["SCI"].data.shape == old["SCI"].data.shape
        points = corners(60, 72)
        before, after = WCS(old["SCI"].header), WCS(new["SCI"].header)
        there = before.all_pix2world(points, 0)
        assert np.allclose(after.all_pix2world(points, 0), there, rtol=0, atol=1e-9)
        good = np.isfinite(new["SCI"].data)
        assert np.nansum(new["SCI"].data) == pytest.approx(old["SCI"].data[good].sum(), rel=1e-5)
        for key in ("CCDSUM", "DATASEC"):
            assert new["SCI"].header[key] == old["SCI"].header[key]
        for key in ("PIXSCALE", "SATURATE"):
            assert new["SCI"].header[key] == pytest.approx(old["SCI"].header[key])


def test_a_configuration_file_and_options_over_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sharp, config = frame(tmp_path), tmp_path / "degrade.yaml"
    config.write_text("scale: 3\nkind: detector\npsf: [airy]\nfwhm: 1.3\nnoise: gaussian\nsnr: 30\nseed: 4\n")
    assert (
        scisr("degrade", sharp, "--config", config, "--fwhm", "1.7", "-o", tmp_path / "low.fits", "--json")
        == 0
    )
    [part] = json.loads(capsys.readouterr().out)["results"][0]["parts"]
    assert part["scale"] == "1/3"
    assert part["shape_out"] == [20, 24]
    told = part["forward"]
    assert (told["psf"], told["fwhm"], told["noise"], told["seed"]) == ("airy", 1.7, "gaussian", 4)


def test_a_training_configuration_tells_its_own_forward_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(
        "name: t\ndomain: mr\nnormalisation: range\nmodel: {architecture: SPAN, scale: 4}\n"
        "forward: {kind: gaussian, fwhm: 1.25, noise: rician, snr: [30, 50]}\n"
    )
    low = tmp_path / "low.nii.gz"
    assert scisr("degrade", SAMPLES / "phantom.nii.gz", "--config", config, "-o", low, "--json") == 0
    [part] = json.loads(capsys.readouterr().out)["results"][0]["parts"]
    assert part["scale"] == "1/4"
    assert (part["forward"]["kind"], part["forward"]["fwhm"]) == ("gaussian", 1.25)
    assert 30 <= part["forward"]["level"] / part["forward"]["sigma"] <= 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fwhm", "1.5", "--forward", "kspace"], "fwhm means nothing to the forward model kspace"),
        (["--psf", "moffat"], "give --fwhm too"),
        (["--noise", "gaussian"], "give --snr or --sigma too"),
        (["--snr", "20"], "give --noise too"),
        (["--noise", "gaussian", "--sigma", "1", "--snr", "20"], "say the same twice"),
        (["--noise", "gaussian", "--gain", "2"], "gain"),
        (["--fwhm", "wide"], "'wide' is no number"),
        (["--scale", "0"], "scale"),
        (["--scale", "64"], "60x72 pixels"),
        (["--set", "fhwm=2"], "did you mean fwhm"),
        (["--set", "apodisation=2", "--forward", "kspace"], "apodisation"),
    ],
)
def test_what_makes_no_sense_is_code_2_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    sharp = frame(tmp_path)
    assert scisr("degrade", sharp, "-o", tmp_path / "low.fits", *words) == 2
    assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["sharp.fits"]


def test_all_faults_of_a_configuration_are_named_with_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text("kind: blur\nfwhm: wide\nseed: 1.5\nwidth: 3\n")
    assert scisr("degrade", frame(tmp_path), "--config", config) == 2
    said = capsys.readouterr().err
    for part in (
        "kind [bad.yaml:1]",
        "fwhm [bad.yaml:2]",
        "seed [bad.yaml:3]",
        "width [bad.yaml:4]: unknown key",
    ):
        assert part in said


def test_nothing_is_overwritten_unasked_and_a_batch_goes_on(tmp_path: Path) -> None:
    one, two = frame(tmp_path), frame(tmp_path, name="two.fits")
    broken = tmp_path / "broken.fits"
    broken.write_bytes(one.read_bytes()[:4000])
    out = tmp_path / "out"
    assert (
        scisr("degrade", one, broken, two, "--out-dir", out, "--noise", "gaussian", "--sigma", "9", "-q") == 4
    )
    assert sorted(p.name for p in out.iterdir()) == ["sharp_x0.5.fits", "two_x0.5.fits"]
    assert scisr("degrade", one, "--out-dir", out, "-q") == 2
    assert scisr("degrade", one, "--out-dir", out, "-q", "--overwrite") == 0
    assert scisr("degrade", broken, "-o", tmp_path / "x.fits", "-q") == 3


def test_the_page_s_configuration_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (SAMPLES.parent / "docs" / "degrade.md").read_text(encoding="utf-8")
    config = tmp_path / "degrade.yaml"
    config.write_text(page.split("```yaml\n")[1].split("```")[0])
    two = frame(tmp_path, name="b.fits", unit="MJy/sr")
    words = [
        "degrade",
        frame(tmp_path, name="a.fits"),
        two,
        "--out-dir",
        tmp_path / "low",
        "--config",
        config,
        "--json",
    ]
    assert scisr(*words) == 0
    one, other = (result["parts"][0]["forward"] for result in json.loads(capsys.readouterr().out)["results"])
    assert one["fwhm"] != other["fwhm"]  # each file has draws of its own
    for drawn in (one, other):
        assert 0.8 <= drawn["fwhm"] <= 1.6
        assert drawn["psf"] in ("moffat", "airy")


def test_pictures_and_clips_become_coarser_too(tmp_path: Path) -> None:
    low = tmp_path / "low.ser"
    assert scisr("degrade", SAMPLES / "planet.ser", "-o", low, "--scale", 2) == 0
    before, after = sciSR.read(SAMPLES / "planet.ser"), sciSR.read(low)
    assert after.shape == (before.shape[0], before.shape[1] // 2, before.shape[2] // 2)
    whole = (slice(None),) * 3
    blocks = before.data[whole].astype(float).reshape(*after.shape[:2], 2, after.shape[2], 2).mean((2, 4))
    assert np.abs(after.data[whole] - blocks).max() <= 0.51  # rounded to whole numbers
