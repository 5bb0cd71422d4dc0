"""Writers leave the old file, or the new one, or none; never half of one."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import OBLIQUE, corners, make, raw_header, read, rotation_affine, upscale_nearest, voxels

from sciSR.errors import ResourceError, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.testing import Subject, check_adapter, refine_nearest, write_images
from sciSR.testing.killing import check_killing
from scisr_medical.nifti_adapter import adapter


def same_world_for_itk(source: Path, target: Path, scale: object) -> None:
    """SimpleITK, which shares no code with nibabel, finds the outer corners at the same place."""
    import SimpleITK as sitk

    before, after = (sitk.ReadImage(str(path)) for path in (source, target))
    factors = np.array(after.GetSize()[:3]) / np.array(before.GetSize()[:3])
    points = corners(before.GetSize()[:3])[:, : before.GetDimension()]
    rest = [0.0] * (before.GetDimension() - 3)
    for point in points:
        fine = ((point + 0.5) * factors[: len(point)] - 0.5).tolist()
        here = before.TransformContinuousIndexToPhysicalPoint([*point.tolist(), *rest])
        there = after.TransformContinuousIndexToPhysicalPoint([*fine, *rest])
        assert np.abs(np.subtract(here, there)).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("volume.nii", {"shape": (7, 6, 5)}),
        ("series.nii.gz", {"shape": (6, 5, 3, 4), "dtype": np.int16, "fields": {}}),
        ("pair.hdr", {"shape": (5, 4, 6), "dtype": np.uint16}),
        # ITK keeps two rows and columns of a 2-D file's directions: not of an oblique one
        ("flat.nii", {"shape": (6, 5), "dtype": np.uint8, "affine": np.diag([-0.9, 1.1, 1, 1])}),
        (
            "scaled.nii",
            {"shape": (5, 4, 3), "dtype": np.int16, "fields": {"scl_slope": -2, "scl_inter": 1000}},
        ),
        ("big.nii.gz", {"shape": (5, 4, 3), "order": ">", "dtype": np.float64}),
        ("labels.nii", {"shape": (5, 4, 3), "dtype": np.uint8, "fields": {"intent_code": 1002}}),
    ],
)
def test_the_conformance_suite_passes(tmp_path: Path, name: str, how: dict) -> None:
    source = make(tmp_path / name, **how)
    check_adapter(adapter, [source], tmp_path / "work", judge=same_world_for_itk)


def test_the_conformance_suite_passes_for_nifti2(tmp_path: Path) -> None:
    source = make(tmp_path / "second.nii", (5, 4, 3, 2), version=2, order=">")
    check_adapter(adapter, [source], tmp_path / "work")


def test_the_conformance_suite_passes_with_kept_types(tmp_path: Path) -> None:
    source = make(tmp_path / "kept.nii.gz", dtype=np.int16)
    check_adapter(adapter, [source], tmp_path / "work", write={"dtype": "keep"})


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["odd/pair.hdr", "series4d/sct_dmri.nii.gz"])
def test_the_conformance_suite_passes_on_real_files(tmp_path: Path, shared_data: Path, name: str) -> None:
    check_adapter(adapter, [shared_data / "mri" / name], tmp_path)


@pytest.mark.parametrize(("name", "moments"), [("pair.hdr", 8), ("volume.nii.gz", 3)])
def test_killed_at_any_moment_the_old_file_or_none_is_left(tmp_path: Path, name: str, moments: int) -> None:
    source = make(tmp_path / name, (4, 3, 2))
    check_killing(
        Subject(adapter, source), tmp_path / "work", "scisr_medical.nifti_adapter:adapter", moments=moments
    )


def test_a_pair_is_replaced_whole_and_comes_back_on_failure(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    target = tmp_path / "out.hdr"
    upscale_nearest(source, target)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    subject = Subject(adapter, source)
    result = refine_nearest(read(source), 3)
    broken = result.replace(provenance=result.provenance.add(step=object()))
    with pytest.raises(TypeError):
        write_images(subject, [result], target, overwrite=True, final=[broken])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    write_images(subject, [result], target, overwrite=True)
    assert nib.load(target).shape == (21, 18, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.nii", "out.hdr", "out.img"]


def test_either_half_of_an_existing_pair_is_in_the_way(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    (tmp_path / "out.img").write_bytes(b"old")
    with pytest.raises(UsageError, match=r"out\.img: exists already"):
        upscale_nearest(source, tmp_path / "out.hdr")


def test_an_output_may_replace_its_own_input(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    subject = Subject(adapter, source)
    result = refine_nearest(read(source), 2)
    write_images(subject, [result], source, overwrite=True)
    assert np.array_equal(nib.load(source).get_fdata()[::2, ::2], voxels((7, 6, 5)))


def test_what_the_engine_computes_is_what_nibabel_reads(tmp_path: Path) -> None:
    import sciSR

    source = make(tmp_path / "T1w.nii.gz", (9, 8, 3, 2), dtype=np.int16)
    sharp = sciSR.upscale(sciSR.read(source), scale=2, model="linear", device="cpu")
    sciSR.write(sharp, tmp_path / "T1w_x2.nii.gz")
    found = nib.load(tmp_path / "T1w_x2.nii.gz")
    assert np.array_equal(found.get_fdata(dtype=np.float32), np.asarray(sharp))
    assert np.allclose(found.affine, sharp.grid.affine, atol=1e-5)
    again = sciSR.read(tmp_path / "T1w_x2.nii.gz")
    assert [step["step"] for step in again.provenance.steps][-1] == "upscale"
    assert again.provenance.steps == sharp.provenance.steps


def test_gzip_output_has_no_time_and_no_name(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    upscale_nearest(source, tmp_path / "one.nii.gz")
    upscale_nearest(source, tmp_path / "two.nii.gz")
    one, two = ((tmp_path / n).read_bytes() for n in ("one.nii.gz", "two.nii.gz"))
    assert one == two
    assert one[3] == 0  # no flags: no name, no comment
    assert one[4:8] == bytes(4)
    upscale_nearest(source, tmp_path / "plain.nii")
    assert gzip.decompress(one) == (tmp_path / "plain.nii").read_bytes()


def test_a_file_too_large_for_the_system_is_one_line(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", (40, 40, 40))
    result = refine_nearest(read(source), 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"out\.nii: "):
            adapter.open_writer(tmp_path / "out.nii", [result])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["in.nii"]


@pytest.mark.parametrize("affine", [rotation_affine(), rotation_affine(flip=True), OBLIQUE])
def test_an_image_made_in_memory_can_be_written(tmp_path: Path, affine: np.ndarray) -> None:
    data = voxels((5, 4, 3))
    image = Image(data=data, axes=("x", "y", "z"), spatial=("x", "y"), grid=AffineGrid((5, 4, 3), affine))
    write_images(Subject(adapter, tmp_path / "any.nii"), [image], tmp_path / "out.nii.gz")
    found = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(found.get_fdata(), data)
    assert np.allclose(found.affine, affine, atol=1e-5)
    sheared = affine is OBLIQUE
    assert raw_header(tmp_path / "out.nii.gz")["qform_code"] == (0 if sheared else 2)
    assert found.header.get_xyzt_units()[0] == "mm"


def test_an_array_without_any_world_can_be_written(tmp_path: Path) -> None:
    image = refine_nearest(Image.from_array(voxels((5, 4), np.int16)), 2)
    write_images(
        Subject(adapter, tmp_path / "any.nii", write={"dtype": "keep"}), [image], tmp_path / "out.nii"
    )
    header = raw_header(tmp_path / "out.nii")
    assert header["dim"][:3].tolist() == [2, 10, 8]
    assert header["pixdim"][1:3].tolist() == [0.5, 0.5]
    assert (header["qform_code"], header["sform_code"]) == (0, 0)
    assert np.array_equal(nib.load(tmp_path / "out.nii").get_fdata()[::2, ::2], voxels((5, 4), np.int16))


def test_what_nifti_cannot_hold_is_refused(tmp_path: Path) -> None:
    image = Image.from_array(voxels((5, 4)))
    with pytest.raises(UsageError, match="holds one image, not 2"):
        adapter.open_writer(tmp_path / "out.nii", [image, image])
    with pytest.raises(UsageError, match="no volume in space"):
        adapter.open_writer(tmp_path / "out.nii", [image.replace(metadata={"SIMPLE": True})])
    with pytest.raises(UsageError, match="can't keep voxels of type bool"):
        adapter.open_writer(tmp_path / "out.nii", [Image.from_array(np.zeros((4, 4), bool))], dtype="keep")
    with pytest.raises(UsageError, match="dtype must be float32 or keep"):
        adapter.open_writer(tmp_path / "out.nii", [image], dtype="int16")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T1w.nii.gz", "T1w_x2.nii.gz"),
        ("sub-01.ses.T1w.nii", "sub-01.ses.T1w_x2.nii"),
        ("a.hdr", "a_x2.hdr"),
        ("a.img", "a_x2.hdr"),
        ("A.NII", "A_x2.NII"),
        ("nosuffix", "nosuffix_x2.nii"),
    ],
)
def test_outputs_are_named_after_their_input(name: str, expected: str) -> None:
    assert adapter.default_output(Path("folder") / name, "2") == Path("folder") / expected


def test_importing_the_adapter_imports_no_heavy_library() -> None:
    heavy = ("torch", "nibabel", "scipy", "pydicom", "astropy")
    code = f"import sys, scisr_medical.nifti_adapter; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
