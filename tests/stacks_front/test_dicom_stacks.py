"""Stacks from DICOM: another world, another order of axes, thickness in the header; NIfTI comes out."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_samples import make_series
from pydicom.dataset import Dataset
from stack_phantom import affine_of, sample, three_stacks

from sciSR.cli.main import main

SPACING, SHAPE, THICKNESS = (2.5, 2.5, 5.0), (16, 16, 8), 5.0


def series(folder: Path, direction: str, number: int) -> Path:
    """One series of the phantom: columns along the first axis of the NIfTI stack, rows along the second."""
    affine = affine_of(direction, SPACING, SHAPE)
    data = sample(affine, SHAPE, THICKNESS, seed=number)
    stored = np.rint(np.clip(data + 100, 0, None)).astype(np.int64).transpose(2, 1, 0)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    row, column, across = (lps[:3, axis] / SPACING[axis] for axis in range(3))
    if np.cross(row, column) @ across < 0:  # slices are stacked along the normal of rows and columns
        stored, lps[:3, 3], across = stored[::-1], lps[:3, 3] + (SHAPE[2] - 1) * lps[:3, 2], -across

    def edit(dataset: Dataset, k: int) -> None:
        dataset.SliceThickness, dataset.SeriesNumber = THICKNESS, number

    make_series(
        folder,
        stored=stored,
        orientation=[*row, *column],
        origin=lps[:3, 3],
        spacing=(SPACING[2], SPACING[1], SPACING[0]),
        edit=edit,
        uid=f"1.2.3.{number}",
        name=f"{direction}{{:03d}}.dcm".format,
    )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("dicom")
    return [series(folder / f"{d}", d, k + 4) for k, d in enumerate(("axial", "sagittal", "coronal"))]


def fused(words: list[object], target: Path) -> nib.Nifti1Image:
    assert (
        main(["fuse", *map(str, words), "-o", str(target), "--no-slice-motion", "--no-contact-sheet", "-q"])
        == 0
    )
    return nib.load(target)


def test_dicom_series_become_one_nifti_volume_in_the_scanners_place(folders, tmp_path, capsys) -> None:
    result = fused([*folders, "--no-registration"], tmp_path / "iso.nii.gz")
    assert "warning" not in capsys.readouterr().err
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folders[0]))
    first = sitk.ReadImage(names)
    ours = sitk.ReadImage(str(tmp_path / "iso.nii.gz"))

    def corners(image: sitk.Image) -> np.ndarray:
        ends = (
            np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in image.GetSize()], indexing="ij")).reshape(3, -1).T
        )
        points = np.array([image.TransformContinuousIndexToPhysicalPoint(end.tolist()) for end in ends])
        return points[np.lexsort(np.round(points, 2).T)]

    np.testing.assert_allclose(corners(ours), corners(first), atol=1e-3)
    # The middle of the body is bright where the first series has it: values follow the geometry.
    points = [
        first.TransformContinuousIndexToPhysicalPoint(p) for p in ((5.0, 8, 3), (10.0, 6, 4), (8.0, 11, 5))
    ]
    for point in points:
        one, two = (
            sitk.GetArrayFromImage(i)[tuple(reversed(i.TransformPhysicalPointToIndex(point)))]
            for i in (ours, first)
        )
        assert float(one) == pytest.approx(float(two), abs=90)
    stacks = json.loads((tmp_path / "iso.json").read_text())["SciSR"]["Stacks"]
    assert [stack["slice_thickness_mm"] for stack in stacks] == [THICKNESS] * 3
    assert [stack["direction"] for stack in stacks] == ["axial", "sagittal", "coronal"]
    assert result.shape == (16, 16, 16)


def test_dicom_and_nifti_stacks_share_a_world(folders, tmp_path) -> None:
    """A NIfTI stack and the same stack as DICOM put the result in the same place, with the same values."""
    inputs = three_stacks(tmp_path, spacing=SPACING, thickness=THICKNESS)
    words = ["--no-registration"]
    plain = fused([inputs[0], folders[1], folders[2], *words], tmp_path / "a.nii")
    for path, direction, seed in zip(inputs[1:], ("sagittal", "coronal"), (5, 6), strict=True):
        affine = affine_of(direction, SPACING, SHAPE)
        data = np.rint(np.clip(sample(affine, SHAPE, THICKNESS, seed=seed) + 100, 0, None)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, affine), path)
    other = fused([*inputs, *words], tmp_path / "b.nii")
    np.testing.assert_allclose(other.affine, plain.affine, atol=1e-6)
    np.testing.assert_allclose(other.get_fdata(), plain.get_fdata(), atol=1e-2 * np.ptp(plain.get_fdata()))


def test_series_of_one_folder_are_picked_by_number(folders, tmp_path) -> None:
    everything = tmp_path / "export"
    everything.mkdir()
    for folder in folders:
        for path in folder.iterdir():
            (everything / path.name).write_bytes(path.read_bytes())
    apart = fused([*folders, "--no-registration"], tmp_path / "apart.nii")
    together = fused([everything, "--series", "4,5,6", "--no-registration"], tmp_path / "together.nii")
    np.testing.assert_array_equal(together.get_fdata(), apart.get_fdata())


def test_files_of_a_folder_are_one_stack(folders, tmp_path) -> None:
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    apart = fused([*folders, "--no-registration"], tmp_path / "apart.nii")
    together = fused([*files, "--no-registration"], tmp_path / "together.nii")
    np.testing.assert_array_equal(together.get_fdata(), apart.get_fdata())


def without_pictures(page: bytes) -> bytes:
    """Base64 spells any three letters by chance."""
    return re.sub(rb"data:image/png;base64,[0-9A-Za-z+/=]*", b"", page)


def test_nothing_of_the_patient_is_written(folders, tmp_path) -> None:
    fused([*folders, "--no-registration", "--report", tmp_path / "iso.html"], tmp_path / "iso.nii")
    for path in tmp_path.iterdir():
        content = without_pictures(path.read_bytes())
        for secret in (b"Doe", b"4711", b"19700101", b"20200102"):
            assert secret not in content, path.name


def test_a_masks_axes_may_run_another_way_than_the_series(folders, tmp_path) -> None:
    """A mask drawn on the NIfTI file of the series: its rows run the other way."""
    affine = affine_of("axial", SPACING, SHAPE)
    keep = np.zeros(SHAPE, np.uint8)
    keep[3:13, 3:13, 1:7] = 1
    image = nib.Nifti1Image(keep, affine)
    flipped = nib.Nifti1Image(
        keep[:, ::-1], affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 15], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    results = []
    for name, mask in (("a", image), ("b", flipped)):
        nib.save(mask, tmp_path / f"mask_{name}.nii")
        words = ["--mask", tmp_path / f"mask_{name}.nii", "--no-registration"]
        results.append(fused([*folders, *words], tmp_path / f"{name}.nii").get_fdata())
    np.testing.assert_array_equal(*results)


def test_folders_named_after_the_patient_are_not_named_in_the_records(tmp_path, capsys) -> None:
    folders = [
        series(tmp_path / "in" / name, d, k + 4)
        for k, (name, d) in enumerate((("Doe_Jane_ax", "axial"), ("Doe_Jane_sag", "sagittal")))
    ]
    words = [str(folder) for folder in folders]
    out = tmp_path / "iso.nii.gz"
    assert main(["fuse", *words, "-o", str(out), "--no-slice-motion", "--no-registration", "--report"]) == 0
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "doe" not in text.lower()
    for file in tmp_path.glob("iso*"):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        assert b"doe_jane" not in without_pictures(content).lower(), file.name
    record = json.loads((tmp_path / "iso.json").read_text())
    names = [stack["name"] for stack in record["SciSR"]["Stacks"]]
    assert record["Sources"] == names
    assert len(set(names)) == 2
    assert all(re.fullmatch("series-[0-9a-f]{8}", name) for name in names)
