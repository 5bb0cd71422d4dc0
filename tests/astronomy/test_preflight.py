"""Hostile and damaged files are refused in one line, at once, before any library believes their headers."""

from __future__ import annotations

import bz2
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, header_of, read, write

from sciSR.errors import (
    GeometryError,
    SciSRError,
    SciSRWarning,
    UnreadableError,
    UnsupportedError,
    UsageError,
)
from scisr_astronomy.fits_adapter import adapter


def primary(*cards: str) -> bytes:
    text = "".join(card.ljust(80) for card in ("SIMPLE  =                    T", *cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def value(key: str, number: object) -> str:
    return f"{key:<8}= {number!s:>20}"


HOSTILE = {
    "a billion axes": primary(value("BITPIX", 8), value("NAXIS", 999999999)),
    "terabytes": primary(
        value("BITPIX", -64), value("NAXIS", 2), value("NAXIS1", 10**6), value("NAXIS2", 10**6)
    ),
    "overflowing sizes": primary(
        value("BITPIX", -64), value("NAXIS", 2), value("NAXIS1", 10**18), value("NAXIS2", 10**18)
    ),
    "negative size": primary(value("BITPIX", 16), value("NAXIS", 2), value("NAXIS1", -5), value("NAXIS2", 5)),
    "odd BITPIX": primary(value("BITPIX", 17), value("NAXIS", 0)),
    "no NAXIS": primary(value("BITPIX", 16)),
    "NAXIS is text": primary(value("BITPIX", 16), "NAXIS   = 'two'"),
    "not standard by its own word": b"SIMPLE  =                    F".ljust(80) + primary()[80:],
    "groups that are none": primary(
        value("BITPIX", 8), value("NAXIS", 1), value("NAXIS1", 9), value("GCOUNT", 3)
    ).ljust(9000),
    "contradiction": primary(value("BITPIX", 16), value("NAXIS", 0), value("BITPIX", 32)),
    "no END": b"SIMPLE  =                    T".ljust(80) + b" " * 2800,
    "endless header": b"SIMPLE  =                    T".ljust(80) + b"COMMENT x".ljust(80) * 200_000,
    "second HDU damaged": primary(value("BITPIX", 8), value("NAXIS", 0))
    + b"XTENSIOM= 'IMAGE   '".ljust(2880),
    "just the word": b"SIMPLE  =",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structures_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(UnreadableError) as caught:
        adapter.read(path)
    assert "bad.fits" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endless_file_of_tiny_hdus_ends(tmp_path: Path) -> None:
    extension = b"XTENSION= 'IMAGE   '".ljust(80) + value("BITPIX", 8).ljust(80).encode()
    extension += value("NAXIS", 0).ljust(80).encode() + b"END".ljust(80)
    path = tmp_path / "many.fits"
    path.write_bytes(primary(value("BITPIX", 8), value("NAXIS", 0)) + extension.ljust(2880) * 10_001)
    with pytest.raises(UnreadableError, match="more than 10000 HDUs"):
        adapter.read(path)


def test_sip_of_absurd_order_is_refused_with_the_way_out(tmp_path: Path) -> None:
    header = header_of(
        TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 100000, "BUNIT": "ct"}
    )
    path = write(tmp_path / "sip.fits", fits.PrimaryHDU(np.zeros((8, 8), dtype=np.float32), header))
    with pytest.raises(GeometryError, match=r"sip\.fits\[0\].*A_ORDER.*--wcs none"):
        adapter.read(path)
    assert read(path, wcs="none")[0].grid.describe()["type"] == "pixel"


@pytest.mark.parametrize("cd", [(0.0, 0.0), (1e-5, 2e-5)])
def test_a_singular_matrix_is_refused_with_the_way_out(tmp_path: Path, cd: tuple[float, float]) -> None:
    cards = TAN | {"CD1_1": cd[0], "CD1_2": cd[1], "CD2_1": cd[0], "CD2_2": cd[1]}
    sci = fits.ImageHDU(np.zeros((8, 8), dtype=np.float32), header_of(cards), name="SCI")
    path = write(tmp_path / "flat.fits", fits.PrimaryHDU(), sci)
    with pytest.raises(GeometryError, match=r"flat\.fits\[SCI\].*--wcs none"):
        read(path)
    assert len(read(path, wcs="none")) == 1


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
def test_truncated_files_are_refused(tmp_path: Path, cut: float, suffix: str) -> None:
    rng = np.random.default_rng(1)
    plain = write(
        tmp_path / "whole.fits", fits.PrimaryHDU(rng.normal(size=(60, 72)).astype(np.float32))
    ).read_bytes()  # whole blocks: no padding to lose
    packed = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[suffix](plain)
    path = tmp_path / f"cut.fits{suffix}"
    path.write_bytes(packed[: int(len(packed) * cut)])
    with pytest.raises(UnreadableError, match=r"truncated|damaged|END|ended|holds"):
        read(path)


def test_a_flipped_bit_in_gzip_is_found_by_its_crc(tmp_path: Path) -> None:
    data = np.random.default_rng(2).normal(size=(60, 70)).astype(np.float32)
    packed = bytearray(gzip.compress(write(tmp_path / "a.fits", fits.PrimaryHDU(data)).read_bytes()))
    packed[len(packed) // 2] ^= 4
    path = tmp_path / "flip.fits.gz"
    path.write_bytes(packed)
    with pytest.raises(UnreadableError, match=r"flip\.fits\.gz"):
        read(path)


def test_decompression_bombs_stop_at_the_limit(tmp_path: Path) -> None:
    header = primary(value("BITPIX", 8), value("NAXIS", 2), value("NAXIS1", 5000), value("NAXIS2", 5000))
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(header + bytes(25_000_000 + 1280)))
    assert path.stat().st_size < 40_000
    with pytest.raises(UnreadableError, match="decompress"):
        read(path, max_inflated="10M")
    assert read(path, max_inflated="30M")[0].shape == (5000, 5000)
    with pytest.raises(UsageError, match="max_inflated"):
        read(path, max_inflated="much")


def test_compressed_tiles_must_match_their_table(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((30, 40), dtype=np.int16))
    )
    for wrong in (b"ZNAXIS2 =               999999", b"ZNAXIS1 =  9999999999999999999"):
        raw = re.sub(wrong[:8] + rb"= +\d+", wrong, path.read_bytes())
        bad = tmp_path / "bad.fits"
        bad.write_bytes(raw)
        with pytest.raises(UnreadableError):
            read(bad)


@pytest.mark.parametrize("harmless", [0, None])
def test_a_tile_that_is_a_bomb_is_refused(
    tmp_path: Path, harmless: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MB of gzip data in one tile that would grow to 1 GB; and, with no tile taken for harmless, sound ones pass."""
    from scisr_astronomy import gzip_tiles

    if harmless is not None:
        monkeypatch.setattr(gzip_tiles, "HARMLESS", harmless)
    data = np.random.default_rng(1).integers(0, 100, (64, 64)).astype(np.int16)
    image = fits.CompImageHDU(data, compression_type="GZIP_1", tile_shape=(16, 64))
    good = write(tmp_path / "good.fits", fits.PrimaryHDU(), image)
    assert np.array_equal(read(good)[0].data[...], data)
    with fits.open(good, disable_image_compression=True) as hdus:
        table = hdus[1]
        bomb = np.frombuffer(gzip.compress(bytes(1 << 29)), dtype=np.uint8)
        tiles = np.empty(4, dtype=object)
        tiles[:] = [table.data["COMPRESSED_DATA"][n] for n in range(3)] + [bomb]
        column = fits.Column("COMPRESSED_DATA", "1PB()", array=tiles)
        header = table.header.copy()
        packed = fits.BinTableHDU.from_columns([column])
        for card in header.cards:
            if card.keyword.startswith("Z"):
                packed.header.append(card)
        bad = write(tmp_path / "bad.fits", fits.PrimaryHDU(), packed)
    image = read(bad)[0]
    assert np.array_equal(image.data[:48], data[:48])
    with pytest.raises(UnreadableError, match=r"bad\.fits.*tile 3 grows beyond"):
        _ = image.data[...]


def test_a_table_of_a_hundred_million_columns_is_refused(tmp_path: Path) -> None:
    """astropy would count to that number."""
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((30, 40), dtype=np.int16))
    )
    path.write_bytes(re.sub(rb"TFIELDS = +\d+", b"TFIELDS =             99999999", path.read_bytes()))
    with pytest.raises(UnreadableError, match="TFIELDS"):
        read(path)


def test_checksums_are_verified_and_can_be_ignored(tmp_path: Path) -> None:
    data = np.random.default_rng(3).normal(size=(20, 30)).astype(np.float32)
    good = write(tmp_path / "good.fits", fits.PrimaryHDU(data, header_of({"OBJECT": "M51"})), checksum=True)
    assert np.array_equal(read(good)[0].data[...], data)
    raw = bytearray(good.read_bytes())
    raw[3000] ^= 1
    bad = tmp_path / "bad.fits"
    bad.write_bytes(raw)
    with pytest.raises(UnreadableError, match=r"DATASUM.*--ignore-checksum"):
        read(bad)
    assert read(bad, ignore_checksum=True)[0].shape == (20, 30)
    bad.write_bytes(good.read_bytes().replace(b"'M51", b"'M52"))
    with pytest.raises(UnreadableError, match=r"CHECKSUM is wrong, DATASUM is right.*--ignore-checksum"):
        read(bad)


def test_junk_behind_the_last_hdu_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(np.zeros((8, 8), dtype=np.float32), header_of({"BUNIT": "ct"}))
    )
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    assert len(read(path)) == 1
    path.write_bytes(path.read_bytes() + b"tape label 1234")
    with pytest.warns(SciSRWarning, match="527 bytes after the last HDU"):
        adapter.read(path)


@pytest.mark.parametrize(
    ("hdus", "why"),
    [
        ([fits.PrimaryHDU()], "header without pixels"),
        ([fits.PrimaryHDU(np.zeros(50))], "one-dimensional"),
        ([fits.PrimaryHDU(np.zeros((1, 50)))], "one-dimensional"),
        ([fits.PrimaryHDU(np.zeros((1, 1)))], "too small"),
        (
            [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])])],
            "is a table",
        ),
        (
            [
                fits.GroupsHDU(
                    fits.GroupData(np.zeros((3, 4, 4)), bitpix=-32, parnames=["u"], pardata=[np.zeros(3)])
                )
            ],
            "random groups",
        ),
    ],
)
def test_files_without_an_image_are_refused_with_what_they_hold(tmp_path: Path, hdus: list, why: str) -> None:
    path = write(tmp_path / "none.fits", *hdus)
    with pytest.raises(UnsupportedError, match=rf"none\.fits: holds no image to upscale.*{why}"):
        read(path)
    assert adapter.describe(path)["parts"]  # info still works


def test_sniffing_looks_at_the_content_and_never_raises(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(np.zeros((9, 9)))).read_bytes()
    content = {
        "plain": (plain, True),
        "gz": (gzip.compress(plain), True),
        "bz2": (bz2.compress(plain), True),
        "text.fits": (b"SIMPLE words", False),
        "empty.fits": (b"", False),
        "cut.gz": (gzip.compress(plain)[:15], False),
        "other.gz": (gzip.compress(b"hello"), False),
        "wrong.gz": (b"\x1f\x8b" + bytes(50), False),
        "wrong.bz2": (b"BZh9" + bytes(50), False),
    }
    for name, (raw, expected) in content.items():
        path = tmp_path / name
        path.write_bytes(raw)
        assert adapter.sniff(path) is expected, name
    assert not adapter.sniff(tmp_path)
    assert not adapter.sniff(tmp_path / "missing")


def test_nothing_but_our_errors_for_missing_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "empty.fits").touch()
    for name in ("missing.fits", "empty.fits", "."):
        with pytest.raises(SciSRError):
            adapter.read(tmp_path / name)
