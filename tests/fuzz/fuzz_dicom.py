"""Mutations that know DICOM's elements: values with their lengths, wrong lengths, elements twice, nested or missing."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_TEXTS = (
    b"", b"0", b"-1", b"1e300", b"nan", b"1\\2\\3\\4\\5\\6\\7", b"x" * 70, b"0\\0", b"1\\0\\0\\1\\0\\0",
    b"0.0\\0.0\\0.0", b"1e-30\\1e30", b"..\\..\\..\\ETC", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.5",
    b"1.2.840.10008.1.2.4.90", b"\\",
)  # fmt: skip
_TAGS = {  # what geometry, size and decoding hang on: drawn more often than others
    (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0008), (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102),
    (0x0028, 0x0103), (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0030), (0x0028, 0x1052), (0x0028, 0x1053),
    (0x0020, 0x0032), (0x0020, 0x0037), (0x0018, 0x0050), (0x0002, 0x0010), (0x0002, 0x0000), (0x0008, 0x0016),
    (0x7FE0, 0x0010), (0x0008, 0x0060), (0x0004, 0x1500), (0x0004, 0x1220), (0x0020, 0x9157), (0x0008, 0x0005),
}  # fmt: skip


@dataclass(frozen=True)
class Element:
    """Where one element stands: its tag, where its length and its value begin, and the value's size."""

    tag: tuple[int, int]
    vr: bytes
    start: int
    length_at: int
    length_size: int
    value: int
    size: int


def elements(raw: bytes) -> Iterator[Element]:
    """All elements of a file, those inside sequences too; stops where the file makes no sense."""
    at = 132 if raw[128:132] == b"DICM" else 0
    order, explicit, meta = "<", True, True
    syntax = b""
    while at + 8 <= len(raw):
        group, number = struct.unpack(order + "HH", raw[at : at + 4])
        if meta and group != 2:
            meta = False
            order = ">" if syntax == b"1.2.840.10008.1.2.2" else "<"
            explicit = syntax != b"1.2.840.10008.1.2"
            continue
        vr = raw[at + 4 : at + 6]
        if group == 0xFFFE or not explicit:
            place, width, value = at + 4, 4, at + 8
        elif vr in _LONG:
            place, width, value = at + 8, 4, at + 12
        else:
            place, width, value = at + 6, 2, at + 8
        if value > len(raw):
            return
        (size,) = struct.unpack(order + ("I" if width == 4 else "H"), raw[place : place + width])
        inside = group == 0xFFFE or (explicit and vr == b"SQ") or size == 0xFFFFFFFF
        yield Element(
            (group, number), vr, at, place, width, value, 0 if inside else min(size, len(raw) - value)
        )
        if (group, number) == (2, 0x0010):
            syntax = raw[value : value + size].rstrip(b"\0 ")
        at = value if inside else value + size


def mutate_dicom(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One element changed, lengthened, moved, taken out, or buried in sequences."""
    found = list(elements(raw))
    if not found:
        return raw, "no element"
    important = [e for e in found if e.tag in _TAGS]
    chosen = rng.choice(important if important and rng.random() < 0.6 else found)
    end = chosen.value + chosen.size
    kind = rng.choice(
        ("value", "value", "value", "length", "delete", "duplicate", "vr", "tag", "bury", "swap")
    )
    name = f"{kind} of {chosen.tag[0]:04x},{chosen.tag[1]:04x}"
    if kind == "value":
        return _with_value(raw, chosen, _value(chosen, raw, rng)), name
    out = bytearray(raw)
    if kind == "length":
        value = rng.choice(
            (0, 1, 7, 0x7FFE, 0xFFFF, 0x7FFFFFFE, 0xFFFFFFFF, chosen.size + 2, max(0, chosen.size - 2))
        )
        width = chosen.length_size
        out[chosen.length_at : chosen.length_at + width] = (value & (256**width - 1)).to_bytes(
            width, "little"
        )
    elif kind == "delete":
        del out[chosen.start : end]
    elif kind == "duplicate":
        out[end:end] = out[chosen.start : end] * rng.choice((1, 1, 100))
    elif kind == "vr":
        out[chosen.start + 4 : chosen.start + 6] = rng.choice(
            (b"SQ", b"UN", b"OB", b"DS", b"US", b"FD", b"UI", b"XX")
        )
    elif kind == "tag":
        out[chosen.start : chosen.start + 4] = struct.pack("<HH", *rng.choice(found).tag)
    elif kind == "bury":
        depth = rng.choice((1, 5, 200, 3000))
        out[chosen.start : chosen.start] = nested(depth)
    else:
        other = rng.choice(found)
        first, second = sorted((chosen, other), key=lambda e: e.start)
        one, two = first.value + first.size, second.value + second.size
        if one <= second.start:
            between = raw[one : second.start]
            out[first.start : two] = raw[second.start : two] + between + raw[first.start : one]
    return bytes(out), name


def nested(depth: int) -> bytes:
    """Sequences of undefined length in each other: ReferencedImageSequence, explicit little endian."""
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth


def _value(element: Element, raw: bytes, rng: random.Random) -> bytes:
    if element.vr in (b"US", b"SS"):
        return struct.pack("<H", rng.choice((0, 1, 2, 3, 7, 8, 16, 32, 64, 255, 4096, 32767, 65535)))
    if element.vr in (b"UL", b"SL"):
        return struct.pack("<I", rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF)))
    if element.vr in (b"FD", b"FL"):
        return struct.pack(
            "<d" if element.vr == b"FD" else "<f", rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
        )
    if element.vr in (b"OW", b"OB", b"UN") and element.size:
        return raw[element.value : element.value + rng.randrange(element.size)]
    old = raw[element.value : element.value + element.size]
    if rng.random() < 0.4 and old:  # the same numbers, one of them another
        words = old.rstrip(b" \0").split(b"\\")
        words[rng.randrange(len(words))] = rng.choice(
            (b"0", b"-1", b"1e300", b"nan", b"", b"0.5", b"1000000")
        )
        return b"\\".join(words)
    return rng.choice(_TEXTS)


def _with_value(raw: bytes, element: Element, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    width = element.length_size
    length = (len(value) & (256**width - 1)).to_bytes(width, "little")
    head = raw[: element.length_at] + length + raw[element.length_at + width : element.value]
    return head + value + raw[element.value + element.size :]
