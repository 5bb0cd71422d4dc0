"""ANALYZE 7.5 in, NIfTI out: nibabel (as SPM) judges; what the format does not say is said to be assumed."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import corners, fine_points, nifti_tool, raw_header, read, upscale_nearest, voxels

from sciSR.errors import GeometryError, SciSRError, SciSRWarning, UnreadableError, UnsupportedError
from sciSR.plugins import adapter_for
from scisr_medical.nifti_adapter import adapter

ZOOMS = (0.9, 1.1, 4.0)


def make_analyze(
    path: Path,
    shape: tuple[int, ...] = (7, 6, 5),
    dtype: object = np.int16,
    order: str = "<",
    kind: type = nib.Spm2AnalyzeImage,
    **fields: object,
) -> Path:
    """A pair made by nibabel, with header fields set raw."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_zooms((*ZOOMS, *(2.0,) * (len(shape) - 3))[: len(shape)])
    for name, value in fields.items():
        if isinstance(value, dict):
            for place, item in value.items():
                header[name][place] = item
        else:
            header[name] = value
    path.write_bytes(header.binaryblock)
    data = voxels(shape, dtype).astype(np.dtype(dtype).newbyteorder(order))
    path.with_suffix(".img").write_bytes(data.tobytes(order="F"))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_values_and_assumed_world_are_those_of_nibabel(tmp_path: Path, order: str, dtype: object) -> None:
    path = make_analyze(tmp_path / "a.hdr", dtype=dtype, order=order)
    assert adapter_for(path) is adapter
    for half in (path, path.with_suffix(".img")):
        image = read(half)
        judge = nib.load(path)
        assert np.array_equal(np.asarray(image), judge.get_fdata())
        assert np.allclose(image.grid.affine, judge.affine, atol=1e-5)
        assert image.spatial == ("x", "y")


def test_the_assumption_is_said_and_nothing_else(tmp_path: Path) -> None:
    path = make_analyze(tmp_path / "a.hdr", orient=b"\x01")
    with pytest.warns(SciSRWarning) as caught:
        adapter.read(path)
    [said] = [str(w.message) for w in caught]
    assert "ANALYZE 7.5" in said
    assert "first axis to the left" in said
    assert "coronal, is not used" in said


def test_the_output_is_nifti_that_claims_no_orientation(tmp_path: Path) -> None:
    path = make_analyze(tmp_path / "a.hdr", patient_id=b"P-4711")
    target = adapter.default_output(path, "2")
    assert target == tmp_path / "a_x2.nii"
    result = upscale_nearest(path, target, dtype="keep")
    before, after = nib.load(path), nib.load(target)
    assert after.shape == (14, 12, 5)
    assert np.array_equal(after.get_fdata()[::2, ::2], before.get_fdata())
    fields = raw_header(target)
    assert (fields["qform_code"], fields["sform_code"]) == (0, 0)
    points = corners(before.shape)
    there = nib.affines.apply_affine(after.affine, fine_points(points, result.grid.factors))
    assert np.allclose(there, nib.affines.apply_affine(before.affine, points), atol=1e-4)
    assert b"4711" not in target.read_bytes()
    assert "header IS GOOD" in nifti_tool(target)


def test_spms_origin_and_scale_are_followed(tmp_path: Path) -> None:
    path = make_analyze(tmp_path / "a.hdr", scl_slope=0.25, scl_inter=3.0, origin={0: 3, 1: 2, 2: 4})
    image, judge = read(path), nib.load(path)
    assert np.allclose(np.asarray(image), judge.get_fdata())
    assert np.allclose(image.grid.affine, judge.affine, atol=1e-5)
    with pytest.warns(SciSRWarning, match="scaled by 0.25"):
        adapter.read(path)
    result = upscale_nearest(path, tmp_path / "out.nii", dtype="keep")
    after = nib.load(tmp_path / "out.nii")
    assert np.allclose(after.get_fdata()[::2, ::2], judge.get_fdata())
    assert raw_header(tmp_path / "out.nii")["sform_code"] == 2
    points = corners(judge.shape)
    there = nib.affines.apply_affine(after.affine, fine_points(points, result.grid.factors))
    assert np.allclose(there, nib.affines.apply_affine(judge.affine, points), atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 2), (6, 5, 3, 1)])
def test_any_number_of_axes(tmp_path: Path, shape: tuple) -> None:
    path = make_analyze(tmp_path / "a.hdr", shape)
    assert read(path).shape == shape
    upscale_nearest(path, tmp_path / "out.nii")
    assert nib.load(tmp_path / "out.nii").shape == (12, 10, *shape[2:])


REFUSED = {
    "colour": (UnsupportedError, {"datatype": 128}, "RGB24"),
    "binary": (UnsupportedError, {"datatype": 1}, "1-bit"),
    "type": (UnreadableError, {"datatype": 77}, "unknown ANALYZE datatype"),
    "bitpix": (UnreadableError, {"bitpix": 8}, "bitpix is 8"),
    "axes": (UnreadableError, {"dim": {0: 9}}, r"dim\[0\]"),
    "size": (UnreadableError, {"dim": {2: -3}}, "can't be"),
    "zoom": (GeometryError, {"pixdim": {3: 0}}, "voxel sizes"),
    "larger": (UnreadableError, {"dim": {3: 9}}, "truncated"),
    "smaller": (UnreadableError, {"dim": {3: 1}}, "trailing data"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_true_is_refused(tmp_path: Path, case: str) -> None:
    kind, fields, words = REFUSED[case]
    path = make_analyze(tmp_path / "a.hdr", (40, 30, 5), **fields)
    with pytest.raises(kind, match=words):
        adapter.read(path)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    path = make_analyze(tmp_path / "a.hdr")
    path.with_suffix(".img").unlink()
    with pytest.raises(UnreadableError, match=r"a\.img: no such file"):
        adapter.read(path)


def test_damaged_headers_raise_scisr_errors_only(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = make_analyze(tmp_path / "a.hdr")
    content, refused = path.read_bytes(), []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 5)):
            damaged[rng.randrange(38, 130)] = rng.choice((0, 1, 127, 128, 255))
        path.write_bytes(damaged)
        with warnings.catch_warnings(action="ignore"):
            try:
                [image] = adapter.read(path)
                assert np.asarray(image).shape == image.shape
                adapter.describe(path)
            except SciSRError as error:
                refused.append(str(error))
    assert len(refused) > 20
    assert all("a." in text and "\n" not in text for text in refused)


@pytest.mark.realdata
def test_a_real_volume(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "mri/odd/analyze.hdr"
    assert adapter.describe(source)["format"] == "ANALYZE 7.5"
    result = upscale_nearest(source, tmp_path / "out.nii.gz")
    before, after = nib.load(source), nib.load(tmp_path / "out.nii.gz")
    points = corners(before.shape)
    there = nib.affines.apply_affine(after.affine, fine_points(points, result.grid.factors))
    assert np.allclose(there, nib.affines.apply_affine(before.affine, points), atol=1e-4)
    assert np.array_equal(after.get_fdata()[::2, ::2], before.get_fdata())
