"""`scisr fuse` of three stacks, from files to files: what is written, where it lies, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from stack_phantom import body, three_stacks, turned, write_stack

import sciSR
from sciSR.cli.main import main
from sciSR.provenance import file_sha256

COARSE = (2.5, 2.5, 5.0)
"""Voxels that make a fusion take a second or two."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[Path]]:
    """One run with everything, in a process of its own: its folder, its JSON document, its inputs."""
    inputs = three_stacks(tmp_path_factory.mktemp("stacks"))
    folder = tmp_path_factory.mktemp("fused")
    words = [sys.executable, "-m", "sciSR", "fuse", *map(str, inputs), "-o", str(folder / "iso.nii.gz")]
    done = subprocess.run(
        [*words, "--weight", "--json", "--report", str(folder / "page.html")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), inputs


def fuse(inputs: list[Path], target: Path, *words: object, sheet: bool = False) -> nib.Nifti1Image:
    """Fuse in this process; drawing takes longer than fusing so few voxels."""
    words = words if sheet else (*words, "--no-contact-sheet")
    assert main(["fuse", *map(str, inputs), "-o", str(target), "-q", *map(str, words)]) == 0
    return nib.load(target)


def edges(image: nib.Nifti1Image) -> np.ndarray:
    """World coordinates of the field's corners, edge to edge, by nibabel."""
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in image.shape[:3]], indexing="ij")).reshape(3, -1).T
    return nib.affines.apply_affine(image.affine, ends)


def truth(image: nib.Nifti1Image) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij"), -1)
    return body(nib.affines.apply_affine(image.affine, index))


def error_db(found: np.ndarray, expected: np.ndarray) -> float:
    """PSNR within the body."""
    inside = expected > 50
    return float(10 * np.log10(np.ptp(expected) ** 2 / np.mean((found - expected)[inside] ** 2)))


def test_all_files_are_written_and_named(made) -> None:
    folder, document, _ = made
    names = ["iso.json", "iso.nii.gz", "iso.png", "iso_std.nii.gz", "iso_weight.nii.gz", "page.html"]
    assert sorted(path.name for path in folder.iterdir()) == names
    told = [document[key] for key in ("product", "deviation", "weight", "record", "contact_sheet", "report")]
    assert sorted(Path(path).name for path in told) == names
    assert document["output"] == document["product"]


def test_the_field_is_the_first_stacks_edge_to_edge(made) -> None:
    folder, _, inputs = made
    result, first = nib.load(folder / "iso.nii.gz"), nib.load(inputs[0])
    assert result.shape == (32, 32, 32)
    assert result.get_data_dtype() == np.float32
    np.testing.assert_allclose(result.header.get_zooms(), 1.25, atol=1e-5)
    np.testing.assert_allclose(edges(result), edges(first), atol=1e-4)
    np.testing.assert_allclose(result.get_qform(), result.get_sform(), atol=1e-4)


def test_simpleitk_sees_the_same_grid(made) -> None:
    folder, _, inputs = made
    grids = []
    for path in (folder / "iso.nii.gz", inputs[0]):
        image = sitk.ReadImage(str(path))
        ends = (
            np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in image.GetSize()], indexing="ij")).reshape(3, -1).T
        )
        grids.append([image.TransformContinuousIndexToPhysicalPoint(end.tolist()) for end in ends])
    np.testing.assert_allclose(grids[0], grids[1], atol=1e-4)


def test_error_and_weight_lie_on_the_same_grid(made) -> None:
    folder, _, _ = made
    result = nib.load(folder / "iso.nii.gz")
    for name in ("iso_std", "iso_weight"):
        other = nib.load(folder / f"{name}.nii.gz")
        assert other.shape == result.shape
        np.testing.assert_array_equal(other.affine, result.affine)
    std, weight = (np.asarray(nib.load(folder / f"{n}.nii.gz").dataobj) for n in ("iso_std", "iso_weight"))
    assert (std[weight > 0] > 0).all()
    assert (weight > 0).mean() > 0.99


