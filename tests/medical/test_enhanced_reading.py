"""Enhanced multi-frame files: the right frames, in the right order, on the grid that independent readers find."""

from __future__ import annotations

import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_samples import SAGITTAL, oblique
from enhanced_samples import SOP_CLASSES, at_each, make_enhanced, values, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dicom_geometry import corners, places, run_dcm2niix

from sciSR.cli.main import main
from sciSR.errors import GeometryError, UsageError
from scisr_medical.dicom_adapter import adapter
from scisr_medical.dicom_functional_groups import frame_groups

DIRECTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""In the order of their dimension index, which is none of their numbers."""


def read(path: Path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (image,) = adapter.read(path, **options)
    return image


def highdicom_affine(path: Path) -> np.ndarray:
    """(slice, row, column) -> LPS mm, for slices in the order of our grid."""
    geometry = highdicom.imread(path).get_volume_geometry()
    affine = geometry.affine.copy()
    normal = np.cross(affine[:3, 2], affine[:3, 1])  # along a row, down a column
    if affine[:3, 0] @ normal < 0:
        affine[:3, 3] += (geometry.spatial_shape[0] - 1) * affine[:3, 0]
        affine[:3, 0] *= -1
    return affine


def assert_judges_agree(path: Path, image, tmp_path: Path) -> None:
    """highdicom and dcm2niix find our grid; dcm2niix our values too."""
    index = corners(image.shape[:3])
    where = places(image.grid.affine, index)
    if len(image.shape) == 3:
        assert np.abs(places(highdicom_affine(path), index) - where).max() < 1e-4
    folder = tmp_path / "for_dcm2niix"
    folder.mkdir()
    (folder / "x.dcm").write_bytes(path.read_bytes())
    nifti = run_dcm2niix(folder, tmp_path / "nii")
    lps = np.diag([-1, -1, 1, 1]) @ nifti.affine
    inverse = np.linalg.inv(lps) @ image.grid.affine
    at = np.rint(places(inverse, index)).astype(int)
    assert np.abs(places(inverse, index) - at).max() < 1e-2
    assert np.allclose(np.asarray(nifti.dataobj)[tuple(at.T)], np.asarray(image)[tuple(index.astype(int).T)])


def by_simpleitk(path: Path) -> np.ndarray:
    """Frames as they lie in the file, (frames, rows, columns), in float64."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat64))


@pytest.mark.parametrize("kind", SOP_CLASSES)
def test_a_volume_of_each_kind_of_object_is_read(tmp_path, kind):
    frames = volume(slope=2.0, intercept=-100.0)
    path = make_enhanced(tmp_path / "x.dcm", frames, kind=kind)
    image = read(path)
    assert image.axes == ("z", "y", "x")
    assert image.domain == {"MR": "mr", "CT": "ct", "PT": "generic"}[kind.split()[-1]]
    assert image.unit == ("HU" if "CT" in kind else None)
    assert image.slice_thickness == 2.5
    assert np.array_equal(np.asarray(image), values(frames))
    assert np.array_equal(by_simpleitk(path), values(frames))
    index = corners(image.shape)
    assert np.abs(places(highdicom_affine(path), index) - places(image.grid.affine, index)).max() < 1e-9


@pytest.mark.parametrize("orientation", [SAGITTAL, oblique(0.3, -0.2, 0.5)])
@pytest.mark.parametrize("shared", [True, False])
def test_frames_in_any_order_make_the_volume_that_independent_readers_find(tmp_path, orientation, shared):
    frames = volume((5, 10, 12), orientation=orientation)
    shuffled = [frames[k] for k in (3, 0, 4, 1, 2)]
    path = make_enhanced(tmp_path / "x.dcm", shuffled, shared=shared)
    image = read(path)
    assert np.array_equal(np.asarray(image), values(frames))
    assert_judges_agree(path, image, tmp_path)
    assert image.metadata.enhanced
    assert [i.frame for i in image.metadata.slices] == [1, 3, 4, 0, 2]


