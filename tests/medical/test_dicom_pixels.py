"""Every stored value comes out as the physical value it means, whatever the encoding; and goes back in 16 bits."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import datasets, dciodvfy_errors, derive, make_series, phantom, refined, write_all
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import uid

from sciSR.errors import SciSRError, UnreadableError, UnsupportedError
from scisr_medical import dicom_io
from scisr_medical.dicom_adapter import adapter


def values(folder: Path, **options) -> np.ndarray:
    return np.asarray(adapter.read(folder, **options)[0])


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
@pytest.mark.parametrize("signed", [False, True])
def test_uncompressed_values_come_out_as_stored(tmp_path, syntax, signed):
    stored = phantom((3, 6, 7)) - (400 if signed else 0)
    make_series(tmp_path / "in", stored=stored, syntax=syntax, signed=signed)
    assert np.array_equal(values(tmp_path / "in"), stored)


def deflate(path: Path, body: bytes | None = None) -> None:
    """Rewrite a file in the deflated transfer syntax (PS3.5 A.5); `body` replaces the dataset."""
    whole = path.read_bytes()
    with open(path, "rb") as stream:
        _, at, start = dicom_io.read_meta(stream)
    head = whole[: at - 8] + struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.1.99"
    grown = 22 - len(whole[at : at + 20])
    (length,) = struct.unpack("<I", whole[140:144])
    rest = whole[at + 20 : start]
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = engine.compress(whole[start:] if body is None else body) + engine.flush()
    head = head[:140] + struct.pack("<I", length + grown) + head[144:]
    path.write_bytes(head + rest + packed)


def test_deflated_and_gzipped_files_are_read(tmp_path):
    stored = make_series(tmp_path / "in")
    deflate(tmp_path / "in" / "s001.dcm")
    assert (
        pydicom.dcmread(tmp_path / "in" / "s001.dcm").file_meta.TransferSyntaxUID
        == uid.DeflatedExplicitVRLittleEndian
    )
    third = tmp_path / "in" / "s002.dcm"
    (tmp_path / "in" / "s002.dcm.gz").write_bytes(gzip.compress(third.read_bytes()))
    third.unlink()
    assert adapter.sniff(tmp_path / "in" / "s002.dcm.gz")
    assert np.array_equal(values(tmp_path / "in"), stored)


@pytest.mark.parametrize("kind", ["deflate", "gzip"])
def test_a_decompression_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, kind):
    make_series(tmp_path / "in", stored=phantom((1, 4, 4)))
    file = tmp_path / "in" / "s000.dcm"
    monkeypatch.setattr(dicom_io, "INFLATED_LIMIT", 1 << 20)
    bomb = file.read_bytes()[332:] + bytes(60 << 20)
    if kind == "deflate":
        deflate(file, bomb)
    else:
        file.write_bytes(gzip.compress(file.read_bytes() + bytes(60 << 20)))
    del bomb
    tracemalloc.start()
    with pytest.raises(UnreadableError, match=r"s000\.dcm.*grows beyond 1 MB"):
        adapter.read(tmp_path / "in")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_gzip_with_flipped_bits_fails_its_checksum(tmp_path):
    make_series(tmp_path / "in", stored=phantom((1, 16, 16)))
    packed = bytearray(gzip.compress((tmp_path / "in" / "s000.dcm").read_bytes()))
    packed[-6] ^= 1
    (tmp_path / "x.dcm.gz").write_bytes(packed)
    with pytest.raises(UnreadableError, match=r"x\.dcm\.gz.*gzip"):
        adapter.read(tmp_path / "x.dcm.gz")


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_compressed_values_come_out_as_stored(tmp_path, syntax, signed):
    stored = phantom((2, 40, 48)) - (400 if signed else 0)
    make_series(
        tmp_path / "in",
        stored=stored,
        signed=signed,
        edit=lambda d, k: d.compress(syntax, generate_instance_uid=False),
    )
    assert np.array_equal(values(tmp_path / "in"), stored)
    assert datasets(tmp_path / "in")[0].file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_truncated_compressed_files_are_refused(tmp_path, syntax):
    make_series(
        tmp_path / "in",
        stored=phantom((1, 40, 48)),
        edit=lambda d, k: d.compress(syntax, generate_instance_uid=False),
    )
    file = tmp_path / "in" / "s000.dcm"
    whole = file.read_bytes()
    for size in (len(whole) - 1, len(whole) - 9, len(whole) - 100, len(whole) - 500):
        file.write_bytes(whole[:size])
        with pytest.raises(UnreadableError, match=r"s000\.dcm.*truncated"):
            adapter.read(file)


@pytest.mark.parametrize("process", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_lossless_jpeg_is_read_through_gdcm(tmp_path, process):
    gdcm = pytest.importorskip("gdcm")
    stored = make_series(tmp_path / "in", stored=phantom((2, 16, 20)))
    for file in sorted((tmp_path / "in").iterdir()):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, process)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(file))
        assert writer.Write()
    assert datasets(tmp_path / "in")[0].file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(values(tmp_path / "in"), stored)


def test_a_missing_codec_is_refused_with_what_to_install(tmp_path, monkeypatch):
    from pydicom.pixels.decoders import RLELosslessDecoder

    make_series(tmp_path / "in", edit=lambda d, k: d.compress(uid.RLELossless, generate_instance_uid=False))
    monkeypatch.setattr(RLELosslessDecoder, "_available", {})
    with pytest.raises(UnsupportedError, match=r"no codec .*RLE Lossless.*pip install 'sciSR\[dicom\]'"):
        adapter.read(tmp_path / "in")


def test_an_unknown_transfer_syntax_is_refused_by_name(tmp_path):
    make_series(tmp_path / "in", stored=phantom((1, 4, 4)))
    file = tmp_path / "in" / "s000.dcm"
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(SciSRError, match=r"s000\.dcm.*1\.2\.840\.10008\.1\.2\.9"):
        adapter.read(tmp_path / "in")


def test_bits_above_the_high_bit_are_no_part_of_the_value(tmp_path):
    stored = phantom((2, 6, 7))
    overlay = np.random.default_rng(3).integers(0, 2, stored.shape) << 15
    make_series(tmp_path / "in", stored=stored | overlay)
    assert np.array_equal(values(tmp_path / "in"), stored)


def test_the_sign_is_extended_from_the_high_bit(tmp_path):
    stored = phantom((2, 6, 7)) - 500
    make_series(
        tmp_path / "in", stored=stored & 0x0FFF, edit=lambda d, k: setattr(d, "PixelRepresentation", 1)
    )
    assert np.array_equal(values(tmp_path / "in"), stored)


def test_a_high_bit_above_the_stored_bits_shifts_the_value(tmp_path):
    stored = phantom((2, 6, 7))
    make_series(tmp_path / "in", stored=stored << 4, edit=lambda d, k: setattr(d, "HighBit", 15))
    assert np.array_equal(values(tmp_path / "in"), stored)


def test_eight_bit_images_are_read(tmp_path):
    stored = phantom((2, 6, 8), top=200)

    def edit(dataset, k):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = stored[k].astype("u1").tobytes()

    make_series(tmp_path / "in", stored=stored, edit=edit)
    assert np.array_equal(values(tmp_path / "in"), stored)
    assert derive(tmp_path / "in", tmp_path / "out", 2)[0].BitsStored == 16


def test_files_without_preamble_or_meta_information_are_read(tmp_path):
    stored = make_series(tmp_path / "in", syntax=uid.ImplicitVRLittleEndian)
    for file in (tmp_path / "in").iterdir():
        with open(file, "rb") as stream:
            start = dicom_io.read_meta(stream)[2]
        file.write_bytes(file.read_bytes()[start:])
    assert adapter.sniff(tmp_path / "in")
    assert np.array_equal(values(tmp_path / "in"), stored)


def test_hounsfield_units_go_in_and_out(tmp_path):
    stored = phantom((3, 6, 7)) + 200
    make_series(tmp_path / "in", modality="CT", stored=stored)
    image = adapter.read(tmp_path / "in")[0]
    assert (image.unit, image.domain) == ("HU", "ct")
    assert np.array_equal(np.asarray(image), stored - 1024)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    assert [(float(d.RescaleSlope), float(d.RescaleIntercept), d.RescaleType) for d in out] == [
        (1, 0, "HU")
    ] * 3
    assert np.array_equal(np.stack([d.pixel_array[::2, ::2] for d in out]), stored - 1024)


def test_a_rescale_per_slice_is_applied_and_one_pair_is_written(tmp_path):
    slopes, intercepts = [0.5, 0.25, 2.0], [0.0, 10.0, -30.0]

    def edit(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slopes[k], intercepts[k], "US"

    stored = make_series(tmp_path / "in", stored=phantom((3, 6, 7)), edit=edit)
    physical = np.stack([stored[k] * slopes[k] + intercepts[k] for k in range(3)])
    assert np.allclose(values(tmp_path / "in"), physical, rtol=1e-7)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    (pair,) = {(float(d.RescaleSlope), float(d.RescaleIntercept)) for d in out}
    again = np.stack([d.pixel_array[::2, ::2] * pair[0] + pair[1] for d in out])
    assert np.abs(again - physical).max() <= pair[0] / 2 + 1e-6
    assert pair[0] == 0.25, "the finest step of any slice"


def test_no_slice_is_clipped_to_the_finest_step_of_another(tmp_path):
    def edit(dataset, k):
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.RescaleSlope, dataset.RescaleIntercept = (0.001, 0.0012)[k], (0, 7)[k]

    stored = make_series(tmp_path / "in", stored=phantom((2, 6, 7), top=60_000), edit=edit)
    physical = stored * np.array([0.001, 0.0012])[:, None, None] + np.array([0, 7])[:, None, None]
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    slope, intercept = float(out[0].RescaleSlope), float(out[0].RescaleIntercept)
    again = np.stack([d.pixel_array[::2, ::2] for d in out]) * slope + intercept
    assert physical.max() > 65_535 * 0.001, "too much for the finest step"
    assert np.abs(again - physical).max() <= slope * 0.5001 + 1e-5


def test_ct_values_too_large_for_signed_hounsfield_units_keep_their_own_pair(tmp_path):
    def edit(dataset, k):
        dataset.BitsStored, dataset.HighBit = 16, 15

    stored = make_series(tmp_path / "in", modality="CT", stored=phantom((2, 6, 7), top=60_000), edit=edit)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    assert (float(out[0].RescaleSlope), float(out[0].RescaleIntercept)) == (1, -1024)
    assert np.array_equal(np.stack([d.pixel_array[::2, ::2] for d in out]), stored)


def test_one_rescale_pair_for_all_slices_is_kept(tmp_path):
    def edit(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = "3.774114", "0.000061"

    stored = make_series(tmp_path / "in", edit=edit)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    assert float(out[0].RescaleSlope) == 3.774114
    assert np.array_equal(np.stack([d.pixel_array[::2, ::2] for d in out]), stored)


def test_an_mr_image_without_rescale_gets_none(tmp_path):
    make_series(tmp_path / "in")
    assert "RescaleSlope" not in derive(tmp_path / "in", tmp_path / "out", 2)[0]


def test_padding_is_masked_and_comes_back_over_the_same_pixels(tmp_path):
    stored = phantom((2, 6, 8)) + 100
    stored[:, 0, :] = stored[:, :, 0] = 63_536  # -2000 in 16 bits

    def edit(dataset, k):
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.add_new("PixelPaddingValue", "US", 63_536)

    make_series(tmp_path / "in", modality="CT", stored=stored, edit=edit)
    image = adapter.read(tmp_path / "in")[0]
    padded = stored == 63_536
    assert np.array_equal(np.asarray(image.mask[:, :, :]), padded)
    assert np.array_equal(np.asarray(image)[~padded], stored[~padded] - 1024)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    for each, pad in zip(out, padded, strict=True):
        fine = np.kron(pad, np.ones((2, 2), bool))
        assert np.array_equal(each.pixel_array == each.PixelPaddingValue, fine)
    assert dciodvfy_errors(tmp_path / "out" / "IM_0001.dcm") == []


def test_a_good_pixel_is_never_written_as_padding(tmp_path):
    stored = phantom((2, 6, 8)) + 5
    stored[0, 2:4, 2:4] = 0
    make_series(tmp_path / "in", stored=stored, edit=lambda d, k: d.add_new("PixelPaddingValue", "US", 0))
    image = refined(adapter.read(tmp_path / "in")[0], (1, 2, 2))
    dark = np.asarray(image.data[:, :, :]).copy()
    dark[1] = 0.3  # rounds to the padding value
    out = datasets(write_all([image.replace(data=dark)], tmp_path / "out"))
    assert (out[1].pixel_array == 1).all()
    assert np.count_nonzero(out[0].pixel_array == 0) == 16


def test_a_padding_range_covers_all_its_values(tmp_path):
    stored = phantom((2, 6, 8)) + 50
    stored[0, 0, :4] = [0, 3, 7, 10]

    def edit(dataset, k):
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.add_new("PixelPaddingRangeLimit", "US", 10)

    make_series(tmp_path / "in", stored=stored, edit=edit)
    image = adapter.read(tmp_path / "in")[0]
    assert np.array_equal(np.asarray(image.mask[:, :, :]), stored <= 10)
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    assert np.array_equal(out[0].pixel_array[0, ::2][:4], [0, 3, 7, 10])
    assert (out[0].PixelPaddingValue, out[0].PixelPaddingRangeLimit) == (0, 10)


def test_monochrome1_keeps_its_meaning(tmp_path):
    stored = make_series(
        tmp_path / "in", edit=lambda d, k: setattr(d, "PhotometricInterpretation", "MONOCHROME1")
    )
    out = derive(tmp_path / "in", tmp_path / "out", 2)
    assert out[0].PhotometricInterpretation == "MONOCHROME1"
    assert np.array_equal(out[0].pixel_array[::2, ::2], stored[0])


def test_ringing_is_clipped_counted_and_never_wraps(tmp_path):
    make_series(tmp_path / "in")
    image = refined(adapter.read(tmp_path / "in")[0], (1, 2, 2))
    ringing = np.asarray(image.data[:, :, :]).copy()
    ringing[0, 0, :3] = [-7.4, -0.4, 66_000]
    out = datasets(write_all([image.replace(data=ringing)], tmp_path / "out"))
    assert out[0].pixel_array[0, :3].tolist() == [0, 0, 65_535]
    assert "2 pixels of the series clipped" in out[0].DerivationDescription


@given(
    data=arrays(np.float32, (2, 4, 6), elements=st.floats(-1, 1, width=32)),
    exponent=st.integers(-3, 30),
    signed=st.booleans(),
    modality=st.sampled_from(["MR", "CT"]),
)
@settings(max_examples=40)
def test_values_of_any_range_come_back_within_half_a_step(tmp_path_factory, data, exponent, signed, modality):
    data = data * np.float32(10.0**exponent)
    folder = tmp_path_factory.mktemp("range")
    make_series(folder / "in", stored=phantom((2, 4, 6)), signed=signed, modality=modality)
    image = adapter.read(folder / "in")[0].replace(data=data)
    out = datasets(write_all([image], folder / "out"))
    slope, intercept = (float(out[0].get(k, d)) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    again = np.stack([d.pixel_array for d in out]) * slope + intercept
    kept = data.astype(np.float64)
    if slope == 1:  # the source's own unit: what lies beyond the range is ringing, clipped
        kept = np.clip(
            kept, *((-32_768, 32_767) if out[0].PixelRepresentation else (0, 65_535)) + np.array(intercept)
        )
    assert np.abs(again - kept).max() <= abs(slope) * 0.5001 + 1e-12 * np.abs(data).max()


def test_a_slice_is_only_decoded_when_asked_for(tmp_path):
    make_series(tmp_path / "in", edit=lambda d, k: d.compress(uid.RLELossless, generate_instance_uid=False))
    file = tmp_path / "in" / "s002.dcm"
    whole = file.read_bytes()
    at = whole.rindex(struct.pack("<HH", 0xFFFE, 0xE000))
    file.write_bytes(whole[: at + 8] + bytes([99]) + whole[at + 9 :])  # 99 RLE segments
    image = adapter.read(tmp_path / "in")[0]
    assert image.data[0].shape == (10, 12)
    with pytest.raises(UnreadableError, match=r"s002\.dcm: its pixel data can't be decoded"):
        image.data[2]


@pytest.mark.parametrize("change", ["nesting", "length"])
def test_hostile_headers_end_in_one_line(tmp_path, change):
    make_series(tmp_path / "in", stored=phantom((1, 4, 4)), syntax=uid.ImplicitVRLittleEndian)
    file = tmp_path / "in" / "s000.dcm"
    with open(file, "rb") as stream:
        start = dicom_io.read_meta(stream)[2]
    whole = file.read_bytes()
    if change == "nesting":
        item = struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF) + struct.pack(
            "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
        )
        file.write_bytes(whole[:start] + item * 5000)
    else:
        file.write_bytes(whole[:start] + struct.pack("<HHI", 0x0008, 0x0008, 0xFFFFFFF0) + whole[start:])
    tracemalloc.start()
    with pytest.raises(SciSRError, match=r"s000\.dcm"):
        adapter.read(file)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