def test_the_result_is_closer_to_the_body_than_any_stack(made) -> None:
    from scipy.ndimage import zoom

    folder, _, inputs = made
    result = nib.load(folder / "iso.nii.gz")
    single = zoom(nib.load(inputs[0]).get_fdata(), (1, 1, 3.2), order=3, grid_mode=True, mode="nearest")
    expected = truth(result)
    assert error_db(result.get_fdata(), expected) > error_db(single, expected) + 3


def test_the_error_says_how_far_off_the_result_is(made) -> None:
    """Within the body, where no edge is near: the deviation is neither a tenth nor ten times the true error."""
    folder, _, _ = made
    result, std = nib.load(folder / "iso.nii.gz"), nib.load(folder / "iso_std.nii.gz").get_fdata()
    off = (result.get_fdata() - truth(result))[12:20, 12:20, 12:20]
    ratio = float(np.sqrt(np.mean(off**2)) / np.median(std[12:20, 12:20, 12:20]))
    assert 0.1 < ratio < 10


def test_the_motion_of_each_stack_is_found_and_told(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path)
    fuse(inputs, tmp_path / "iso.nii", "--no-slice-motion")
    centre = np.array([0.0, 0, 0, 1])
    motions = [
        np.eye(4),
        turned((1.0, -0.8, 1.2), (0.9, -0.7, 0.5)),
        turned((-0.9, 1.1, 0.7), (-0.6, 0.8, 0.9)),
    ]
    records = json.loads((tmp_path / "iso.json").read_text())["SciSR"]["Stacks"]
    for record, motion in zip(records, motions, strict=True):
        found = np.array(record["matrix"])  # a body of 30 mm does not tell more exactly
        assert np.linalg.norm(((found - motion) @ centre)[:3]) < 0.3
        assert record["motion"]["shift_mm"] == pytest.approx(np.linalg.norm(motion[:3, 3]), abs=0.3)
        assert max(record["slice_motion_mm"]) == 0
    assert records[0]["motion"]["shift_mm"] == 0
    assert records[0]["gain"] == pytest.approx(1)


def test_the_sidecar_names_its_sources_without_folders(made) -> None:
    folder, document, inputs = made
    told = json.loads((folder / "iso.json").read_text())
    assert told["Sources"] == [path.name for path in inputs]
    assert str(inputs[0].parent) not in (folder / "iso.json").read_text()
    assert told["SciSR"]["Warning"] == "Research use only, not for diagnosis"
    hashes = [step["input_sha256"] for step in told["SciSR"]["Steps"] if step["step"] == "read"]
    assert hashes == [file_sha256(path) for path in inputs]
    assert told["SciSR"]["Stacks"] == document["stacks"]
    for record in document["stacks"]:
        assert len(record["slice_weights"]) == record["slices"] == 10
        assert all(0 <= weight <= 1 for weight in record["slice_weights"])


def test_the_record_stands_in_the_nifti_headers_too(made) -> None:
    folder, _, _ = made
    for name, what in (("iso", ""), ("iso_std", "std deviation"), ("iso_weight", "weight")):
        header = nib.load(folder / f"{name}.nii.gz").header
        assert bytes(header["descrip"]).startswith(b"sciSR")
        assert header["intent_name"].item().decode() == what
        assert header.get_xyzt_units()[0] == "mm"
        [step] = [s for s in sciSR.read(folder / f"{name}.nii.gz").provenance.steps if "fuse" in s["step"]]
        assert step["notice"] == "Research use only, not for diagnosis"
        assert step["stacks"] == 3


def test_the_report_is_one_page_without_file_names(made) -> None:
    page = (made[0] / "page.html").read_text()
    assert "Research use only, not for diagnosis" in page
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert "axi.nii" not in page


