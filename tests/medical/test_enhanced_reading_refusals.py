"""What makes no image is refused in one line that names the frames; what a header claims is never believed."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_samples import SAGITTAL, make_series
from enhanced_samples import make_enhanced, values, volume
from test_enhanced_reading import read

from sciSR.errors import GeometryError, UnreadableError


def test_one_file_given_twice_is_no_time_series(tmp_path):
    path = make_enhanced(tmp_path / "in" / "a.dcm", volume())
    (tmp_path / "in" / "b.dcm").write_bytes(path.read_bytes())
    with pytest.raises(GeometryError, match=r"a\.dcm and b\.dcm are the same image"):
        read(tmp_path / "in")


def test_irregular_frames_are_named_and_read_one_by_one_on_request(tmp_path):
    frames = volume((5, 10, 12))
    path = make_enhanced(tmp_path / "x.dcm", [*frames[:2], *frames[3:]])
    with pytest.raises(
        GeometryError, match=r"6 mm between frame 2 of x\.dcm and frame 3 of x\.dcm, expected 3 mm"
    ):
        read(path)
    image = read(path, irregular=True)
    assert image.axes == ("n", "y", "x")
    assert np.array_equal(np.asarray(image), values([*frames[:2], *frames[3:]]))


def test_twice_the_same_frame_is_refused(tmp_path):
    frames = volume()
    path = make_enhanced(tmp_path / "x.dcm", [*frames, *frames])
    with pytest.raises(GeometryError, match=r"duplicated slices: frame 1 of x\.dcm and frame 5 of x\.dcm"):
        read(path)


def test_frames_of_several_orientations_are_refused_by_name(tmp_path):
    path = make_enhanced(tmp_path / "x.dcm", [*volume((2, 8, 8)), *volume((2, 8, 8), orientation=SAGITTAL)])
    with pytest.raises(GeometryError, match=r"mixed orientations: frame 1 of x\.dcm .* frame 3 of x\.dcm"):
        read(path)


def test_a_concatenation_is_read_as_one_and_a_missing_part_is_missed(tmp_path):
    frames = volume((6, 10, 12))
    for part in (1, 2, 3):

        def edit(dataset, part=part):
            dataset.ConcatenationUID, dataset.InConcatenationNumber = "1.2.77", part
            dataset.InConcatenationTotalNumber, dataset.ConcatenationFrameOffsetNumber = 3, 2 * (part - 1)
            dataset.SOPInstanceUID = f"1.2.3.{part}"

        make_enhanced(tmp_path / "in" / f"{4 - part}.dcm", frames[2 * part - 2 : 2 * part], edit=edit)
    assert np.array_equal(np.asarray(read(tmp_path / "in")), values(frames))
    (tmp_path / "in" / "1.dcm").unlink()
    with pytest.raises(GeometryError, match=r"part 1 of 3 of one image .* part 3 is missing"):
        read(tmp_path / "in")


def test_a_series_of_classic_and_enhanced_images_is_refused(tmp_path):
    make_series(tmp_path / "in", uid="1.2.3")
    make_enhanced(tmp_path / "in" / "x.dcm", volume(), series="1.2.3", number=9)
    with pytest.raises(GeometryError, match=r"mixes classic images \(s000\.dcm\) with enhanced ones"):
        read(tmp_path / "in")
    with pytest.raises(GeometryError, match="mixes classic images"):
        read(tmp_path / "in", irregular=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.PerFrameFunctionalGroupsSequence.pop(), "describes 3 frames .* NumberOfFrames is 4"),
        (lambda d: setattr(d, "NumberOfFrames", 0), "NumberOfFrames is 0"),
        (lambda d: setattr(d, "NumberOfFrames", 2**31 - 1), r"truncated: 960 bytes of \d+ for 2147483647 frames"),
        (lambda d: setattr(d, "Rows", 65_535), r"truncated: 960 bytes of"),
        (lambda d: setattr(_place(d, 2), "ImagePositionPatient", [1, 2]), r"\[frame 3\]: ImagePositionPatient holds 2"),
        (lambda d: setattr(_shared(d).PixelValueTransformationSequence[0], "RescaleSlope", 0), "RescaleSlope is 0"),
        (lambda d: setattr(_shared(d).PixelMeasuresSequence[0], "PixelSpacing", [0, 1]), "PixelSpacing is"),
        (lambda d: delattr(d, "PixelData"), "no pixel data"),
    ],
)  # fmt: skip
def test_what_a_header_claims_is_held_against_the_file(tmp_path, change, message):
    path = make_enhanced(tmp_path / "x.dcm", volume(), edit=change)
    with pytest.raises(UnreadableError, match=message) as caught:
        read(path)
    assert "x.dcm" in str(caught.value)


def _place(dataset, frame):
    return dataset.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0]


def _shared(dataset):
    return dataset.SharedFunctionalGroupsSequence[0]


def test_a_file_cut_short_anywhere_is_refused_in_one_line(tmp_path):
    path = make_enhanced(tmp_path / "x.dcm", volume((3, 6, 6)))
    whole = path.read_bytes()
    for size in (*range(140, len(whole) - 1, 97), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises((UnreadableError, GeometryError)) as caught:
            read(path)
        assert "\n" not in str(caught.value)
