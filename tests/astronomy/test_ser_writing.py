"""Upscaled clips are proper SER files: judged by a parser of our own hand, by Siril, and by the conformance suite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from ser_samples import TICKS_2014, mosaic, parse_ser, planet, write_ser

import sciSR
from sciSR.errors import SciSRError, UsageError
from sciSR.image import Image
from sciSR.testing import Subject, check_adapter, refine_nearest, write_images
from sciSR.testing.killing import check_killing
from scisr_astronomy.clip_record import record_path
from scisr_astronomy.ser_adapter import adapter

LEVELS = planet(peak=3000)
TICKS = [TICKS_2014 + 200_000 * k for k in range(4)]


def mono(folder: Path, **fields: object) -> Path:
    return write_ser(folder / "mono.ser", LEVELS, **({"depth": 12, "ticks": TICKS} | fields))


def bytes_only(folder: Path) -> Path:
    return write_ser(folder / "bytes.ser", (LEVELS >> 4).astype(np.uint8))


def big_endian(folder: Path) -> Path:
    return write_ser(folder / "big.ser", planet(peak=60_000), flag=1, order=">")


def rgb(folder: Path) -> Path:
    return write_ser(folder / "rgb.ser", np.stack([LEVELS, LEVELS // 2, LEVELS // 3], axis=-1), color=100)


def bgr(folder: Path) -> Path:
    eight = (LEVELS >> 4).astype(np.uint8)
    return write_ser(folder / "bgr.ser", np.stack([eight // 3, eight // 2, eight], axis=-1), color=101)


def upscaled(path: Path, target: Path, scale: int = 2, **options: str) -> Path:
    subject = Subject(adapter, path, write=options)
    return write_images(
        subject, [refine_nearest(image, Fraction(scale)) for image in subject.images()], target
    )


def judge(source: Path, target: Path, scale: Fraction) -> None:
    old, new = parse_ser(source), parse_ser(target)
    assert (new["width"], new["height"]) == (old["width"] * scale, old["height"] * scale)
    same = (
        "magic",
        "lu_id",
        "color",
        "depth",
        "count",
        "observer",
        "instrument",
        "telescope",
        "local",
        "utc",
        "ticks",
    )
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert new["flag"] == 0
    if scale == 2:
        stored = old["frames"] if old["flag"] == 0 else old["frames"].byteswap()
        np.testing.assert_array_equal(new["frames"][:, 1::2, ::2], stored)


@pytest.mark.parametrize("make", [mono, bytes_only, big_endian, rgb, bgr])
def test_adapter_conforms(tmp_path: Path, make: object) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    stranger = inputs / "notes.txt"
    stranger.write_text("LUCAM notes, no recorder")
    check_adapter(adapter, [make(inputs)], tmp_path / "work", strangers=[stranger], judge=judge)


def test_a_killed_run_leaves_the_old_clip_or_the_new(tmp_path: Path) -> None:
    check_killing(Subject(adapter, rgb(tmp_path)), tmp_path / "work", "scisr_astronomy.ser_adapter:adapter")


def test_super_pixels_of_a_mosaic_become_an_rgb_clip(tmp_path: Path) -> None:
    scene = np.stack([LEVELS, LEVELS // 2, LEVELS // 3], axis=-1)
    path = write_ser(tmp_path / "bayer.ser", mosaic(scene, "GRBG"), color=9, depth=12, ticks=TICKS)
    found = parse_ser(upscaled(path, tmp_path / "out.ser"))
    assert (found["color"], found["width"], found["height"], found["ticks"]) == (100, 32, 24, TICKS)
    np.testing.assert_array_equal(found["frames"][:, ::2, ::2, 0], LEVELS[:, ::2, 1::2])
    np.testing.assert_array_equal(found["frames"][:, ::2, ::2, 2], LEVELS[:, 1::2, ::2] // 3)


def test_one_channel_of_colour_becomes_a_monochrome_clip(tmp_path: Path) -> None:
    (image,) = adapter.read(rgb(tmp_path), channel="G")
    target = sciSR.write(sciSR.upscale(image, 2, "nearest"), tmp_path / "green.ser")
    found = parse_ser(target)
    assert found["color"] == 0
    np.testing.assert_array_equal(found["frames"][:, ::2, ::2], LEVELS // 2)


def test_sixteen_bits_keep_fractions_of_the_inputs_steps(tmp_path: Path) -> None:
    (image,) = adapter.read(bytes_only(tmp_path))
    fine = sciSR.upscale(image, 2, "cubic")
    kept = parse_ser(sciSR.write(fine, tmp_path / "kept.ser"))
    wide = parse_ser(sciSR.write(fine, tmp_path / "wide.ser", depth="16"))
    assert (kept["depth"], wide["depth"]) == (8, 16)
    exact = np.asarray(fine.data)
    assert np.abs(kept["frames"] - np.clip(exact, 0, 255)).max() == pytest.approx(0.5, abs=0.01)
    assert np.abs(wide["frames"] / 256 - np.clip(exact, 0, 255.99)).max() < 0.5 / 256 + 1e-4
    record = json.loads(record_path(tmp_path / "wide.ser").read_text())
    assert record["stored"]["multiplied_by"] == 256


def test_values_are_rounded_and_clipped_and_the_clipped_are_counted(tmp_path: Path) -> None:
    (image,) = adapter.read(mono(tmp_path))
    data = np.zeros(image.shape, np.float32)
    data[0, 0, :5] = [-3.0, 4095.4, 4097.0, 12.5001, np.nan]
    found = parse_ser(sciSR.write(image.replace(data=data), tmp_path / "out.ser"))
    np.testing.assert_array_equal(found["frames"][0, 0, :5], [0, 4095, 4095, 13, 0])
    assert json.loads(record_path(tmp_path / "out.ser").read_text())["stored"]["clipped_values"] == 2


def test_pixels_that_fill_the_high_bits_fill_all_of_them(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "left.ser", LEVELS << 4, depth=12)
    found = parse_ser(upscaled(path, tmp_path / "out.ser"))
    assert found["depth"] == 16
    np.testing.assert_array_equal(found["frames"][:, ::2, ::2], LEVELS << 4)


# -- the record ------------------------------------------------------------------------------------------------------


def test_the_record_lies_beside_the_clip_and_is_read_again(tmp_path: Path) -> None:
    import hashlib

    (image,) = adapter.read(mono(tmp_path))
    target = sciSR.write(sciSR.upscale(image, 2, "cubic"), tmp_path / "out.ser")
    record = json.loads((tmp_path / "out.ser.provenance.json").read_text())
    assert record["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    (again,) = adapter.read(target)
    assert [step["model"] for step in again.provenance.steps] == ["cubic"]
    assert again.provenance.steps == tuple(record["steps"])
    twice = sciSR.write(sciSR.upscale(again, 2, "linear"), tmp_path / "twice.ser")
    (last,) = adapter.read(twice)
    assert [step["model"] for step in last.provenance.steps] == ["cubic", "linear"]
    np.testing.assert_allclose(last.grid.world(np.array([0.0, 1.5, 5.5])), [0, 0, 1], atol=1e-12)


def test_luma_and_chroma_are_told_apart_in_the_record(tmp_path: Path) -> None:
    images = [sciSR.upscale(image, 2, "cubic") for image in adapter.read(rgb(tmp_path))]
    sciSR.write(images, tmp_path / "out.ser")
    steps = json.loads(record_path(tmp_path / "out.ser").read_text())["steps"]
    assert [step.get("part") for step in steps] == [None, "CbCr"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"bytes": 1}', '{"bytes": SIZE, "steps": 3, "places": {}}',
                                     '{"bytes": SIZE, "steps": [], "places": {"": [[0, 0], [1, 0]]}}',
                                     '{"bytes": SIZE, "steps": [{"x": NaN}], "places": {}}'])  # fmt: skip
def test_a_record_that_is_damaged_or_of_another_file_is_not_believed(tmp_path: Path, content: str) -> None:
    path = mono(tmp_path)
    record_path(path).write_text(content.replace("SIZE", str(path.stat().st_size)))
    (image,) = adapter.read(path)
    assert image.provenance.steps == ()
    np.testing.assert_array_equal(np.asarray(image), LEVELS)


def test_a_stale_record_is_in_the_way_like_a_stale_clip(tmp_path: Path) -> None:
    path = mono(tmp_path)
    record_path(tmp_path / "out.ser").write_text("{}")
    with pytest.raises(UsageError, match=r"out\.ser\.provenance\.json: exists already"):
        upscaled(path, tmp_path / "out.ser")
    assert not (tmp_path / "out.ser").exists()


def test_a_clip_that_appears_meanwhile_keeps_its_record(tmp_path: Path) -> None:
    (image,) = adapter.read(mono(tmp_path))
    result = refine_nearest(image, Fraction(2))
    with adapter.open_writer(tmp_path / "out.ser", [result]) as writer:
        writer.put(0, (slice(None),) * 3, np.asarray(result))
        (tmp_path / "out.ser").write_bytes(b"theirs")
        with pytest.raises(UsageError, match="appeared"):
            writer.commit([result])
    assert (tmp_path / "out.ser").read_bytes() == b"theirs"
    assert sorted(os.listdir(tmp_path)) == ["mono.ser", "out.ser"]


# -- what can't be a clip --------------------------------------------------------------------------------------------


def test_images_that_make_no_clip_are_refused(tmp_path: Path) -> None:
    (image,) = adapter.read(mono(tmp_path))
    luma, chroma = adapter.read(rgb(tmp_path))
    for images in ([image, image], [chroma], [chroma, luma], []):
        with pytest.raises(SciSRError, match=r"out\.ser"):
            adapter.open_writer(tmp_path / "out.ser", images)
    assert not list(tmp_path.glob("*out.ser*"))


def test_an_image_made_in_memory_becomes_a_clip_of_one_frame(tmp_path: Path) -> None:
    target = sciSR.write(Image.from_array(LEVELS[0].astype(np.float32)), tmp_path / "one.ser")
    found = parse_ser(target)
    assert (found["count"], found["depth"], found["ticks"]) == (1, 16, [])
    np.testing.assert_array_equal(found["frames"][0], LEVELS[0])


def test_half_a_clip_is_not_committed(tmp_path: Path) -> None:
    (image,) = adapter.read(mono(tmp_path))
    with adapter.open_writer(tmp_path / "out.ser", [image]) as writer:
        writer.put(0, (0, slice(None), slice(None)), LEVELS[0])
        with pytest.raises(UsageError, match="only part of the image was written"):
            writer.commit([image])
    assert os.listdir(tmp_path) == ["mono.ser"]


# -- an outside judge ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("siril-cli") is None, reason="siril is not installed")
def test_siril_reads_the_same_pixels_colours_and_times(tmp_path: Path) -> None:
    from astropy.io import fits

    work = tmp_path / "work"
    for make in (mono, bytes_only, rgb, bgr):
        source = make(tmp_path)
        images = [sciSR.upscale(image, 2, "cubic") for image in adapter.read(source)]
        work.mkdir(exist_ok=True)
        sciSR.write(images, work / source.name)
    names = ("mono", "bytes", "rgb", "bgr")
    stacks = "".join(f"stack {name} median -nonorm -out={name}.fit\n" for name in names)
    (work / "judge.ssf").write_text(f"requires 1.0.0\nset32bits\n{stacks}")
    done = subprocess.run(
        ["siril-cli", "-s", work / "judge.ssf", "-d", work],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-800:]
    for name in names:
        stored = parse_ser(work / f"{name}.ser")["frames"]
        wanted = np.median(stored.astype(float), axis=0)
        wanted = np.moveaxis(wanted, -1, 0)[:: -1 if name == "bgr" else 1] if wanted.ndim == 3 else wanted
        # Siril's FITS files begin with the lowest row.
        found = fits.getdata(work / f"{name}.fit").astype(float)[..., ::-1, :] * 65535
        np.testing.assert_allclose(found, wanted, atol=0.01)
    assert fits.getheader(work / "mono.fit")["DATE-OBS"].startswith("2014-02-06T12:00:00")