def test_the_same_seed_gives_the_same_voxels(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    one, two = (fuse(inputs, tmp_path / f"{k}.nii", "--seed", 3) for k in range(2))
    np.testing.assert_array_equal(one.get_fdata(), two.get_fdata())
    assert not (tmp_path / "0.png").exists()


def test_masks_limit_what_is_used(tmp_path: Path) -> None:
    """Values outside the mask have no say, be they ever so wrong."""
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    words: list[object] = ["--no-slice-motion"]
    for path in inputs:
        image = nib.load(path)
        keep = truth(image) > 20
        nib.save(nib.Nifti1Image(keep.astype(np.uint8), image.affine), tmp_path / f"mask_{path.name}")
        words += ["--mask", tmp_path / f"mask_{path.name}"]
    clean = fuse(inputs, tmp_path / "clean.nii", *words).get_fdata()
    for path in inputs:
        image = nib.load(path)
        data = np.where(truth(image) > 20, np.asarray(image.dataobj), np.float32(1e5))
        nib.save(nib.Nifti1Image(data, image.affine, image.header), path)
    dirty = fuse(inputs, tmp_path / "dirty.nii", *words).get_fdata()
    np.testing.assert_allclose(dirty, clean, atol=1e-3 * np.ptp(clean))


def test_a_mask_stored_back_to_front_is_the_same_mask(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    image = nib.load(inputs[0])
    mask = nib.Nifti1Image((truth(image) > 20).astype(np.uint8), image.affine)
    nib.save(mask, tmp_path / "mask.nii")
    nib.save(nib.as_closest_canonical(mask), tmp_path / "turned.nii")
    assert not np.allclose(nib.load(tmp_path / "turned.nii").affine, image.affine)
    results = [
        fuse(inputs, tmp_path / f"{k}.nii", "--mask", tmp_path / name, "--no-slice-motion").get_fdata()
        for k, name in enumerate(("mask.nii", "turned.nii"))
    ]
    np.testing.assert_array_equal(*results)


def test_nan_voxels_have_no_say(tmp_path: Path) -> None:
    def with_gap(data: np.ndarray) -> np.ndarray:
        data = data.copy()
        data[6:9, 6:9, 3] = np.nan
        return data

    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    write_stack(inputs[1], "sagittal", spacing=COARSE, thickness=5.0, edit=with_gap, seed=1)
    result = fuse(inputs, tmp_path / "iso.nii").get_fdata()
    assert np.isfinite(result).all()


def test_without_a_thickness_the_distance_of_slices_is_taken_with_a_warning(tmp_path: Path, capsys) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0, sidecar=False)
    fuse(inputs, tmp_path / "iso.nii", "--no-slice-motion")
    said = capsys.readouterr().err
    assert said.count("thickness of its slices is not known") == 3
    assert "sag.nii.gz" in said
    stacks = json.loads((tmp_path / "iso.json").read_text())["SciSR"]["Stacks"]
    assert [s["slice_thickness_mm"] for s in stacks] == pytest.approx([5.0] * 3)


def test_slices_may_be_thicker_than_they_are_apart(tmp_path: Path, capsys) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=7.0)
    fuse(inputs, tmp_path / "iso.nii", "--no-slice-motion")
    assert "not known" not in capsys.readouterr().err
    stacks = json.loads((tmp_path / "iso.json").read_text())["SciSR"]["Stacks"]
    assert [s["slice_thickness_mm"] for s in stacks] == [7.0] * 3
    fuse(inputs, tmp_path / "b.nii", "--no-slice-motion",
         "--slice-thickness", 6, "--slice-thickness", 5, "--slice-thickness", 4)  # fmt: skip
    stacks = json.loads((tmp_path / "b.json").read_text())["SciSR"]["Stacks"]
    assert [s["slice_thickness_mm"] for s in stacks] == [6.0, 5.0, 4.0]


def test_stacks_in_one_direction_are_fused_with_a_warning(tmp_path: Path, capsys) -> None:
    inputs = [
        write_stack(tmp_path / f"{k}.nii", "axial", spacing=COARSE, thickness=5.0, seed=k) for k in range(2)
    ]
    result = fuse(inputs, tmp_path / "iso.nii")
    assert "same direction" in capsys.readouterr().err
    assert result.shape == (16, 16, 16)


