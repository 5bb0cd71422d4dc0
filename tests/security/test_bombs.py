"""Decompression bombs: a small file that would grow to fill memory or the disk stops at what its header declares, or at
a limit that the user can raise."""

from __future__ import annotations

import bz2
import gzip
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from astropy.io import fits
from colour_samples import png_chunk
from dicom_samples import make_series, phantom
from fuzz_dicom import elements
from hostile import read, refusal
from nifti_samples import make

import sciSR
from sciSR.training.patch_file import PatchFile

MEGABYTE = 1 << 20


def zeros(engine: object, megabytes: int) -> bytes:
    """Compressed zeros."""
    block = bytes(MEGABYTE)
    return b"".join([*(engine.compress(block) for _ in range(megabytes)), engine.flush()])


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_fits_stops_at_the_limit_given(tmp_path: Path, suffix: str) -> None:
    engine = zlib.compressobj(1, zlib.DEFLATED, 31) if suffix == ".gz" else bz2.BZ2Compressor(1)
    path = tmp_path / f"bomb.fits{suffix}"
    head = "".join(
        card.ljust(80) for card in ("SIMPLE  =                    T", "BITPIX  =                    8")
    )
    path.write_bytes(engine.compress(head.ljust(2880).encode()) + zeros(engine, 200))
    assert path.stat().st_size < 2 * MEGABYTE
    text = refusal(lambda: sciSR.read(path, max_inflated="20M"))
    assert "grows beyond 0.0 GB when decompressed" in text


def test_nifti_stops_at_what_its_header_declares(tmp_path: Path) -> None:
    plain = make(tmp_path / "a.nii", (6, 5, 4), dtype=np.int16).read_bytes()
    engine = zlib.compressobj(1, zlib.DEFLATED, 31)
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(engine.compress(plain) + zeros(engine, 300))
    assert "grows beyond" in refusal(lambda: read(path))


def test_nifti_that_declares_more_than_deflate_can_hold_is_not_inflated(tmp_path: Path) -> None:
    plain = bytearray(make(tmp_path / "a.nii", (6, 5, 4), dtype=np.int16).read_bytes())
    struct.pack_into("<4h", plain, 40, 3, 30_000, 30_000, 1000)
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(bytes(plain)))
    assert "compressed bytes can't hold them" in refusal(lambda: read(path))


def test_deflated_dicom_stops_at_half_a_gigabyte(tmp_path: Path) -> None:
    make_series(tmp_path / "in", stored=phantom((1, 6, 8)), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    whole = (tmp_path / "in" / "s000.dcm").read_bytes()
    at = next(element.start for element in elements(whole) if element.tag[0] != 2)
    inflated = zlib.decompress(whole[at:], -zlib.MAX_WBITS)
    engine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(whole[:at] + engine.compress(inflated) + zeros(engine, 600))
    assert path.stat().st_size < 4 * MEGABYTE
    assert "grows beyond" in refusal(lambda: read(path))


def test_a_compressed_tile_stops_at_its_pixels(tmp_path: Path) -> None:
    data = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    image = fits.CompImageHDU(data, compression_type="GZIP_1", tile_shape=(16, 64))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "good.fits")
    with fits.open(tmp_path / "good.fits", disable_image_compression=True) as hdus:
        tiles = np.empty(4, dtype=object)
        bomb = np.frombuffer(zeros(zlib.compressobj(1, zlib.DEFLATED, 31), 500), dtype=np.uint8)
        tiles[:] = [*(hdus[1].data["COMPRESSED_DATA"][n] for n in range(3)), bomb]
        table = fits.BinTableHDU.from_columns([fits.Column("COMPRESSED_DATA", "1PB()", array=tiles)])
        table.header.extend(card for card in hdus[1].header.cards if card.keyword.startswith("Z"))
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "bomb.fits.fz")
    assert "grows beyond" in refusal(lambda: read(tmp_path / "bomb.fits.fz"))


def png(path: Path, columns: int, rows: int, *chunks: bytes) -> Path:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + png_chunk(b"IEND", b""))
    return path


def test_a_png_of_more_pixels_than_its_bytes_can_hold(tmp_path: Path) -> None:
    path = png(tmp_path / "bomb.png", 30_000, 30_000, png_chunk(b"IDAT", zlib.compress(bytes(100))))
    assert "can't be in" in refusal(lambda: read(path))


def test_a_png_whose_pixels_go_on_and_on_is_inflated_to_its_size_only(tmp_path: Path) -> None:
    bomb = zeros(zlib.compressobj(1), 300)
    path = png(tmp_path / "bomb.png", 40, 30, png_chunk(b"IDAT", bomb))
    tracemalloc.start()
    try:
        assert read(path)[0].shape == (30, 40)
        assert tracemalloc.get_traced_memory()[1] < 32 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_a_png_whose_text_is_a_bomb(tmp_path: Path) -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zeros(zlib.compressobj(1), 300))
    path = png(tmp_path / "bomb.png", 40, 30, text, png_chunk(b"IDAT", zlib.compress(bytes(30 * 41))))
    assert "can't be decoded" in refusal(lambda: read(path))


def test_patches_that_inflate_beyond_all_patches(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("train_x2_input.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|u1", "fortran_order": False, "shape": (1300 * MEGABYTE,)}
            )
            for _ in range(1300):
                member.write(bytes(MEGABYTE))
        archive.writestr("about.npy", b"")
    assert "inflates to more" in refusal(lambda: PatchFile(path))
