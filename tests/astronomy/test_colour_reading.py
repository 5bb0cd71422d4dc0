"""Pictures are read as they are stored; what is damaged, huge or strange is refused in one line."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from colour_samples import exif_bytes, opacity, png_bytes, png_chunk, scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import sciSR
from sciSR.errors import SciSRError, SciSRWarning, UnreadableError, UnsupportedError, UsageError
from scisr_astronomy.picture_adapter import adapter

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("top", [255, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_png_is_read_to_the_bit(
    tmp_path: Path, channels: int, top: int, interlaced: bool
) -> None:
    colours = 3 if channels > 2 else 1
    parts = [scene(channels=colours, top=top)] + ([opacity(top=top)] if channels in (2, 4) else [])
    pixels = np.concatenate(parts, axis=-1)
    path = tmp_path / "moon.png"
    path.write_bytes(png_bytes(pixels, COLOUR_TYPES[channels], interlaced=interlaced, paeth=not interlaced))
    image = sciSR.read(path)
    assert image.axes == (("y", "x", "rgb") if colours == 3 else ("y", "x"))
    assert image.dtype == pixels.dtype
    expected = pixels[..., :colours] if colours == 3 else pixels[..., 0]
    assert np.array_equal(np.asarray(image), expected)
    if channels in (2, 4):
        clear = np.asarray(image.mask[(slice(None),) * len(image.shape)])
        assert np.array_equal(clear[..., 0] if colours == 3 else clear, pixels[..., -1] == 0)
    else:
        assert image.mask is None


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    picture = Pillow.fromarray(scene()).quantize(16)
    picture.save(path)
    assert np.array_equal(np.asarray(sciSR.read(path)), np.asarray(picture.convert("RGB")))


def test_a_transparent_colour_is_bad(tmp_path: Path) -> None:
    pixels = scene()
    pixels[3:5, 4:9] = (1, 2, 3)
    path = tmp_path / "key.png"
    path.write_bytes(png_bytes(pixels, 2, before=png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    mask = np.asarray(sciSR.read(path).mask[:, :, 1])
    assert mask.sum() == 10
    assert mask[3:5, 4:9].all()


RGB8, RGB16 = scene(), scene(top=65535)
TIFFS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "u8": (RGB8, {}),
    "u16": (RGB16, {}),
    "f32": (RGB16.astype(np.float32) / 7, {}),
    "f64": (RGB16.astype(np.float64) / 7, {}),
    "i16": ((RGB16 // 3).astype(np.int16), {}),
    "grey": (RGB16[..., 0], {}),
    "tiles": (RGB16, {"tile": (16, 32)}),
    "deflate": (RGB16, {"compression": "zlib", "rowsperstrip": 7}),
    "difference": (RGB16, {"compression": "zlib", "predictor": True, "rowsperstrip": 7}),
    "tiles_deflate": (RGB8, {"tile": (32, 16), "compression": "zlib"}),
    "separate": (np.ascontiguousarray(np.moveaxis(RGB16, 2, 0)), {"planarconfig": "separate"}),
    "separate_deflate": (
        np.ascontiguousarray(np.moveaxis(RGB8, 2, 0)),
        {"planarconfig": "separate", "compression": "zlib", "tile": (16, 16)},
    ),
}


def write_tiff(path: Path, name: str, **more: Any) -> np.ndarray:
    pixels, options = TIFFS[name]
    kind = "minisblack" if pixels.ndim == 2 else "rgb"
    tifffile.imwrite(path, pixels, photometric=kind, **options, **more)
    return np.moveaxis(pixels, 0, 2) if name.startswith("separate") else pixels


@pytest.mark.parametrize("more", [{}, {"bigtiff": True}, {"byteorder": ">"}], ids=["plain", "big", "swapped"])
@pytest.mark.parametrize("name", sorted(TIFFS))
def test_every_kind_of_tiff_is_read_to_the_bit(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    path = tmp_path / "moon.tif"
    expected = write_tiff(path, name, **more)
    image = sciSR.read(path)
    assert image.dtype == expected.dtype
    assert np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("pixels", [RGB8, RGB16[..., 0]], ids=["rgb8", "grey16"])
def test_what_libtiff_compressed_is_read(tmp_path: Path, pixels: np.ndarray, compression: str) -> None:
    path = tmp_path / "moon.tif"
    Pillow.fromarray(pixels).save(path, compression=compression)
    assert np.array_equal(np.asarray(sciSR.read(path)), pixels)


def test_floats_sorted_by_significance_are_read(tmp_path: Path) -> None:
    # Predictor 3, done by hand: bytes of a row by significance, then differences.
    values = np.random.default_rng(3).normal(100, 30, (9, 14)).astype(">f4")
    rows = values.view(np.uint8).reshape(9, 14, 4).transpose(0, 2, 1).reshape(9, 56)
    steps = np.diff(rows, axis=1, prepend=np.zeros((9, 1), np.uint8))
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, values.astype("<f4"), photometric="minisblack")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        at, place = page.dataoffsets[0], page.tags
        content[at : at + 504] = steps.tobytes()
        assert 317 not in place
        unused = place[
            305
        ].offset  # the entry of Software becomes that of the predictor, which must come after it
    struct.pack_into("<HHIHH", content, unused, 317, 3, 1, 3, 0)
    path.write_bytes(content)
    assert np.array_equal(np.asarray(sciSR.read(path)), values.astype(np.float32))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["tiles", "deflate", "separate_deflate", "u16"]))
def test_a_region_equals_the_same_part_of_the_whole(tmp_path: Path, data: Any, name: str) -> None:
    path = tmp_path / f"{name}.tif"
    expected = write_tiff(path, name)
    image = sciSR.read(path)
    index = tuple(
        data.draw(st.one_of(st.integers(-n, n - 1), st.builds(slice, st.integers(0, n), st.integers(0, n))))
        for n in expected.shape
    )
    assert np.array_equal(image.data[index], expected[index])


def test_a_region_of_a_large_tiff_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "mosaic.tif"
    tifffile.imwrite(path, shape=(8000, 8000), dtype="uint16", photometric="minisblack", tile=(256, 256))
    image = sciSR.read(path)
    tracemalloc.start()
    try:
        assert image.data[4000:4100, 10:20].shape == (100, 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6


def test_pages_are_images_and_thumbnails_are_none(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as writer:
        for channel in range(3):
            writer.write(RGB8[..., channel], photometric="minisblack")
        writer.write(RGB8[::4, ::4, 0], photometric="minisblack", subfiletype=1)
    images = sciSR.read_all(path)
    assert [image.part for image in images] == ["0", "1", "2"]
    assert all(np.array_equal(np.asarray(image), RGB8[..., k]) for k, image in enumerate(images))


def test_opacity_of_a_tiff_is_kept_apart_and_other_channels_are_dropped(tmp_path: Path) -> None:
    pixels = np.concatenate([RGB8, opacity()], axis=-1)
    for kind, known in (("unassalpha", True), ("unspecified", False)):
        path = tmp_path / f"{kind}.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[kind])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image = sciSR.read(path)
        assert np.array_equal(np.asarray(image), RGB8)
        assert (image.mask is not None) == known
        assert any("dropped" in str(w.message) for w in caught) != known


def test_white_as_zero_is_read_with_black_as_zero(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    tifffile.imwrite(path, RGB8[..., 0], photometric="miniswhite")
    assert np.array_equal(np.asarray(sciSR.read(path)), 255 - RGB8[..., 0])


def test_jpeg_is_read_with_a_warning_that_it_is_lossy(tmp_path: Path) -> None:
    path = tmp_path / "moon.jpg"
    Pillow.fromarray(RGB8).save(path, quality=95, exif=b"Exif\0\0" + exif_bytes(37, 41))
    with pytest.warns(SciSRWarning, match=r"moon\.jpg: JPEG is lossy"):
        image = sciSR.read(path)
    assert np.array_equal(np.asarray(image), np.asarray(Pillow.open(path)))
    assert adapter.describe(path)["parts"][0]["exif_bytes"] == len(exif_bytes(37, 41))


def test_one_channel_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "moon.png"
    Pillow.fromarray(RGB8).save(path)
    assert np.array_equal(np.asarray(sciSR.read(path, channel="G")), RGB8[..., 1])
    luma = np.asarray(sciSR.read(path, channel="Y"))
    assert luma == pytest.approx(RGB8 @ np.array([0.299, 0.587, 0.114]))
    grey = tmp_path / "grey.png"
    Pillow.fromarray(RGB8[..., 0]).save(grey)
    with pytest.raises(UsageError, match="is grey: there is no channel B"):
        sciSR.read(grey, channel="B")


def test_frames_of_pictures_are_their_luminance_with_its_saturation(tmp_path: Path) -> None:
    for number in range(3):
        Pillow.fromarray(np.roll(RGB8, number, axis=0)).save(tmp_path / f"frame{number}.png")
    sequence = sciSR.read_sequence(tmp_path)
    assert [frame.name for frame in sequence] == [f"frame{k}.png" for k in range(3)]
    assert sequence[1].image.shape == (41, 37)
    assert sequence[1].saturation == 255


def test_pictures_beside_data_are_no_frames_of_a_folder(tmp_path: Path) -> None:
    Pillow.fromarray(RGB8).save(tmp_path / "preview.png")
    sciSR.write(sciSR.Image.from_array(RGB16[..., 0]), tmp_path / "frame.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [frame.name for frame in sciSR.read_sequence(tmp_path)] == ["frame.fits"]


# -- refusals ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 10**6),
    value=st.integers(1, 255),
    kind=st.sampled_from(["png", "tif", "deflate.tif", "bmp"]),
)
def test_a_changed_byte_gives_the_same_pixels_or_one_line(
    tmp_path: Path, at: int, value: int, kind: str
) -> None:
    path = tmp_path / f"moon.{kind}"
    if kind == "deflate.tif":
        write_tiff(path, "deflate")
    else:
        Pillow.fromarray(RGB8).save(path)
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= value
    path.write_bytes(content)
    said, found = "", []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = [np.asarray(image) for image in adapter.read(path)]
        except SciSRError as error:
            said = str(error)
    if found:
        # Only PNG has sums over everything: there, what is read is what was written.
        assert kind != "png" or np.array_equal(found[0], RGB8)
    else:
        assert "moon" in said
        assert "\n" not in said


def test_a_bomb_is_refused_in_one_line(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", b"x\x9c")
        + png_chunk(b"IEND", b"")
    )
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=r"bomb\.png: its 60000x60000 pixels would decode to 10.8 GB"):
        sciSR.read(path)
    Pillow.fromarray(RGB8).save(tmp_path / "small.png")
    with pytest.raises(UnreadableError, match="more than 1e-06 GB; give --max-inflated"):
        sciSR.read(tmp_path / "small.png", max_inflated="1k")


def test_a_strip_that_inflates_to_more_than_it_must_is_not_inflated_further(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    write_tiff(path, "deflate")
    with tifffile.TiffFile(path) as file:
        offsets, lengths = (file.pages[0].tags[code] for code in (273, 279))
    bomb = zlib.compress(bytes(50_000_000))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, offsets.valueoffset, len(content))
    struct.pack_into("<H" if lengths.dtype == 3 else "<I", content, lengths.valueoffset, len(bomb))
    path.write_bytes(content + bomb)
    image = sciSR.read(path)
    tracemalloc.start()
    try:
        assert np.asarray(image.data[0:7]).max() == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6


def test_what_is_neither_grey_nor_rgb_is_refused_by_name(tmp_path: Path) -> None:
    cmyk = Pillow.fromarray(RGB8).convert("CMYK")
    cmyk.save(tmp_path / "print.tif")
    cmyk.save(tmp_path / "print.jpg")
    tifffile.imwrite(tmp_path / "raw.tif", RGB16[..., 0], photometric=32803)
    Pillow.fromarray(RGB8).save(tmp_path / "inner.tif", compression="jpeg")
    Pillow.fromarray(RGB8[..., 0] > 100).save(tmp_path / "bits.tif")
    for name, text in {
        "print.tif": "holds CMYK, not grey or RGB",
        "print.jpg": "its colours are CMYK",
        "raw.tif": "a mosaic of colour filters",
        "inner.tif": r"JPEG|YCbCr",
        "bits.tif": "samples of 1 bits",
    }.items():
        with pytest.raises(UnsupportedError, match=text):
            sciSR.read(tmp_path / name)


def test_info_tells_what_is_in_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "moon.png"
    Pillow.fromarray(RGB8).save(path, dpi=(254, 254), icc_profile=b"p" * 200)
    [part] = adapter.describe(path)["parts"]
    assert part["axes"] == ["y", "x", "rgb"]
    assert part["icc_profile_bytes"] == 200
    assert part["pixels_per_metre"] == [10_000, 10_000]
