"""Frames of every transfer syntax, decoded one by one and found wherever the file keeps them."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pydicom
import pytest
from dicom_samples import phantom
from enhanced_samples import make_enhanced, values, volume
from pydicom import uid
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from test_enhanced_reading import read

from sciSR.errors import UnreadableError
from scisr_medical import dicom_io
from scisr_medical.dicom_adapter import adapter

SHAPE = (5, 40, 48)
LOSSLESS = [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless]


def signed_volume(signed: bool):
    return [replace(f, stored=f.stored - 400 * signed) for f in volume(SHAPE)]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("allocated", [8, 16, 32])
@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
def test_uncompressed_frames_come_out_as_stored(tmp_path, syntax, allocated, signed):
    """An odd number of pixels too: frames of bytes then begin in the middle of a word."""
    top = {8: 100, 16: 900, 32: 900}[allocated]
    planes = phantom((3, 5, 7), top=top) - 50 * signed
    frames = [replace(f, stored=s) for f, s in zip(volume((3, 5, 7)), planes, strict=True)]

    def edit(dataset):
        if allocated == 8:
            raw = dataset.PixelData + b"\0" * (len(dataset.PixelData) % 2)
            swapped = np.frombuffer(raw, "u2").byteswap().tobytes()
            dataset.PixelData = swapped if syntax == uid.ExplicitVRBigEndian else raw

    form = {"syntax": syntax, "allocated": allocated, "bits": min(allocated, 12), "signed": signed}
    path = make_enhanced(tmp_path / "x.dcm", frames, edit=edit, **form)
    assert np.array_equal(np.asarray(read(path)), values(frames))
    if allocated > 8:
        assert np.array_equal(pydicom.dcmread(path).pixel_array, values(frames))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_compressed_frames_come_out_as_stored(tmp_path, syntax, signed):
    frames = signed_volume(signed)
    path = make_enhanced(
        tmp_path / "x.dcm", frames, signed=signed, edit=lambda d: d.compress(syntax, generate_instance_uid=False)
    )  # fmt: skip
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(np.asarray(read(path)), values(frames))


@pytest.mark.parametrize("process", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_lossless_jpeg_frames_are_read_through_gdcm(tmp_path, process):
    gdcm = pytest.importorskip("gdcm")
    frames = volume(SHAPE)
    path = str(make_enhanced(tmp_path / "x.dcm", frames))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(path)
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, process)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(path)
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(np.asarray(read(path)), values(frames))


def encapsulated(tmp_path, fragment, *, basic=True, extended=False, syntax=uid.JPEG2000Lossless):
    """A compressed file whose frames are cut into fragments of `fragment` bytes, with or without a table."""
    frames = volume(SHAPE)

    def edit(dataset):
        dataset.compress(syntax, generate_instance_uid=False)
        parts = list(generate_frames(dataset.PixelData, number_of_frames=len(frames)))
        if extended:
            dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = (
                encapsulate_extended(parts)
            )
        else:
            per_frame = [max(1, -(-len(p) // fragment)) for p in parts]
            data = b"".join(
                struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece
                for part, count in zip(parts, per_frame, strict=True)
                for piece in pieces(part, fragment)
            )
            offsets, at = [], 0
            for part in parts:
                offsets.append(at)
                at += sum(8 + len(piece) for piece in pieces(part, fragment))
            table = struct.pack(f"<{len(offsets)}I", *offsets) if basic else b""
            dataset.PixelData = (
                struct.pack("<HHI", 0xFFFE, 0xE000, len(table))
                + table
                + data
                + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            )
        dataset["PixelData"].is_undefined_length = True

    return make_enhanced(tmp_path / "x.dcm", frames, edit=edit), frames


def pieces(part: bytes, size: int) -> list[bytes]:
    """Fragments have an even length."""
    part += b"\0" * (len(part) % 2)
    ends = [*range(0, len(part), size), len(part)]
    return [part[a:b] for a, b in pairwise(ends)]


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("table", ["basic", "extended", "none"])
@pytest.mark.parametrize("fragment", [100, 1 << 20])
def test_frames_are_found_in_any_number_of_fragments(tmp_path, fragment, table, syntax):
    path, frames = encapsulated(
        tmp_path, fragment, basic=table == "basic", extended=table == "extended", syntax=syntax
    )
    assert np.array_equal(np.asarray(read(path)), values(frames))


def test_fragments_that_nothing_tells_apart_are_refused(tmp_path):
    path, _ = encapsulated(tmp_path, 100, basic=False, syntax=uid.RLELossless)
    with pytest.raises(
        UnreadableError, match=r"fragments for 5 frames, and nothing says where each frame begins"
    ):
        np.asarray(read(path))


def test_a_table_that_points_nowhere_is_not_believed(tmp_path):
    path, frames = encapsulated(tmp_path, 100)
    whole = path.read_bytes()
    at = whole.rindex(struct.pack("<HHI", 0xFFFE, 0xE000, 20))
    path.write_bytes(whole[: at + 12] + struct.pack("<I", 3) + whole[at + 16 :])
    assert np.array_equal(np.asarray(read(path)), values(frames))


def test_too_few_fragments_are_refused_before_anything_is_decoded(tmp_path):
    def edit(dataset):
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
        parts = list(generate_frames(dataset.PixelData, number_of_frames=5))
        dataset.PixelData = encapsulate(parts[:4])

    path = make_enhanced(tmp_path / "x.dcm", volume(SHAPE), edit=edit)
    with pytest.raises(UnreadableError, match=r"x\.dcm.* 4 fragments, too few for 5 frames"):
        read(path)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_a_compressed_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path, syntax):
    """It may declare a size that fills the memory."""
    path = make_enhanced(
        tmp_path / "x.dcm", volume(SHAPE), edit=lambda d: d.compress(syntax, generate_instance_uid=False)
    )
    whole = bytearray(path.read_bytes())
    if syntax == uid.JPEG2000Lossless:  # SIZ: capabilities, then width and height
        at = whole.index(b"\xff\x4f\xff\x51") + 8
        whole[at : at + 8] = struct.pack(">II", 1 << 20, 1 << 20)
    else:
        at = whole.index(b"\xff\xf7") + 5
        whole[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    path.write_bytes(whole)
    image = read(path)
    assert image.data[1].shape == SHAPE[1:]
    with pytest.raises(
        UnreadableError, match=r"frame 1 of x\.dcm is (1048576|65000) x .* the header says 40 x 48"
    ):
        image.data[0]


def test_a_frame_is_only_decoded_when_asked_for_and_named_when_it_is_damaged(tmp_path):
    path = make_enhanced(
        tmp_path / "x.dcm", volume(SHAPE), edit=lambda d: d.compress(uid.RLELossless, generate_instance_uid=False)
    )  # fmt: skip
    whole = path.read_bytes()
    at = whole.rindex(struct.pack("<HH", 0xFFFE, 0xE000))
    path.write_bytes(whole[: at + 8] + bytes([99]) + whole[at + 9 :])  # 99 RLE segments
    image = read(path)
    assert image.data[3].shape == SHAPE[1:]
    with pytest.raises(UnreadableError, match=r"x\.dcm\[frame 5\]: its pixel data can't be decoded"):
        image.data[4]


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
@pytest.mark.parametrize("spooled", [1 << 25, 64])
def test_packed_files_are_inflated_once_and_read_frame_by_frame(tmp_path, packing, spooled, monkeypatch):
    monkeypatch.setattr(dicom_io, "_SPOOLED", spooled)  # in memory; in a temporary file
    frames = volume(SHAPE)
    if packing == "deflate":
        path = make_enhanced(tmp_path / "x.dcm", frames, syntax=uid.DeflatedExplicitVRLittleEndian)
    else:
        whole = make_enhanced(tmp_path / "y.dcm", frames).read_bytes()
        path = tmp_path / "x.dcm.gz"
        path.write_bytes(gzip.compress(whole))
    image = read(path)
    assert np.array_equal(image.data[3], frames[3].values)
    assert np.array_equal(np.asarray(image), values(frames))


def test_a_deflated_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    path = make_enhanced(tmp_path / "x.dcm", volume((2, 4, 4)), syntax=uid.DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(dicom_io, "INFLATED_LIMIT", 1 << 20)
    whole = path.read_bytes()
    with open(path, "rb") as stream:
        body = dicom_io.read_meta(stream)[2]
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(
        whole[:body] + b"".join(engine.compress(bytes(1 << 20)) for _ in range(40)) + engine.flush()
    )
    tracemalloc.start()
    with pytest.raises(UnreadableError, match=r"x\.dcm.*grows beyond 1 MB"):
        adapter.read(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_memory_is_that_of_a_few_frames_however_many_there_are(tmp_path):
    rows = columns = 256
    stored = np.arange(rows * columns).reshape(rows, columns) % 4000
    frames = [replace(f, stored=stored) for f in volume((120, 2, 2))]
    path = make_enhanced(tmp_path / "x.dcm", frames)
    assert path.stat().st_size > 15 << 20
    image = read(path)
    image.data[0]
    tracemalloc.start()
    for k in range(len(frames)):
        image.data[k]
    assert tracemalloc.get_traced_memory()[1] < 16 * 4 * rows * columns
    tracemalloc.stop()


def test_padding_is_masked_and_unused_bits_are_no_part_of_the_value(tmp_path):
    frames = volume(SHAPE)
    overlay = np.random.default_rng(3).integers(0, 2, SHAPE[1:]) << 15
    dirty = [replace(f, stored=f.stored | overlay) for f in frames]
    path = make_enhanced(tmp_path / "x.dcm", dirty, edit=lambda d: d.add_new("PixelPaddingValue", "US", 500))
    image = read(path)
    assert np.array_equal(np.asarray(image), values(frames))
    assert np.array_equal(np.asarray(image.mask[:, :, :]), values(frames) == 500)
