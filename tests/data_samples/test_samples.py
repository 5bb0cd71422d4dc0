"""The committed samples are what their script makes, and are sound files by outside judges."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run([sys.executable, SAMPLES / "make_samples.py", folder], check=True)
    return folder


def test_star_field_is_remade_the_same(remade: Path) -> None:
    from astropy.io import fits

    with fits.open(SAMPLES / "star_field.fits") as committed, fits.open(remade / "star_field.fits") as fresh:
        # Mathematics libraries differ in the last digits from machine to machine, and with them the checksums.
        ignored = ["CHECKSUM", "DATASUM"]
        difference = fits.FITSDiff(committed, fresh, ignore_keywords=ignored, rtol=1e-6, atol=1e-9)
        assert difference.identical, difference.report()


def test_frames_are_remade_the_same(remade: Path) -> None:
    from astropy.io import fits

    names = [sorted(p.name for p in (folder / "frames").iterdir()) for folder in (SAMPLES, remade)]
    assert names[0] == names[1] == [f"frame_{k}.fits" for k in range(1, 7)]
    for name in names[0]:
        with fits.open(SAMPLES / "frames" / name) as committed, fits.open(remade / "frames" / name) as fresh:
            ignored = ["CHECKSUM", "DATASUM"]
            # Rounding to whole counts may fall either way in the last digit.
            difference = fits.FITSDiff(committed, fresh, ignore_keywords=ignored, rtol=1e-9, atol=1)
            assert difference.identical, difference.report()


def test_the_frames_world_coordinates_are_those_of_their_transforms_to_a_pixel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from astropy.io import fits
    from astropy.wcs import WCS

    monkeypatch.syspath_prepend(str(SAMPLES))
    import sequence

    made = sequence.make_sequence()
    rows, columns = np.meshgrid([0.0, 87.0], [0.0, 95.0], indexing="ij")
    points = np.stack([rows.ravel(), columns.ravel()], axis=-1)
    worlds = [WCS(fits.getheader(SAMPLES / "frames" / f"frame_{k}.fits")) for k in range(1, 7)]
    for world, matrix in zip(worlds, made.matrices, strict=True):
        sky = worlds[0].all_pix2world(points[:, ::-1], 0)
        off = world.all_world2pix(sky, 0)[:, ::-1] - (points @ matrix[:, :2].T + matrix[:, 2])
        assert np.abs(off).max() < 2.1
        # One error of pointing for the whole frame: rotation and scale are right.
        assert np.abs(off - off.mean(axis=0)).max() < 2e-3


def test_phantom_is_remade_the_same(remade: Path) -> None:
    import nibabel

    committed, fresh = (nibabel.load(folder / "phantom.nii.gz") for folder in (SAMPLES, remade))
    assert committed.header == fresh.header
    # Rounding to whole numbers may fall either way where a transform differs in its last digit.
    difference = np.asarray(committed.dataobj).astype(int) - np.asarray(fresh.dataobj)
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= 5


def test_series_is_remade_the_same(remade: Path) -> None:
    import pydicom

    names = [sorted(p.name for p in (folder / "phantom_dicom").iterdir()) for folder in (SAMPLES, remade)]
    assert names[0] == names[1]
    for name in names[0]:
        committed, fresh = (pydicom.dcmread(folder / "phantom_dicom" / name) for folder in (SAMPLES, remade))
        difference = committed.pixel_array.astype(int) - fresh.pixel_array
        assert np.abs(difference).max() <= 1
        del committed.PixelData, fresh.PixelData
        assert committed == fresh


def test_the_series_is_the_volume(remade: Path) -> None:
    import nibabel
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(SAMPLES / "phantom_dicom")))
    series = reader.Execute()
    volume = nibabel.load(SAMPLES / "phantom.nii.gz")
    inverse = np.linalg.inv(volume.affine)
    for column, row, k in [(0, 0, 0), (95, 0, 3), (12, 71, 11), (95, 95, 11)]:
        lps = np.array(series.TransformIndexToPhysicalPoint((column, row, k)))
        index = inverse @ [-lps[0], -lps[1], lps[2], 1]
        nearest = tuple(np.rint(index[:3]).astype(int))
        np.testing.assert_allclose(index[:3], nearest, atol=1e-4)
        assert series[column, row, k] == volume.dataobj[nearest]


def test_there_is_no_patient() -> None:
    import pydicom

    for path in (SAMPLES / "phantom_dicom").iterdir():
        ds = pydicom.dcmread(path)
        assert ds.PatientName == "PHANTOM^sciSR"
        assert ds.PatientIdentityRemoved == "YES"


def test_the_table_holds_the_stars_of_the_image() -> None:
    """Summed light of bright stars agrees with the table: the truth is the truth."""
    from astropy.io import fits

    from sciSR.metrics import aperture_sums

    with fits.open(SAMPLES / "star_field.fits") as hdus:
        image, table, sky = hdus["SCI"].data, hdus["TRUTH"].data, hdus[0].header["SKYLEVEL"]
        bright = table[table["FLUX"] > 15_000]
        points = np.stack([bright["Y"] - 1, bright["X"] - 1], axis=1)
        sums = aperture_sums(np.nan_to_num(image), points, 9.0) - np.pi * 81 * sky
    assert len(bright) >= 5
    assert np.median(np.abs(sums / bright["FLUX"] - 1)) < 0.05


def test_all_samples_together_are_small() -> None:
    assert (
        sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.suffix in (".fits", ".gz", ".dcm"))
        < 2e6
    )


def test_gzip_carries_no_time_or_name() -> None:
    head = (SAMPLES / "phantom.nii.gz").read_bytes()[:10]
    assert head[3] == 0
    assert head[4:8] == bytes(4)
    with gzip.open(SAMPLES / "phantom.nii.gz") as stream:
        assert len(stream.read()) == 352 + 96 * 96 * 24 * 2


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_nothing() -> None:
    for path in sorted((SAMPLES / "phantom_dicom").iterdir()):
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "Error" not in done.stderr
        assert "Warning" not in done.stderr


@pytest.mark.skipif(shutil.which("fitsverify") is None, reason="fitsverify is not installed")
def test_fitsverify_finds_nothing() -> None:
    assert subprocess.run(["fitsverify", "-q", SAMPLES / "star_field.fits"], check=False).returncode == 0
