"""Sizes that headers declare are held against the file, and against sense, before memory or time is spent on them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import make_series, phantom
from enhanced_samples import make_enhanced, volume
from fuzz_dicom import nested
from hostile import read, refusal
from nifti_samples import make
from ser_samples import planet, write_ser

import sciSR
from networks import write_network
from sciSR.errors import SciSRWarning
from sciSR.models.files import load_model


def cards(*lines: str) -> bytes:
    text = "".join(line.ljust(80) for line in ("SIMPLE  =                    T", *lines, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def card(key: str, value: object) -> str:
    return f"{key:<8}= {value!s:>20}"


EXTENSION = b"XTENSION= 'IMAGE   '".ljust(80) + card("BITPIX", 8).ljust(80).encode()
EXTENSION = (EXTENSION + card("NAXIS", 0).ljust(80).encode() + b"END".ljust(80)).ljust(2880)
HEAP = EXTENSION.replace(b"NAXIS   =                    0", b"PCOUNT  =            999999999")
FITS = {
    "axes": cards(card("BITPIX", 8), card("NAXIS", 999999999)),
    "pixels": cards(card("BITPIX", -64), card("NAXIS", 2), card("NAXIS1", 10**9), card("NAXIS2", 10**9)),
    "product": cards(card("BITPIX", 8), card("NAXIS", 3), *(card(f"NAXIS{n}", 2**62) for n in (1, 2, 3))),
    "heap": cards(card("BITPIX", 8), card("NAXIS", 0)) + HEAP,
    "HDUs": cards(card("BITPIX", 8), card("NAXIS", 0)) + EXTENSION * 12_000,
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_fits(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(FITS[name])
    assert refusal(lambda: read(path)).startswith(str(path))


def test_fits_distortion_of_absurd_order(tmp_path: Path) -> None:
    text = [card("BITPIX", 8), card("NAXIS", 2), card("NAXIS1", 60), card("NAXIS2", 48)]
    text += [
        "CTYPE1  = 'RA---TAN-SIP'",
        "CTYPE2  = 'DEC--TAN-SIP'",
        card("A_ORDER", 100000),
        card("B_ORDER", 2),
    ]
    text += [card("CD1_1", -1e-5), card("CD2_2", 1e-5), card("CRVAL1", 10.0), card("CRVAL2", 10.0)]
    path = tmp_path / "sip.fits"
    path.write_bytes(cards(*text) + bytes(2880))
    assert "A_ORDER is 100000; SIP allows 0 to 9" in refusal(lambda: read(path))


@pytest.mark.parametrize(
    "dim", [(7, *(32767,) * 7), (3, 32767, 32767, 32767), (32767,), (3, -1, 5, 5), (3, 0, 5, 5)]
)
def test_nifti(tmp_path: Path, dim: tuple[int, ...]) -> None:
    raw = bytearray(make(tmp_path / "a.nii", (6, 5, 4), dtype=np.int16).read_bytes())
    struct.pack_into(f"<{len(dim)}h", raw, 40, *dim)
    path = tmp_path / "bad.nii"
    path.write_bytes(raw)
    assert "bad.nii" in refusal(lambda: read(path))


def test_nifti_2_of_exabytes(tmp_path: Path) -> None:
    raw = bytearray(make(tmp_path / "a.nii", (6, 5, 4), dtype=np.int16, version=2).read_bytes())
    struct.pack_into("<4q", raw, 16, 3, 2**40, 2**40, 2**40)
    path = tmp_path / "bad.nii"
    path.write_bytes(raw)
    assert "bad.nii" in refusal(lambda: read(path))


def test_an_extension_of_nifti_that_is_longer_than_its_file(tmp_path: Path) -> None:
    raw = bytearray(make(tmp_path / "a.nii", extensions=((6, b"a comment"),)).read_bytes())
    struct.pack_into("<i", raw, 352, 2**31 - 1)
    path = tmp_path / "bad.nii"
    path.write_bytes(raw)
    assert "bad.nii" in refusal(lambda: read(path))


def dicom(tmp_path: Path) -> bytearray:
    make_series(tmp_path / "in", stored=phantom((1, 6, 8)))
    return bytearray((tmp_path / "in" / "s000.dcm").read_bytes())


def test_dicom_of_more_pixels_than_it_has(tmp_path: Path) -> None:
    raw = dicom(tmp_path)
    for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
        at = raw.index(tag) + 8
        raw[at : at + 2] = b"\xff\xff"
    path = tmp_path / "bad.dcm"
    path.write_bytes(raw)
    assert "truncated: 96 bytes of 8589672450" in refusal(lambda: read(path))


@pytest.mark.parametrize("length", [b"\xfe\xff\xff\xff", b"\xfe\xff\xff\x7f", b"\xff\xff\xff\xff"])
def test_dicom_elements_longer_than_their_file(tmp_path: Path, length: bytes) -> None:
    raw = dicom(tmp_path)
    at = raw.index(b"\xe0\x7f\x10\x00OW") + 8
    raw[at : at + 4] = length
    path = tmp_path / "bad.dcm"
    path.write_bytes(raw)
    if (
        length == b"\xfe\xff\xff\xff" or length == b"\xfe\xff\xff\x7f"
    ):  # all pixels are there: only the length is wrong
        assert np.asarray(sciSR.read(path)).shape == (1, 6, 8)
    else:
        assert "undefined length" in refusal(lambda: read(path))
    text = raw.replace(b"\x10\x00\x10\x00PN\x08\x00", b"\x10\x00\x10\x00UT\0\0" + length, 1)
    path.write_bytes(text)
    assert "bad.dcm" in refusal(lambda: read(path))


def test_dicom_of_two_billion_frames(tmp_path: Path) -> None:
    def edit(dataset: object) -> None:
        dataset.NumberOfFrames = 2**31 - 1

    path = make_enhanced(tmp_path / "bad.dcm", volume((3, 6, 8)), edit=edit)
    assert "bad.dcm" in refusal(lambda: read(path))


@pytest.mark.parametrize("depth", [200, 5000, 100_000])
def test_dicom_sequences_in_each_other(tmp_path: Path, depth: int) -> None:
    raw = dicom(tmp_path)
    at = raw.index(b"\x08\x00\x16\x00UI")
    path = tmp_path / "deep.dcm"
    path.write_bytes(raw[:at] + nested(depth) + raw[at:])
    assert "nested too deeply" in refusal(lambda: read(path))


@pytest.mark.parametrize("field", [{"width": 2**31 - 1}, {"height": -5}, {"depth": 64}])
def test_ser(tmp_path: Path, field: dict[str, int]) -> None:
    path = write_ser(tmp_path / "bad.ser", planet(3, 8, 12), **field)
    assert "bad.ser" in refusal(lambda: read(path))


def test_ser_of_more_frames_than_it_has_gives_those_and_says_so(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "bad.ser", planet(3, 8, 12), count=2**31 - 1)
    with pytest.warns(SciSRWarning, match=r"bad\.ser"):
        assert sciSR.read(path).shape[0] == 3


def changed(path: Path, edit: object) -> Path:
    """A weights file with another header."""
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[end:])
    return path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("arguments", {"features": 10**9, "blocks": 10**9}),
        ("arguments", {"features": 4000, "blocks": 4000}),
        ("arguments", [1] * 9),
        ("receptive_field", 10**12),
        ("receptive_field", 4000),
        ("multiple", 10**9),
        ("scale", 10**6),
        ("scales", [2, 10**9]),
        ("name", 3),
    ],
)
def test_weights_that_ask_for_more_than_they_hold(tmp_path: Path, key: str, value: object) -> None:
    path = Path(write_network(tmp_path, "ECBSR", 2))
    load_model(path)

    def edit(header: dict) -> None:
        header["__metadata__"][key] = json.dumps(value)

    assert refusal(lambda: load_model(changed(path, edit)))


@pytest.mark.parametrize("length", [2**63, 2**40, 0])
def test_weights_whose_header_is_longer_than_they_are(tmp_path: Path, length: int) -> None:
    path = Path(write_network(tmp_path, "ECBSR", 2))
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    assert "not a readable safetensors file" in refusal(lambda: load_model(path))
