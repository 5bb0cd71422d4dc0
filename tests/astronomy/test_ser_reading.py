"""SER files are read as their writers meant them, frame by frame, and what can't be right is refused or told."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ser_samples import TICKS_2014, mosaic, planet, write_ser

import sciSR
from sciSR.errors import SciSRError, SciSRWarning, UnreadableError, UnsupportedError, UsageError
from sciSR.plugins import adapter_for
from scisr_astronomy.ser_adapter import adapter

LEVELS = planet(peak=50_000)  # fills 16 bits


def pixels(path: Path, **options: object) -> np.ndarray:
    (image,) = adapter.read(path, **options)
    return np.asarray(image)


def notes(path: Path) -> str:
    return " | ".join(adapter.describe(path)["notes"])


@pytest.fixture(autouse=True)
def warnings_are_errors() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SciSRWarning)
        yield


# -- byte order and depth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("aligned", ["right", "left"])
def test_pixels_are_right_whatever_the_flag_says(
    tmp_path: Path, flag: int, order: str, depth: int, aligned: str
) -> None:
    stored = LEVELS >> (16 - depth) << (16 - depth if aligned == "left" else 0)
    path = write_ser(tmp_path / "clip.ser", stored, depth=depth, flag=flag, order=order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        np.testing.assert_array_equal(pixels(path), stored)
        frames = adapter.read_frames(path)
    full = (1 << depth) - 1 << (16 - depth if aligned == "left" else 0)
    assert frames[0].saturation == full


def test_a_flag_that_follows_the_specification_is_told(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "clip.ser", LEVELS, flag=1, order="<")
    with pytest.warns(SciSRWarning, match="clip.ser: LittleEndian is 1, the pixels are low byte first"):
        adapter.read(path)
    assert "the reverse of most programs" in notes(path)
    assert "as most programs write it" in notes(write_ser(tmp_path / "usual.ser", LEVELS, flag=0, order="<"))


@pytest.mark.parametrize("depth", [12, 16])
def test_pixels_that_do_not_tell_are_read_as_most_programs_would(tmp_path: Path, depth: int) -> None:
    dim = np.random.default_rng(3).integers(0, 200, (3, 20, 20)).astype(np.uint16)
    np.testing.assert_array_equal(
        pixels(write_ser(tmp_path / "a.ser", dim, depth=depth, flag=0, order="<")), dim
    )
    path = write_ser(tmp_path / "b.ser", dim, depth=depth, flag=1, order=">")
    with pytest.warns(SciSRWarning, match="do not tell their byte order"):
        np.testing.assert_array_equal(pixels(path), dim)


def test_noise_over_a_dark_sky_tells_the_byte_order(tmp_path: Path) -> None:
    """A camera's bias level with a few counts of noise and one star: no structure to speak of."""
    dark = np.random.default_rng(4).normal(300, 8, (4, 40, 50)).astype(np.uint16)
    dark[:, 20, 20] = 9000
    for order in "<>":
        path = write_ser(tmp_path / "dark.ser", dark, flag=int(order == ">"), order=order)
        np.testing.assert_array_equal(pixels(path), dark)


def test_a_wide_span_of_random_values_is_not_taken_for_a_wrong_byte_order(tmp_path: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 65536, (3, 30, 30)).astype(np.uint16)
    np.testing.assert_array_equal(pixels(write_ser(tmp_path / "noise.ser", noise)), noise)


@pytest.mark.parametrize("depth", [1, 5, 8])
def test_eight_bits_and_fewer_take_one_byte(tmp_path: Path, depth: int) -> None:
    stored = (LEVELS >> (16 - depth)).astype(np.uint8)
    path = write_ser(tmp_path / "clip.ser", stored, depth=depth)
    np.testing.assert_array_equal(pixels(path), stored)
    assert adapter.read(path)[0].dtype == np.uint8
    assert adapter.read_frames(path)[0].saturation == (1 << depth) - 1


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    wide=st.booleans(),
    planes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_frame_of_any_shape_is_the_writers_own(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], wide: bool, planes: bool, seed: int
) -> None:
    kind = np.uint16 if wide else np.uint8
    frames = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (*shape, 3)).astype(kind)
    frames = frames if planes else frames[..., 0]
    path = write_ser(tmp_path_factory.mktemp("any") / "any.ser", frames, color=100 if planes else 0)
    for k in range(3 if planes else 1):
        found = pixels(path, channel="RGB"[k]) if planes else pixels(path)
        np.testing.assert_array_equal(found, frames[..., k] if planes else frames)


