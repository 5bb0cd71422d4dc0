"""The standard deviation that goes with an output is its own: in a FITS file, beside a NIfTI file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from astropy.io import fits
from fits_faults import cube, edited
from volume_faults import volume

import sciSR
from sciSR.cli.main import main

NAME = "recorded uncertainty"


def broken(source: Path, output: Path) -> set[str]:
    return {c.name for c in sciSR.verify_files(source, output).checks if c.status == "failed"}


def upscaled(source: Path, target: Path) -> tuple[Path, Path]:
    assert main(["upscale", str(source), "-o", str(target), "-m", "cubic", "--uncertainty", "-q"]) == 0
    assert sciSR.verify_files(source, target).passed
    return source, target


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("fits")
    return upscaled(cube(folder / "in.fits"), folder / "out.fits")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("nifti")
    return upscaled(volume(folder / "in.nii"), folder / "out.nii")


def errors(hdus: fits.HDUList) -> fits.ImageHDU:
    return next(hdu for hdu in hdus if hdu.name.startswith("ERR"))


def larger(hdus: fits.HDUList) -> None:
    errors(hdus).data = errors(hdus).data * np.float32(1.5)


def moved(hdus: fits.HDUList) -> None:
    errors(hdus).header["CRPIX1"] += 3.0


def of_another_unit(hdus: fits.HDUList) -> None:
    errors(hdus).header["BUNIT"] = "Jy"


def lost(hdus: fits.HDUList) -> None:
    hdus.remove(errors(hdus))


@pytest.mark.parametrize(
    ("fault", "name"), [(larger, NAME), (moved, "HDU ERR"), (of_another_unit, "HDU ERR"), (lost, NAME)]
)
def test_a_fits_extension_that_does_not_belong(
    image: tuple[Path, Path], tmp_path: Path, fault: Callable[[fits.HDUList], None], name: str
) -> None:
    source, output = image
    assert name in broken(source, edited(output, tmp_path / "bad.fits", fault))


def beside(output: Path, folder: Path) -> Path:
    """A copy of a volume and all beside it; the file of its standard deviation."""
    for file in output.parent.glob("out*"):
        shutil.copy(file, folder / file.name)
    return folder / "out_std.nii"


def test_a_volume_of_other_values(scan: tuple[Path, Path], tmp_path: Path) -> None:
    std = beside(scan[1], tmp_path)
    found = nib.load(std)
    nib.save(nib.Nifti1Image(2 * np.asarray(found.dataobj), None, found.header), tmp_path / "new.nii")
    (tmp_path / "new.nii").replace(std)
    assert NAME in broken(scan[0], tmp_path / "out.nii")


def test_a_volume_elsewhere(scan: tuple[Path, Path], tmp_path: Path) -> None:
    std = beside(scan[1], tmp_path)
    found = nib.load(std)
    affine = found.affine.copy()
    affine[0, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(found.dataobj), affine), tmp_path / "new.nii")
    (tmp_path / "new.nii").replace(std)
    assert NAME in broken(scan[0], tmp_path / "out.nii")


def test_a_volume_left_behind_is_a_warning(scan: tuple[Path, Path], tmp_path: Path) -> None:
    beside(scan[1], tmp_path).unlink()
    found = sciSR.verify_files(scan[0], tmp_path / "out.nii")
    assert found.passed
    assert any(c.name == NAME and c.status == "warning" for c in found.checks)
