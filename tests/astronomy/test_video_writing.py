"""Upscaled videos hold exactly what was computed, rounded; PyAV's own decoding is the judge."""

from __future__ import annotations

import json
import random
import signal
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from ser_samples import planet
from video_samples import decode, encode, grey_palette, write_raw_avi

import sciSR
from sciSR.errors import SciSRError, SciSRWarning, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.testing import Subject, check_adapter, refine_nearest, write_images
from sciSR.testing.killing import check_killing
from sciSR.testing.tools import quiet
from scisr_astronomy.clip_record import record_path
from scisr_astronomy.video import open_video
from scisr_astronomy.video_adapter import adapter

pytest.importorskip("av")

DEEP = planet(4, 24, 32, peak=50_000)
BYTES = (DEEP >> 8).astype(np.uint8)


def grey_avi(folder: Path) -> Path:
    return write_raw_avi(folder / "grey.avi", BYTES, palette=grey_palette())


def colour_avi(folder: Path) -> Path:
    return write_raw_avi(folder / "colour.avi", np.stack([BYTES // 3, BYTES // 2, BYTES], axis=-1))


def deep_mkv(folder: Path) -> Path:
    return encode(folder / "deep.mkv", [[f] for f in DEEP], "gray16le")


def phone_mp4(folder: Path) -> Path:
    planes = [[x, x[::2, ::2], 255 - x[::2, ::2]] for x in BYTES]
    return encode(folder / "phone.mp4", planes, "yuv420p", "libx264", crf="18", bf="2")


def upscaled(path: Path, target: Path, scale: Fraction = Fraction(2)) -> Path:
    subject = Subject(adapter, path)
    return write_images(subject, [refine_nearest(image, scale) for image in subject.images()], target)


def judge(source: Path, target: Path, scale: Fraction) -> None:
    """As many frames at the same times; at a scale of 2 each colour, or luma, is that of the source pixel."""
    layout = {".mkv": "gray16le", ".avi": "rgb24", ".mp4": "yuv420p"}[source.suffix]
    (old, old_times), (new, new_times) = (decode(path, layout) for path in (source, target))
    assert new_times == pytest.approx(old_times, abs=1e-3)
    assert len(new) == len(old)
    if scale == 2:
        rows = DEEP.shape[1]  # below luma lies chroma
        np.testing.assert_array_equal(np.array(new)[:, 1 : 2 * rows : 2, ::2], np.array(old)[:, :rows])


@pytest.mark.parametrize("make", [grey_avi, colour_avi, deep_mkv, phone_mp4])
def test_adapter_conforms(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    stranger = inputs / "sound.wav"
    stranger.write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(64))
    check_adapter(adapter, [make(inputs)], tmp_path / "work", strangers=[stranger], judge=judge)


def test_a_killed_run_leaves_the_old_video_or_the_new(tmp_path: Path) -> None:
    check_killing(
        Subject(adapter, grey_avi(tmp_path)), tmp_path / "work", "scisr_astronomy.video_adapter:adapter"
    )


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("make", [grey_avi, colour_avi, phone_mp4])
def test_every_container_holds_the_result_without_loss(
    tmp_path: Path, make: Callable[[Path], Path], suffix: str
) -> None:
    source, target = make(tmp_path), tmp_path / f"out{suffix}"
    images = [sciSR.upscale(image, 2, "cubic") for image in adapter.read(source)]
    sciSR.write(images, target)
    luma = np.clip(np.rint(np.asarray(images[0].data)), 0, 255)
    found = np.asarray(adapter.read(target)[0])
    if make is colour_avi:  # R, G, B were rounded, not luma
        np.testing.assert_allclose(found, np.clip(np.asarray(images[0].data), 0, 255), atol=3)
        plain, _ = decode(target, "rgb24")
        coarse = np.array(plain).astype(float).reshape(4, 24, 2, 32, 2, 3).mean(axis=(2, 4))
        inside = (slice(None), slice(8, 16), slice(12, 20))  # away from clipped edges
        np.testing.assert_allclose(coarse[inside][..., 0], BYTES[inside], atol=0.5)
        np.testing.assert_allclose(coarse[inside][..., 2], BYTES[inside] // 3, atol=0.5)
    else:
        np.testing.assert_array_equal(found, luma)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("planes", [1, 3])
def test_the_depth_is_kept(tmp_path: Path, bits: int, planes: int) -> None:
    deep = DEEP >> (16 - bits)
    parts = [[f] if planes == 1 else [f // 2, f // 3, f] for f in deep]
    source = encode(tmp_path / "deep.mkv", parts, f"{'gray' if planes == 1 else 'gbrp'}{bits}le")
    target = upscaled(source, tmp_path / "out.mkv")
    with quiet():
        (again,) = adapter.read(target, channel="Y" if planes == 1 else "R")
    np.testing.assert_array_equal(np.asarray(again)[:, ::2, ::2], deep)
    assert open_video(target).pixel_format == open_video(source).pixel_format


def test_deep_pixels_do_not_fit_mp4_and_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"can't hold gray16le pixels without loss; name the output out\.mkv"
    ):
        upscaled(deep_mkv(tmp_path), tmp_path / "out.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep.mkv"]


@pytest.mark.parametrize("rows", [23, 24])
def test_odd_sizes_of_halved_chroma_are_written(tmp_path: Path, rows: int) -> None:
    frames = BYTES[:, :rows, :31]
    planes = [[x, x[::2, ::2], x[1::2, ::2] if rows == 24 else x[::2, ::2]] for x in frames]
    source = encode(tmp_path / "odd.mkv", planes, "yuv420p")
    target = upscaled(source, tmp_path / "out.mkv", Fraction(3, 2))
    luma, chroma = adapter.read(target)
    assert luma.shape == (4, -(-3 * rows // 2) if rows % 2 else 36, 47)
    assert chroma.shape[2:] == (-(-luma.shape[1] // 2), 24)
    with pytest.raises(UnsupportedError, match="do not fit H\\.264"):
        upscaled(source, tmp_path / "out.mp4", Fraction(3, 2))


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0, 40, 90, 333]
    source = encode(tmp_path / "a.mkv", [[f] for f in BYTES], "gray", times=times, base=Fraction(1, 1000))
    for suffix in (".mkv", ".mp4"):
        file = open_video(upscaled(source, tmp_path / f"out{suffix}"))
        assert [float(file.seconds(t)) for t in range(4)] == pytest.approx(
            [t / 1000 for t in times], abs=1e-3
        )


def test_range_and_tags_are_kept(tmp_path: Path) -> None:
    import av

    source = tmp_path / "tagged.mkv"
    with av.open(str(source), "w") as output:
        output.metadata.update({"title": "Mond", "creation_time": "2026-01-01T20:00:00.000000Z"})
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv444p"
        stream.codec_context.color_range = 2
        for t, luma in enumerate(BYTES):
            frame = av.VideoFrame.from_ndarray(np.stack([luma] * 3), format="yuv444p")
            frame.pts, frame.color_range = t, 2
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    target = upscaled(source, tmp_path / "out.mkv")
    before, after = open_video(source), open_video(target)
    assert (before.full_range, after.full_range) == (True, True)
    assert after.tags["title"] == "Mond"
    starts = [frame.start for frame in adapter.read_frames(target)]
    assert starts[:2] == ["2026-01-01T20:00:00.000000", "2026-01-01T20:00:00.040000"]


def test_avi_can_not_tell_the_range_of_luma_and_that_is_told(tmp_path: Path) -> None:
    planes = [[x, x[:, ::2], x[:, ::2]] for x in BYTES]
    images = adapter.read(encode(tmp_path / "full.avi", planes, "yuvj422p", "mjpeg"))
    with pytest.warns(SciSRWarning, match=r"out\.avi: AVI does not tell .* name the output out\.mkv"):
        adapter.open_writer(tmp_path / "out.avi", images)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SciSRWarning)
        adapter.open_writer(tmp_path / "out.mkv", images)


def test_the_record_lies_beside_the_video(tmp_path: Path) -> None:
    images = [sciSR.upscale(image, 2, "cubic") for image in adapter.read(colour_avi(tmp_path))]
    target = sciSR.write(images, tmp_path / "out.avi")
    record = json.loads(record_path(target).read_text())
    assert record["stored"]["codec"] == "ffv1"
    assert [step.get("part") for step in record["steps"]] == [None, "CbCr"]
    assert adapter.read(target)[0].provenance.steps == tuple(record["steps"])


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (image,) = adapter.read(grey_avi(tmp_path))
    with pytest.raises(UsageError, match=r"out\.gif: is no name of a video"):
        adapter.open_writer(tmp_path / "out.gif", [image])
    with pytest.raises(SciSRError):
        adapter.open_writer(tmp_path / "out.avi", [image, image])
    target = sciSR.write(Image.from_array(DEEP.astype(np.float32)), tmp_path / "memory.mkv")
    np.testing.assert_array_equal(np.asarray(adapter.read(target)[0]), DEEP)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes or numbers of the headers changed, or the file cut; up to three of these."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind, top = rng.randrange(3), min(len(changed), 700)
        if kind == 0:
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(12, top)] = rng.randrange(256)
        elif kind == 1:
            at = rng.randrange(12, top - 4)
            changed[at : at + 4] = rng.choice(
                (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
            )
        else:
            del changed[rng.randrange(100, len(changed)) :]
    return bytes(changed)


def test_no_mutant_raises_anything_else_or_hangs(tmp_path: Path) -> None:
    rng = random.Random(20_260_101)
    sources = [make(tmp_path) for make in (grey_avi, colour_avi, deep_mkv, phone_mp4)]
    refusals, mutants = [], 300
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    for number in range(mutants):
        source = sources[number % len(sources)]
        path = tmp_path / f"mutant{source.suffix}"
        path.write_bytes(mutated(source.read_bytes(), rng))
        signal.alarm(20)
        try:
            with quiet():
                for image in adapter.read(path):
                    assert np.asarray(image).shape == image.shape
        except SciSRError as error:
            refusals.append(str(error))
        finally:
            signal.alarm(0)
    assert 0.1 * mutants < len(refusals) < 0.9 * mutants  # both ways were taken
    assert all("mutant." in text and "\n" not in text for text in refusals)