def test_spacing_and_volume_of_a_series(tmp_path: Path) -> None:
    """The volume that was chosen is used: the others hold nonsense."""
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    plain = fuse(inputs, tmp_path / "plain.nii", "--spacing", 4, "--no-slice-motion")
    assert plain.shape == (10, 10, 10)
    image = nib.load(inputs[0])
    data = np.asarray(image.dataobj)
    series = np.stack([data * 0 + 5, data, data[::-1] * 3], -1)
    nib.save(nib.Nifti1Image(series, image.affine, image.header), inputs[0])
    words = ["--volume", 1, "--volume", 0, "--volume", 0]
    chosen = fuse(inputs, tmp_path / "chosen.nii", "--spacing", 4, "--no-slice-motion", *words)
    np.testing.assert_array_equal(chosen.get_fdata(), plain.get_fdata())


def test_metres_and_micrometres_are_lengths_too(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    words = ["--no-slice-motion", "--slice-thickness", 5]
    plain = fuse(inputs, tmp_path / "plain.nii", *words)
    for path, (name, factor) in zip(inputs[1:], (("meter", 1e-3), ("micron", 1e3)), strict=True):
        image = nib.load(path)
        affine = np.diag([factor, factor, factor, 1]) @ image.affine
        other = nib.Nifti1Image(np.asarray(image.dataobj), affine)
        other.header.set_xyzt_units(name)
        nib.save(other, path)
    result = fuse(inputs, tmp_path / "mixed.nii", *words)
    np.testing.assert_allclose(result.affine, plain.affine, atol=1e-5)
    np.testing.assert_allclose(result.get_fdata(), plain.get_fdata(), atol=2e-3 * np.ptp(plain.get_fdata()))


def test_a_profile_from_a_file_is_the_profile_by_name(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    at = np.linspace(-8.5, 8.5, 401)
    weight = np.exp(-4 * np.log(2) * (at / 5.0) ** 2)
    np.savetxt(tmp_path / "profile.txt", np.column_stack([at, weight]))
    named = fuse(
        inputs, tmp_path / "named.nii", "--slice-profile", "gaussian", "--no-slice-motion"
    ).get_fdata()
    told = fuse(
        inputs, tmp_path / "told.nii", "--slice-profile", tmp_path / "profile.txt", "--no-slice-motion"
    )
    np.testing.assert_allclose(told.get_fdata(), named, atol=5e-3 * np.ptp(named))


def test_each_stack_has_a_line(tmp_path: Path, capsys) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    assert main(["fuse", *map(str, inputs), "-o", str(tmp_path / "iso.nii.gz"), "--no-contact-sheet"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("3 stacks -> ")
    assert "16x16x16" in said.out
    for name in (
        "axi.nii.gz: axial, the reference",
        "sag.nii.gz: sagittal, moved",
        "cor.nii.gz: coronal, moved",
    ):
        [line] = [line for line in said.err.splitlines() if name in line]
        assert "gain" in line
        assert "of 8 slices down-weighted" in line
    assert "Research use only" in said.err


def test_overwriting_replaces_everything(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    for name in ("iso.nii.gz", "iso_std.nii.gz", "iso.json", "iso.png"):
        (tmp_path / name).write_text("old")
    result = fuse(inputs, tmp_path / "iso.nii.gz", "--overwrite", "--no-slice-motion", sheet=True)
    assert result.shape == (16, 16, 16)
    assert json.loads((tmp_path / "iso.json").read_text())["Sources"]
    assert (tmp_path / "iso.png").read_bytes().startswith(b"\x89PNG")


def test_python_and_the_command_line_agree(tmp_path: Path) -> None:
    inputs = three_stacks(tmp_path, spacing=COARSE, thickness=5.0)
    expected = fuse(inputs, tmp_path / "cli.nii", "--no-slice-motion").get_fdata()
    fused = sciSR.fuse_volumes([sciSR.read(path) for path in inputs], slice_motion=False)
    np.testing.assert_array_equal(np.asarray(fused.image.data), expected.astype(np.float32))
    outputs = fused.write(tmp_path / "py.nii.gz", weight=True)
    assert all(path.exists() for path in outputs.all())
    np.testing.assert_array_equal(nib.load(tmp_path / "py.nii.gz").get_fdata(), expected)
