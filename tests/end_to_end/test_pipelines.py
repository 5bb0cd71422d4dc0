"""The five ready-made pipelines, as a user runs them, on the sample files; judged from outside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from astropy.io import fits
from astropy.wcs import WCS

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data_samples"
PIPELINES = ROOT / "configs" / "pipelines"
FIVE = {"telescope_night", "planetary_video", "mr_study_bids", "dicom_export", "benchmark_models"}


def scisr(*words: object, code: int = 0) -> Any:
    """A command of its own; its JSON on stdout, nothing else."""
    command = [sys.executable, "-m", "sciSR", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def run(name: str, source: Path, target: Path, *words: object) -> dict[str, Any]:
    """A ready-made pipeline; its results by key of the item."""
    found = scisr("run", PIPELINES / f"{name}.yaml", "--input", source, "--output", target, *words)
    assert (target / "summary.json").is_file()
    assert (target / "summary.html").is_file()
    return {each["key"]: each for each in found["results"]}


def outputs(result: dict[str, Any]) -> list[str]:
    return sorted(each["path"] for each in result["outputs"])


def step(result: dict[str, Any], ident: str) -> dict[str, Any]:
    [found] = [each["record"] for each in result["steps"] if each["id"].partition("-")[2] == ident]
    return found


def test_the_five_are_there_and_understood() -> None:
    from sciSR.workflow.pipelines.pipeline import Pipeline

    assert {path.stem for path in PIPELINES.glob("*.yaml")} == FIVE
    for name in sorted(FIVE):
        assert Pipeline.from_file(PIPELINES / f"{name}.yaml").config.description


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Raw exposures: the sample frames seen through an uneven field, with a pedestal; and what to calibrate with."""
    folder, noise = tmp_path / "night", np.random.default_rng(5)
    calibration = folder / "calibration"
    calibration.mkdir(parents=True)
    rows, columns = fits.getdata(SAMPLES / "frames/frame_1.fits").shape
    field = 1 - 0.4 * np.linspace(-1, 1, rows)[:, None] ** 2 * np.ones((1, columns))
    field /= field.mean()
    for file in sorted((SAMPLES / "frames").glob("*.fits")):
        with fits.open(file) as hdus:
            hdus[0].data = np.round(hdus[0].data * field + 320).astype(np.uint16)
            hdus.writeto(folder / file.name, checksum=True)
    for number in range(3):
        for kind, level, card in (
            ("bias", np.full(field.shape, 300.0), ("EXPTIME", 0.0)),
            ("dark", np.full(field.shape, 320.0), ("EXPTIME", 60.0)),
            ("flat", 20000 * field + 300, ("EXPTIME", 1e-3)),
        ):
            pixels = noise.normal(level, 1).astype(np.float32)
            fits.writeto(calibration / f"{kind}_{number}.fits", pixels, fits.Header([("FILTER", "r"), card]))
    return folder


def test_telescope_night(night: Path, tmp_path: Path) -> None:
    found = run("telescope_night", night, tmp_path / "out")
    [(key, result)] = found.items()
    assert key == "sciSR-sample_r"
    assert outputs(result) == [
        *(f"{key}_{branch}.{end}" for branch in ("finer", "network") for end in ("fits", "html", "png")),
        f"{key}_registration.json",
    ]
    assert step(result, "calibrate") == {"bias": 3, "dark": 3, "flat": 3}
    with fits.open(SAMPLES / "frames/frame_1.fits", memmap=False) as hdus:
        reference = hdus[0].copy()
    for branch in ("finer", "network"):
        with fits.open(tmp_path / f"out/{key}_{branch}.fits") as hdus:
            image = next(hdu for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2)
            assert image.data.shape == tuple(2 * n for n in reference.data.shape)
            # One pixel of the frames is shared by four: the level without pedestal, the field even.
            assert np.nanmedian(image.data) * 4 == pytest.approx(np.median(reference.data), rel=0.05)
            thirds = np.nanmedian(image.data[:40]), np.nanmedian(image.data[-40:])
            assert thirds == pytest.approx([np.nanmedian(image.data)] * 2, rel=0.15)
            centre = WCS(image.header).pixel_to_world(95.5, 87.5)
            assert centre.separation(WCS(reference.header).pixel_to_world(47.5, 43.5)).arcsec < 5
    again = run("telescope_night", night, tmp_path / "out", "--resume")
    assert again[key]["status"] == "skipped"
    assert outputs(again[key]) == outputs(result)


