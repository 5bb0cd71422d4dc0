"""``scisr upscale clip.ser`` and its like, from the command line to the file, on the sample and on small clips."""

from __future__ import annotations

import functools
import json
import shutil
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


@functools.cache
def scene() -> ModuleType:
    """The script that made the sample, and the clip as it makes it."""
    sys.path.insert(0, str(SAMPLES))
    try:
        import planet
    finally:
        sys.path.remove(str(SAMPLES))
    planet.made = planet.make_planet()
    return planet


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / "planet.ser", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(path: Path | str) -> tuple[tuple[int, ...], bytes, np.ndarray, bytes]:
    """Numbers and texts of a header, frames and trailer, by the layout in the specification alone."""
    content = Path(path).read_bytes()
    numbers = struct.unpack("<7i", content[14:42])
    shape = (numbers[6], numbers[4], numbers[3], *((3,) if numbers[1] >= 100 else ()))
    kind = "u1" if numbers[5] <= 8 else "<u2"
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return (
        numbers,
        content[42:178],
        np.frombuffer(content[178 : 178 + size], kind).reshape(shape),
        content[178 + size :],
    )


def write_ser(path: Path, frames: np.ndarray, color: int = 0) -> Path:
    numbers = (0, color, 0, frames.shape[2], frames.shape[1], 8 * frames.itemsize, len(frames))
    path.write_bytes(struct.pack("<14s7i136s", b"LUCAM-RECORDER", *numbers, bytes(136)) + frames.tobytes())
    return path


def blocks(frames: np.ndarray) -> np.ndarray:
    """Means over 2x2 pixels."""
    count, rows, columns = frames.shape[:3]
    return (
        frames.astype(float)
        .reshape(count, rows // 2, 2, columns // 2, 2, *frames.shape[3:])
        .mean(axis=(2, 4))
    )


def test_every_frame_of_a_clip_is_upscaled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", "planet.ser", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert Path(result["output"]) == Path("planet_x2.ser")
    assert result["parts"][0]["shape_out"] == [32, 128, 128]
    numbers, texts, frames, trailer = parse("planet.ser")
    fine_numbers, fine_texts, fine, fine_trailer = parse("planet_x2.ser")
    assert fine_numbers == (*numbers[:3], 128, 128, *numbers[5:])
    assert fine_texts == texts
    assert fine_trailer == trailer
    # Four pixels rounded to whole steps, for each of the original.
    assert np.abs(blocks(fine) - frames).max() <= 0.5
    assert (
        len(np.unique(fine.reshape(32, -1, 2, 2).std(axis=(2, 3)))) > 100
    )  # and they are not four times the same


def test_a_clip_comes_out_sharper_than_pixels_repeated(folder: Path) -> None:
    """Against the noiseless scene through the same air: the sharpest frame, at its place."""
    from scipy.ndimage import gaussian_filter, shift

    clip = scene().made
    t = int(np.argmin(clip.blur))
    truth = (
        gaussian_filter(shift(clip.fine, 2 * clip.shifts[t], order=3), 2 * clip.blur[t]) + scene().PEDESTAL
    )
    error = {}
    for model in ("auto", "nearest"):
        assert main(["upscale", "planet.ser", "-o", f"{model}.ser", "--model", model]) == 0
        fine = parse(f"{model}.ser")[2][t].astype(float)
        error[model] = np.sqrt(np.mean((fine - truth)[20:108, 20:108] ** 2))
    assert error["auto"] < 0.9 * error["nearest"]


def test_the_sample_is_what_its_script_makes() -> None:
    _, _, frames, _ = parse(SAMPLES / "planet.ser")
    made = scene().made.frames
    # Rounding may fall either way where mathematics libraries differ in the last digit.
    assert np.abs(frames.astype(int) - made).max() <= 1
    assert np.count_nonzero(frames != made) <= 20
    assert (SAMPLES / "planet.ser").stat().st_size < 300_000


def test_colour_is_upscaled_with_the_network_on_luma_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = parse("planet.ser")[2][:3]
    colours = np.stack([levels, levels // 2, levels // 3], axis=-1)
    write_ser(folder / "colour.ser", colours, 100)
    assert main(["upscale", "colour.ser", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert [part["part"] for part in result["parts"]] == ["Y", "CbCr"]
    assert "weights_sha256" in result["parts"][0]
    assert result["parts"][1]["model"] == "cubic"
    fine = parse("colour_x2.ser")[2]
    bright = levels > 500  # where nothing was clipped at zero
    assert np.abs(blocks(fine) - colours)[bright].max() <= 0.51


def test_one_channel_can_be_chosen(folder: Path) -> None:
    levels = parse("planet.ser")[2][:2]
    write_ser(folder / "colour.ser", np.stack([levels, levels // 2, levels // 3], axis=-1), 100)
    assert main(["upscale", "colour.ser", "--channel", "G", "--model", "linear"]) == 0
    numbers, _, fine, _ = parse("colour_x2.ser")
    assert numbers[1] == 0
    assert np.abs(blocks(fine) - levels // 2).max() <= 0.5


def test_clips_of_several_formats_are_one_batch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av")
    levels = (parse("planet.ser")[2][:4] >> 4).astype(np.uint8)
    with av.open("planet.avi", "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "gray"
        for frame in levels:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        output.mux(stream.encode(None))
    (folder / "broken.ser").write_bytes((folder / "planet.ser").read_bytes()[:150])
    words = "planet.ser planet.avi broken.ser --model cubic --out-dir hr --json"
    assert main(["upscale", *words.split()]) == 4
    good, video, broken = json.loads(capsys.readouterr().out)["results"]
    assert (good["format"], video["format"], broken["ok"]) == ("ser", "video", False)
    with av.open("hr/planet_x2.avi") as container:
        fine = np.array([frame.to_ndarray() for frame in container.decode(video=0)])
    assert np.abs(blocks(fine) - levels).max() <= 0.5
    assert sorted(p.name for p in (folder / "hr").iterdir()) == [
        "planet_x2.avi",
        "planet_x2.avi.provenance.json",
        "planet_x2.ser",
        "planet_x2.ser.provenance.json",
    ]


def test_info_tells_what_a_clip_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "planet.ser", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["adapter"], found["frames"], found["bits"]) == ("ser", 32, 12)
    assert (found["start"], found["end"]) == ("2026-01-01T00:00:00.0000000", "2026-01-01T00:00:00.6200000")
    assert found["telescope"] == "simulated 200 mm telescope"


def test_a_clip_never_becomes_another_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", "planet.ser", "-o", "planet.fits"]) == 2
    assert "a ser input can't become a fits output" in capsys.readouterr().err
