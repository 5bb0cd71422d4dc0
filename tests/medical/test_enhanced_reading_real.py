"""Every real enhanced file beside the checkout: the grid and the values that independent readers find, or one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from test_dicom_geometry import corners, places

from sciSR.errors import GeometryError, SciSRError, UnreadableError
from scisr_medical.dicom_adapter import adapter

pytestmark = pytest.mark.realdata

VOLUMES = {
    "d2n_hyperfine_anatomical_001": ((8, 138, 112), {}),
    "d2n_philips_enhanced_anatomical_001": ((8, 256, 256), {}),
    "d2n_philips_enhanced_dti_001": ((8, 128, 128, 4), {}),
    "d2n_philips_enhanced_fmri_001": ((8, 64, 64, 4), {}),
    "d2n_siemens_multiframe_anatomical_001": ((8, 256, 256), {}),
    "enh_philips_fieldmap_64fr magnitude": ((32, 64, 64), {"image_type": "M"}),
    "enh_philips_fieldmap_64fr field map": ((32, 64, 64), {"image_type": "FIELD_MAP"}),
    "enh_siemens_xa10_rest_1": ((6, 64, 64), {}),
    "enh_siemens_xa10_rest_2": ((6, 64, 64), {}),
    "pydicomdata_eCT_Supplemental": ((2, 512, 512), {}),
}
UNPLACED = [
    "pydicomdata_emri_small",
    "pydicomdata_emri_small_RLE",
    "pydicomdata_emri_small_big_endian",
    "pydicomdata_emri_small_jpeg_2k_lossless",
    "pydicomdata_emri_small_jpeg_ls_lossless",
]


@pytest.fixture(scope="module")
def files(shared_data, tmp_path_factory):
    """Name -> the one file, archives unpacked."""
    unpacked = tmp_path_factory.mktemp("enhanced")
    found = {}
    for name in [*(n.split()[0] for n in VOLUMES), *UNPLACED]:
        archive = shared_data / "dicom" / f"{name}.tar.xz"
        if archive.exists():
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked / name, filter="data")
            (found[name],) = (p for p in (unpacked / name).rglob("*") if p.is_file())
        else:
            found[name] = shared_data / "dicom" / f"{name}.dcm"
    return found


def read(path: Path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (image,) = adapter.read(path, **options)
    return image


@pytest.mark.parametrize("name", VOLUMES)
def test_highdicom_finds_our_grid(files, name):
    shape, options = VOLUMES[name]
    image = read(files[name.split()[0]], **options)
    assert image.shape == shape
    dataset = pydicom.dcmread(files[name.split()[0]])
    dataset.setdefault(
        "FrameOfReferenceUID", "1.2.3"
    )  # removed by some anonymisers; without it there is no space
    # Private dimensions stop highdicom; positions do not hang on them.
    dataset.pop("DimensionIndexSequence", None)
    geometry = highdicom.Image.from_dataset(dataset).get_volume_geometry(allow_duplicate_positions=True)
    assert geometry.spatial_shape == shape[:3]
    index = corners(shape[:3])
    seen = places(geometry.affine, index)
    distance = np.linalg.norm(places(image.grid.affine, index)[:, None] - seen[None], axis=2)
    assert distance.min(axis=1).max() < 1e-3
    assert distance.min(axis=0).max() < 1e-3


@pytest.mark.parametrize("name", VOLUMES)
def test_dcm2niix_finds_our_grid_and_values(files, name, tmp_path):
    pytest.importorskip("dcm2niix")
    shape, options = VOLUMES[name]
    path = files[name.split()[0]]
    image = read(path, **options)
    (tmp_path / "in").mkdir()
    shutil.copy(path, tmp_path / "in" / "x.dcm")
    # -p n: values by RescaleSlope and RescaleIntercept, as displayed, not by Philips' private scale.
    words = ["-f", "v", "-z", "n", "-b", "n", "-p", "n", "-o", str(tmp_path), str(tmp_path / "in")]
    subprocess.run([sys.executable, "-m", "dcm2niix", *words], check=True, capture_output=True, timeout=60)
    suffix = {"M": "_e1", "FIELD_MAP": "_e2_fieldmaphz"}.get(options.get("image_type"), "")
    nifti = nibabel.load(tmp_path / f"v{suffix}.nii")
    to_voxel = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ nifti.affine)
    rng = np.random.default_rng(5)
    index = np.concatenate([corners(shape[:3]), rng.integers(0, shape[:3], (500, 3))])
    at = places(to_voxel, places(image.grid.affine, index))
    assert np.abs(at - np.rint(at)).max() < 2e-3, "in voxels"
    theirs = np.asarray(nifti.dataobj)[tuple(np.rint(at).astype(int).T)]
    ours = np.asarray(image)[tuple(index.T)]
    assert ours.shape == theirs.shape
    if ours.ndim == 2:  # dcm2niix puts a Philips series' b = 0 last; the dimension index has it first
        order = [int(np.abs(theirs - volume[:, None]).sum(axis=0).argmin()) for volume in ours.T]
        assert sorted(order) == list(range(shape[3]))
        theirs = theirs[:, order]
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", [n for n in VOLUMES if "fieldmap" not in n])
def test_simpleitk_finds_the_same_values_frame_by_frame(files, name):
    path = files[name]
    image = read(path)
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat64))
    slices = image.metadata.slices
    assert sorted(i.frame for i in slices.flat) == list(range(len(theirs)))
    for at in np.ndindex(slices.shape):
        ours = image.data[(at[0], slice(None), slice(None), *at[1:])]
        assert np.allclose(ours, theirs[slices[at].frame], rtol=1e-6, atol=1e-4)


def test_the_rescale_of_a_philips_field_map_is_that_of_each_frame(files):
    """GDCM scales all frames by the pair of the first."""
    dataset = pydicom.dcmread(files["enh_philips_fieldmap_64fr"])
    stored = dataset.pixel_array
    for options, frames in (({"image_type": "M"}, range(32)), ({"image_type": "FIELD_MAP"}, range(32, 64))):
        image = read(files["enh_philips_fieldmap_64fr"], **options)
        pair = dataset.PerFrameFunctionalGroupsSequence[frames[0]].PixelValueTransformationSequence[0]
        expected = stored[list(frames)] * float(pair.RescaleSlope) + float(pair.RescaleIntercept)
        assert [i.frame for i in image.metadata.slices] == list(frames)
        assert np.allclose(np.asarray(image), expected, rtol=1e-6, atol=1e-4)
        assert image.unit == (None if frames[0] == 0 else "Hz")
    with pytest.raises(GeometryError, match=r"32 of magnitude .* 32 of field map \(--image-type FIELD_MAP\)"):
        read(files["enh_philips_fieldmap_64fr"])


def test_siemens_time_points_in_files_of_their_own_make_one_image(files, tmp_path):
    for k in (1, 2):
        shutil.copy(files[f"enh_siemens_xa10_rest_{k}"], tmp_path / f"{3 - k}.dcm")
    image = read(tmp_path)
    assert image.axes == ("z", "y", "x", "t")
    for k in (1, 2):
        assert np.array_equal(image.data[..., k - 1], np.asarray(read(files[f"enh_siemens_xa10_rest_{k}"])))


@pytest.mark.parametrize("name", UNPLACED)
def test_frames_without_functional_groups_are_read_one_by_one_in_every_encoding(files, name):
    with pytest.raises(
        GeometryError, match=rf"frame 1 of {name}\.dcm has no ImagePositionPatient.*--irregular"
    ):
        read(files[name])
    (told,) = adapter.describe(files[name])["parts"]
    assert told["shape"] == [10, 64, 64]
    assert "--irregular" in told["refused"]
    image = read(files[name], irregular=True)
    assert image.shape == (10, 64, 64)
    assert np.array_equal(np.asarray(image), np.asarray(read(files[UNPLACED[0]], irregular=True)))
    assert np.array_equal(np.asarray(image), pydicom.dcmread(files[UNPLACED[0]]).pixel_array)


def test_a_compressed_file_that_ends_too_early_is_refused(shared_data):
    path = shared_data / "dicom" / "odd" / "emri_small_jpeg_2k_lossless_too_short.dcm"
    for options in ({}, {"irregular": True}):
        with pytest.raises(UnreadableError, match=r"too_short\.dcm.*truncated") as caught:
            read(path, **options)
        assert "\n" not in str(caught.value)


def test_damaged_copies_never_raise_anything_else(files, tmp_path):
    rng = np.random.default_rng(7)
    for source in ("enh_siemens_xa10_rest_1", "pydicomdata_emri_small_jpeg_ls_lossless"):
        whole = files[source].read_bytes()
        for number in range(12):
            damaged = bytearray(whole)
            for at in rng.integers(200, len(whole), 8):
                damaged[at] ^= 1 << int(rng.integers(8))
            file = tmp_path / f"{number}.dcm"
            file.write_bytes(damaged[: len(whole) - (number % 3) * 1000])
            try:
                np.asarray(read(file, irregular=True))
            except SciSRError as error:
                assert file.name in str(error)  # noqa: PT017  (either outcome is right)
