"""Siemens mosaics: taken apart onto the grid that dcm2niix and nibabel see, or refused by name."""

from __future__ import annotations

import gzip
import math
import struct
import tarfile
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import datasets, dciodvfy_errors, make_series, oblique, phantom, write_all
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dicom_geometry import corners, places, run_dcm2niix

from sciSR.errors import UnsupportedError
from sciSR.testing import refine_nearest
from scisr_medical.dicom_adapter import adapter


def quietly(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapter.read(path)


def csa(**tags: list) -> bytes:
    """A CSA header of Siemens' second kind: a count of tags, each with a name and items of text."""
    out = [b"SV10\4\3\2\1", struct.pack("<II", len(tags), 77)]
    for name, values in tags.items():
        out.append(struct.pack("<64si4siii", name.encode(), len(values), b"FD", 4, 6, 77))
        for item in [*(f"{v:.10g}".encode() + b"\0" for v in values), *[b""] * (6 - len(values))]:
            out.append(struct.pack("<4i", len(item), len(item), 77, len(item)))
            out.append(item.ljust(-(-len(item) // 4) * 4, b"\0"))
    return b"".join(out)


def protocol(centres: np.ndarray) -> bytes:
    lines = [f"sSliceArray.lSize = {len(centres)}"]
    for k, centre in enumerate(centres):
        for axis, value in zip(("Sag", "Cor", "Tra"), centre, strict=True):
            lines.append(f"sSliceArray.asSlice[{k}].sPosition.d{axis} = {value:.9g}")
    return b"junk### ASCCONV BEGIN ###\n" + "\n".join(lines).encode() + b"\n### ASCCONV END ###junk"


def make_mosaics(
    folder: Path,
    volumes: np.ndarray,
    *,
    sign: int = 1,
    first: int = 0,
    spacing: tuple[float, float, float] = (3.0, 0.8, 0.6),
    change=None,
) -> tuple[np.ndarray, np.ndarray]:
    """One mosaic a volume of `volumes`, shape (t, z, y, x).

    Returns the corner of the first slice and the step to the next one (LPS, mm), as they are.
    """
    _, count, rows, columns = volumes.shape
    side = math.ceil(math.sqrt(count))
    tiled = np.zeros((len(volumes), side * rows, side * columns), dtype=np.int64)
    for k in range(count):
        y, x = k // side * rows, k % side * columns
        tiled[:, y : y + rows, x : x + columns] = volumes[:, k]
    orientation = oblique(0.3, -0.2, 0.1)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    corner, step = np.array([-20.0, 15.5, 7.0]), sign * spacing[0] * np.cross(row, column)
    declared = (
        corner
        - row * spacing[2] * (side - 1) * columns / 2
        - column * spacing[1] * (side - 1) * rows / 2
    )  # fmt: skip
    centres = corner + row * spacing[2] * columns / 2 + column * spacing[1] * rows / 2
    centres = centres + np.arange(count)[:, None] * step

    def edit(dataset, k):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        dataset.ImagePositionPatient = [round(float(v), 9) for v in declared]
        dataset.AcquisitionNumber, dataset.SpacingBetweenSlices = k + 1, spacing[0]
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        normal = list(sign * np.cross(row, column))
        tags = {
            "NumberOfImagesInMosaic": [count],
            "SliceNormalVector": normal,
            "ProtocolSliceNumber": [first],
        }
        block.add_new(0x10, "OB", csa(**tags))
        planned = {"elsewhere": 2 * centres[0] - centres, "other end": centres[::-1] + step}
        block.add_new(0x20, "OB", protocol(planned.get(change, centres)))
        if callable(change):
            change(dataset)

    make_series(folder, stored=tiled, orientation=orientation, spacing=spacing, edit=edit)
    return corner, step


@given(
    count=st.integers(1, 17),
    volumes=st.integers(1, 3),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    sign=st.sampled_from([1, -1]),
)
@settings(max_examples=20)
def test_every_slice_comes_out_with_its_values_in_its_place(tmp_path_factory, count, volumes, size, sign):
    folder = tmp_path_factory.mktemp("mosaic")
    truth = phantom((volumes, count * size[0], size[1])).reshape(volumes, count, *size)
    corner, step = make_mosaics(folder, truth, sign=sign)
    (image,) = quietly(folder)
    assert image.shape == (count, *size, *([volumes] if volumes > 1 else []))
    values = np.asarray(image)
    values = np.moveaxis(values, -1, 0) if volumes > 1 else values[None]
    for k in range(count):
        place = corner + k * step
        index = image.grid.index(place)
        assert np.allclose(index[1:], 0, atol=1e-6)
        assert np.array_equal(values[:, round(float(index[0]))], truth[:, k])


def strip(keyword):
    def change(dataset):
        if keyword == "csa":
            del dataset[0x0029, 0x1010]
        elif keyword == "damaged":
            dataset[0x0029, 0x1010].value = dataset[0x0029, 0x1010].value[:200]
        elif keyword == "count":
            dataset[0x0029, 0x1010].value = csa(NumberOfImagesInMosaic=[90], SliceNormalVector=[0, 0, 1])
        elif keyword == "direction":
            dataset[0x0029, 0x1010].value = csa(NumberOfImagesInMosaic=[9], SliceNormalVector=[1, 0, 0])
        else:
            delattr(dataset, keyword)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (strip("csa"), "number and direction of its slices, is missing"),
        (strip("damaged"), "its CSA header can't be read"),
        (strip("count"), "90 slices do not tile"),
        (strip("direction"), "direction is not across"),
        (strip("SpacingBetweenSlices"), "how far its slices are apart"),
        (strip("ImagePositionPatient"), "does not say where it lies"),
        ("elsewhere", "its protocol places the slices elsewhere"),
    ],
)
def test_a_mosaic_that_can_not_be_placed_for_certain_is_refused_by_name(tmp_path, change, said):
    make_mosaics(tmp_path / "in", phantom((1, 9 * 4, 4)).reshape(1, 9, 4, 4), change=change)
    with pytest.raises(UnsupportedError, match=f"Siemens mosaic.*{said}.*convert it with dcm2niix") as caught:
        quietly(tmp_path / "in")
    assert "\n" not in str(caught.value)


def test_a_protocol_that_counts_from_the_other_end_and_a_moved_table_are_no_contradiction(tmp_path):
    corner, _ = make_mosaics(tmp_path, phantom((1, 9 * 4, 4)).reshape(1, 9, 4, 4), change="other end")
    assert np.allclose(quietly(tmp_path)[0].grid.affine[:3, 3], corner)


def test_a_mosaic_that_begins_within_the_protocol_is_refused(tmp_path):
    make_mosaics(tmp_path / "in", phantom((1, 9 * 4, 4)).reshape(1, 9, 4, 4), first=8)
    with pytest.raises(UnsupportedError, match="first tile is slice 8"):
        quietly(tmp_path / "in")


def test_a_truncated_mosaic_is_an_error(tmp_path):
    make_mosaics(tmp_path / "in", phantom((2, 4 * 4, 4)).reshape(2, 4, 4, 4))
    file = tmp_path / "in" / "s001.dcm"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(Exception, match=r"s001\.dcm: the pixel data are truncated"):
        quietly(tmp_path / "in")


def test_the_result_is_a_classic_series_without_mosaics(tmp_path):
    make_mosaics(tmp_path / "in", phantom((2, 5 * 6, 8)).reshape(2, 5, 6, 8))
    (image,) = quietly(tmp_path / "in")
    out = datasets(write_all([refine_nearest(image, Fraction(2))], tmp_path / "out"))
    assert len(out) == 10
    assert all("MOSAIC" not in d.ImageType and (d.Rows, d.Columns) == (12, 16) for d in out)
    assert len({d.SOPInstanceUID for d in out}) == 10
    assert [d.AcquisitionNumber for d in out] == [1] * 5 + [2] * 5
    (again,) = quietly(tmp_path / "out")
    assert np.array_equal(np.asarray(again)[:, ::2, ::2], np.asarray(image))
    assert np.allclose(again.grid.affine, image.grid.refine((1, 2, 2, 1)).affine, atol=1e-6)
    for file in sorted((tmp_path / "out").iterdir())[::9]:
        assert dciodvfy_errors(file) == []


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """Two mosaics of one diffusion series, which come with nibabel."""
    import nibabel

    data = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"
    folder = tmp_path_factory.mktemp("dwi")
    for name in ("siemens_dwi_0", "siemens_dwi_1000"):
        file = data / f"{name}.dcm.gz"
        if not file.is_file():
            pytest.skip("nibabel is installed without its test data")
        (folder / f"{name}.dcm").write_bytes(gzip.decompress(file.read_bytes()))
    return folder


def test_real_mosaics_have_the_voxels_and_the_grid_of_nibabel(real):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import wrapper_from_file
    (image,) = quietly(real)
    assert image.shape == (48, 128, 128, 2)
    assert image.slice_thickness == 2.5
    for t, file in enumerate(sorted(real.iterdir())):
        judge = wrapper_from_file(file)  # array axes (row, column, slice), LPS
        assert np.array_equal(judge.get_data().transpose(2, 0, 1), np.asarray(image.data[:, :, :, t]))
        ours = image.grid.affine[:, [1, 2, 0, 3]]
        assert np.abs(ours - judge.affine).max() < 1e-4


def test_real_mosaics_have_the_voxels_and_the_grid_of_dcm2niix_before_and_after(real, tmp_path):
    (image,) = quietly(real)
    nifti = run_dcm2niix(real, tmp_path / "before")
    assert nifti.shape == (128, 128, 48, 2)
    index = corners(image.shape[:3])
    to_lps = np.diag([-1, -1, 1, 1])
    seen = places(to_lps @ nifti.affine, corners(nifti.shape[:3]))
    assert max(np.linalg.norm(seen - p, axis=1).min() for p in places(image.grid.affine, index)) < 0.01
    values = np.asarray(nifti.dataobj).transpose(2, 1, 0, 3)[:, ::-1]  # dcm2niix turns the rows round
    assert np.array_equal(values, np.asarray(image))
    out = write_all([refine_nearest(image, Fraction(2))], tmp_path / "out")
    after = run_dcm2niix(out, tmp_path / "after")
    assert after.shape == (256, 256, 48, 2)
    fine = image.grid.refine((1, 2, 2, 1))
    seen = places(to_lps @ after.affine, corners(after.shape[:3]))
    expected = places(fine.affine, corners((48, 256, 256)))
    assert max(np.linalg.norm(seen - p, axis=1).min() for p in expected) < 0.01
    assert "MOSAIC" not in pydicom.dcmread(next(out.iterdir())).ImageType


@pytest.mark.realdata
def test_a_real_mosaic_without_its_csa_header_is_refused_by_name(shared_data, tmp_path):
    with tarfile.open(shared_data / "dicom" / "d2n_siemens_fmri_001.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with pytest.raises(
        UnsupportedError, match=r"Siemens mosaic.*CSA header.*missing; convert it with dcm2niix"
    ):
        adapter.read(tmp_path)
    assert "series 15" in adapter.describe(tmp_path)["notes"][0]
