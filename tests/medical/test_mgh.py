"""FreeSurfer volumes in, NIfTI out: nibabel judges world, voxels and times."""

from __future__ import annotations

import gzip
import random
import struct
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_samples import corners, fine_points, nifti_tool, raw_header, read, upscale_nearest, voxels

from sciSR.errors import SciSRError, SciSRWarning, UnreadableError, UnsupportedError
from sciSR.plugins import adapter_for
from scisr_medical.nifti_adapter import adapter

angles = st.floats(-3.1, 3.1)


def make_mgh(
    path: Path,
    shape: tuple[int, ...] = (7, 6, 5),
    dtype: object = np.float32,
    affine: np.ndarray | None = None,
    tags: bytes = b"",
    **fields: object,
) -> Path:
    """An MGH file made by nibabel, with header fields set raw and tags appended."""
    affine = (
        np.array([[-1.0, 0, 0, 20], [0, 0, 1.5, -30], [0, -2.0, 0, 12], [0, 0, 0, 1]])
        if affine is None
        else affine
    )
    image = nib.MGHImage(voxels(shape, dtype), affine)
    for name, value in fields.items():
        image.header[name] = value
    plain = path.with_name("plain.mgh")
    nib.save(image, plain)
    content = plain.read_bytes() + tags
    plain.unlink()
    path.write_bytes(gzip.compress(content) if path.name.endswith(("z", ".gz")) else content)
    return path


def load(path: Path) -> nib.MGHImage:
    """By nibabel, from memory: its own reader of this format leaves files open."""
    content = path.read_bytes()
    return nib.MGHImage.from_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


@pytest.mark.parametrize("name", ["vol.mgz", "vol.mgh", "named.otherwise"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.uint16])
def test_values_and_world_are_those_of_nibabel(tmp_path: Path, name: str, dtype: object) -> None:
    path = make_mgh(tmp_path / name, dtype=dtype)
    assert adapter_for(path) is adapter
    image = read(path)
    judge = load(path)
    assert np.array_equal(np.asarray(image), judge.get_fdata())
    assert image.dtype == np.dtype(dtype)
    assert np.allclose(image.grid.affine, judge.affine, atol=1e-5)
    assert (image.grid.unit, image.grid.world_axes) == ("mm", "RAS+")
    assert image.axes == ("x", "y", "z")


@settings(max_examples=12)
@given(st.tuples(angles, angles, angles), st.tuples(*[st.floats(0.3, 6)] * 3), st.booleans())
def test_corners_stay_where_freesurfer_has_them(
    tmp_path_factory: pytest.TempPathFactory, angle: tuple, sizes: tuple, flip: bool
) -> None:
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angle).as_matrix() @ np.diag(sizes)
    affine[:3, 0] *= -1 if flip else 1
    affine[:3, 3] = 12.5, -40, 7
    folder = tmp_path_factory.mktemp("mgh")
    path = make_mgh(folder / "in.mgz", affine=affine)
    judge = load(path)
    result = upscale_nearest(path, folder / "out.nii")
    after, points = nib.load(folder / "out.nii"), corners(judge.shape)
    there = nib.affines.apply_affine(after.affine, fine_points(points, result.grid.factors))
    assert np.allclose(there, nib.affines.apply_affine(judge.affine, points), atol=1e-3 * min(sizes))
    assert np.allclose(after.header.get_qform(), after.header.get_sform(), atol=1e-3)


def test_the_output_is_plain_nifti(tmp_path: Path) -> None:
    path = make_mgh(tmp_path / "vol.mgz", (6, 5, 4, 3), np.int16, tr=2350.0, te=30.0)
    target = adapter.default_output(path, "2")
    assert target == tmp_path / "vol_x2.nii.gz"
    assert adapter.default_output(tmp_path / "brain.mgh", "1.5") == tmp_path / "brain_x1.5.nii"
    upscale_nearest(path, target, dtype="keep")
    after = nib.load(target)
    assert after.shape == (12, 5, 8, 3)  # the two finest axes are x and z
    assert after.header.get_data_dtype() == np.dtype("<i2")
    assert after.header.get_zooms()[3] == np.float32(2.35)
    assert after.header.get_xyzt_units() == ("mm", "sec")
    fields = raw_header(target)
    assert (fields["qform_code"], fields["sform_code"]) == (1, 1)
    assert np.array_equal(after.get_fdata()[::2, :, ::2], load(path).get_fdata())
    plain = tmp_path / "plain.nii"
    plain.write_bytes(gzip.decompress(target.read_bytes()))
    assert "header IS GOOD" in nifti_tool(plain)


def test_sidecars_and_description(tmp_path: Path) -> None:
    path = make_mgh(tmp_path / "vol.mgz", tr=2300.0, flip_angle=np.pi / 2)
    (tmp_path / "vol.json").write_text('{"SliceThickness": 2.5}')
    assert read(path, axes="x,z").slice_thickness == 2.5
    told = adapter.describe(path)
    assert told["format"] == "FreeSurfer MGH"
    assert told["header"]["repetition_time_ms"] == 2300
    assert told["header"]["flip_angle_degrees"] == pytest.approx(90, abs=1e-3)
    upscale_nearest(path, tmp_path / "out.nii.gz")
    assert (tmp_path / "out.json").exists()


TABLE = struct.pack(">iq", 3, 4) + b"cmd\0" + struct.pack(">2i", 1, -2) + bytes(400)
XFORM = struct.pack(">2i", 30, 6) + b"t.xfm" + struct.pack(">iq", 31, 5) + b"t.xfm"


