"""Whether a derived series is a new one, says what it was made of, and stores its values as its header says.

Clauses are those of DICOM PS3.3. No identifier of a patient, and no UID, is ever shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from sciSR.verify.result import Check
from scisr_medical.verify_affine import check
from scisr_medical.verify_dicom_frames import Frame, Volume, source_of

_LOOKED_AT = 48
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")


def identity_checks(before: Volume, after: Volume) -> list[Check]:
    """New instances of a new series, told of in the file meta information too."""
    files = {f.path: f.header for _, f in after}
    uids = [str(h.get("SOPInstanceUID") or "") for h in files.values()]
    old = {f.uid for _, f in before}
    reused = sum(uid in old for uid in uids)
    twice = sum(n - 1 for n in Counter(uids).values())
    meta = [str(getattr(h, "file_meta", {}).get("MediaStorageSOPInstanceUID") or "") for h in files.values()]
    wrong = sum(one != two for one, two in zip(meta, uids, strict=True))
    series = {str(h.get("SeriesInstanceUID") or "") for h in files.values()}
    olds = {str(f.header.get("SeriesInstanceUID") or "") for _, f in before}
    count = len(uids)
    return [
        check(
            "metadata", "new instances", not reused and not twice and all(uids),
            f"{count} SOPInstanceUIDs, each new",
            f"of {count} SOPInstanceUIDs {reused} are the source's and {twice} are there twice (C.7.6.1.1.2)",
        ),
        check(
            "metadata", "file meta information", not wrong, "names the instances",
            f"MediaStorageSOPInstanceUID is not the SOPInstanceUID in {wrong} of {count} files",
        ),
        check(
            "metadata", "new series", len(series) == 1 and not series & olds, "one new SeriesInstanceUID",
            "the SeriesInstanceUID is the source's" if series & olds else f"{len(series)} SeriesInstanceUIDs",
        ),
    ]  # fmt: skip


def derivation_checks(before: Volume, after: Volume, across: float) -> list[Check]:
    """That it is derived, how, and from which images, which lie where it lies."""
    headers = {f.path: f.header for _, f in after}.values()
    original = sum(str(_first(h, "ImageType")).upper() != "DERIVED" for h in headers)
    frames = [f for _, f in after]
    told = sum(_told(f) for f in frames)
    words = "a DerivationDescription or DerivationCodeSequence"
    return [
        check(
            "metadata", "derived", not original, "ImageType begins with DERIVED",
            f"ImageType does not begin with DERIVED in {original} of {len(headers)} files (C.7.6.1.1.2)",
        ),
        Check(
            "metadata", "derivation", "passed" if told == len(frames) else "warning",
            f"{words} is there" if told == len(frames) else f"{len(frames) - told} images lack {words}",
        ),
        _sources(before, after, across),
    ]  # fmt: skip


def _first(header: Any, keyword: str) -> Any:
    found = header.get(keyword)
    many = hasattr(found, "__iter__") and not isinstance(found, str)
    return "" if found is None else next(iter(found), "") if many else found


def _told(frame: Frame) -> bool:
    items = [frame.header, *(frame.groups().get("DerivationImageSequence") or [])]
    return any(item.get(k) for item in items for k in ("DerivationDescription", "DerivationCodeSequence"))


def _sources(before: Volume, after: Volume, across: float) -> Check:
    """Each named source is one of the input's images, and one of them lies where the slice lies."""
    name = "sources"
    known: dict[tuple[str, int | None], Frame] = {}
    for _, frame in before:
        known[frame.uid, frame.number] = frame
        known.setdefault((frame.uid, None), frame)
    nowhere = far = silent = 0
    for at, frame in after:
        named = frame.sources()
        silent += not named
        nowhere += any(each not in known for each in named)
        own = source_of(at, after, before, across)
        if named and all(each in known for each in named) and frame.placed and own.placed and before.regular:
            ids = [(own.uid, own.number), (own.uid, None)]
            far += not any(each in named for each in ids)
    count = after.frames.size
    if nowhere or far:
        message = f"of {count} slices {nowhere} name a source that is no image of the input, {far} one of another place"
        return Check("metadata", name, "failed", message, nowhere + far, 0)
    if silent:
        return Check(
            "metadata", name, "warning", f"{silent} of {count} slices do not name their source images"
        )
    return Check("metadata", name, "passed", f"{count} slices name their source images, which lie there")


