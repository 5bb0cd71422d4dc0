"""Series of volumes: 4-D and 5-D scalars volume by volume, warps and other meanings refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import warnings
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import make, raw_header, read, upscale_nearest, voxels

from sciSR.errors import SciSRWarning, UnsupportedError
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.testing import Subject, check_adapter, refine_nearest, write_images
from sciSR.workflow.run import upscale_file
from scisr_medical.nifti_adapter import adapter


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5, 6, 3, 2, 4), "xyztu"),
        ((5, 6, 3, 1, 4), "xyztu"),
        ((5, 6, 3, 2, 3, 2), "xyztuv"),
        ((5, 6, 1, 1, 2, 1, 3), "xyztuvw"),
    ],
)
def test_scalars_of_any_number_of_axes_are_upscaled_volume_by_volume(
    tmp_path: Path, shape: tuple, axes: str
) -> None:
    source = make(tmp_path / "in.nii", shape)
    image = read(source)
    assert image.axes == tuple(axes)
    assert image.spatial == ("x", "y")
    upscale_nearest(source, tmp_path / "out.nii.gz")
    before, after = nib.load(source), nib.load(tmp_path / "out.nii.gz")
    assert after.shape == (10, 12, *shape[2:])
    assert np.array_equal(after.get_fdata()[::2, 1::2], before.get_fdata())


def test_the_conformance_suite_passes_in_five_dimensions(tmp_path: Path) -> None:
    check_adapter(adapter, [make(tmp_path / "in.nii.gz", (6, 5, 3, 2, 2))], tmp_path / "work")


@pytest.mark.parametrize("trailing", [(1,), (1, 1), (1, 1, 1, 1), (2, 1), (1, 2, 1)])
def test_trailing_axes_of_one_are_kept(tmp_path: Path, trailing: tuple) -> None:
    source = make(tmp_path / "in.nii", (4, 5, 3, *trailing))
    upscale_nearest(source, tmp_path / "out.nii")
    before, after = raw_header(source), raw_header(tmp_path / "out.nii")
    assert after["dim"][0] == before["dim"][0]
    assert after["dim"][4:].tolist() == before["dim"][4:].tolist()


REFUSED = {
    "a warp": (1006, (4, 4, 3, 1, 3), "a displacement vector per voxel .* can be applied to finer images"),
    "a vector": (1007, (4, 4, 3, 1, 3), "a vector per voxel .* split it into scalar volumes"),
    "a 4-D vector": (1007, (4, 4, 3, 3), "a vector per voxel"),
    "FNIRT": (2006, (4, 4, 3, 3), "a displacement vector \\(FNIRT\\)"),
    "a tensor": (1005, (4, 4, 3, 1, 6), "a symmetric matrix per voxel"),
    "colour": (2003, (4, 4, 3, 1, 3), "an RGB vector"),
    "FNIRT's splines": (2007, (4, 4, 3, 3), "cubic spline coefficients"),
    "TOPUP's splines": (2016, (4, 4, 3), "cubic spline coefficients"),
    "CIFTI": (3002, (1, 1, 1, 1, 9, 8), "a CIFTI file .*wb_command"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_image_of_scalars_is_refused_by_name(tmp_path: Path, case: str) -> None:
    intent, shape, message = REFUSED[case]
    source = make(tmp_path / "in.nii", shape, fields={"intent_code": intent})
    with pytest.raises(UnsupportedError, match=message):
        adapter.read(source)


@pytest.mark.realdata
def test_a_real_warp_is_refused_with_a_remedy(shared_data: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a vector per voxel.*a warp needs no finer grid"):
        adapter.read(shared_data / "mri/series4d/sct_warp_5d_vector.nii.gz")


@pytest.mark.parametrize(
    ("intent", "shape", "words"),
    [
        (3, (5, 4, 3), "holds t values"),
        (22, (5, 4, 3, 2), "holds p values"),
        (0, (5, 4, 3, 1, 3), "three values"),
    ],
)
def test_values_that_mean_more_than_intensity_are_warned_about(
    tmp_path: Path, intent: int, shape: tuple, words: str
) -> None:
    source = make(tmp_path / "in.nii", shape, fields={"intent_code": intent})
    with pytest.warns(SciSRWarning, match=words):
        adapter.read(source)


@pytest.mark.parametrize("intent", [0, 1001, 1011, 2001, 2018])
def test_plain_meanings_are_read_without_a_word(tmp_path: Path, intent: int) -> None:
    source = make(tmp_path / "in.nii", (5, 4, 3, 2), fields={"intent_code": intent})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [image] = adapter.read(source)
    assert image.kind == "intensity"
    upscale_nearest(source, tmp_path / "out.nii")
    assert raw_header(tmp_path / "out.nii")["intent_code"] == intent


def test_names_of_structures_are_labels_too(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", dtype=np.uint8, fields={"intent_code": 1003})
    assert read(source).kind == "labels"
    upscale_nearest(source, tmp_path / "out.nii")
    assert raw_header(tmp_path / "out.nii")["intent_code"] == 1003


@pytest.mark.parametrize("axes", ["x,y", "x,z"])
def test_repetition_time_and_units_are_kept(tmp_path: Path, axes: str) -> None:
    fields = {"pixdim": {4: 2.35}, "xyzt_units": 2 | 16, "toffset": 7.5}
    source = make(tmp_path / "in.nii", (6, 5, 4, 3), fields=fields)
    upscale_nearest(source, tmp_path / "out.nii", read={"axes": axes})
    after = nib.load(tmp_path / "out.nii").header
    assert after.get_zooms()[3] == np.float32(2.35)
    assert after.get_xyzt_units() == ("mm", "msec")
    assert after["toffset"] == 7.5


TABLES = [("{}.bval", "{}.bvec"), ("{}.bvals", "{}.bvecs"), ("{}_bvals.txt", "{}_bvecs.txt")]


@pytest.mark.parametrize("names", TABLES)
@pytest.mark.parametrize("factors", [(2, 2, 1), (1, 1, Fraction(8, 3)), (Fraction(1, 2), 1, Fraction(5, 3))])
def test_gradient_tables_are_copied_byte_for_byte(tmp_path: Path, names: tuple, factors: tuple) -> None:
    source = make(tmp_path / "in.nii.gz", (6, 5, 3, 4))
    contents = (b"0 1000  1000\t2000\r\n", b"0 1 0 0.6\r\n0 0 1 0.8\n0 0 0 0")  # no newline at the end
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name.format("in")).write_bytes(content)
    image = read(source)
    grid = image.grid.refine((*factors, 1))
    result = image.replace(data=np.zeros(grid.shape, np.float32), grid=grid)
    write_images(Subject(adapter, source), [result], tmp_path / "out.nii.gz")
    for name, content in zip(names, contents, strict=True):
        assert (tmp_path / name.format("out")).read_bytes() == content


# -- memory -----------------------------------------------------------------------------------------------------------

VOLUME = (192, 192, 4)
PEAK = """
import sys
from pathlib import Path
from sciSR.workflow.run import upscale_file
upscale_file(sys.argv[1], sys.argv[2], scale=2, model="cubic", consistency="none")
[most] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(most)
"""  # not getrusage: its maximum counts what the process was before its program was loaded


def peak_of_upscaling(tmp_path: Path, volumes: int) -> int:
    """Bytes of memory at most of a process that upscales a series."""
    source = make(tmp_path / f"in{volumes}.nii", (*VOLUME, volumes), dtype=np.int16)
    command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / f"out{volumes}.nii")]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # each thread has memory of its own
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240, env=alone)
    return int(done.stdout) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc to ask")
def test_memory_does_not_grow_with_the_number_of_volumes_in_plane(tmp_path: Path) -> None:
    # The fewer make up the sample for the statistics already, which holds a million voxels at most.
    few, many = (peak_of_upscaling(tmp_path, volumes) for volumes in (8, 64))
    more = 56 * 4 * 4 * int(np.prod(VOLUME))  # bytes of the further output volumes
    assert many - few < more / 3


class Ones:
    """Voxels made when asked for."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.float32)

    def __getitem__(self, index: tuple) -> np.ndarray:
        return np.array(np.broadcast_to(np.float32(1), self.shape)[index])


