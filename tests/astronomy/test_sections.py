"""Blocks of any image equal astropy's values, whatever the storage; memory stays small."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.errors import UnreadableError
from scisr_astronomy.checksum import add_to_sum, encode
from scisr_astronomy.rows import row_runs

RNG = np.random.default_rng(5)


def stored(bitpix: int, shape: tuple[int, ...]) -> np.ndarray:
    if bitpix < 0:
        return RNG.normal(size=shape).astype(f">f{-bitpix // 8}")
    info = np.iinfo("u1" if bitpix == 8 else f"i{bitpix // 8}")
    return RNG.integers(info.min, info.max, size=shape, dtype=info.dtype, endpoint=True)


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64, -32, -64])
@pytest.mark.parametrize("scaling", ["plain", "linear", "unsigned", "blank"])
def test_every_bitpix_and_scaling_equals_astropy(tmp_path: Path, bitpix: int, scaling: str) -> None:
    data = stored(bitpix, (7, 9))
    hdu = fits.PrimaryHDU(data)
    path = write(tmp_path / "a.fits", hdu)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        header = hdus[0].header
        if scaling == "linear":
            header["BSCALE"], header["BZERO"] = 0.25, 100.0
        elif scaling == "unsigned" and bitpix > 0:
            header["BZERO"] = -128 if bitpix == 8 else 1 << (bitpix - 1)
        elif scaling == "blank" and bitpix > 0:
            header["BLANK"] = int(data[3, 4])
    image = read(path)[0]
    with fits.open(path) as hdus:
        expected = hdus[0].data
    found = image.data[1:6, 2:8]
    assert found.dtype == image.data.dtype
    assert found.dtype.isnative
    assert np.allclose(found, expected[1:6, 2:8], rtol=1e-6, equal_nan=True)
    if expected.dtype.kind in "iu":
        assert found.dtype == expected.dtype.newbyteorder("=")
        assert np.array_equal(found, expected[1:6, 2:8])
    assert np.isnan(found).any() == (scaling == "blank" and bitpix > 0)


@pytest.mark.parametrize("codec", ["RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"])
def test_compressed_images_equal_astropy(tmp_path: Path, codec: str) -> None:
    data = RNG.integers(0, 1000, size=(40, 33)).astype(np.int16)
    path = write(tmp_path / "a.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type=codec))
    image = read(path)[0]
    assert np.array_equal(image.data[...], data)
    assert np.array_equal(image.data[7, 3:30], data[7, 3:30])
    assert np.array_equal(image.data[5:9, -1], data[5:9, -1])


index = st.one_of(
    st.integers(0, 2),
    st.tuples(st.integers(0, 3), st.integers(0, 5)).map(lambda ab: slice(ab[0], ab[0] + ab[1])),
    st.just(slice(None)),
)


@given(st.tuples(index, index, index))
@settings(max_examples=60)
def test_any_block_of_a_cube_equals_numpy(tmp_path_factory: pytest.TempPathFactory, block: tuple) -> None:
    path = tmp_path_factory.getbasetemp() / "cube_for_blocks.fits"
    data = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    if not path.exists():
        write(path, fits.PrimaryHDU(data))
        test_any_block_of_a_cube_equals_numpy.image = read(path)[0]
    found = test_any_block_of_a_cube_equals_numpy.image.data[block]
    assert found.shape == data[block].shape
    assert np.array_equal(found, data[block])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_runs_cover_a_block_exactly_once(shape: list[int], data: st.DataObject) -> None:
    bounds = [tuple(sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape]
    array = np.arange(int(np.prod(shape)))
    expected = array.reshape(shape)[tuple(slice(*b) for b in bounds)].ravel()
    block = np.full(expected.size, -1)
    for at, first, count in row_runs(shape, bounds):
        assert (block[at : at + count] == -1).all()
        block[at : at + count] = array[first : first + count]
    assert np.array_equal(block, expected)


def test_a_tile_of_a_huge_image_needs_little_memory(tmp_path: Path) -> None:
    header = fits.Header(
        [("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", 20000), ("NAXIS2", 20000)]
    )
    header["BUNIT"] = "ct"
    raw = header.tostring().encode()
    path = tmp_path / "huge.fits"
    with open(path, "wb") as stream:
        stream.write(raw)
        stream.truncate(len(raw) + 1_600_002_720)  # sparse: whole blocks of zeros that take no disk
    tracemalloc.start()
    image = read(path)[0]
    tile = image.data[9000:9512, 12000:12512]
    rows = image.data[19999:20000]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tile.shape == (512, 512)
    assert rows.shape == (1, 20000)
    assert peak < 16_000_000


def test_a_file_that_shrinks_while_it_is_read_is_an_error_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(np.zeros((100, 100), dtype=np.float32)))
    image = read(path)[0]
    with open(path, "r+b") as stream:
        stream.truncate(20000)
    with pytest.raises(UnreadableError, match="shorter"):
        _ = image.data[...]


@given(st.binary(max_size=4000))
def test_checksums_of_any_bytes_equal_astropy(data: bytes) -> None:
    hdu = fits.PrimaryHDU()
    padded = data + b"\0" * (-len(data) % 4)
    ours = add_to_sum(data)
    theirs = int(hdu._compute_checksum(np.frombuffer(padded, dtype="u1"), 0)) if padded else 0
    assert ours == theirs
    assert encode(ours) == hdu._char_encode(np.uint32(0xFFFFFFFF & ~ours))
