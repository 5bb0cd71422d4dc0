"""The examples of the README, run on the samples, judged by outside readers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with copies of the samples, as a user has it."""
    for name in ("star_field.fits", "phantom.nii.gz"):
        shutil.copy(SAMPLES / name, tmp_path)
    shutil.copytree(SAMPLES / "phantom_dicom", tmp_path / "phantom_dicom")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fits_keeps_flux_sky_and_everything_else(folder: Path) -> None:
    from astropy.io import fits
    from astropy.wcs import WCS

    assert main(["upscale", "star_field.fits"]) == 0
    with fits.open("star_field.fits") as before, fits.open("star_field_x2.fits", checksum=True) as after:
        assert [hdu.name for hdu in before] == [hdu.name for hdu in after][: len(before)]
        science, fine = before["SCI"].data.astype(float), after["SCI"].data.astype(float)
        assert fine.shape == (720, 768)
        good = before["DQ"].data == 0
        sums = fine.reshape(360, 2, 384, 2).sum(axis=(1, 3))
        assert np.abs(sums - science)[good].max() < 1e-6 * np.abs(science[good]).max()
        assert np.array_equal(np.isnan(fine), np.kron(np.isnan(science), np.ones((2, 2), bool)))
        x, y = np.array([-0.5, 383.5, -0.5, 383.5, 191.5]), np.array([-0.5, -0.5, 359.5, 359.5, 179.5])
        old = WCS(before["SCI"].header).all_pix2world(x, y, 0)
        new = WCS(after["SCI"].header).all_pix2world(2 * x + 0.5, 2 * y + 0.5, 0)
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-8)
        assert fits.TableDataDiff(before["TRUTH"].data, after["TRUTH"].data).identical
        assert after[0].header["OBJECT"] == before[0].header["OBJECT"]


def test_nifti_keeps_the_field_of_view(folder: Path) -> None:
    import nibabel

    assert main(["upscale", "phantom.nii.gz", "--scale", "2", "-o", "T1w_hr.nii.gz"]) == 0
    before, after = nibabel.load("phantom.nii.gz"), nibabel.load("T1w_hr.nii.gz")
    assert after.shape == (192, 192, 24)
    corners = np.array([[i, j, k] for i in (-0.5, 95.5) for j in (-0.5, 95.5) for k in (0, 23)])
    for get in ("get_qform", "get_sform"):
        old = nibabel.affines.apply_affine(getattr(before, get)(), corners)
        new = nibabel.affines.apply_affine(getattr(after, get)(), (corners + 0.5) * [2, 2, 1] - 0.5)
        np.testing.assert_allclose(new, old, atol=1e-4)
    assert after.get_data_dtype() == np.float32


def test_dicom_series_in_derived_series_out(folder: Path) -> None:
    import SimpleITK

    assert main(["upscale", "phantom_dicom/", "-o", "out_folder/"]) == 0
    read = []
    for name in ("phantom_dicom", "out_folder"):
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(name))
        read.append(reader.Execute())
    before, after = read
    assert after.GetSize() == (192, 192, 12)
    for corner in [(-0.5, -0.5, 0.0), (95.5, -0.5, 11.0), (-0.5, 95.5, 11.0), (95.5, 95.5, 0.0)]:
        old = before.TransformContinuousIndexToPhysicalPoint(corner)
        fine = (2 * corner[0] + 0.5, 2 * corner[1] + 0.5, corner[2])
        np.testing.assert_allclose(after.TransformContinuousIndexToPhysicalPoint(fine), old, atol=1e-3)


def test_python_example(folder: Path) -> None:
    import sciSR

    image = sciSR.read("star_field.fits", hdu="SCI")
    sharp = sciSR.upscale(image, scale=2, model="auto")
    assert sciSR.write(sharp, "m51_x2.fits") == Path("m51_x2.fits")
    again = sciSR.read("m51_x2.fits", hdu="SCI")
    np.testing.assert_array_equal(np.asarray(again), np.asarray(sharp))


def test_batch_with_a_classical_model_into_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("star_field.fits", "second.fits")
    words = "star_field.fits second.fits --scale 1.5 --model linear --device cpu --out-dir hr/ --json"
    assert main(["upscale", *words.split()]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [Path(result["output"]).parent for result in document["results"]] == [Path("hr")] * 2
    for result in document["results"]:
        assert Path(result["output"]).is_file()
        assert result["parts"][0]["shape_out"] == [540, 576]
        assert result["parts"][0]["model"] == "linear"
        assert len(result["input_sha256"]) == 64


def test_loose_dicom_files_are_one_series(folder: Path) -> None:
    files = sorted(str(path) for path in (folder / "phantom_dicom").iterdir())[:5]
    assert main(["upscale", *files, "-o", "five", "--model", "linear"]) == 0
    assert len(list((folder / "five").iterdir())) == 5


@pytest.mark.parametrize("name", ["star_field.fits", "phantom.nii.gz"])
def test_two_runs_write_the_same_bytes_but_for_dates(name: str, folder: Path) -> None:
    suffix = ".fits" if name.endswith(".fits") else ".nii.gz"
    first, second = folder / f"first{suffix}", folder / f"second{suffix}"
    for output in (first, second):
        assert main(["upscale", name, "-o", str(output)]) == 0
    if suffix == ".fits":
        from astropy.io import fits

        with fits.open(first) as one, fits.open(second) as two:
            for a, b in zip(one, two, strict=True):
                assert a._data_size == b._data_size
            difference = fits.FITSDiff(
                one, two, ignore_keywords=["DATE", "CHECKSUM", "DATASUM"], ignore_comments=["*"]
            )
            assert difference.identical, difference.report()
    else:
        assert first.read_bytes() == second.read_bytes()


def test_two_derived_series_hold_the_same_pixels(folder: Path) -> None:
    import pydicom

    for name in ("first", "second"):
        assert main(["upscale", "phantom_dicom", "-o", name]) == 0
    pixels = [
        {
            int(ds.InstanceNumber): ds.PixelData
            for ds in map(pydicom.dcmread, sorted((folder / name).iterdir()))
        }
        for name in ("first", "second")
    ]
    assert pixels[0] == pixels[1]


def test_the_record_in_the_output_names_model_weights_and_input(folder: Path) -> None:
    import hashlib

    import sciSR

    assert main(["upscale", "phantom.nii.gz"]) == 0
    read, upscaled = sciSR.read("phantom_x2.nii.gz").provenance.steps
    assert read["input_sha256"] == hashlib.sha256(Path("phantom.nii.gz").read_bytes()).hexdigest()
    assert upscaled["scale"] == "2"
    assert len(upscaled["weights_sha256"]) == 64