def test_a_colour_table_means_labels(tmp_path: Path) -> None:
    path = make_mgh(tmp_path / "seg.mgz", dtype=np.int32, tags=XFORM + TABLE)
    assert read(path).kind == "labels"
    upscale_nearest(path, tmp_path / "out.nii")
    fields = raw_header(tmp_path / "out.nii")
    assert (fields["intent_code"], fields["datatype"]) == (1002, 8)
    assert read(make_mgh(tmp_path / "t1.mgz", dtype=np.int32, tags=XFORM)).kind == "intensity"


@pytest.mark.parametrize(
    ("name", "dtype", "kind"),
    [
        ("aseg.mgz", np.int32, "labels"),
        ("aparc.a2009s+aseg.mgz", np.int32, "labels"),
        ("lh.ribbon.mgz", np.uint8, "labels"),
        ("aseg.mgz", np.float32, "intensity"),
        ("brain.mgz", np.uint8, "intensity"),
    ],
)
def test_segmentations_are_known_by_their_names(tmp_path: Path, name: str, dtype: object, kind: str) -> None:
    assert read(make_mgh(tmp_path / name, dtype=dtype)).kind == kind


def test_a_file_without_orientation_is_taken_as_freesurfer_takes_it(tmp_path: Path) -> None:
    path = make_mgh(tmp_path / "vol.mgh")
    content = bytearray(path.read_bytes())
    content[28:30] = bytes(2)
    path.write_bytes(content)
    with pytest.warns(SciSRWarning, match="nothing of orientation"):
        [image] = adapter.read(path)
    # mriio.cpp, setDirectionCosine: x to the left, y to the feet, z to the front. (nibabel has this matrix transposed.)
    assert np.array_equal(image.grid.affine[:3, :3], [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])
    assert np.array_equal(image.grid.world(np.array([3.5, 3.0, 2.5])), [0, 0, 0])


def test_what_is_no_volume_of_scalars_is_refused_by_name(tmp_path: Path) -> None:
    overlay = make_mgh(tmp_path / "lh.thickness.mgz", (1000, 1, 1))
    warp = make_mgh(tmp_path / "warp.mgz", version=(3 << 8) | 1)
    for path in (overlay, warp):
        assert adapter.sniff(path)
        with pytest.raises(UnsupportedError, match="surface or a warp"):
            adapter.read(path)
    for kind, words in ((9, "RGB"), (7, "complex"), (6, "tensors")):
        path = make_mgh(tmp_path / "odd.mgh")
        content = bytearray(path.read_bytes())
        content[20:24] = struct.pack(">i", kind)
        path.write_bytes(content)
        with pytest.raises(UnsupportedError, match=words):
            adapter.read(path)


def test_truncated_and_swollen_files_are_refused(tmp_path: Path) -> None:
    plain = make_mgh(tmp_path / "vol.mgh")
    plain.write_bytes(plain.read_bytes()[:-200])
    with pytest.raises(UnreadableError, match="truncated"):
        adapter.read(plain)
    packed = make_mgh(tmp_path / "vol.mgz")
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(UnreadableError, match="damaged gzip"):
        adapter.read(packed)
    bomb = make_mgh(tmp_path / "bomb.mgz", tags=bytes(40 << 20))
    with pytest.raises(UnreadableError, match="grows beyond"):
        adapter.read(bomb)


def test_a_file_that_ends_with_its_voxels_is_whole(tmp_path: Path) -> None:
    path = make_mgh(tmp_path / "vol.mgh")
    path.write_bytes(path.read_bytes()[:-20])
    assert np.array_equal(np.asarray(read(path)), voxels((7, 6, 5)))


def test_damaged_files_raise_scisr_errors_only(tmp_path: Path) -> None:
    rng = random.Random(11)
    path = make_mgh(tmp_path / "vol.mgh", (6, 5, 4, 2), np.int16, tags=XFORM + TABLE)
    content, refused = path.read_bytes(), []
    for _ in range(150):
        damaged = bytearray(content)
        start = rng.choice((0, 0, len(content) - 500))
        for _ in range(rng.randint(1, 6)):
            damaged[start + rng.randrange(90)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        path.write_bytes(damaged[: rng.randrange(len(damaged))] if rng.random() < 0.2 else damaged)
        assert adapter.sniff(path) in (True, False)
        with warnings.catch_warnings(action="ignore"):
            try:
                [image] = adapter.read(path)
                assert np.asarray(image).shape == image.shape
                assert np.isfinite(image.grid.affine).all()
                adapter.describe(path)
            except SciSRError as error:
                refused.append(str(error))
    assert len(refused) > 20
    assert all("vol.mgh" in text and "\n" not in text for text in refused)


@pytest.mark.realdata
def test_a_real_volume(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "mri/odd/vol.mgz"
    result = upscale_nearest(source, tmp_path / "out.nii.gz")
    before, after = load(source), nib.load(tmp_path / "out.nii.gz")
    assert after.shape == result.shape == (84, 84, 42)
    points = corners(before.shape)
    there = nib.affines.apply_affine(after.affine, fine_points(points, result.grid.factors))
    assert np.allclose(there, nib.affines.apply_affine(before.affine, points), atol=1e-4)
    assert np.array_equal(after.get_fdata()[::2, ::2], before.get_fdata())
