"""NIfTI and DICOM on coarser pixels: transforms, odd sizes, padding, sidecars; nibabel and pydicom judge."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_samples import datasets, make_series, oblique, phantom, write_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nifti_samples import make, read, rotation_affine

import sciSR
from sciSR.workflow.degrade_image import degrade
from scisr_medical.dicom_adapter import adapter as dicom


def box(shape: tuple[int, ...]) -> np.ndarray:
    """Outer corners of a volume, in voxels."""
    return np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * shape[:3] - 0.5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    st.tuples(st.integers(6, 14), st.integers(6, 14), st.integers(1, 4)),
    st.integers(1, 3),
    st.sampled_from([(1, 1), (0, 2), (3, 0), (2, 4)]),
    st.booleans(),
)
def test_both_transforms_keep_the_first_corner_and_the_directions(
    tmp_path: Path, shape: tuple, scale: int, codes: tuple, flip: bool
) -> None:
    affine = rotation_affine(flip=flip)
    path = make(tmp_path / "a.nii", shape, affine=affine, codes=codes)
    low = sciSR.write(degrade(read(path, axes="x,y"), scale, "gaussian"), tmp_path / "b.nii", overwrite=True)
    before, after = nibabel.load(path), nibabel.load(low)
    coarse = (shape[0] // scale, shape[1] // scale, shape[2])
    assert after.shape == coarse
    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == codes
    fine = (box(coarse) + 0.5) * (scale, scale, 1) - 0.5
    for form, code in (("get_qform", codes[0]), ("get_sform", codes[1])):
        if code:
            old, new = getattr(before.header, form)(), getattr(after.header, form)()
            there = nibabel.affines.apply_affine(new, box(coarse))
            assert np.allclose(there, nibabel.affines.apply_affine(old, fine), atol=2e-4)
    sizes = np.array(before.header.get_zooms()[:3]) * (scale, scale, 1)
    assert np.allclose(after.header.get_zooms()[:3], sizes, rtol=1e-6)


def test_sidecars_follow_and_a_json_gains_the_record(tmp_path: Path) -> None:
    path = make(tmp_path / "a.nii", (12, 12, 4))
    (tmp_path / "a.bval").write_text("0 1000\n")
    (tmp_path / "a.json").write_text(json.dumps({"EchoTime": 0.03, "SliceTiming": [0, 1, 2, 3]}))
    sciSR.write(degrade(read(path, axes="x,y"), 2, "kspace", seed=9), tmp_path / "b.nii")
    assert (tmp_path / "b.bval").read_text() == "0 1000\n"
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["SliceTiming"] == [0, 1, 2, 3]
    assert record["SciSR"]["Steps"][-1]["forward"]["seed"] == 9


@pytest.mark.parametrize("scale", [2, 3])
def test_slices_keep_their_first_corner(tmp_path: Path, scale: int) -> None:
    make_series(tmp_path / "in", orientation=oblique(0.3, -0.2, 0.5), stored=phantom((4, 13, 11)))
    [image] = dicom.read(tmp_path / "in")
    low = degrade(image, scale, "gaussian", seed=1)
    write_all([low], tmp_path / "out")
    [again] = dicom.read(tmp_path / "out")
    assert again.shape == (4, 13 // scale, 11 // scale)
    ends = np.array(
        [
            (k, r, c)
            for k in (0, 3)
            for r in (-0.5, again.shape[1] - 0.5)
            for c in (-0.5, again.shape[2] - 0.5)
        ]
    )
    half = np.array([0, 0.5, 0.5])
    fine = (ends + half) * [1, scale, scale] - half
    assert np.allclose(again.grid.world(ends), image.grid.world(fine), atol=1e-6)
    for old, new in zip(datasets(tmp_path / "in"), datasets(tmp_path / "out"), strict=True):
        assert [float(d) for d in new.PixelSpacing] == pytest.approx(
            [scale * float(d) for d in old.PixelSpacing]
        )
        assert new.SliceThickness == old.SliceThickness
        assert new.FrameOfReferenceUID == old.FrameOfReferenceUID
        assert "seed 1" in new.DerivationDescription


def test_padding_around_a_field_of_view_stays_padding(tmp_path: Path) -> None:
    stored = phantom((2, 12, 12)).astype(np.int16) + 100
    stored[:, :3] = -2000

    def padded(dataset: object, _: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -2000)  # type: ignore[attr-defined]

    make_series(tmp_path / "in", stored=stored, modality="CT", signed=True, bits=16, edit=padded)
    [image] = dicom.read(tmp_path / "in")
    write_all([degrade(image, 2, "gaussian")], tmp_path / "out")
    for new in datasets(tmp_path / "out"):
        pixels = new.pixel_array
        assert (pixels[:2] == new.PixelPaddingValue).all()  # the second row is half padding
        assert (pixels[2:] != new.PixelPaddingValue).all()
