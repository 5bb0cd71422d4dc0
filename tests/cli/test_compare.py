"""`scisr compare` on files: tables, documents, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from sciSR.cli.main import main

CARDS = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 202.47,
    "CRVAL2": 47.195,
    "CRPIX1": 32.5,
    "CRPIX2": 32.5,
    "CDELT1": -1e-4,
    "CDELT2": 1e-4,
    "BUNIT": "MJy/sr",
}


def scisr(*words: Any) -> int:
    return main([str(word) for word in words])


def field(noise: float = 0.5, seed: int = 0) -> np.ndarray:
    scene = np.zeros((64, 64))
    scene[8::12, 10::12] = 3000
    image = gaussian_filter(scene, 1.4) + np.random.default_rng(seed).normal(scale=noise, size=scene.shape)
    return image.astype(np.float32)


def sky_file(path: Path, *planes: np.ndarray, **cards: Any) -> Path:
    header = fits.Header({**CARDS, **cards})
    hdus = [fits.ImageHDU(plane, header, f"SCI{k}") for k, plane in enumerate(planes)]
    if len(planes) == 1:
        fits.PrimaryHDU(planes[0], header).writeto(path)
    else:
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    truth = field()
    return [
        sky_file(tmp_path / "truth.fits", truth),
        sky_file(tmp_path / "good.fits", truth + field(0.2, 1) - field(0.0)),
        sky_file(tmp_path / "bad.fits", gaussian_filter(truth, 1.0)),
    ]


def test_one_table_with_units_and_the_best_marked(files: list[Path], capsys: pytest.CaptureFixture) -> None:
    assert scisr("compare", *files) == 0
    out = capsys.readouterr().out
    for word in ("good.fits", "bad.fits", "PSNR dB", "arcsec", "MJy/sr", "data range", "*"):
        assert word in out
    best = [line for line in out.splitlines() if line.startswith("good.fits")]
    assert "*" in best[0]


def test_one_document_with_curves_bins_and_best(files: list[Path], capsys: pytest.CaptureFixture) -> None:
    assert scisr("compare", *files, "--json", "-q") == 0
    told = json.loads(capsys.readouterr().out)
    part = told["parts"][0]
    assert [Path(each["file"]).name for each in part["images"]] == ["good.fits", "bad.fits"]
    assert [Path(each).name for each in part["best"]["psnr"]] == ["good.fits"]
    assert part["pixel_size"]["unit"] == "arcsec"
    assert part["pixel_size"]["sizes"] == pytest.approx([0.36, 0.36])
    curve = part["images"][0]["correlation"]["curves"]["all"]
    assert len(curve["frequencies"]) == len(curve["correlation"]) > 10
    assert curve["frequency_unit"] == "cycles/arcsec"
    assert part["images"][1]["centroids"]["length_unit"] == "arcsec"
    assert part["images"][0]["sources"]["bins"]
    assert part["measures"]["psnr"]["unit"] == "dB"


def test_an_identical_file_is_infinitely_good(files: list[Path], capsys: pytest.CaptureFixture) -> None:
    assert scisr("compare", files[0], files[0], "--json") == 0
    scores = json.loads(capsys.readouterr().out)["parts"][0]["images"][0]["scores"]
    assert scores["psnr"]["value"] == "inf"
    assert scores["ssim"]["value"] == pytest.approx(1)


def test_parts_are_compared_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    planes = field(seed=1), field(seed=2)
    truth = sky_file(tmp_path / "truth.fits", *planes)
    swapped = fits.open(sky_file(tmp_path / "a.fits", *planes))
    fits.HDUList([swapped[0], swapped[2], swapped[1]]).writeto(tmp_path / "swapped.fits")
    assert scisr("compare", truth, tmp_path / "swapped.fits", "--json") == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert [part["part"] for part in parts] == ["SCI0", "SCI1"]
    assert all(part["images"][0]["scores"]["nrmse"]["value"] == 0 for part in parts)
    one = sky_file(tmp_path / "one.fits", planes[0])
    assert scisr("compare", truth, one) == 2
    assert "has no part SCI0" in capsys.readouterr().err


def test_volumes_with_a_mask_and_a_range(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    values = (
        gaussian_filter(np.random.default_rng(0).normal(size=(32, 30, 10)), 1).astype(np.float32) * 100 + 200
    )
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    for name, data in {"truth": values, "a": values * 1.01, "mask": (values > 200).astype(np.uint8)}.items():
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / f"{name}.nii.gz")
    names = [tmp_path / "truth.nii.gz", tmp_path / "a.nii.gz"]
    assert scisr("compare", *names, "--mask", tmp_path / "mask.nii.gz", "--data-range", 100, "--json") == 0
    part = json.loads(capsys.readouterr().out)["parts"][0]
    assert part["counted"]["pixels"] == int((values > 200).sum())
    assert part["data_range"]["value"] == 100
    error = 0.01 * values[values > 200].astype(np.float64)
    expected = 20 * np.log10(100 / np.sqrt((error**2).mean()))
    assert part["images"][0]["scores"]["psnr"]["value"] == pytest.approx(expected, rel=1e-4)
    assert part["images"][0]["correlation"]["length_unit"] == "mm"
    assert set(part["images"][0]["correlation"]["curves"]) == {"all", "x", "y", "z"}


def test_halves_need_no_truth(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    halves = [sky_file(tmp_path / f"{k}.fits", field(seed=k)) for k in range(2)]
    assert scisr("compare", "--halves", *halves) == 0
    out = capsys.readouterr().out
    assert "arcsec" in out
    assert "half-bit" in out
    assert scisr("compare", "--halves", *halves, "--json") == 0
    told = json.loads(capsys.readouterr().out)["halves"][0]
    assert told["curves"]["all"]["resolution"]["1/7"]["period"] >= 0.72 - 1e-9
    assert scisr("compare", "--halves", halves[0]) == 2
    assert scisr("compare", "--halves", *halves, "--data-range", 3) == 2


def test_grids_that_differ_are_a_usage_error(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shifted = sky_file(tmp_path / "shifted.fits", field(), CRPIX1=33.0)
    assert scisr("compare", files[0], shifted) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert "+0, -0.5 pixels off (0.18 arcsec)" in error[0]
    assert scisr("compare", files[0], shifted, "--resample", "linear") == 0
    assert "resampled to the truth's pixels (linear)" in capsys.readouterr().out


def test_coarser_pixels_of_the_same_field(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    coarse = field().reshape(32, 2, 32, 2).mean((1, 3))
    path = sky_file(tmp_path / "low.fits", coarse, CRPIX1=16.5, CRPIX2=16.5, CDELT1=-2e-4, CDELT2=2e-4)
    assert scisr("compare", files[0], path) == 2
    assert "has 32x32 pixels, truth.fits has 64x64 of the same field" in capsys.readouterr().err
    assert scisr("compare", files[0], path, "--resample", "nearest", "--json") == 0
    told = json.loads(capsys.readouterr().out)["parts"][0]["images"][0]
    assert told["notes"] == ["resampled to the truth's pixels (nearest)"]


def test_unreadable_files_and_missing_ones(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken = tmp_path / "broken.fits"
    broken.write_bytes(files[0].read_bytes()[:4000])
    assert scisr("compare", files[0], broken) == 3
    assert scisr("compare", files[0], tmp_path / "none.fits") == 3
    assert scisr("compare", files[0]) == 2
    assert scisr("compare", *files, "--region", "nonsense") == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err


@pytest.mark.realdata
def test_a_real_field_degraded_and_brought_back(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    truth = shared_data / "astro" / "check" / "vics82_test_i.fits"
    low = tmp_path / "low.fits"
    assert scisr("degrade", truth, "-o", low, "-q") == 0
    results = []
    for model in ("nearest", "lanczos"):
        results.append(tmp_path / f"{model}.fits")
        assert scisr("upscale", low, "-o", results[-1], "--model", model, "-q") == 0
    capsys.readouterr()
    assert scisr("compare", truth, *results, "--json", "-q") == 0
    part = json.loads(capsys.readouterr().out)["parts"][0]
    nearest, lanczos = (each["scores"] for each in part["images"])
    assert lanczos["psnr"]["value"] > nearest["psnr"]["value"] + 3
    assert lanczos["frc_1/2"]["value"] < nearest["frc_1/2"]["value"]
    assert abs(lanczos["mean_bias"]["value"]) < 1e-6