def test_the_rescale_of_each_frame_is_applied_to_it(tmp_path):
    frames = [
        f for k, g in enumerate(volume()) for f in at_each([g], slope=0.25 * (k + 1), intercept=10.0 * k)
    ]
    path = make_enhanced(tmp_path / "x.dcm", frames)
    assert np.array_equal(np.asarray(read(path)), values(frames))


def test_a_unit_is_taken_from_a_mapping_that_is_the_rescale_itself(tmp_path):
    def edit(dataset):
        for groups, slope in zip(dataset.PerFrameFunctionalGroupsSequence, (2.0, 3.0, 2.0, 2.0), strict=True):
            mapping, code = pydicom.Dataset(), pydicom.Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "Hz", "UCUM", "Hertz"
            mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, -5.0
            mapping.MeasurementUnitsCodeSequence = [code]
            groups.RealWorldValueMappingSequence = [mapping]

    frames = volume(slope=2.0, intercept=-5.0)
    image = read(make_enhanced(tmp_path / "x.dcm", frames, edit=edit))
    assert image.unit == "Hz"
    assert [i.unit for i in image.metadata.slices] == ["Hz", "", "Hz", "Hz"]


def test_temporal_positions_become_a_fourth_axis(tmp_path):
    times = [volume(seed=t, temporal=t) for t in (1, 2, 3)]
    frames = [f for at_place in zip(*times, strict=True) for f in at_place]
    path = make_enhanced(tmp_path / "x.dcm", frames, dimensions=("stack", "place", "temporal"))
    image = read(path)
    assert image.axes == ("z", "y", "x", "t")
    assert image.metadata.split_by == "TemporalPositionIndex"
    assert np.array_equal(np.asarray(image), np.stack([values(t) for t in times], axis=-1))
    assert np.array_equal(image.data[1, :, 3, 2], times[2][1].values[:, 3])


@pytest.mark.parametrize("named", [True, False])
def test_b_values_and_directions_become_a_fourth_axis_in_the_order_of_their_dimension_index(tmp_path, named):
    kinds = [(0.0, None), *((b, d) for b in (700.0, 1400.0) for d in DIRECTIONS)]
    volumes = [volume(seed=k, b_value=b, direction=d) for k, (b, d) in enumerate(kinds)]

    def edit(dataset):
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            content = groups.FrameContentSequence[0]
            *before, direction = content.DimensionIndexValues
            content.DimensionIndexValues = [*before, {1: 65, 2: 2, 3: 1}[direction]]
        if not named:  # as anonymisers leave Philips files
            del dataset.DimensionIndexSequence

    path = make_enhanced(
        tmp_path / "x.dcm",
        [f for v in volumes for f in v],
        dimensions=("stack", "place", "b_value", "direction"),
        edit=edit,
    )
    image = read(path)
    told_apart = "DiffusionBValue and DiffusionGradientOrientation" if named else "DimensionIndexValues"
    assert image.metadata.split_by == told_apart
    assert np.array_equal(np.asarray(image), np.stack([values(v) for v in volumes], axis=-1))


def test_diffusion_tells_volumes_apart_where_the_dimensions_do_not(tmp_path):
    volumes = [volume(seed=k, b_value=b) for k, b in enumerate((800.0, 0.0))]
    path = make_enhanced(tmp_path / "x.dcm", [f for v in volumes for f in v])
    image = read(path)
    assert image.metadata.split_by == "DiffusionBValue and DiffusionGradientOrientation"
    assert np.array_equal(np.asarray(image), np.stack([values(volumes[1]), values(volumes[0])], axis=-1))


