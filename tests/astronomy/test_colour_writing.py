"""Pictures come back as pictures: same bits, rounded and clipped but never wrapped around, with what they carried."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from colour_samples import exif_bytes, opacity, png_bytes, png_chunk, read_png_16, scene
from PIL import Image as Pillow
from PIL import PngImagePlugin

import sciSR
from sciSR.cli.main import main
from sciSR.errors import SciSRWarning, UsageError
from sciSR.testing import Subject, check_adapter
from sciSR.testing.killing import check_killing
from sciSR.workflow.run import upscale_file
from scisr_astronomy.picture_adapter import adapter

NETWORK = "espcn-astro-x2"


def means(fine: np.ndarray, scale: int = 2) -> np.ndarray:
    rows, columns = fine.shape[0] // scale, fine.shape[1] // scale
    return fine.reshape(rows, scale, columns, scale, -1).astype(np.float64).mean((1, 3))


def pixels_of(path: Path) -> np.ndarray:
    """Pixels as another reader than ours gives them, ``[rows, columns, channels]``."""
    if path.suffix == ".tif":
        pixels = tifffile.imread(path)
    else:
        deep = path.read_bytes()[24] == 16
        with Pillow.open(path) as picture:
            pixels = read_png_16(path) if deep else np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def chunks_of(path: Path) -> list[tuple[str, bytes]]:
    content, at, out = path.read_bytes(), 8, []
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        out.append((content[at + 4 : at + 8].decode(), content[at + 8 : at + 8 + length]))
        at += 12 + length
    return out


def make(folder: Path, kind: str) -> Path:
    """A picture of a kind, by other software than ours."""
    path = folder / f"{kind}.{'tif' if kind.startswith('tiff') else 'jpg' if kind == 'jpeg' else 'png'}"
    deep = scene(23, 20, top=65535)
    if kind == "png16":
        path.write_bytes(png_bytes(deep, 2))
    elif kind == "png_alpha16":
        path.write_bytes(png_bytes(np.concatenate([deep, opacity(23, 20, 65535)], axis=-1), 6))
    elif kind == "tiff16_pages":
        with tifffile.TiffWriter(path) as writer:
            for channel in range(2):
                writer.write(deep[..., channel], photometric="minisblack")
    elif kind == "tiff_float":
        tifffile.imwrite(path, (deep / 65535).astype(np.float32), photometric="rgb")
    elif kind == "tiff_tiles":
        tifffile.imwrite(path, deep, photometric="rgb", tile=(16, 16), compression="zlib", byteorder=">")
    elif kind == "tiff_alpha":
        pixels = np.concatenate([scene(23, 20), opacity(23, 20)], axis=-1)
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["assocalpha"])
    else:
        pixels = scene(23, 20)
        Pillow.fromarray(pixels[..., 0] if kind == "png_grey" else pixels).save(path)
    return path


KINDS = ("png", "png_grey", "png_alpha16", "tiff16_pages", "tiff_float", "tiff_tiles", "tiff_alpha", "jpeg")


@pytest.mark.parametrize("kind", KINDS)
def test_the_adapter_keeps_all_promises(tmp_path: Path, kind: str) -> None:
    (tmp_path / "work").mkdir()
    check_adapter(adapter, [make(tmp_path, kind)], tmp_path / "work")


@pytest.mark.slow
def test_a_kill_leaves_the_old_picture_or_the_new_one(tmp_path: Path) -> None:
    subject = Subject(adapter, make(tmp_path, "png16"))
    check_killing(subject, tmp_path / "work", "scisr_astronomy.picture_adapter:adapter")


@pytest.mark.parametrize("model", [NETWORK, "cubic"])
@pytest.mark.parametrize("kind", ["png", "png16", "png_grey", "tiff_tiles", "tiff_float"])
def test_each_channel_keeps_its_means_to_the_rounding(tmp_path: Path, kind: str, model: str) -> None:
    path = make(tmp_path, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        outcome = upscale_file(path, scale=2, model=model)
    coarse, fine = pixels_of(path), pixels_of(outcome.output)
    assert outcome.output.name == f"{kind}_x2{path.suffix}"
    assert fine.dtype.itemsize == coarse.dtype.itemsize
    assert fine.dtype.kind == coarse.dtype.kind
    half = 0 if fine.dtype.kind == "f" else 0.5
    difference = np.abs(means(fine) - coarse)
    if half:  # where nothing was clipped; there, the mean can only have moved inwards
        top = np.iinfo(coarse.dtype).max
        ends = fine.reshape(coarse.shape[0], 2, coarse.shape[1], 2, -1)
        difference = difference[~((ends == 0) | (ends == top)).any(axis=(1, 3))]
        assert difference.size > 400
    assert difference.max() <= half + 1e-5 * max(1, coarse.max() / 255)
    assert outcome.parts[0].step["agreement"]["max_relative_to_range"] < 1e-6


def test_values_beyond_the_range_are_clipped_counted_and_told(tmp_path: Path) -> None:
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[8:16, 8:16] = 255
    path = tmp_path / "square.png"
    Pillow.fromarray(pixels).save(path)
    with pytest.warns(SciSRWarning, match=r"square_x2\.png: \d+ values lay outside"):
        outcome = upscale_file(path, scale=2, model="cubic")
    fine = pixels_of(outcome.output)
    # Wrapped around, the overshoot beside an edge would be black in white and white in black.
    assert fine[17:31, 17:31].min() > 200
    assert fine[:14].max() < 60
    exact = np.asarray(sciSR.upscale(sciSR.read(path), 2, "cubic").data)
    expected = np.count_nonzero((np.rint(exact) < 0) | (np.rint(exact) > 255))
    written = sciSR.read(outcome.output).provenance.steps[-1]
    assert expected > 0
    assert written["step"] == "write"
    assert written["clipped_values"] == expected


def test_the_record_comes_back_with_the_picture(tmp_path: Path) -> None:
    path = make(tmp_path, "png")
    outcome = upscale_file(path, scale=2, model=NETWORK)
    again = sciSR.read(outcome.output)
    steps = {step["step"]: step for step in again.provenance.steps}
    assert steps["read"]["input_sha256"] == outcome.input_sha256
    assert steps["upscale"]["colour"] == {
        "transform": "YUV (BT.601)",
        "luminance": NETWORK,
        "chroma": "cubic",
    }
    assert again.grid.world(np.array([0.5, 0.5, 0.0])) == pytest.approx([0, 0, 0])
    cropped = tmp_path / "cropped.png"
    with Pillow.open(outcome.output) as picture:
        info = PngImagePlugin.PngInfo()
        for keyword, text in picture.text.items():
            info.add_itxt(keyword, text)
        picture.crop((4, 4, 20, 20)).save(cropped, pnginfo=info)
    assert sciSR.read(cropped).provenance.steps == ()  # a record of other pixels is not believed


def test_opacity_is_repeated_and_clear_pixels_leak_nowhere(tmp_path: Path) -> None:
    results = []
    for rubbish in (0, 60_000):
        pixels = np.concatenate([scene(23, 20, top=65535), opacity(23, 20, 65535)], axis=-1)
        pixels[:5, :6, :3] = rubbish
        path = tmp_path / f"clear{rubbish}.png"
        path.write_bytes(png_bytes(pixels, 6))
        results.append(pixels_of(upscale_file(path, scale=2, model=NETWORK).output))
        assert np.array_equal(results[-1][..., 3], np.repeat(np.repeat(pixels[..., 3], 2, 0), 2, 1))
        assert np.all(results[-1][:10, :12, :3] == rubbish)
    good = results[0][..., 3] > 0
    assert np.array_equal(results[0][good], results[1][good])


def test_a_coarser_picture_keeps_its_opacity_too(tmp_path: Path) -> None:
    path = make(tmp_path, "tiff_alpha")  # 23 x 20: a last row fills no coarse pixel
    low = sciSR.degrade(sciSR.read(path), scale=2)
    written = pixels_of(sciSR.write(low, tmp_path / "low.tif"))
    assert written.shape == (11, 10, 4)
    assert np.array_equal(written[..., 3], opacity(23, 20)[1:22:2, 1::2, 0])


def test_what_a_png_carries_is_carried_over(tmp_path: Path) -> None:
    before = b"".join(
        (
            png_chunk(b"gAMA", struct.pack(">I", 45455)),
            png_chunk(b"iCCP", b"name\0\0" + zlib.compress(b"profile" * 40)),
            png_chunk(b"pHYs", struct.pack(">IIB", 1000, 2000, 1)),
            png_chunk(b"sCAL", b"\1" + b"5.0\0" + b"3.0"),
            png_chunk(b"tIME", bytes(7)),
            png_chunk(b"tEXt", b"Author\0Cassini"),
            png_chunk(b"eXIf", exif_bytes(20, 23)),
            png_chunk(b"prVt", b"safe to copy"),
            png_chunk(b"prVT", b"tied to the pixels"),
        )
    )
    path = tmp_path / "moon.png"
    path.write_bytes(
        png_bytes(scene(23, 20), 2, before=before, after=png_chunk(b"iTXt", b"Title\0\0\0\0\0Mond"))
    )
    with pytest.warns(SciSRWarning, match="chunks prVT are not carried over"):
        outcome = upscale_file(path, scale=2, model="cubic")
    found = dict(chunks_of(outcome.output))
    assert found["gAMA"] == struct.pack(">I", 45455)
    assert zlib.decompress(found["iCCP"][6:]) == b"profile" * 40
    assert found["pHYs"] == struct.pack(">IIB", 2000, 4000, 1)
    assert found["sCAL"] == b"\1" + b"2.5\0" + b"1.5"
    assert found["tEXt"] == b"Author\0Cassini"
    assert found["prVt"] == b"safe to copy"
    assert "tIME" not in found
    with Pillow.open(outcome.output) as picture:
        assert picture.text["Title"] == "Mond"
        exif = picture.getexif()
        assert float(exif[0x011A]) == 144
        assert dict(exif.get_ifd(0x8769)) == {0xA002: 40, 0xA003: 46}


def test_what_a_tiff_carries_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "moon.tif"
    tags = [(315, 2, 0, "Cassini", True), (306, 2, 0, "2004:07:01 00:00:00", True), (65000, 3, 1, 5, True)]
    tifffile.imwrite(
        path,
        scene(23, 20),
        photometric="rgb",
        resolution=(300, 150),
        description="Titan",
        metadata=None,
        iccprofile=b"profile" * 40,
        extratags=tags,
    )
    with pytest.warns(SciSRWarning, match="tags 65000 are not carried over"):
        outcome = upscale_file(path, scale=2, model="cubic")
    with tifffile.TiffFile(outcome.output) as file:
        found = {tag.code: tag.value for tag in file.pages[0].tags.values()}
        assert file.pages[0].iccprofile == b"profile" * 40
    assert (found[270], found[315], found[306]) == ("Titan", "Cassini", "2004:07:01 00:00:00")
    assert (found[282], found[283]) == ((600, 1), (300, 1))
    assert found[305].startswith("sciSR")
    assert json.loads(found[65024])["pages"][0]["shape"] == [46, 40]


def test_a_description_that_counts_the_old_pixels_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, scene(23, 20)[..., 0], photometric="minisblack", metadata={"axes": "YX"}, ome=True)
    with pytest.warns(SciSRWarning, match=r"ImageDescription \(OME\)"):
        outcome = upscale_file(path, scale=2, model="nearest")
    with tifffile.TiffFile(outcome.output) as file:
        assert 270 not in file.pages[0].tags
    tifffile.imwrite(tmp_path / "shaped.tif", scene(23, 20), photometric="rgb")
    assert 270 not in [tag[0] for tag in sciSR.read(tmp_path / "shaped.tif").metadata.page.native.tags]


def test_a_png_can_become_a_tiff_and_a_tiff_a_png(tmp_path: Path) -> None:
    png = tmp_path / "moon.png"
    Pillow.fromarray(scene(23, 20)).save(png, dpi=(254, 254), icc_profile=b"profile" * 40)
    tiff = upscale_file(png, tmp_path / "a.tif", scale=2, model="cubic").output
    with tifffile.TiffFile(tiff) as file:
        page = file.pages[0]
        assert page.iccprofile == b"profile" * 40
        assert page.tags[282].value[0] / page.tags[282].value[1] == pytest.approx(200)
        assert page.tags[296].value == 3
    back = upscale_file(tiff, tmp_path / "b.png", scale=1.5, model="cubic").output
    with Pillow.open(back) as picture:
        assert picture.size == (60, 69)
        assert picture.info["icc_profile"] == b"profile" * 40
        assert picture.info["dpi"] == pytest.approx((762, 762), rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("png", ".png"), ("png16", ".png"), ("png", ".tif"), ("tiff_float", ".tif")]
)
@pytest.mark.parametrize("depth", ["8", "16", "float"])
def test_the_depth_can_be_chosen(tmp_path: Path, kind: str, suffix: str, depth: str) -> None:
    path = make(tmp_path, kind)
    target = tmp_path / f"out{suffix}"
    options: dict[str, Any] = {"scale": 2, "model": "nearest", "options": {"depth": depth}}
    if depth == "float" and suffix == ".png":
        with pytest.raises(UsageError, match=r"not float32; give a name in \.tif"):
            upscale_file(path, target, **options)
        return
    fine, coarse = pixels_of(upscale_file(path, target, **options).output), pixels_of(path)
    expected = np.repeat(np.repeat(coarse, 2, 0), 2, 1).astype(np.float64)
    if depth == "float" or coarse.dtype.kind == "f":
        factor = 1.0
    else:
        factor = (255 if depth == "8" else 65535) / np.iinfo(coarse.dtype).max
    assert fine.dtype == {"8": np.uint8, "16": np.uint16, "float": np.float32}[depth]
    assert np.abs(fine - expected * factor).max() <= (0.5 if depth != "float" else 0)


def test_arrays_become_pictures_where_they_fit(tmp_path: Path) -> None:
    pixels = scene(12, 10)
    image = sciSR.Image(data=pixels, axes=("y", "x", "rgb"), spatial=("y", "x"))
    assert np.array_equal(pixels_of(sciSR.write(image, tmp_path / "a.png")), pixels)
    assert np.array_equal(pixels_of(sciSR.write(image, tmp_path / "a.tif")), pixels)
    floats = image.replace(data=pixels.astype(np.float32) / 3)
    assert np.array_equal(pixels_of(sciSR.write(floats, tmp_path / "f.tif")), pixels.astype(np.float32) / 3)
    with pytest.raises(UsageError, match="PNG holds whole numbers"):
        sciSR.write(floats, tmp_path / "f.png")
    cube = sciSR.Image.from_array(np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(UsageError, match="three colours along an axis 'rgb'"):
        sciSR.write(cube, tmp_path / "cube.tif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.tif", "f.tif"]


def test_not_a_number_is_not_written_as_a_number_in_silence(tmp_path: Path) -> None:
    values = np.full((6, 5), 10.0, np.float32)
    values[2, 3] = np.nan
    with pytest.warns(SciSRWarning, match="1 values lay outside"):
        sciSR.write(sciSR.Image.from_array(values), tmp_path / "a.png", depth="8")


def test_whole_numbers_of_32_bits_become_floating_point(tmp_path: Path) -> None:
    path = tmp_path / "counts.tif"
    tifffile.imwrite(
        path, scene(12, 10, top=65535)[..., 0].astype(np.uint32) * 1000, photometric="minisblack"
    )
    result = upscale_file(path, scale=2, model="nearest").output
    assert tifffile.imread(result).dtype == np.float32


def test_jpeg_becomes_png(tmp_path: Path) -> None:
    path = make(tmp_path, "jpeg")
    with pytest.warns(SciSRWarning, match="JPEG is lossy"):
        outcome = upscale_file(path, scale=2, model="cubic")
    assert outcome.output.name == "jpeg_x2.png"
    assert pixels_of(outcome.output).shape == (46, 40, 3)


def test_the_command_line_upscales_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, "png16")
    assert main(["upscale", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["results"][0]
    assert document["format"] == "picture"
    assert document["parts"][0]["colour"]["chroma"] == "cubic"
    assert (tmp_path / "png16_x2.png").exists()


def test_importing_the_adapter_imports_no_decoder() -> None:
    code = (
        "import sys, scisr_astronomy.picture_adapter; print('PIL' in sys.modules, 'tifffile' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False", "False"]
