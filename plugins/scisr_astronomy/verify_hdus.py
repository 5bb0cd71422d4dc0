"""What became of a FITS file's other HDUs: companions that follow the finer pixels, and what is only carried over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.verify.claims import claims_of
from sciSR.verify.result import Check, KeyChange, Pair, Status
from sciSR.views import NearestView
from scisr_astronomy.fits_file import FitsFile
from scisr_astronomy.preflight import HduRecord
from scisr_astronomy.provenance_table import NAME as PROVENANCE
from scisr_astronomy.reader import section_of
from scisr_astronomy.roles import COMPANIONS
from scisr_astronomy.verify_headers import opened
from scisr_astronomy.verify_keywords import key_changes
from scisr_astronomy.verify_rules import Scales, scales_of
from scisr_astronomy.wcs_keywords import is_wcs_keyword

_CHUNK = 1 << 22
_ROWS = 1 << 18  # pixels compared at once
_RELATIVE = 1e-6
_SHARED = {"sigma": 1, "variance": 2, "inverse": -2}
"""The power of the share that a companion of a total is multiplied by."""


def other_hdus(pairs: Sequence[Pair]) -> tuple[list[Check], list[KeyChange]]:
    """Each HDU of the input that is no image of a pair, and each of the output that has no origin there."""
    if not pairs:
        return [], []
    old, new = pairs[0].before.metadata, pairs[0].after.metadata
    by_hdu = {pair.before.metadata.hdu: pair for pair in pairs}
    taken = {pair.after.metadata.hdu for pair in pairs}
    checks: list[Check] = []
    keys: list[KeyChange] = []
    with opened(old.file) as before, opened(new.file) as after:
        for record in old.file.records:
            if record.index in by_hdu or record.name == PROVENANCE:
                continue
            role, part = old.roles[record.index], old.file.part(record.index)
            found = _counterpart(old.file, record, new.file, taken)
            if record.index == 0 and not record.shape and found is None:
                continue  # an image moved into the primary HDU
            if role.kind == "drop":
                checks.append(_dropped(part, found))
                taken |= set() if found is None else {found.index}
                continue
            if found is None:
                checks.append(Check("metadata", f"HDU {part}", "failed", "is not in the output", part=part))
                continue
            taken.add(found.index)
            pair = by_hdu.get(role.of) if role.kind in COMPANIONS else None
            if pair is not None:
                checks.append(_companion(pair, record, found, role.kind, part))
                scales = scales_of(pair)
            elif role.kind == "lookup":
                scales = Scales({})
                checks.append(
                    Check("metadata", f"HDU {part}", "passed", "seen by the places of pixels", part=part)
                )
            else:
                scales = _primary_scales(pairs, old) if record.index == 0 and not record.shape else Scales({})
                if record.shape or record.data_size:
                    checks.append(_carried(old.file, record, new.file, found, part))
            if role.kind != "lookup":
                headers = before[record.index].header, after[found.index].header
                keys += key_changes(*headers, scales, part if record.index else "PRIMARY")
    checks += _added(new.file, taken, pairs)
    return checks, keys


def _counterpart(old: FitsFile, record: HduRecord, new: FitsFile, taken: set[int]) -> HduRecord | None:
    """By name and version; without a name the one at the same place among those without."""
    free = [r for r in new.records if r.index not in taken and r.name != PROVENANCE]
    if record.index == 0:
        return new.records[0] if 0 not in taken else None
    if record.name:
        same = [r for r in free if r.name == record.name and r.version == record.version]
        return same[0] if same else None
    nameless = [r.index for r in old.records if not r.name and r.index]
    others = [r for r in new.records if not r.name and r.index]
    place = nameless.index(record.index)
    found = others[place] if place < len(others) else None
    return found if found is not None and found.index not in taken else None


def _primary_scales(pairs: Sequence[Pair], old: Any) -> Scales:
    """A header without pixels follows the images where all of them changed alike."""
    science = [i for i, role in old.roles.items() if role.kind == "science"]
    factors = {tuple(pair.factors[-2:]) for pair in pairs}
    if len(science) != len(pairs) or len(factors) != 1:
        return Scales({})
    rows, columns = factors.pop()
    total = all(scales_of(pair).total for pair in pairs)
    return Scales({1: columns, 2: rows}, total)


def _dropped(part: str, found: HduRecord | None) -> Check:
    if found is None:
        message = "dropped: what it says is true of the input's pixels only"
        return Check("metadata", f"HDU {part}", "passed", message, part=part)
    message = "still there, though what it says is true of the input's pixels only"
    return Check("metadata", f"HDU {part}", "warning", message, part=part)


def _carried(old: FitsFile, record: HduRecord, new: FitsFile, found: HduRecord, part: str) -> Check:
    """Data that should be the same, bit for bit."""
    good = record.data_size == found.data_size and _digest(old, record) == _digest(new, found)
    message = "carried over bit for bit" if good else "its data are not those of the input"
    return Check("metadata", f"HDU {part}", "passed" if good else "failed", message, part=part)


def _digest(file: FitsFile, record: HduRecord) -> str:
    digest = hashlib.sha256()
    with open(file.plain, "rb") as stream:
        stream.seek(record.data_start)
        left = record.data_size
        while left and (chunk := stream.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _companion(pair: Pair, record: HduRecord, found: HduRecord, kind: str, part: str) -> Check:
    """A mask, an error or a map: repeated over the finer pixels, shared out where it must be."""
    name = f"HDU {part}"
    claims = claims_of(pair.before, pair.after)
    if "uncertainty" in claims.step and kind in ("sigma", "variance", "inverse"):
        return Check("metadata", name, "passed", "replaced by the calibrated uncertainty", part=part)
    if any(f < 1 for f in pair.factors):
        return Check("metadata", name, "skipped", "of a coarser image", part=part)
    if set(claims.line) - {"upscale"}:
        message = f"went through {len(claims.line)} steps: {', '.join(claims.line)}"
        return Check("metadata", name, "skipped", message, part=part)
    if not record.shape:  # an HST constant array
        message = "a constant array" if not found.shape else "was a constant array, is an image"
        return Check("metadata", name, "passed" if not found.shape else "warning", message, part=part)
    expected = tuple(int(n * f) for n, f in zip(record.shape, pair.factors, strict=True))
    if found.shape != expected:
        message = f"is {_size(found.shape)}, its image's pixels ask for {_size(expected)}"
        return Check("metadata", name, "failed", message, part=part)
    share = Fraction(1)
    if claims.quantity(pair.before) == "total":
        for factor in pair.factors:
            share /= factor
    times = share ** _SHARED.get(kind, 0)
    wrong = _differences(pair, record, found, times)
    words = "repeated over the finer pixels" + ("" if times == 1 else f" and multiplied by {times}")
    status: Status = "passed" if not wrong else ("failed" if claims.kind or kind == "mask" else "warning")
    message = words if not wrong else f"{wrong} pixels are not what it should hold: {words}"
    return Check("metadata", name, status, message, float(wrong), 0.0, "pixels", part)


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "no image"


def _differences(pair: Pair, record: HduRecord, found: HduRecord, times: Fraction) -> int:
    old, new = pair.before.metadata.file, pair.after.metadata.file
    wanted = NearestView(section_of(old, record.index), pair.factors)
    values = section_of(new, found.index)
    wrong = 0
    for index in _slabs(found.shape):
        a, b = np.asarray(wanted[index]), np.asarray(values[index])
        if times == 1 and a.dtype.kind in "iub":
            wrong += int(np.count_nonzero(a != b))
            continue
        with np.errstate(all="ignore"):
            a, b = a.astype(np.float64) * float(times), b.astype(np.float64)
            wrong += int(np.count_nonzero(~np.isclose(a, b, rtol=_RELATIVE, atol=0, equal_nan=True)))
    return wrong


def _slabs(shape: Sequence[int]) -> Iterator[tuple[slice | int, ...]]:
    rows = max(1, _ROWS // max(1, shape[-1]))
    for outer in np.ndindex(*shape[:-2]):
        for start in range(0, shape[-2], rows):
            yield (*outer, slice(start, min(start + rows, shape[-2])), slice(None))


def _added(new: FitsFile, taken: set[int], pairs: Sequence[Pair]) -> list[Check]:
    out = []
    claimed = any("uncertainty" in claims_of(p.before, p.after).step for p in pairs)
    made = any(claims_of(p.before, p.after).kind for p in pairs)
    for record in new.records:
        if record.index in taken or (record.index == 0 and not record.shape):
            continue
        part = new.part(record.index)
        if record.name == PROVENANCE:
            out.append(
                Check("metadata", f"HDU {part}", "passed", "added: the record of what was done", part=part)
            )
        elif record.name.startswith("ERR") and claimed:
            out.append(_added_error(pairs, record, part))
        else:
            fused = any(claims_of(p.before, p.after).kind == "fuse" for p in pairs) and made
            what = "added by the fusion" if fused else "is not in the input"
            out.append(Check("metadata", f"HDU {part}", "passed" if fused else "warning", what, part=part))
    return out


def _added_error(pairs: Sequence[Pair], record: HduRecord, part: str) -> Check:
    """An uncertainty lies on its image's pixels, in its image's unit."""
    name = f"HDU {part}"
    metadata = next((m for m in (p.after.metadata for p in pairs) if m.roles[record.index].of == m.hdu), None)
    if metadata is None:
        return Check("metadata", name, "failed", "goes with no image of the file", part=part)
    image, own = (metadata.file.peek(index) for index in (metadata.hdu, record.index))
    keys = [key for key in {*image, *own} if key == "BUNIT" or is_wcs_keyword(key)]
    other = sorted(key for key in keys if image.get(key) != own.get(key))
    if other:
        message = f"differs from its image in {', '.join(other[:6])}"
        return Check("metadata", name, "failed", message, float(len(other)), 0.0, "keywords", part)
    return Check("metadata", name, "passed", "added: calibrated uncertainty", part=part)