@pytest.mark.parametrize("indexed", [True, False])
def test_one_file_a_time_point_makes_one_image_with_a_fourth_axis(tmp_path, indexed):
    times = [volume(seed=t, temporal=t if indexed else None) for t in (1, 2, 3)]
    dimensions = ("stack", "place", "temporal") if indexed else ("stack", "place")
    for t, frames in enumerate(times, 1):

        def edit(dataset, t=t):
            for groups in dataset.PerFrameFunctionalGroupsSequence:
                if indexed:
                    groups.FrameContentSequence[0].DimensionIndexValues = [
                        1,
                        groups.FrameContentSequence[0].InStackPositionNumber,
                        t,
                    ]

        make_enhanced(tmp_path / "in" / f"{9 - t}.dcm", frames, dimensions=dimensions, number=t, edit=edit)
    image = read(tmp_path / "in")
    assert image.metadata.split_by == (
        "TemporalPositionIndex" if indexed else "InstanceNumber (one file a volume)"
    )
    assert np.array_equal(np.asarray(image), np.stack([values(t) for t in times], axis=-1))


def test_several_echoes_are_listed_and_one_is_chosen(tmp_path):
    echoes = [volume(seed=k, echo=t) for k, t in enumerate((4.6, 9.2))]
    path = make_enhanced(tmp_path / "x.dcm", [*echoes[1], *echoes[0]], dimensions=("stack", "place", "echo"))
    with pytest.raises(
        GeometryError, match=r"2 echoes: 1 \(TE 4\.6 ms\), 2 \(TE 9\.2 ms\).*--echo.*--irregular"
    ):
        read(path)
    assert np.array_equal(np.asarray(read(path, echo=2)), values(echoes[1]))
    assert np.array_equal(np.asarray(read(path, echo="4.6ms")), values(echoes[0]))


def test_several_stacks_are_listed_and_one_is_chosen(tmp_path):
    axial = volume((4, 10, 12), stack="axial")
    sagittal = volume((3, 10, 12), seed=1, stack="sag 2", orientation=SAGITTAL)
    path = make_enhanced(tmp_path / "x.dcm", [*axial, *sagittal])
    with pytest.raises(
        GeometryError, match=r"2 stacks: axial \(4 frames\), sag 2 \(3 frames\).*choose with --stack"
    ):
        read(path)
    assert np.array_equal(np.asarray(read(path, stack="axial")), values(axial))
    assert np.array_equal(np.asarray(read(path, stack="sag 2")), values(sagittal))
    with pytest.raises(UsageError, match=r"no stack '3'; stacks: axial \(4 frames\), sag 2 \(3 frames\)"):
        read(path, stack=3)


def test_stacks_at_the_same_places_are_never_taken_for_time(tmp_path):
    frames = [*volume(stack="1"), *volume(seed=1, stack="2")]
    path = make_enhanced(tmp_path / "x.dcm", frames)
    with pytest.raises(GeometryError, match=r"2 stacks: 1 \(4 frames\), 2 \(4 frames\)"):
        read(path)


def test_stacks_in_one_row_are_one_volume_and_that_is_said(tmp_path):
    frames = volume((6, 10, 12))
    split = [*at_each(frames[:3], stack="1"), *at_each(frames[3:], stack="2")]
    path = make_enhanced(tmp_path / "x.dcm", split)
    with pytest.warns(UserWarning, match="2 stacks lie in one row"):
        (image,) = adapter.read(path)
    assert np.array_equal(np.asarray(image), values(frames))


@pytest.mark.parametrize("word", ["PHASE", "phase", "P"])
def test_magnitude_and_phase_are_listed_and_one_is_chosen(tmp_path, word):
    magnitude = volume()
    phase = volume(seed=1, component="PHASE", slope=0.001)
    path = make_enhanced(tmp_path / "x.dcm", [*magnitude, *phase], dimensions=("stack", "place", "component"))
    with pytest.raises(
        GeometryError, match=r"4 of magnitude \(--image-type MAGNITUDE\), 4 of phase \(--image-type PHASE\)"
    ):
        read(path)
    image = read(path, image_type=word)
    assert np.allclose(np.asarray(image), values(phase))
    assert {i.component for i in image.metadata.slices} == {"phase"}
    assert np.array_equal(np.asarray(read(path, image_type="M")), values(magnitude))


