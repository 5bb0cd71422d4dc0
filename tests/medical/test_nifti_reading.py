"""Readers check before they trust: nothing damaged is read as something else, nothing hangs, nothing explodes."""

from __future__ import annotations

import gc
import gzip
import os
import random
import tempfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from nifti_samples import make, read, voxels

from sciSR.errors import SciSRError, UnreadableError
from scisr_medical.nifti_adapter import adapter


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.img", "a.hdr.gz", "a.img.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_form_is_recognised_and_read(tmp_path: Path, name: str, version: int) -> None:
    source = make(tmp_path / name, version=version)
    assert adapter.sniff(source)
    assert np.array_equal(np.asarray(read(source)), voxels((7, 6, 5)))


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    plain = make(tmp_path / "a.nii")
    packed = make(tmp_path / "b.nii.gz")
    plain.rename(tmp_path / "really_plain.nii.gz")
    packed.rename(tmp_path / "really_packed.nii")
    for name in ("really_plain.nii.gz", "really_packed.nii"):
        assert adapter.sniff(tmp_path / name)
        assert np.array_equal(np.asarray(read(tmp_path / name)), voxels((7, 6, 5)))


def test_a_pair_without_its_other_half_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    with pytest.raises(UnreadableError, match=r"a\.img: no such file"):
        adapter.read(source)


