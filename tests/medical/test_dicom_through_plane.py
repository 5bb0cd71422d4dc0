"""New slices between old ones: factors n'/n across slices, coarser and finer pixels in the plane, and time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_samples import datasets, dciodvfy_errors, make_series, oblique, phantom, write_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dicom_geometry import by_dcm2niix, by_highdicom, by_simpleitk, corners, places, predicted

from sciSR.image import Image
from sciSR.views import NearestView
from scisr_medical.dicom_adapter import adapter

OBLIQUE = oblique(0.4, 0.2, -0.3)
FACTORS = [
    (Fraction(4), Fraction(1), Fraction(1)),
    (Fraction(8, 3), Fraction(1), Fraction(1)),
    (Fraction(37, 10), Fraction(1, 2), Fraction(1, 2)),
    (Fraction(8, 3), Fraction(3, 2), Fraction(2)),
    (Fraction(1, 2), Fraction(1), Fraction(1)),
    (Fraction(3, 10), Fraction(1, 3), Fraction(1, 4)),
]


SLICES = [4, 6, 10, 6, 8, 10]
CASES = list(zip(FACTORS, SLICES, strict=True))


def resampled(image: Image, factors: Sequence[Fraction]) -> Image:
    """Nearest neighbour on the grid refined by any factors, below 1 as well."""
    factors = (*factors, *(Fraction(1),) * (len(image.shape) - 3))
    return image.replace(
        data=NearestView(image.data, factors),
        grid=image.grid.refine(factors),
        mask=None if image.mask is None else NearestView(image.mask, factors),
    )


def made(tmp_path: Path, factors: Sequence[Fraction], shape, **make: Any):
    """Source and derived datasets, the latter in the order of their names."""
    make_series(tmp_path / "in", stored=phantom(shape), **({"orientation": OBLIQUE} | make))
    image = resampled(adapter.read(tmp_path / "in")[0], factors)
    write_all([image], tmp_path / "out")
    return datasets(tmp_path / "in"), datasets(tmp_path / "out")


@pytest.mark.parametrize(("factors", "slices"), CASES)
def test_all_readers_find_the_refined_grid(tmp_path, factors, slices):
    modality = "CT" if slices == 6 else "MR"
    source, out = made(tmp_path, factors, (slices, 12, 12), modality=modality)
    expected = predicted(source, tuple(map(float, factors)))
    shape = tuple(int(n * f) for n, f in zip((slices, 12, 12), factors, strict=True))
    index = corners(shape)
    image = adapter.read(tmp_path / "out")[0]
    seen = {
        "sciSR": (image.grid.affine, np.asarray(image)),
        "SimpleITK": by_simpleitk(tmp_path / "out"),
        "highdicom": by_highdicom(tmp_path / "out"),
        "dcm2niix": by_dcm2niix(tmp_path / "out", tmp_path / "nii"),
    }
    for reader, (affine, values) in seen.items():
        if affine[:3, 0] @ expected[:3, 0] < 0:
            affine[:3, 3] += affine[:3, 0] * (len(values) - 1)
            affine[:3, 0] *= -1
            values = values[::-1]
        assert values.shape == shape, reader
        assert np.abs(places(affine, index) - places(expected, index)).max() < 1e-3, reader
        assert np.allclose(values, np.asarray(image)), reader
    assert len(out) == shape[0]


@pytest.mark.parametrize(("factors", "slices"), CASES)
def test_each_new_slice_says_where_it_is_and_how_thick(tmp_path, factors, slices):
    source, out = made(tmp_path, factors, (slices, 12, 12))
    distance = 3 / float(factors[0])
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    along = [normal @ np.array(d.ImagePositionPatient, float) for d in out]
    assert np.diff(along) == pytest.approx(distance, abs=1e-6)
    assert [d.InstanceNumber for d in out] == list(range(1, len(out) + 1))
    for each, place in zip(out, along, strict=True):
        assert float(each.SliceThickness) == pytest.approx(distance, rel=1e-8)
        assert float(each.SpacingBetweenSlices) == pytest.approx(distance, rel=1e-8)
        assert float(each.SliceLocation) == pytest.approx(place, abs=1e-5)
        assert "original slice thickness 2.5 mm" in each.DerivationDescription
        assert each.ContentQualification == "RESEARCH"
    uids = {d.SOPInstanceUID for d in out}
    assert len(uids) == len(out)
    assert not uids & {d.SOPInstanceUID for d in source}


@pytest.mark.parametrize(("factors", "slices"), CASES)
def test_sources_are_all_slices_that_the_new_one_reaches(tmp_path, factors, slices):
    source, out = made(tmp_path, factors, (slices, 12, 12))
    place = {d.SOPInstanceUID: k for k, d in enumerate(source)}
    for number, each in enumerate(out):
        centre = (number + 0.5) / float(factors[0]) - 0.5
        half = 0.5 / float(factors[0])
        found = [place[s.ReferencedSOPInstanceUID] for s in each.SourceImageSequence]
        needed = {k for k in (int(np.floor(centre)), int(np.ceil(centre))) if 0 <= k < len(source)}
        needed |= {k for k in range(len(source)) if abs(k - centre) < half + 0.5 - 1e-9}
        assert needed <= set(found)
        assert found == list(range(found[0], found[-1] + 1)), "in spatial order, without holes"
        assert len(found) <= max(2, len(needed) + 1)


def test_a_wider_reach_of_the_method_is_told(tmp_path):
    make_series(tmp_path / "in", stored=phantom((9, 6, 6)))
    image = resampled(adapter.read(tmp_path / "in")[0], (Fraction(2), Fraction(1), Fraction(1)))
    image = image.replace(provenance=image.provenance.add(software="sciSR", step="isotropic", slice_reach=3))
    write_all([image], tmp_path / "out")
    middle = datasets(tmp_path / "out")[9]  # at 4.25 of the old slices
    assert [s.ReferencedSOPInstanceUID for s in middle.SourceImageSequence] == [
        f"1.2.3.{k + 1}" for k in range(2, 8)
    ]


def test_uneven_digits_of_old_positions_do_not_become_uneven_spacing(tmp_path):
    jitter = np.random.default_rng(3).uniform(-0.005, 0.005, 12)

    def edit(dataset, k):
        dataset.ImagePositionPatient = [-10, -10, round(3 * k + float(jitter[k]), 3)]

    _, out = made(
        tmp_path,
        (Fraction(5, 3), Fraction(1), Fraction(1)),
        (12, 6, 6),
        orientation=(1, 0, 0, 0, 1, 0),
        edit=edit,
    )
    gaps = np.diff([float(d.ImagePositionPatient[2]) for d in out])
    assert np.ptp(gaps) < 1e-9


def test_time_goes_volume_by_volume_and_sources_stay_in_their_volume(tmp_path):
    stored = phantom((12, 6, 8))
    for volume in range(2):

        def edit(dataset, k, volume=volume):
            dataset.TemporalPositionIdentifier = volume + 1
            dataset.InstanceNumber = volume * 12 + k + 1
            dataset.SOPInstanceUID = f"1.2.3.{volume + 1}.{k + 1}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

        make_series(
            tmp_path / "in", stored=stored + 50 * volume, orientation=OBLIQUE, edit=edit,
            name=f"v{volume}_{{:03d}}.dcm".format,
        )  # fmt: skip
    image = adapter.read(tmp_path / "in")[0]
    assert image.shape == (12, 6, 8, 2)
    write_all([resampled(image, (Fraction(8, 3), Fraction(1, 2), Fraction(1)))], tmp_path / "out")
    out = datasets(tmp_path / "out")
    assert [d.InstanceNumber for d in out] == list(range(1, 65))
    assert [int(d.TemporalPositionIdentifier) for d in out] == [1] * 32 + [2] * 32
    for volume in range(2):
        part = out[32 * volume : 32 * (volume + 1)]
        expected = predicted(datasets(tmp_path / "in")[:12], (8 / 3, 0.5, 1))
        index = corners((32, 3, 8))
        assert places(predicted(part, (1, 1, 1)), index) == pytest.approx(places(expected, index), abs=1e-6)
        for each in part:
            assert all(
                s.ReferencedSOPInstanceUID.startswith(f"1.2.3.{volume + 1}.")
                for s in each.SourceImageSequence
            )
    again = adapter.read(tmp_path / "out")[0]
    assert again.shape == (32, 3, 8, 2)
    assert np.array_equal(
        np.asarray(again), np.asarray(resampled(image, (Fraction(8, 3), Fraction(1, 2), Fraction(1))))
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    slices=st.integers(2, 9),
    fine=st.integers(1, 30),
    orientation=st.builds(oblique, *(st.floats(-3, 3) for _ in range(3))),
    spacing=st.tuples(st.floats(0.5, 9), st.floats(0.3, 2), st.floats(0.3, 2)),
)
def test_the_field_of_view_is_exact_for_any_number_of_slices(
    tmp_path_factory, slices, fine, orientation, spacing
):
    folder = tmp_path_factory.mktemp("s")
    make_series(folder / "in", stored=phantom((slices, 4, 4)), orientation=orientation, spacing=spacing)
    factors = (Fraction(fine, slices), Fraction(1, 2), Fraction(3, 2))
    write_all([resampled(adapter.read(folder / "in")[0], factors)], folder / "out")
    source, out = datasets(folder / "in"), datasets(folder / "out")
    assert len(out) == fine
    edges = np.array([[k, r, c] for k in (-0.5, fine - 0.5) for r in (-0.5, 1.5) for c in (-0.5, 5.5)])
    before = np.array([[k, r, c] for k in (-0.5, slices - 0.5) for r in (-0.5, 3.5) for c in (-0.5, 3.5)])
    affine = predicted(out, (1, 1, 1))
    if fine == 1:
        normal = np.cross(out[0].ImageOrientationPatient[:3], out[0].ImageOrientationPatient[3:])
        affine[:3, 0] = normal * float(out[0].SpacingBetweenSlices)
    assert places(affine, edges) == pytest.approx(places(predicted(source, (1, 1, 1)), before), abs=1e-4)


def test_dciodvfy_finds_no_error(tmp_path):
    made(
        tmp_path, (Fraction(37, 10), Fraction(1, 2), Fraction(3, 2)), (10, 8, 8), spacing=(1 / 3, 0.7, 1 / 7)
    )
    for file in sorted((tmp_path / "out").iterdir())[::12]:
        assert dciodvfy_errors(file) == []
        text = pydicom.dcmread(file).get_item("SliceThickness").value
        assert len(text) <= 16