def test_a_localizer_among_ct_frames_is_left_out(tmp_path):
    scout = at_each(volume((1, 10, 12), seed=3), frame_type=("ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"))
    frames = volume()
    path = make_enhanced(tmp_path / "x.dcm", [*scout, *frames], kind="CT")
    assert np.array_equal(np.asarray(read(path)), values(frames))


def test_elements_at_the_top_serve_where_no_group_says_anything(tmp_path):
    frames = volume(slope=2.0)

    def edit(dataset):
        for groups in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
            for name in (
                "PixelMeasuresSequence",
                "PlaneOrientationSequence",
                "PixelValueTransformationSequence",
            ):
                if name in groups:
                    del groups[name]
        dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.6], 2.5
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 0

    image = read(make_enhanced(tmp_path / "x.dcm", frames, edit=edit))
    assert image.grid.affine[:3, 3] == pytest.approx(frames[0].position)
    assert np.array_equal(np.asarray(image), values(frames))


def test_the_groups_of_a_frame_are_the_shared_ones_with_its_own_in_their_place(tmp_path):
    frames = volume()
    dataset = pydicom.dcmread(make_enhanced(tmp_path / "x.dcm", frames))
    groups = frame_groups(dataset, 2)
    assert list(groups.PlanePositionSequence[0].ImagePositionPatient) == list(frames[2].position)
    assert float(groups.PixelMeasuresSequence[0].SliceThickness) == 2.5
    own = pydicom.Dataset()
    own.SliceThickness = 7
    dataset.PerFrameFunctionalGroupsSequence[2].PixelMeasuresSequence = [own]
    assert frame_groups(dataset, 2).PixelMeasuresSequence[0].SliceThickness == 7
    assert float(frame_groups(dataset, 1).PixelMeasuresSequence[0].SliceThickness) == 2.5


@given(
    order=st.permutations(range(6)),
    turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    step=st.floats(0.5, 9),
    slopes=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=6, max_size=6),
)
@settings(max_examples=15, deadline=None)
def test_any_order_of_frames_gives_the_same_volume(tmp_path_factory, order, turn, step, slopes):
    frames = volume((3, 5, 6), orientation=oblique(*turn), step=step, temporal=1)
    frames += at_each(volume((3, 5, 6), seed=1, orientation=oblique(*turn), step=step), temporal=2)
    frames = [f for k, g in enumerate(frames) for f in at_each([g], slope=slopes[k])]
    path = make_enhanced(
        tmp_path_factory.mktemp("any") / "x.dcm",
        [frames[k] for k in order],
        dimensions=("temporal", "stack", "place"),
    )
    image = read(path)
    assert np.array_equal(np.asarray(image), np.stack([values(frames[:3]), values(frames[3:])], axis=-1))
    corner = places(image.grid.affine, np.array([[0.0, 0, 0], [2, 0, 0]]))
    assert corner == pytest.approx(np.array([frames[0].position, frames[2].position]), abs=1e-6)


def test_info_describes_an_enhanced_file_without_its_patient(tmp_path, capsys):
    path = make_enhanced(tmp_path / "x.dcm", volume((3, 12, 12)))
    assert main(["info", str(path)]) == 0
    told = "".join(capsys.readouterr())
    assert "3, 12, 12" in told
    assert "Doe" not in told
    assert "4711" not in told


def test_several_stacks_are_chosen_on_the_command_line(tmp_path, capsys):
    frames = [*volume((3, 12, 12), stack="1"), *volume((3, 12, 12), stack="2", orientation=SAGITTAL)]
    path = make_enhanced(tmp_path / "x.dcm", frames)
    words = ["upscale", str(path), "--scale", "2", "--model", "lanczos", "-o", str(tmp_path / "y.dcm")]
    assert main(words) == 3
    assert "choose with --stack" in capsys.readouterr().err
    main([*words, "--stack", "2"])
    told = capsys.readouterr().err
    assert "--stack" not in told
    assert "Traceback" not in told