def test_planetary_video(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    shutil.copy(SAMPLES / "planet.ser", tmp_path / "clips")
    result = run("planetary_video", tmp_path / "clips", tmp_path / "out")["planet"]
    assert outputs(result) == [
        *("planet.html", "planet.json", "planet.png"),
        *("planet_fused.fits", "planet_large.fits", "planet_large.html"),
    ]
    record = step(result, "fuse")
    assert (record["frames"], record["used"]) == (32, 13)
    fused, large = (fits.getdata(tmp_path / f"out/planet_{each}.fits") for each in ("fused", "large"))
    assert fused.shape == (96, 96)
    assert large.shape == (192, 192)
    assert large.reshape(96, 2, 96, 2).mean((1, 3)) == pytest.approx(fused, abs=1e-3 * float(np.ptp(fused)))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    for label, suffix in (("01", "T2w"), ("02", "FLAIR")):
        folder = root / f"sub-{label}/anat"
        folder.mkdir(parents=True)
        image = nib.load(SAMPLES / "phantom.nii.gz").slicer[24:72, 24:72, 6:12]  # small: seconds matter
        nib.save(image, folder / f"sub-{label}_{suffix}.nii.gz")
        (folder / f"sub-{label}_{suffix}.json").write_text('{"SliceThickness": 4.0}')
    (root / "dataset_description.json").write_text('{"Name": "Phantoms", "BIDSVersion": "1.10.0"}')
    return root


def test_mr_study_bids(study: Path, tmp_path: Path) -> None:
    found = run("mr_study_bids", study, tmp_path / "out", "--jobs", 2)
    assert sorted(found) == ["sub-01_T2w", "sub-02_FLAIR"]
    stem = "sub-01/sub-01_T2w"
    assert set(outputs(found["sub-01_T2w"])) >= {
        f"{stem}_{branch}.{end}" for branch in ("inplane", "isotropic") for end in ("nii.gz", "html")
    }
    before = nib.load(study / f"sub-01/anat/{Path(stem).name}.nii.gz")
    finer, isotropic = (nib.load(tmp_path / f"out/{stem}_{each}.nii.gz") for each in ("inplane", "isotropic"))
    assert finer.shape == (96, 96, 6)
    assert isotropic.header.get_zooms() == pytest.approx((2.4, 2.4, 2.4), rel=1e-5)
    for image in (finer, isotropic):  # edge to edge: the same corner of the field
        corner = np.array([-0.5, -0.5, -0.5, 1])
        assert (image.affine @ corner)[:3] == pytest.approx((before.affine @ corner)[:3], abs=1e-3)
    assert "fourier" in json.dumps(
        step(found["sub-02_FLAIR"], "upscale.inplane")
    )  # the override, for this one alone
    assert "fourier" not in json.dumps(step(found["sub-01_T2w"], "upscale.inplane"))


def test_dicom_export(tmp_path: Path) -> None:
    for number, file in enumerate(sorted((SAMPLES / "phantom_dicom").iterdir())):  # as a disc has them
        target = tmp_path / f"export/DOE_JANE/{number % 2}/IM{(number * 5) % 12:03d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (tmp_path / "export/DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(300))
    found = run("dicom_export", tmp_path / "export", tmp_path / "out")
    [(key, _result)] = found.items()
    assert key.startswith("series-1-")
    series = [pydicom.dcmread(file) for file in sorted((tmp_path / f"out/{key}_x2").iterdir())]
    assert len(series) == 12
    assert {(each.Rows, each.Columns, each.ImageType[0]) for each in series} == {(192, 192, "DERIVED")}
    told = json.dumps(found) + str(sorted(path.name for path in (tmp_path / "out").rglob("*")))
    assert "doe" not in told.lower()
    for file in (tmp_path / "out").glob("summary.*"):
        assert "doe_jane" not in file.read_text().lower()


def test_benchmark_models(tmp_path: Path) -> None:
    (tmp_path / "sharp").mkdir()
    for name in ("star_field.fits", "phantom.nii.gz"):
        shutil.copy(SAMPLES / name, tmp_path / "sharp")
    found = run("benchmark_models", tmp_path / "sharp", tmp_path / "out", "--jobs", 2)
    assert sorted(found) == ["phantom", "star_field"]
    for key, result in found.items():
        psnr = {}
        for method in ("nearest", "cubic", "lanczos", "network"):
            psnr[method] = step(result, f"evaluate.{method}")["parts"][0]["scores"]["psnr"]
            assert (tmp_path / f"out/{key}_{method}_scores.json").is_file()
        assert max(psnr, key=psnr.__getitem__) == "network"
        assert min(psnr, key=psnr.__getitem__) == "nearest"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    shutil.copy(SAMPLES / "planet.ser", tmp_path / "clips")
    words = ("--input", tmp_path / "clips", "--output", tmp_path / "out", "--dry-run")
    plan = scisr("run", PIPELINES / "planetary_video.yaml", *words)
    assert [item["key"] for item in plan["items"]] == ["planet"]
    assert plan["total"]["to_do"] == 1
    assert not (tmp_path / "out").exists()