BAD_FIELDS = {
    "sizeof_hdr": ({"sizeof_hdr": 349}, "sizeof_hdr is 349, not 348"),
    "no axes": ({"dim": {0: 0}}, r"dim\[0\]"),
    "nine axes": ({"dim": {0: 9}}, r"dim\[0\]"),
    "one axis": ({"dim": {0: 1}}, "1-D"),
    "negative size": ({"dim": {2: -6}}, "below 1"),
    "size zero": ({"dim": {1: 0}}, "below 1"),
    "terabytes": ({"dim": {0: 4, 1: 32767, 2: 32767, 3: 32767, 4: 30000}}, "claims"),
    "larger": ({"dim": {3: 6}}, "truncated"),
    "much smaller": ({"dim": {3: 1}}, "trailing data"),
    "type": ({"datatype": 77}, "unknown datatype"),
    "bitpix": ({"bitpix": 16}, "bitpix is 16"),
    "offset inside header": ({"vox_offset": 300}, "vox_offset"),
    "offset beyond": ({"vox_offset": 1e6}, "truncated"),
    "offset fraction": ({"vox_offset": 352.5}, "vox_offset"),
    "offset nan": ({"vox_offset": np.nan}, "vox_offset"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_a_header_that_cannot_be_true_is_refused(tmp_path: Path, case: str) -> None:
    fields, message = BAD_FIELDS[case]
    source = make(tmp_path / "in.nii", (40, 30, 5), fields=fields)
    with pytest.raises(SciSRError, match=rf"in\.nii: .*{message}"):
        adapter.read(source)
    packed = tmp_path / "in.nii.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    with pytest.raises(SciSRError, match=r"in\.nii\.gz: "):
        adapter.read(packed)


def test_an_extension_beyond_the_end_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii", extensions=((6, b"comment"),))
    content = bytearray(source.read_bytes())
    content[352:356] = (1 << 20).to_bytes(4, "little")
    source.write_bytes(content)
    with pytest.raises(UnreadableError, match="damaged header extension at byte 4"):
        adapter.read(source)


def test_every_flipped_byte_of_a_gzip_stream_is_noticed(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii.gz", (6, 5, 4), dtype=np.int16)
    expected = np.asarray(read(source))
    good = source.read_bytes()
    wrong = []
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1 << (position % 8)
        source.write_bytes(damaged)
        try:
            same = np.array_equal(np.asarray(read(source)), expected)
        except SciSRError:
            continue
        if not same:
            wrong.append(position)
    assert wrong == []


def test_zeros_at_the_end_are_padding_anything_else_is_not(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    content = source.read_bytes()
    source.write_bytes(content + bytes(500))
    assert np.array_equal(np.asarray(read(source)), voxels((7, 6, 5)))
    for tail in (bytes(499) + b"x", bytes(5000)):
        source.write_bytes(content + tail)
        with pytest.raises(UnreadableError, match="trailing data"):
            adapter.read(source)


@pytest.mark.parametrize("tail", [b"garbage after the stream", bytes(600)])
def test_bytes_after_the_gzip_stream(tmp_path: Path, tail: bytes) -> None:
    source = make(tmp_path / "in.nii.gz")
    source.write_bytes(source.read_bytes() + tail)
    if tail.strip(b"\0"):
        with pytest.raises(UnreadableError, match="damaged gzip"):
            adapter.read(source)
    else:  # padding of tape blocks; gzip(1) ignores it too
        assert np.array_equal(np.asarray(read(source)), voxels((7, 6, 5)))


def test_a_gzip_file_of_several_streams_is_read_whole(tmp_path: Path) -> None:
    plain = make(tmp_path / "in.nii", extensions=((6, b"x" * 400),)).read_bytes()
    packed = tmp_path / "in.nii.gz"
    packed.write_bytes(b"".join(gzip.compress(plain[i : i + 150]) for i in range(0, len(plain), 150)))
    assert adapter.sniff(packed)
    image = read(packed)
    assert np.array_equal(np.asarray(image), voxels((7, 6, 5)))
    assert image.metadata.extensions[0][1].rstrip(b"\0") == b"x" * 400


def test_a_decompression_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    plain = make(tmp_path / "in.nii", (10, 10, 10)).read_bytes()
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(plain + bytes(200 << 20), compresslevel=9))
    tracemalloc.start()
    with pytest.raises(UnreadableError, match="grows beyond"):
        adapter.read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def test_a_compressed_file_that_claims_the_impossible_is_refused_at_once(tmp_path: Path) -> None:
    fields = {"dim": {1: 32767, 2: 32767, 3: 100}}
    source = make(tmp_path / "in.nii", (10, 10, 10), fields=fields)
    packed = tmp_path / "in.nii.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    with pytest.raises(
        UnreadableError, match=r"its header says 4294\d* bytes, \d+ compressed bytes can't hold"
    ):
        adapter.read(packed)


def test_a_large_compressed_volume_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    shape = (200, 300, 300)  # 72 MB of float32
    source = make(tmp_path / "in.nii.gz", data=np.zeros(shape, np.float32))
    read(source)
    gc.collect()
    tracemalloc.start()
    image = read(source)
    plane = image.data[:, :, 150]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plane.shape == (200, 300)
    assert peak < 20 << 20
    del image
    gc.collect()
    assert not any(scratch.iterdir())


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    source = make(tmp_path / "in.nii")
    image = read(source)
    os.truncate(source, 400)
    with pytest.raises(UnreadableError, match="changed or vanished"):
        np.asarray(image)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.nii", tmp_path):
        assert adapter.sniff(path) is False
        with pytest.raises(UnreadableError, match=path.name):
            adapter.read(path)


def _mutants(rng: random.Random, content: bytes, count: int) -> list[bytes]:
    """Copies with flipped bits, bytes set to extremes, cut, doubled or with foreign blocks inside."""
    found = []
    for _ in range(count):
        damaged = bytearray(content)
        kind = rng.randrange(5)
        if kind == 0:
            for _ in range(rng.randint(1, 8)):
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        elif kind == 1:  # the header is where it hurts
            for _ in range(rng.randint(1, 4)):
                damaged[rng.randrange(min(540, len(damaged)))] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            damaged = damaged[: rng.randrange(len(damaged))]
        elif kind == 3:
            at = rng.randrange(len(damaged))
            damaged[at:at] = rng.randbytes(rng.randint(1, 600))
        else:
            start = rng.randrange(min(540, len(damaged)))
            damaged[start : start + 8] = rng.randbytes(8)
        found.append(bytes(damaged))
    return found


@pytest.mark.parametrize(
    ("name", "version", "order", "count"),
    [("a.nii", 1, "<", 120), ("a.nii", 2, ">", 80), ("a.nii.gz", 1, "<", 80)],
)
def test_damaged_files_raise_scisr_errors_only(
    tmp_path: Path, name: str, version: int, order: str, count: int
) -> None:
    source = make(
        tmp_path / name,
        (9, 8, 5, 2),
        dtype=np.int16,
        version=version,
        order=order,
        extensions=((6, b"comment"),),
    )
    content = source.read_bytes()
    refusals = []
    for mutant in _mutants(random.Random(f"{name}{version}"), content, count):
        source.write_bytes(mutant)
        assert adapter.sniff(source) in (True, False)
        with warnings.catch_warnings(action="ignore"):
            try:
                (image,) = adapter.read(source)
                values = np.asarray(image)
                adapter.describe(source)
            except SciSRError as error:
                refusals.append(str(error))
                continue
        assert values.shape == image.shape
        assert np.isfinite(image.grid.affine).all()
    assert len(refusals) > count // 3
    assert all("a.nii" in text and "\n" not in text for text in refusals)
