"""Files of labels, probabilities, phases and complex voxels: recognised, upscaled as what they are, written back."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_samples import dciodvfy_errors, make_series
from nifti_samples import json_extension, make, nifti_tool, raw_header, read

import sciSR
from sciSR.cli.main import main
from sciSR.errors import UnsupportedError, UsageError
from sciSR.workflow.run import upscale_file
from scisr_medical.dicom_adapter import adapter as dicom

SHAPE = (9, 8, 3)
PI = np.pi


def upscaled(source: Path, target: Path | None = None, **settings: Any) -> tuple[nib.Nifti1Image, Any]:
    """The output through nibabel, and what was said."""
    target = target or source.with_name("out.nii")
    with warnings.catch_warnings(action="ignore"):
        outcome = upscale_file(source, target, overwrite=True, **settings)
    assert "header IS GOOD" in nifti_tool(target)
    return nib.load(target), outcome


def uniform(low: float, high: float, dtype: Any, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(5).uniform(low, high, shape).astype(dtype)


# -- recognised -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("sub-01_dseg.nii.gz", uniform(0, 9, np.int16), "labels"),
        ("sub-01_dseg.nii", np.rint(uniform(0, 9, np.float32)), "labels"),
        ("sub-01_dseg.nii", uniform(0, 9, np.float32), "intensity"),
        ("sub-01_desc-brain_mask.nii.gz", uniform(0, 2, np.uint8), "labels"),
        ("sub-01_desc-brain_mask.nii", np.rint(uniform(0, 1, np.float32)), "labels"),
        ("sub-01_desc-brain_mask.nii", uniform(0, 1, np.float32), "intensity"),  # a soft mask
        ("sub-01_label-GM_probseg.nii.gz", uniform(0, 1, np.float32), "probability"),
        ("sub-01_part-phase_bold.nii.gz", uniform(-PI, PI, np.float32), "phase"),
        ("sub-01_phasediff.nii.gz", uniform(-4096, 4096, np.int16), "phase"),
        ("sub-01_phase1.nii", uniform(0, 4096, np.uint16), "phase"),
        ("sub-01_part-mag_bold.nii.gz", uniform(0, 900, np.float32), "intensity"),
        ("masked.nii", uniform(0, 2, np.uint8), "intensity"),
        ("sub-01_T1w.nii", uniform(0, 900, np.int16), "intensity"),
    ],
)
def test_the_name_tells_the_kind_where_it_is_safe(
    tmp_path: Path, name: str, data: np.ndarray, kind: str
) -> None:
    assert read(make(tmp_path / name, data=data)).kind == kind


def test_a_sidecar_tells_a_phase_and_its_unit(tmp_path: Path) -> None:
    source = make(tmp_path / "scan_ph.nii", data=uniform(-1, 1, np.float32))
    (tmp_path / "scan_ph.json").write_text(
        json.dumps({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"], "Units": "rad"})
    )
    image = read(source)
    assert (image.kind, image.unit) == ("phase", "rad")
    (tmp_path / "scan_ph.json").write_text("[1, 2")
    assert read(source).kind == "intensity"


@pytest.mark.parametrize("kind", ["labels", "probability", "phase", "intensity"])
def test_the_user_has_the_last_word(tmp_path: Path, kind: str) -> None:
    source = make(tmp_path / "a_dseg.nii", data=uniform(0, 2, np.uint8), fields={"intent_code": 1002})
    assert read(source, **{kind: True}).kind == kind


def test_p_values_and_estimates_are_no_probabilities(tmp_path: Path) -> None:
    for intent in (22, 1001):
        source = make(tmp_path / "in.nii", data=uniform(0, 1, np.float32), fields={"intent_code": intent})
        assert read(source).kind == "intensity"


def test_two_kinds_at_once_and_ranges_that_are_none_are_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    with pytest.raises(UsageError, match="can't be labels and phase; give one kind"):
        read(source, labels=True, phase=True)
    for wrong in ("5", "3,1", "a,b", "1,nan"):
        with pytest.raises(UsageError, match="is no range of a phase"):
            read(source, phase_range=wrong)
    assert read(source, phase_range="-4096,4096").value_range == (-4096, 4096)


# -- NIfTI in, NIfTI out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [np.complex64, np.complex128])
def test_complex_voxels_come_out_complex(tmp_path: Path, stored: type) -> None:
    data = (uniform(-1, 1, np.float64) + 1j * uniform(0, 9, np.float64)).astype(stored)
    source = make(tmp_path / "in.nii.gz", data=data)
    result, outcome = upscaled(source)
    fine = np.asarray(result.dataobj)
    assert fine.dtype == np.complex64
    assert fine.shape == (18, 16, 3)
    assert np.allclose(fine.mean(axis=(0, 1)), data.mean(axis=(0, 1)), atol=1e-5)  # the centre of k-space
    assert outcome.parts[0].step["kind"]["kind"] == "complex"
    assert json_extension(tmp_path / "out.nii")[-1]["kind"]["parts"] == ["real", "imaginary"]


@pytest.mark.parametrize("kind", ["labels", "probability", "phase"])
def test_complex_voxels_are_nothing_real_unless_one_part_is_taken(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path / "in.nii", data=np.full(SHAPE, 1 + 0.5j, np.complex64))
    with pytest.raises(UsageError, match=f"complex voxels, which are no {kind}"):
        read(path, **{kind: True})
    assert read(path, **{kind: True, "complex": "imaginary"}).kind == kind


def test_a_complex_file_can_keep_its_stored_type(tmp_path: Path) -> None:
    data = (uniform(-1, 1, np.float64) + 1j * uniform(0, 9, np.float64)).astype(np.complex128)
    source = make(tmp_path / "in.nii", data=data, order=">")
    _, _ = upscaled(source, options={"dtype": "keep"})
    assert raw_header(tmp_path / "out.nii")["datatype"] == 1792
    upscaled(source)
    assert raw_header(tmp_path / "out.nii")["datatype"] == 32


def test_complex_images_from_memory_are_written(tmp_path: Path) -> None:
    data = (uniform(-1, 1, np.float32) + 1j * uniform(0, 9, np.float32)).astype(np.complex64)
    sciSR.write(sciSR.Image.from_array(data), tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj), data)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.int16, -4096, 4096), (np.uint16, 0, 4096), (np.float32, -PI, PI)]
)
def test_a_phase_file_keeps_its_unit_through_the_wrap(
    tmp_path: Path, dtype: type, low: float, high: float
) -> None:
    x, y = np.meshgrid(np.arange(40.0), np.arange(36.0), indexing="ij")
    turns = (0.06 * x + 0.031 * y)[..., None] % 1
    data = (low + turns * (high - low)).astype(dtype)
    source = make(tmp_path / "a_part-phase_bold.nii", data=data)
    for kept in ("float32", "keep"):
        result, outcome = upscaled(source, options={"dtype": kept})
        fx, fy = np.meshgrid((np.arange(80) + 0.5) / 2 - 0.5, (np.arange(72) + 0.5) / 2 - 0.5, indexing="ij")
        expected = low + ((0.06 * fx + 0.031 * fy) % 1) * (high - low)
        error = (result.get_fdata()[..., 0] - expected) / (high - low)
        error = np.abs(error - np.round(error))[12:-12, 12:-12].max()
        assert error < 4e-4
        assert outcome.parts[0].step["kind"]["turn"] == pytest.approx([low, high])


def test_a_phase_that_fills_no_turn_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    source = make(tmp_path / "a_phase.nii", data=uniform(-40, 40, np.float32))
    with pytest.raises(UnsupportedError, match="--phase-range LOW,HIGH"):
        upscaled(source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_phase.nii"]
    result, _ = upscaled(source, options={"intensity": True})
    assert np.abs(result.get_fdata()).max() > 35


def test_a_series_of_probabilities_stays_within_its_scale(tmp_path: Path) -> None:
    data = np.rint(uniform(0, 1, np.float32, (9, 8, 3, 2)))
    source = make(tmp_path / "a_probseg.nii.gz", data=data)
    result, outcome = upscaled(source)
    values = result.get_fdata()
    assert values.shape == (18, 16, 3, 2)
    assert values.min() == 0
    assert values.max() == 1
    assert any("kept within [0, 1]" in message for message in outcome.parts[0].messages)


@pytest.mark.parametrize("method", ["nearest", "argmax"])
def test_a_label_file_keeps_its_type_scaling_and_labels(tmp_path: Path, method: str) -> None:
    data = np.random.default_rng(0).integers(0, 6, SHAPE).astype(np.int16)
    source = make(tmp_path / "a_dseg.nii", data=data, fields={"scl_slope": 2, "scl_inter": -3})
    result, _ = upscaled(source, label_method=method)
    assert set(np.unique(result.get_fdata())) == set(np.unique(data * 2.0 - 3))
    after = raw_header(tmp_path / "out.nii")
    assert (after["datatype"], after["scl_slope"], after["intent_code"]) == (4, 2, 1002)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["odd/labels.nii.gz", "odd/dtype_complex64.nii.gz"])
def test_real_files_of_other_kinds(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "mri" / name
    result, _ = upscaled(source, tmp_path / "out.nii.gz", label_method="argmax")
    before, after = np.asarray(nib.load(source).dataobj), np.asarray(result.dataobj)
    assert after.dtype == before.dtype
    if before.dtype.kind == "c":
        assert abs(after.mean() - before.mean()) < 1e-4 * np.abs(before).max()
    else:
        assert set(np.unique(after)) == set(np.unique(before))


def test_the_command_line_has_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make(tmp_path / "in.nii", data=np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8))
    run = ["upscale", str(source), "-o", str(tmp_path / "out.nii")]
    assert main([*run, "--labels", "--label-method", "argmax"]) == 0
    assert "argmax of linear one-hot" in capsys.readouterr().err
    assert main([*run, "--labels", "--phase", "--overwrite"]) == 2
    assert "give one kind of voxels" in capsys.readouterr().err
    assert main([*run, "--phase-range", "0,4", "--overwrite"]) == 0
    assert "a phase with a turn of 0 to 4" in capsys.readouterr().err


# -- DICOM ------------------------------------------------------------------------------------------------------------


def phase_series(folder: Path, slope: float | None, intercept: float, **fields: Any) -> np.ndarray:
    """Stored values 0 to 4095 that rise steadily and wrap around."""
    z, y, x = np.meshgrid(np.arange(3), np.arange(30), np.arange(32), indexing="ij")
    stored = ((0.05 * x + 0.021 * y + 0.1 * z) % 1 * 4096).astype(np.int64)

    def edit(dataset: Any, k: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
        if slope is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, intercept, "US"

    return make_series(folder, stored=stored, edit=edit, **fields)


@pytest.mark.parametrize(
    ("slope", "intercept", "turn"),
    [
        (2, -4096, (-4096, 4096)),  # Siemens
        (None, 0, (0, 4096)),
        (1.5347, -3142, (-1000 * PI, 1000 * PI)),  # Philips, milliradians
        (0.0015347, -3.1416, (-PI, PI)),
    ],
)
def test_a_dicom_phase_series_is_a_phase_with_its_turn(
    tmp_path: Path, slope: float | None, intercept: float, turn: tuple[float, float]
) -> None:
    phase_series(tmp_path / "in", slope, intercept)
    with warnings.catch_warnings(action="ignore"):
        (image,) = dicom.read(tmp_path / "in")
        assert image.kind == "phase"
        assert image.value_range == pytest.approx(turn)
        upscale_file(tmp_path / "in", tmp_path / "out")
        (result,) = dicom.read(tmp_path / "out")
    period = turn[1] - turn[0]
    fine = np.asarray(result)[1]
    y, x = np.meshgrid((np.arange(60) + 0.5) / 2 - 0.5, (np.arange(64) + 0.5) / 2 - 0.5, indexing="ij")
    error = (fine - turn[0]) / period - (0.05 * x + 0.021 * y + 0.1)
    error = np.abs(error - np.round(error))[12:-12, 12:-12].max()
    assert error < 3e-3
    assert result.kind == "phase"
    assert not dciodvfy_errors(next(iter(sorted((tmp_path / "out").iterdir()))))


def test_the_turn_of_a_type_that_tells_nothing_is_decided_by_the_values(tmp_path: Path) -> None:
    x = np.linspace(-3141, 3141, 12 * 10 * 4).reshape(4, 10, 12).astype(int)

    def edit(dataset: Any, k: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]

    make_series(tmp_path / "in", stored=x, signed=True, bits=16, edit=edit)
    with warnings.catch_warnings(action="ignore"):
        (image,) = dicom.read(tmp_path / "in")
    assert image.value_range is None
    assert any("mrad" in message for message in sciSR.inference.plan_upscale(image).messages)


def test_hounsfield_units_of_air_survive(tmp_path: Path) -> None:
    stored = np.full((3, 20, 20), 24)
    stored[:, 5:15, 5:15] = 1064
    make_series(tmp_path / "in", stored=stored, modality="CT")
    with warnings.catch_warnings(action="ignore"):
        upscale_file(tmp_path / "in", tmp_path / "out", model="linear")
        (result,) = dicom.read(tmp_path / "out")
    values = np.asarray(result)
    assert result.unit == "HU"
    assert (values.min(), values.max()) == (-1000, 40)
