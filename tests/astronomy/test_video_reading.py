"""Videos are read frame by frame, exactly as they are stored, in any order, and only from the file itself."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from ser_samples import planet
from video_samples import decode, encode, grey_palette, write_raw_avi

from sciSR.errors import SciSRError, SciSRWarning, UnreadableError, UnsupportedError, UsageError
from scisr_astronomy.video import container_of, open_video
from scisr_astronomy.video_adapter import adapter
from scisr_astronomy.video_clip import VideoClip

pytest.importorskip("av")

DEEP = planet(9, 24, 32, peak=50_000)
BYTES = (DEEP >> 8).astype(np.uint8)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SciSRWarning)
        yield


def pixels(path: Path, **options: object) -> np.ndarray:
    (image,) = adapter.read(path, **options)
    return np.asarray(image)


def chroma_frames(codec: str, path: Path, **options: object) -> Path:
    """Smooth colour with inter-frame coding, so that frames depend on each other."""
    planes = [[x, x[::2, ::2], 255 - x[::2, ::2]] for x in BYTES]
    return encode(path, planes, "yuv420p", codec, **options)


# -- pixels ----------------------------------------------------------------------------------------------------------


def test_uncompressed_grey_is_read_exactly(tmp_path: Path) -> None:
    np.testing.assert_array_equal(pixels(write_raw_avi(tmp_path / "y800.avi", BYTES)), BYTES)


@pytest.mark.parametrize("columns", [32, 31, 30, 29])
def test_bitmaps_stand_upright_and_lose_no_column(tmp_path: Path, columns: int) -> None:
    """Windows bitmaps lie upside down, with rows padded to four bytes."""
    frames = BYTES[:, :, :columns]
    grey = write_raw_avi(tmp_path / "grey.avi", frames, palette=grey_palette())
    np.testing.assert_array_equal(pixels(grey), frames)
    colours = np.stack([frames // 3, frames // 2, frames], axis=-1)  # B, G, R
    path = write_raw_avi(tmp_path / "colour.avi", colours)
    for k, name in enumerate("BGR"):
        np.testing.assert_array_equal(pixels(path, channel=name), colours[..., k])


def test_a_palette_of_colours_is_looked_up(tmp_path: Path) -> None:
    palette = [bytes((255 - k, k // 2, k, 0)) for k in range(256)]
    path = write_raw_avi(tmp_path / "palette.avi", BYTES, palette=palette)
    np.testing.assert_array_equal(pixels(path, channel="R"), BYTES)
    np.testing.assert_array_equal(pixels(path, channel="G"), BYTES // 2)
    np.testing.assert_array_equal(pixels(path, channel="B"), 255 - BYTES)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_deep_grey_is_read_exactly(tmp_path: Path, bits: int) -> None:
    frames = DEEP >> (16 - bits)
    path = encode(tmp_path / "deep.mkv", [[f] for f in frames], f"gray{bits}le")
    np.testing.assert_array_equal(pixels(path), frames)
    assert adapter.read_frames(path)[0].saturation == (1 << bits) - 1


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_deep_colour_is_read_exactly(tmp_path: Path, bits: int) -> None:
    red = DEEP >> (16 - bits)
    path = encode(tmp_path / "deep.mkv", [[f // 2, f // 3, f] for f in red], f"gbrp{bits}le")  # G, B, R
    for name, wanted in zip("RGB", (red, red // 2, red // 3), strict=True):
        np.testing.assert_array_equal(pixels(path, channel=name), wanted)


@pytest.mark.parametrize(
    ("layout", "rows", "columns"),
    [("yuv420p", 2, 2), ("yuv422p", 1, 2), ("yuv444p", 1, 1), ("yuv411p", 1, 4), ("yuv420p12le", 2, 2)],
)
def test_luma_and_chroma_are_those_of_the_file(tmp_path: Path, layout: str, rows: int, columns: int) -> None:
    luma = (DEEP >> 4)[:, :23, :31] if layout.endswith("le") else BYTES[:, :23, :31]  # odd sizes too
    chroma = [luma[:, ::rows, ::columns], luma[:, ::rows, ::columns] // 2]
    path = encode(tmp_path / "yuv.mkv", [list(f) for f in zip(luma, *chroma, strict=True)], layout)
    first, second = adapter.read(path)
    np.testing.assert_array_equal(np.asarray(first), luma)
    np.testing.assert_array_equal(np.asarray(second), np.stack(chroma, axis=1))


def test_a_network_sees_luma_and_a_classical_method_chroma(tmp_path: Path) -> None:
    luma, chroma = adapter.read(chroma_frames("ffv1", tmp_path / "clip.mkv"))
    assert (luma.part, luma.axes, luma.domain) == ("Y", ("t", "y", "x"), "astronomy")
    assert (chroma.part, chroma.axes, chroma.domain) == ("CbCr", ("t", "c", "y", "x"), "generic")
    with pytest.raises(UsageError, match="stores luma and chroma, not R, G, B"):
        adapter.read(tmp_path / "clip.mkv", channel="R")


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("h264.mp4", "libx264", {"crf": "18", "bf": "3", "g": "5"}),
        ("h264.mov", "libx264", {"crf": "18", "bf": "2", "g": "250"}),
        ("h264.mkv", "libx264", {"crf": "18", "bf": "2", "g": "4"}),
        ("mpeg4.avi", "mpeg4", {"bf": "2", "g": "4"}),
        ("mpeg4.mp4", "mpeg4", {"bf": "2", "g": "3"}),
        ("vp9.webm", "libvpx-vp9", {"g": "4", "cpu-used": "8"}),
    ],
)
def test_any_frame_of_a_compressed_video_is_the_decoders_own(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = chroma_frames(codec, tmp_path / name, **options)
    judged, _ = decode(path, "gray")
    plain, _ = decode(path)
    luma = adapter.read(path)[0]
    assert luma.shape[0] == len(judged)
    for t in [5, 0, 8, 7, 3, 3, 4, 8, 1, 2]:  # forth and back
        np.testing.assert_array_equal(luma.data[t], plain[t][: luma.shape[1]])


# -- order and effort ------------------------------------------------------------------------------------------------


class Counting(VideoClip):
    """Counts how often decoding begins anew, and the frames decoded."""

    starts = 0

    def _start_at(self, key: int, time: int) -> None:
        self.starts += 1
        super()._start_at(key, time)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_reading_in_order_decodes_each_frame_once(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    clip = Counting(open_video(chroma_frames(codec, tmp_path / name, g="4", bf="2")))
    for _ in range(2):
        for t in range(clip.frames):
            clip.planes(t)
            clip.planes(t)  # rows of one frame come in several calls
    clip.close()
    assert clip.starts == 2  # once for each pass


def test_a_far_frame_is_reached_from_the_keyframe_before_it(tmp_path: Path) -> None:
    clip = Counting(open_video(chroma_frames("libx264", tmp_path / "a.mkv", g="3", bf="0", sc_threshold="0")))
    assert [frame for frame, _ in clip.file.keys] == [0, 3, 6]
    clip.planes(0)
    clip.planes(7)
    assert clip.starts == 2
    assert clip._next == 8  # 6 and 7 were decoded, 1 to 5 were not
    clip.close()


def test_no_file_stays_open_when_the_images_are_gone(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not tell")
    path = chroma_frames("libx264", tmp_path / "a.mp4")
    before = len(os.listdir("/proc/self/fd"))
    frames = adapter.read_frames(path)
    for frame in frames:
        frame.read()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    del frames, frame
    assert len(os.listdir("/proc/self/fd")) == before


def test_frames_can_be_sent_to_another_process(tmp_path: Path) -> None:
    frame = adapter.read_frames(write_raw_avi(tmp_path / "a.avi", BYTES))[4]
    frame.read()
    copy = pickle.loads(pickle.dumps(frame))
    np.testing.assert_array_equal(copy.read().values, BYTES[4])


# -- frames ----------------------------------------------------------------------------------------------------------


def test_frames_have_names_and_the_saturation_of_their_range(tmp_path: Path) -> None:
    frames = adapter.read_frames(write_raw_avi(tmp_path / "moon.avi", BYTES))
    assert [frame.name for frame in frames] == [f"moon.avi[{k}]" for k in range(9)]
    assert (frames[0].saturation, frames[0].start, frames[0].noise) == (255, None, None)
    limited = adapter.read_frames(chroma_frames("ffv1", tmp_path / "limited.mkv"))
    assert limited[0].saturation == 235
    planes = [[x, x[:, ::2], x[:, ::2]] for x in BYTES]
    full = encode(tmp_path / "full.avi", planes, "yuvj422p", "mjpeg")
    assert adapter.read_frames(full)[0].saturation == 255


def test_a_saturated_colour_makes_a_pixel_bad(tmp_path: Path) -> None:
    colours = np.stack([BYTES // 3, BYTES // 2, np.minimum(BYTES, 254)], axis=-1)
    colours[2, 5, 6, 0] = 255
    frames = adapter.read_frames(write_raw_avi(tmp_path / "a.avi", colours))
    assert [int(frame.read().bad.sum()) for frame in frames] == [0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_times_follow_the_file(tmp_path: Path) -> None:
    times = [0, 40, 90, 100, 180, 181, 300, 333, 350]  # ms, as a camera with a varying exposure
    path = encode(tmp_path / "a.mkv", [[f] for f in BYTES], "gray", times=times, base=Fraction(1, 1000))
    file = open_video(path)
    assert [float(file.seconds(t)) for t in range(9)] == pytest.approx([t / 1000 for t in times])


# -- recognising and refusing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\x10\0\0\0AVI LIST", "avi"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"\0\0\0\x20ftypisom", "mov"),
        (b"\0\0\0\x20ftypqt  ", "mov"),
        (b"\0\0\0\x20ftypheic", None),
        (b"\0\0\0\x20ftypavif", None),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska", "mkv"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "mkv"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84else", None),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd", None),
        (b"ffconcat version 1.0\nfile other.mp4", None),
        (b"", None),
    ],
)
def test_files_are_recognised_by_content(tmp_path: Path, head: bytes, kind: str | None) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(head + bytes(64) if head else b"")
    assert container_of(path) == kind
    assert adapter.sniff(path) is (kind is not None)
    with pytest.raises(SciSRError, match=r"file\.mp4"):
        adapter.read(path)


def test_a_file_name_is_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_raw_avi(Path("concat:a|b.avi"), BYTES)
    np.testing.assert_array_equal(pixels(path), BYTES)


def test_without_pyav_one_line_says_what_to_install(tmp_path: Path) -> None:
    path = write_raw_avi(tmp_path / "moon.avi", BYTES)
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from sciSR.cli.main import main\n"
        f"sys.exit(main(['upscale', {str(path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.strip().splitlines() == [
        f"error: {path}: videos are read with PyAV, which is not here; pip install 'sciSR[video]'"
    ]


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(UnreadableError, match=r"sound\.mkv: holds no video"):
        adapter.read(path)


def test_pixels_without_a_decoder_are_refused(tmp_path: Path) -> None:
    path = write_raw_avi(tmp_path / "odd.avi", BYTES, fourcc=b"QQQQ")
    with pytest.raises(UnsupportedError, match=r"odd\.avi: FFmpeg has no decoder for its pixels"):
        adapter.read(path)


def test_whole_frames_of_a_cut_video_are_read_and_the_loss_is_told(tmp_path: Path) -> None:
    path = write_raw_avi(tmp_path / "cut.avi", BYTES)
    os.truncate(path, path.stat().st_size * 6 // 10)
    with pytest.warns(SciSRWarning, match=r"cut\.avi: truncated: \d of 9 frames are whole"):
        found = pixels(path)
    assert 3 <= len(found) <= 6
    np.testing.assert_array_equal(found, BYTES[: len(found)])
    with pytest.warns(SciSRWarning), pytest.raises(UnreadableError, match="of 9 frames"):
        adapter.read_frames(path, strict=True)


def test_a_frame_that_the_camera_left_out_is_no_loss(tmp_path: Path) -> None:
    """AVI keeps its rate by an empty chunk in place of a dropped frame."""
    path = write_raw_avi(tmp_path / "drop.avi", BYTES, dropped=(2, 5))
    kept = np.delete(BYTES, (2, 5), axis=0)
    np.testing.assert_array_equal(pixels(path), kept)
    file = open_video(path)
    assert [float(file.seconds(t)) * 25 for t in range(7)] == pytest.approx([0, 1, 3, 4, 6, 7, 8])


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "bad.mkv", [[f] for f in DEEP], "gray16le", slicecrc="1", level="3", g="1")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    frames = adapter.read_frames(path)
    good, bad = [], []
    for t, frame in enumerate(frames):
        try:
            np.testing.assert_array_equal(frame.read().values, DEEP[t])
            good.append(t)
        except UnreadableError as error:
            bad.append((t, str(error)))
    assert len(good) == 8
    assert f"frame {bad[0][0]} " in bad[0][1]


def test_describing_tells_what_is_inside(tmp_path: Path) -> None:
    found = adapter.describe(chroma_frames("libx264", tmp_path / "a.mp4"))
    assert (found["codec"], found["frames"], found["size"]) == ("h264", 9, [24, 32])
    assert [part["part"] for part in found["parts"]] == ["Y", "CbCr"]
    assert found["frames_per_second"] == 25
