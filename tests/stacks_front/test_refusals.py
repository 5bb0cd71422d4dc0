"""What `scisr fuse` refuses of stacks of slices: in one line, by name, before any work, with nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from stack_phantom import three_stacks, write_stack

from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return three_stacks(tmp_path_factory.mktemp("stacks"), spacing=(2.5, 2.5, 5.0))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "iso.nii.gz"


def refused(words: list[object], out: Path, capsys: pytest.CaptureFixture[str], code: int = 3) -> str:
    """The one line that it says; nothing may be written."""
    before = {path.name: path.read_bytes() for path in out.parent.iterdir() if path.is_file()}
    assert main(["fuse", *map(str, words), "-o", str(out), "-q"]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "unexpected" not in said.err
    lines = [line for line in said.err.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, said.err
    assert {path.name: path.read_bytes() for path in out.parent.iterdir() if path.is_file()} == before
    return lines[0]


def resaved(
    path: Path, target: Path, data: np.ndarray | None = None, affine: np.ndarray | None = None
) -> Path:
    image = nib.load(path)
    data = np.asarray(image.dataobj) if data is None else data
    nib.save(nib.Nifti1Image(data, image.affine if affine is None else affine), target)
    return target


def mask_of(path: Path, target: Path, **changes: np.ndarray) -> Path:
    shape = nib.load(path).shape
    mask = changes.get("data", np.ones(shape, np.uint8))
    return resaved(path, target, mask.astype(np.uint8), changes.get("affine"))


def test_one_stack_is_sent_to_upscale(stacks, out, capsys) -> None:
    assert "scisr upscale --isotropic" in refused(stacks[:1], out, capsys, 2)
    assert "scisr upscale --isotropic" in refused([stacks[0], stacks[0]], out, capsys, 2)


def test_stacks_and_frames_are_not_fused_together(stacks, out, capsys) -> None:
    frame = sorted((SAMPLES / "frames").glob("*.fits"))[0]
    text = refused([frame, *stacks], out, capsys, 2)
    assert stacks[0].name in text
    assert frame.name in text


def test_a_stack_that_cannot_be_read_stops_everything(stacks, out, tmp_path, capsys) -> None:
    damaged = tmp_path / "sag.nii.gz"
    damaged.write_bytes(stacks[1].read_bytes()[:-2000])
    assert "sag.nii.gz" in refused([stacks[0], damaged, stacks[2]], out, capsys)
    assert "nowhere.nii.gz" in refused([stacks[0], tmp_path / "nowhere.nii.gz"], out, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scale", "2"], "--spacing"),
        (["--method", "drizzle"], "--method means nothing to stacks"),
        (["--reference", "1"], "first stack"),
        (["--register", "stars"], "--no-registration"),
        (["--keep-best", "30%"], "--keep-best means nothing to stacks"),
        (["--strict"], "always stops"),
        (["--hdu", "SCI"], "--hdu means nothing to nifti"),
        (["--spacing", "0"], "spacing"),
        (["--spacing", "-1"], "spacing"),
        (["--spacing", "nan"], "spacing"),
        (["--slice-thickness", "0"], "slice thickness"),
        (["--slice-thickness", "4", "--slice-thickness", "5"], "2 times for 3 stacks"),
        (["--slice-profile", "square"], "gaussian"),
        (["--device", "banana"], "unknown device"),
        (["--volume", "1"], "one volume"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said, stacks, out, capsys) -> None:
    assert said in refused([*stacks, *words], out, capsys, 2)


@pytest.mark.parametrize(
    "words", [["--spacing", "1"], ["--no-slice-motion"], ["--weight"], ["--mask", "m.nii"]]
)
def test_settings_of_stacks_mean_nothing_to_frames(words, tmp_path, capsys) -> None:
    frames = sorted((SAMPLES / "frames").glob("*.fits"))
    assert main(["fuse", *map(str, frames), *words, "-o", str(tmp_path / "o.fits")]) == 2
    assert f"{words[0]} means nothing to frames" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iso.dcm", ".nii.gz"),
        ("iso.fits", ".nii.gz"),
        ("iso", ".nii.gz"),
        ("iso.tif", ".nii.gz"),
        ("", "is a folder"),
    ],
)
def test_an_output_that_is_no_nifti_file_is_refused(name, said, stacks, out, capsys) -> None:
    assert said in refused(stacks, out.parent / name if name else out.parent, capsys=capsys, code=2)


def test_an_output_in_a_folder_that_is_not_there_is_refused(stacks, tmp_path, capsys) -> None:
    assert main(["fuse", *map(str, stacks), "-o", str(tmp_path / "nowhere" / "iso.nii.gz")]) == 2
    assert "folder does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "taken", ["iso.nii.gz", "iso_std.nii.gz", "iso_weight.nii.gz", "iso.json", "iso.png", "iso.html"]
)
def test_nothing_is_overwritten(taken, stacks, out, capsys) -> None:
    (out.parent / taken).write_text("mine")
    text = refused([*stacks, "--weight", "--report=" + str(out.parent / "iso.html")], out, capsys, 2)
    assert taken in text
    assert "--overwrite" in text


def test_an_input_is_never_overwritten(stacks, tmp_path, capsys) -> None:
    own = [tmp_path / path.name for path in stacks]
    for path, copy in zip(stacks, own, strict=True):
        copy.write_bytes(path.read_bytes())
    assert "one of the inputs" in refused([*own, "--overwrite"], own[1], capsys, 2)
    mask = mask_of(own[0], tmp_path / "a_std.nii.gz")
    text = refused([*own, "--mask", mask, "--overwrite"], tmp_path / "a.nii.gz", capsys, 2)
    assert "a_std.nii.gz" in text


def test_stacks_that_do_not_overlap_are_both_named(stacks, out, tmp_path, capsys) -> None:
    far = write_stack(tmp_path / "far.nii.gz", "coronal", spacing=(2.5, 2.5, 5.0), centre=(0, 90, 0))
    text = refused([*stacks[:2], far], out, capsys)
    assert "axi.nii.gz and far.nii.gz do not overlap" in text
    assert "90 mm" in text


def test_a_mask_of_another_shape_is_refused_saying_so(stacks, out, tmp_path, capsys) -> None:
    mask = mask_of(stacks[0], tmp_path / "mask.nii", data=np.ones((16, 16, 9)))
    text = refused([*stacks, "--mask", mask], out, capsys)
    assert "mask.nii" in text
    assert "axi.nii.gz" in text
    assert "16 x 16 x 9 voxels, not 16 x 16 x 8" in text


def test_a_mask_of_another_voxel_size_is_refused_saying_so(stacks, out, tmp_path, capsys) -> None:
    affine = nib.load(stacks[0]).affine.copy()
    affine[:3, 2] *= 1.1
    text = refused([*stacks, "--mask", mask_of(stacks[0], tmp_path / "mask.nii", affine=affine)], out, capsys)
    assert "2.5 x 2.5 x 5.5 mm, not 2.5 x 2.5 x 5" in text


def test_a_mask_that_lies_elsewhere_is_refused_saying_how_far(stacks, out, tmp_path, capsys) -> None:
    affine = nib.load(stacks[0]).affine.copy()
    affine[:3, 3] += [0, 3.0, 4.0]
    mask = mask_of(stacks[0], tmp_path / "mask.nii", affine=affine)
    text = refused([*stacks, "--mask", mask], out, capsys)
    assert "first voxel 5 mm away" in text


def test_a_mask_that_is_turned_is_refused_saying_by_how_much(stacks, out, tmp_path, capsys) -> None:
    from scipy.spatial.transform import Rotation

    affine = nib.load(stacks[0]).affine.copy()
    affine[:3, :3] = Rotation.from_euler("x", 4, degrees=True).as_matrix() @ affine[:3, :3]
    text = refused([*stacks, "--mask", mask_of(stacks[0], tmp_path / "mask.nii", affine=affine)], out, capsys)
    assert "turned by up to 4 degrees" in text


def test_a_mask_for_the_wrong_stack_is_refused(stacks, out, tmp_path, capsys) -> None:
    text = refused([*stacks, "--mask", mask_of(stacks[1], tmp_path / "mask.nii")], out, capsys)
    assert "axi.nii.gz" in text


def test_an_empty_mask_and_too_many_masks_are_refused(stacks, out, tmp_path, capsys) -> None:
    empty = mask_of(stacks[0], tmp_path / "empty.nii", data=np.zeros((16, 16, 8)))
    assert "0 everywhere" in refused([*stacks, "--mask", empty], out, capsys)
    words = [word for _ in range(4) for word in ("--mask", empty)]
    assert "4 masks for 3 stacks" in refused([*stacks, *words], out, capsys, 2)


def test_several_volumes_in_one_file_need_a_choice(stacks, out, tmp_path, capsys) -> None:
    data = np.asarray(nib.load(stacks[1]).dataobj)
    series = resaved(stacks[1], tmp_path / "sag.nii.gz", np.stack([data, data, data], -1))
    text = refused([stacks[0], series], out, capsys)
    assert "3 volumes" in text
    assert "--volume N" in text
    assert "no volume 3" in refused([stacks[0], series, "--volume", 0, "--volume", 3], out, capsys, 2)


def test_what_is_no_intensity_is_refused(stacks, out, tmp_path, capsys) -> None:
    data = np.asarray(nib.load(stacks[1]).dataobj)
    labels = nib.Nifti1Image((data > 100).astype(np.int16), nib.load(stacks[1]).affine)
    labels.header["intent_code"] = 1002
    nib.save(labels, tmp_path / "labels.nii")
    assert "label map" in refused([stacks[0], tmp_path / "labels.nii"], out, capsys)
    complex_ = resaved(stacks[1], tmp_path / "complex.nii", (data * (1 + 1j)).astype(np.complex64))
    assert "complex" in refused([stacks[0], complex_], out, capsys)


def test_a_single_slice_is_no_stack(stacks, out, tmp_path, capsys) -> None:
    data = np.asarray(nib.load(stacks[1]).dataobj)
    single = resaved(stacks[1], tmp_path / "single.nii", data[:, :, 4:5])
    assert "single slice" in refused([stacks[0], single], out, capsys)
    flat = resaved(stacks[1], tmp_path / "flat.nii", data[:, :, 4])
    assert "flat.nii" in refused([stacks[0], flat], out, capsys)


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_stack_without_content_is_refused(value, stacks, out, tmp_path, capsys) -> None:
    data = np.full(nib.load(stacks[1]).shape, value, np.float32)
    blank = resaved(stacks[1], tmp_path / "blank.nii", data)
    assert "blank.nii" in refused([stacks[0], blank], out, capsys)


@pytest.mark.parametrize("text", ["", "1 2 3\n4 5 6\n", "one two\n", "-2 0\n2 0\n", "0 1\n0 1\n1 0\n"])
def test_a_profile_file_that_is_no_profile_is_refused(text, stacks, out, tmp_path, capsys) -> None:
    (tmp_path / "profile.txt").write_text(text)
    refused([*stacks, "--slice-profile", tmp_path / "profile.txt"], out, capsys, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_can_not_be_written_is_refused(stacks, out, capsys) -> None:
    out.parent.chmod(0o500)
    assert "not writable" in refused(stacks, out, capsys, 2)