def test_a_series_is_written_in_blocks_as_they_come(tmp_path: Path) -> None:
    peaks = []
    for volumes in (4, 100):
        shape = (*VOLUME, volumes)
        some = Image(Ones(shape), tuple("xyzt"), ("x", "y"), AffineGrid(shape, np.diag([1.0, 1, 4, 1])))
        with adapter.open_writer(tmp_path / f"out{volumes}.nii", [some]) as writer:
            tracemalloc.start()
            for volume in range(volumes):
                writer.put(0, (slice(None),) * 3 + (volume,), some.data[..., volume])
            writer.commit([some])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    one_volume = 4 * int(np.prod(VOLUME))
    assert peaks[1] < 8 * one_volume + (16 << 20)  # a hundred volumes came
    assert nib.load(tmp_path / "out100.nii").shape == shape


def test_the_engine_refines_each_volume_as_if_it_were_alone(tmp_path: Path) -> None:
    data = voxels((12, 10, 3, 2, 2))
    upscale_file(make(tmp_path / "all.nii", data=data), tmp_path / "all_x2.nii", model="cubic")
    upscale_file(make(tmp_path / "one.nii", data=data[..., 1, 0]), tmp_path / "one_x2.nii", model="cubic")
    every, one = (nib.load(tmp_path / f"{name}_x2.nii").get_fdata() for name in ("all", "one"))
    assert np.allclose(every[..., 1, 0], one, atol=1e-4)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", ["sct_fmri", "sct_dmri", "d2n_philips_dti_001_ground_truth", "sct_fmri_r_float64"]
)
def test_real_series_keep_their_time_axis_and_tables(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "mri/series4d" / f"{name}.nii.gz"
    subject = Subject(adapter, source)
    result = refine_nearest(read(source), 2)
    write_images(subject, [result], tmp_path / "out.nii")
    before, after = nib.load(source), nib.load(tmp_path / "out.nii")
    assert after.shape[3:] == before.shape[3:]
    assert after.header.get_zooms()[3:] == before.header.get_zooms()[3:]
    for ending in (".bval", ".bvec", "_bvecs.txt"):
        beside = source.with_name(name + ending)
        if beside.exists():
            assert (tmp_path / f"out{ending}").read_bytes() == beside.read_bytes()