def pixel_checks(before: Volume, after: Volume) -> list[Check]:
    """How the values are stored, against the values themselves; windows; lossy compression (C.7.6.3, C.11.2)."""
    problems: Counter[str] = Counter()
    examples: dict[str, str] = {}
    looked = 0
    for header, stored in _stored(after):
        looked += 1
        for name, words in _pixel_problems(header, stored):
            problems[name] += 1
            examples.setdefault(name, words)
    checks = []
    for name, good in (
        ("bits", "BitsStored, HighBit and PixelRepresentation hold the stored values"),
        ("smallest and largest value", "as the header says, or not told"),
        ("rescale", "slope and intercept are finite, and the same in all slices"),
        ("display window", "meets the values"),
    ):
        if problems[name]:
            checks.append(
                Check("values", name, "failed", f"{examples[name]} (in {problems[name]} of {looked} files)")
            )
        elif looked or name == "rescale":
            checks.append(Check("values", name, "passed", good))
    return [*_rescale(after, checks), _lossy(before, after)]


def _stored(after: Volume) -> Iterator[tuple[Any, np.ndarray]]:
    """Header and stored values, all allocated bits, of some files whose pixels are not compressed."""
    from pydicom import dcmread

    paths = list(dict.fromkeys(f.path for _, f in after))
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        try:
            dataset = dcmread(path)
            bits = int(dataset.BitsAllocated)
            big = dataset.original_encoding[1] is False
            if str(dataset.file_meta.TransferSyntaxUID) not in _PLAIN or bits not in (8, 16, 32):
                continue
            dtype = np.dtype(f"u{bits // 8}").newbyteorder(">" if big else "<")
            count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
            yield dataset, np.frombuffer(dataset.PixelData, dtype=dtype, count=count)
        except Exception:  # what can't be read here is said by the validator and by the content
            continue


def _pixel_problems(header: Any, stored: np.ndarray) -> Iterator[tuple[str, str]]:
    allocated, bits = int(header.BitsAllocated), int(header.BitsStored)
    high, signed = int(header.HighBit), bool(header.PixelRepresentation)
    values = stored.astype(np.int64)
    if signed:
        values = np.where(values >= 1 << (allocated - 1), values - (1 << allocated), values)
    low, top = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not 0 < bits <= allocated or high != bits - 1:
        yield "bits", f"BitsStored {bits}, HighBit {high} and BitsAllocated {allocated} do not fit together"
    elif values.min() < low or values.max() > top:
        yield (
            "bits",
            f"values reach from {values.min()} to {values.max()}, BitsStored {bits} holds {low} to {top}",
        )
    for keyword, found in (
        ("SmallestImagePixelValue", values.min()),
        ("LargestImagePixelValue", values.max()),
    ):
        said = header.get(keyword)
        if said is not None and not isinstance(said, bytes) and int(said) != found:
            yield "smallest and largest value", f"{keyword} is {int(said)}, the values say {found}"
    yield from _window(header, values)


def _window(header: Any, values: np.ndarray) -> Iterator[tuple[str, str]]:
    """A window that no value meets shows a black or a white image."""
    slope, intercept = (header.get(k) for k in ("RescaleSlope", "RescaleIntercept"))
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    try:
        slope, intercept = float(slope if slope is not None else 1), float(intercept or 0)
        centre, width = float(centre), float(width)
    except (TypeError, ValueError):
        return
    ends = sorted((float(values.min()) * slope + intercept, float(values.max()) * slope + intercept))
    spread = max(ends[1] - ends[0], width)
    if width < 1 or centre + width / 2 < ends[0] - spread or centre - width / 2 > ends[1] + spread:
        yield (
            "display window",
            f"{centre:g} with width {width:g}, the values reach from {ends[0]:g} to {ends[1]:g}",
        )


def _rescale(after: Volume, checks: list[Check]) -> list[Check]:
    pairs = set()
    for _, frame in after:
        found = [
            frame.value(k, "PixelValueTransformationSequence") for k in ("RescaleSlope", "RescaleIntercept")
        ]
        pairs.add((float(found[0]) if found[0] is not None else 1.0, float(found[1] or 0)))
    bad = [p for p in pairs if not (np.isfinite(p).all() and p[0])]
    if not bad and len(pairs) < 2:
        return checks
    words = (
        "a slope of 0 or one that is no number"
        if bad
        else f"{len(pairs)} different pairs, which many readers mix up"
    )
    status = "failed" if bad else "warning"
    return [Check("values", "rescale", status, words) if c.name == "rescale" else c for c in checks]


def _lossy(before: Volume, after: Volume) -> Check:
    """Once an image was compressed with losses, it says so for ever (C.7.6.1.1.5)."""

    def lossy(frame: Frame) -> bool:
        syntax = str(getattr(frame.header, "file_meta", {}).get("TransferSyntaxUID") or "")
        return str(frame.header.get("LossyImageCompression") or "") == "01" or syntax in _LOSSY

    was = any(lossy(f) for _, f in before)
    said = {str(f.header.get("LossyImageCompression") or "") for _, f in after}
    fine = said == {"01"} if was else True
    good = "the losses of the source are told" if was else "the source has none"
    return check(
        "metadata",
        "lossy compression",
        fine,
        good,
        "the source was compressed with losses, the output hides it",
    )