# -- colour ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("color", "pattern"), [(8, "RGGB"), (9, "GRBG"), (10, "GBRG"), (11, "BGGR")])
def test_a_bayer_cell_becomes_one_pixel(tmp_path: Path, color: int, pattern: str) -> None:
    scene = np.stack([LEVELS, LEVELS // 2, LEVELS // 3], axis=-1)
    raw = mosaic(scene, pattern)
    path = write_ser(tmp_path / "bayer.ser", raw[:, :23, :31], color=color)  # an odd row and column more
    even = raw[:, :22, :30]
    cells = {}
    for k, colour in enumerate(pattern):
        cells.setdefault(colour, []).append(even[:, k // 2 :: 2, k % 2 :: 2].astype(float))
    for colour, found in cells.items():
        np.testing.assert_array_equal(pixels(path, channel=colour), np.mean(found, axis=0))
    luma = 0.299 * cells["R"][0] + 0.587 * np.mean(cells["G"], axis=0) + 0.114 * cells["B"][0]
    np.testing.assert_allclose(pixels(path, channel="Y"), luma, rtol=1e-6)


@pytest.mark.parametrize(("color", "order"), [(100, "RGB"), (101, "BGR")])
def test_planes_are_told_apart(tmp_path: Path, color: int, order: str) -> None:
    colours = {"R": LEVELS, "G": LEVELS // 2, "B": LEVELS // 3}
    path = write_ser(tmp_path / "colour.ser", np.stack([colours[c] for c in order], axis=-1), color=color)
    for name, values in colours.items():
        np.testing.assert_array_equal(pixels(path, channel=name), values)
    luma, chroma = adapter.read(path)
    assert (luma.axes, luma.domain, luma.part) == (("t", "y", "x"), "astronomy", "Y")
    assert (chroma.axes, chroma.domain, chroma.part) == (("t", "c", "y", "x"), "generic", "CbCr")
    grey = write_ser(tmp_path / "grey.ser", np.stack([LEVELS] * 3, axis=-1), color=color)
    np.testing.assert_allclose(np.asarray(adapter.read(grey)[1]), 0, atol=0.01)
    np.testing.assert_allclose(np.asarray(adapter.read(grey)[0]), LEVELS, rtol=1e-6)


@pytest.mark.parametrize("color", [16, 17, 18, 19])
def test_complementary_mosaics_are_refused_by_name(tmp_path: Path, color: int) -> None:
    with pytest.raises(
        UnsupportedError, match=r"cmy\.ser: holds a Bayer [CYM]{4} mosaic of complementary colours"
    ):
        adapter.read(write_ser(tmp_path / "cmy.ser", LEVELS, color=color))


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "mono.ser", LEVELS)
    with pytest.raises(UsageError, match=r"mono\.ser: holds no colour: there is no channel R"):
        adapter.read(path, channel="R")
    with pytest.raises(UsageError, match="none of Y, R, G, B"):
        adapter.read(path, channel="L")
    np.testing.assert_array_equal(pixels(path, channel="Y"), LEVELS)


# -- frames ----------------------------------------------------------------------------------------------------------


def test_frames_have_names_times_and_a_saturation(tmp_path: Path) -> None:
    from astropy.time import Time

    step = 123_457  # ticks of 100 ns
    ticks = [TICKS_2014 + k * step for k in range(4)]
    path = write_ser(tmp_path / "jupiter.ser", LEVELS >> 4, depth=12, ticks=ticks)
    frames = adapter.read_frames(path)
    assert [frame.name for frame in frames] == [f"jupiter.ser[{k}]" for k in range(4)]
    judge = Time("2014-02-06T12:00:00", scale="utc")
    for k, frame in enumerate(frames):
        assert (Time(frame.start, scale="utc") - judge).sec == pytest.approx(k * step * 1e-7, abs=1e-9)
        assert frame.saturation == 4095
        assert frame.noise is None
        np.testing.assert_array_equal(frame.read().values, LEVELS[k] >> 4)
        np.testing.assert_array_equal(frame.read(slice(3, 7)).values, LEVELS[k, 3:7] >> 4)


def test_a_saturated_detector_pixel_makes_its_cell_bad_though_the_mean_is_not(tmp_path: Path) -> None:
    raw = (LEVELS >> 4).copy()
    raw[2, 5, 8] = 4095
    frames = adapter.read_frames(write_ser(tmp_path / "bayer.ser", raw, color=8, depth=12))
    assert [int(frame.read().bad.sum()) for frame in frames] == [0, 0, 1, 0]
    assert frames[2].read().bad[2, 4]
    assert frames[2].read().values.max() < 4095


def test_a_clip_is_a_sequence_like_any_other(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "jupiter.ser", LEVELS, ticks=[TICKS_2014] * 4)
    sequence = sciSR.read_sequence([path])
    assert [frame.name for frame in sequence] == [f"jupiter.ser[{k}]" for k in range(4)]
    assert adapter_for(path).name == "ser"


@pytest.mark.parametrize("offset", [504_911_232_000_000_000, 0])
def test_time_stamps_from_1601_are_understood_and_told(tmp_path: Path, offset: int) -> None:
    path = write_ser(tmp_path / "clip.ser", LEVELS, ticks=[TICKS_2014 - offset + k for k in range(4)])
    assert adapter.read_frames(path)[1].start == "2014-02-06T12:00:00.0000001"
    assert ("1601" in notes(path)) == bool(offset)


def test_the_kind_of_clock_in_the_highest_bits_is_ignored(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "clip.ser", LEVELS, ticks=[TICKS_2014 | 1 << 62] * 4)
    assert adapter.read_frames(path)[0].start == "2014-02-06T12:00:00.0000000"


def test_impossible_times_are_none(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "clip.ser", LEVELS, ticks=[TICKS_2014, 0, (1 << 62) - 1, TICKS_2014])
    starts = [frame.start for frame in adapter.read_frames(path)]
    assert starts[1:3] == [None, None]
    assert starts[3] is not None


# -- laziness --------------------------------------------------------------------------------------------------------


def test_a_long_clip_costs_a_frame_of_memory_and_no_open_file(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "long.ser", LEVELS, count=100_000, width=640, height=480)
    os.truncate(path, 178 + 100_000 * 640 * 480 * 2)  # 61 GB of holes: nothing is written
    adapter.read_frames(write_ser(tmp_path / "short.ser", LEVELS))  # imports are paid for here
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    tracemalloc.start()
    (image,) = adapter.read(path)
    image.data[50_000, 100:110], image.data[99_999, 5, 5]
    assert tracemalloc.get_traced_memory()[1] < 12e6
    tracemalloc.stop()
    assert image.shape == (100_000, 480, 640)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_frames_can_be_sent_to_another_process(tmp_path: Path) -> None:
    frame = adapter.read_frames(write_ser(tmp_path / "clip.ser", LEVELS))[2]
    frame.read()
    copy = pickle.loads(pickle.dumps(frame))
    np.testing.assert_array_equal(copy.read().values, LEVELS[2])


def test_what_a_reader_got_does_not_change_when_it_is_written_to(tmp_path: Path) -> None:
    (image,) = adapter.read(write_ser(tmp_path / "clip.ser", LEVELS))
    image.data[1][:] = 0
    np.testing.assert_array_equal(image.data[1], LEVELS[1])


def test_slices_of_the_stack_are_those_of_the_whole(tmp_path: Path) -> None:
    (image,) = adapter.read(write_ser(tmp_path / "clip.ser", LEVELS))
    for index in [np.s_[1:3], np.s_[..., 4], np.s_[-1], np.s_[2:2, 3], np.s_[:, 2:5, 1:9], np.s_[3, :, 7]]:
        np.testing.assert_array_equal(image.data[index], LEVELS[index])


# -- bad input -------------------------------------------------------------------------------------------------------


def cut(path: Path, size: int) -> Path:
    os.truncate(path, size)
    return path


def test_whole_frames_of_a_truncated_clip_are_read_and_the_loss_is_told(tmp_path: Path) -> None:
    frame = LEVELS[0].nbytes
    path = write_ser(tmp_path / "cut.ser", LEVELS, ticks=[TICKS_2014] * 4)
    cut(path, 178 + 2 * frame + frame // 2)
    with pytest.warns(SciSRWarning, match=r"cut\.ser: truncated: 2 of 4 frames are whole"):
        found = pixels(path)
    np.testing.assert_array_equal(found, LEVELS[:2])
    with pytest.warns(SciSRWarning), pytest.raises(UnreadableError, match="2 of 4 frames"):
        adapter.read_frames(path, strict=True)


def test_a_recording_that_was_not_closed_is_read(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "open.ser", LEVELS, count=0)
    with pytest.warns(SciSRWarning, match="the recording was not closed"):
        np.testing.assert_array_equal(pixels(path), LEVELS)


def test_lost_time_stamps_are_told_and_the_rest_kept(tmp_path: Path) -> None:
    ticks = [TICKS_2014 + k for k in range(4)]
    path = write_ser(tmp_path / "clip.ser", LEVELS, ticks=ticks)
    cut(path, path.stat().st_size - 12)
    with pytest.warns(SciSRWarning, match="2 of 4 time stamps are there"):
        starts = [frame.start for frame in adapter.read_frames(path)]
    assert [start is None for start in starts] == [False, False, True, True]
    cut(path, 178 + LEVELS.nbytes)
    with pytest.warns(SciSRWarning, match="time stamps that the header announces are missing"):
        np.testing.assert_array_equal(pixels(path), LEVELS)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"width": 0}, "0x24 pixels can't be"),
        ({"height": -24}, "32x-24 pixels can't be"),
        ({"width": 2**31 - 1, "height": 2**31 - 1}, "more than any file can hold"),
        ({"width": 2**31 - 1, "height": 2**20, "count": 1}, "one frame of"),
        ({"count": -1}, "a count of -1 frames"),
        ({"count": 2**31 - 1, "width": 2**20, "height": 2**20}, "more than any file can hold"),
        ({"depth": 0}, "depth of 0 bits"),
        ({"depth": 17}, "depth of 17 bits"),
        ({"color": 7}, "ColorID 7"),
        ({"color": 8, "width": 1}, "no Bayer cell"),
        ({"magic": b"LUCAM-RECORDEX"}, "is no SER file"),
    ],
)
def test_impossible_headers_are_refused_in_one_line(
    tmp_path: Path, fields: dict[str, int], what: str
) -> None:
    path = write_ser(tmp_path / "bad.ser", LEVELS, **fields)
    for use in (adapter.read, adapter.read_frames, adapter.describe):
        with pytest.raises(SciSRError, match=what) as caught:
            use(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_half_a_header_is_refused(tmp_path: Path) -> None:
    path = cut(write_ser(tmp_path / "bad.ser", LEVELS), 100)
    assert adapter.sniff(path)
    with pytest.raises(UnreadableError, match="ends after 100 of the header's 178 bytes"):
        adapter.read(path)


def test_a_file_that_is_cut_after_it_was_opened_is_noticed(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "clip.ser", LEVELS)
    (image,) = adapter.read(path)
    cut(path, 178 + LEVELS[0].nbytes)
    np.testing.assert_array_equal(image.data[0], LEVELS[0])
    with pytest.raises(UnreadableError, match="frame 3 is not whole any more"):
        image.data[3]


def test_bytes_after_the_time_stamps_do_no_harm(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "clip.ser", LEVELS, ticks=[TICKS_2014] * 4)
    path.write_bytes(path.read_bytes() + struct.pack("<q", 7) + b"end")
    np.testing.assert_array_equal(pixels(path), LEVELS)
    assert "11 bytes after the time stamps are ignored" in notes(path)
