"""Mutations of configurations and of weights: lines, values, tags and aliases; the header's lengths and shapes."""

from __future__ import annotations

import json
import random

_VALUES = (
    "", "null", "true", "-1", "0", "1e999", ".nan", ".inf", "9" * 400, "'text'", "[1, [2, [3]]]", "{a: {b: {c: 1}}}",
    "!!python/object/apply:os.system ['exit 3']", "!!python/name:os.system", "!!binary aGVsbG8=", "!other 3",
    "*missing", "&a [*a, *a]", "2026-02-30", "0x7fffffffffffffff", "1_000", "[" * 500, "{" * 300, "? a", "|",
    "'unclosed", "\t- x",
    "../../../etc/passwd", "\ud7ff\ufffe", "!!set {a, b}", "!!omap [a: 1]", "!!int text", "!!float [1]",
    "!!timestamp x", "12:30:45", "<<: *x", "- - - - -", "999999999", "1.0e+300", "-0",
    "100000000000000000000", "[.nan, .inf]",
)  # fmt: skip


def mutate_yaml(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A line or a value changed, moved, doubled, indented or taken out; tags, aliases that grow, a wrong encoding."""
    lines = raw.decode("utf-8", "replace").split("\n")
    at = rng.randrange(len(lines))
    line = lines[at]
    kind = rng.choice(
        (
            "value",
            "value",
            "value",
            "key",
            "delete",
            "duplicate",
            "indent",
            "swap",
            "inside",
            "aliases",
            "encoding",
            "deep",
        )
    )
    if kind == "value":
        lines[at] = line.split(":", 1)[0] + ": " + rng.choice(_VALUES)
    elif kind == "key":
        lines[at] = rng.choice(_VALUES) + ": " + line.split(":", 1)[-1]
    elif kind == "delete":
        del lines[at]
    elif kind == "duplicate":
        lines[at:at] = [line] * rng.choice((1, 2, 200))
    elif kind == "indent":
        lines[at] = " " * rng.choice((1, 2, 3, 7)) + line if rng.random() < 0.5 else line.lstrip()
    elif kind == "swap":
        to = rng.randrange(len(lines))
        lines[at], lines[to] = lines[to], lines[at]
    elif kind == "inside":
        words = line.split(" ")
        words[rng.randrange(len(words))] = rng.choice(_VALUES)
        lines[at] = " ".join(words)
    elif kind == "aliases":
        lines[at] = "\n".join(aliases(rng.choice((3, 9, 25))))
    elif kind == "deep":
        lines[at] = "deep: " + "[" * (depth := rng.choice((20, 400, 3000))) + "]" * depth
    else:
        text = "\n".join(lines)
        return rng.choice((text.encode("utf-16"), b"\xff" + text.encode(), text.encode() + b"\0\0")), kind
    return "\n".join(lines).encode("utf-8", "replace"), f"{kind} in line {at + 1}"


def aliases(levels: int) -> list[str]:
    """Ten to the power of `levels` words in a few lines: each list holds the one before it ten times."""
    words = ["laugh0: &laugh0 [ha]"]
    return words + [
        f"laugh{n}: &laugh{n} [{', '.join([f'*laugh{n - 1}'] * 10)}]" for n in range(1, levels + 1)
    ]


_WILD = (
    0,
    -1,
    1,
    2,
    3,
    7,
    1.5,
    10**6,
    10**12,
    2**63,
    True,
    None,
    "x",
    "",
    [],
    {},
    [0],
    "__class__",
    1e308,
    [10**9] * 4,
)
_SIZES = (0, 1, 7, 2**20, 2**31, 2**63, 2**64 - 1)


def mutate_safetensors(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """The header's length, a tensor's type, shape or place, or a value of the metadata."""
    if len(raw) < 8:
        return raw, "too short"
    end = 8 + int.from_bytes(raw[:8], "little")
    try:
        header = json.loads(raw[8:end])
    except (ValueError, RecursionError):
        return raw, "no header"
    kind = rng.choice(
        ("length", "tensor", "tensor", "delete", "rename", "metadata", "metadata", "metadata", "nan")
    )
    names = [name for name in header if name != "__metadata__" and isinstance(header[name], dict)]
    metadata = header.get("__metadata__")
    if kind == "length":
        return rng.choice(_SIZES).to_bytes(8, "little") + raw[8:], kind
    if kind == "nan" and len(raw) > end:
        out = bytearray(raw)
        at = rng.randrange(end, len(raw))
        out[at : at + 4] = b"\0\0\xc0\x7f"
        return bytes(out), kind
    what = kind
    if kind == "metadata" and isinstance(metadata, dict) and metadata:
        what = rng.choice(sorted(metadata))
        value = rng.choice(_WILD)
        if what == "arguments" and rng.random() < 0.7:
            value = {
                rng.choice(("features", "blocks", "widths", "n", "scale")): rng.choice(
                    (*_WILD, 4000, [64] * 40)
                )
            }
        metadata[what] = json.dumps(value) if rng.random() < 0.8 else "not json {"
    elif names:
        what = rng.choice(names)
        if kind == "delete":
            del header[what]
        elif kind == "rename":
            header[rng.choice((what + "x", "__class__", "", "a.b.c"))] = header.pop(what)
        else:
            field = rng.choice(("dtype", "shape", "data_offsets"))
            header[what][field] = rng.choice(
                ("F64", "I8", "BF16", [1], [0], [2**40, 2**40], [-1, 5], [0, 2**62], None)
            )
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + raw[end:], f"{kind} of {what}"
