"""``verify``: reads input and output, pairs their images, and runs every check; knows no file format."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.errors import GeometryError, SciSRError, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.provenance import file_sha256
from sciSR.verify.claims import Claims, claims_of
from sciSR.verify.pairing import pair_images
from sciSR.verify.result import Check, FormatVerifier, KeyChange, Pair, Status, Verification


def verify_files(input: Path | str, output: Path | str, **options: Any) -> Verification:
    """Check that an output holds what it promises of its input, whatever tool made it.

    Parameters
    ----------
    input : path
        A file, or a folder (a DICOM series).
    output : path
        What was made of it.
    **options
        Options of the format for reading, those with which the output was made, e.g. ``hdu="SCI"``,
        ``quantity="total"``.

    Returns
    -------
    Verification
        ``.passed``; ``.checks`` and ``.keys`` say what was found.

    Raises
    ------
    UsageError
        Both are one file, or an option is unknown to the format.
    UnreadableError
        A file can't be read at all.
    UnsupportedError
        A fusion of several stacks of slices: its grid is no one input's.
    """
    source, target = Path(input), Path(output)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _verify(source, target, options)


verify = verify_files


def _verify(source: Path, target: Path, options: Mapping[str, Any]) -> Verification:
    from sciSR.plugins import adapter_for
    from sciSR.verify.companion import deviation_checks, std_beside

    adapter, other = adapter_for(source), adapter_for(target)
    if source.resolve() == target.resolve():
        raise UsageError(
            "input and output are one file", where=target, remedy="name the file that was made of it"
        )
    judge, judge_of_input = _judge(other), _judge(adapter)
    before = _read(adapter, judge_of_input, source, options)
    try:
        after = _read_output(other, judge, target, options)
    except (
        GeometryError
    ) as error:  # a slice is missing, there twice, or lies elsewhere: a promise that is broken
        checks = [Check("geometry", "volume", "failed", f"the output is no regular volume: {error}")]
        checks += [] if judge is None else _format_checks(judge, source if adapter is other else None, target)
        return Verification(source, target, tuple(checks))
    after = [_with_deviation(other, target, with_record(other, image)) for image in after]
    pairs, checks = pair_images(source, target, before, after, options)
    digest, keys = file_sha256(source), []
    for pair in pairs:
        found, changes = _pair_checks(pair, judge if adapter is other else None, digest)
        found += deviation_checks(
            pair, within=getattr(judge, "holds_deviation", False) or std_beside(other, target) is not None
        )
        checks, keys = [*checks, *found], [*keys, *changes]
    if judge is not None:
        if adapter is other:
            more, changes = _contents(judge, pairs)
            checks, keys = [*checks, *more], [*keys, *changes]
        checks += _format_checks(judge, source if adapter is other else None, target)
    if adapter is not other:
        what = f"a {adapter.name} input became {other.name}: headers of one have no equal in the other"
        checks.append(Check("metadata", "keys", "skipped", what))
    return Verification(source, target, tuple(checks), tuple(keys), _made_by(after))


def _judge(adapter: Adapter) -> FormatVerifier | None:
    make = getattr(adapter, "verifier", None)
    return None if make is None else make()


def with_record(adapter: Adapter, image: Image) -> Image:
    """The image with what its file says of its making, where only the judge knows how the format writes it."""
    look = getattr(_judge(adapter), "record", None)
    return image if look is None or image.provenance.steps else image.replace(provenance=look(image))


def _with_deviation(adapter: Adapter, path: Path, image: Image) -> Image:
    """The image with its standard deviation, where the format keeps that in a file beside."""
    from sciSR.verify.companion import deviation_of

    told = any("uncertainty" in step for step in image.provenance.steps)
    if image.uncertainty is not None or not (told or hasattr(adapter, "uncertainty_of")):
        return image
    return image.replace(uncertainty=deviation_of(adapter, path, image))


def _read(
    adapter: Adapter, judge: FormatVerifier | None, path: Path, options: Mapping[str, Any]
) -> list[Image]:
    known = {option.name for option in adapter.options if not option.writes}
    if unknown := sorted(set(options) - known):
        raise UsageError(
            f"the {adapter.name} format has no option {', '.join(unknown)}",
            where=path,
            remedy=f"it knows {', '.join(sorted(known)) or 'none'}",
        )
    lenient = getattr(judge, "lenient", {})
    return adapter.read(path, **{**lenient, **options})


def _read_output(
    adapter: Adapter, judge: FormatVerifier | None, path: Path, options: Mapping[str, Any]
) -> list[Image]:
    """With the options that the output's format knows; parts of other tools' files may be called otherwise."""
    known = {option.name for option in adapter.options if not option.writes}
    told = {name: value for name, value in options.items() if name in known}
    try:
        return _read(adapter, judge, path, told)
    except UsageError:
        return _read(adapter, judge, path, {n: v for n, v in told.items() if n not in ("hdu",)})


def _pair_checks(
    pair: Pair, judge: FormatVerifier | None, digest: str
) -> tuple[list[Check], list[KeyChange]]:
    from sciSR.verify.geometry import grid_checks
    from sciSR.verify.record import record_checks

    claims = claims_of(pair.before, pair.after)
    _refuse(pair, claims)
    checks = list(grid_checks(pair) if judge is None else judge.geometry(pair))
    checks += record_checks(pair, claims, digest)
    if not _tiles(pair.factors):
        what = "finer along one axis and coarser along another, so that pixels can't be compared"
        status: Status = "skipped" if claims.kind == "isotropic" else "failed"
        checks.append(Check("flux", "flux per original pixel", status, what, part=pair.before.part))
    else:
        looked = any(c.name == "content in place" and c.status != "skipped" for c in checks)
        # Where the format's judge has looked at the content in space, planes are not looked at again.
        checks += [
            c for c in _pixel_checks(pair, claims, judge) if not (looked and c.name == "place of the pixels")
        ]
    return checks, [] if judge is None else judge.metadata(pair)


def _refuse(pair: Pair, claims: Claims) -> None:
    """Fusions whose grid is no one input's, or another input's."""
    if claims.kind != "fuse":
        return
    reference = str(claims.step.get("reference", ""))
    if "stacks" in claims.step or not reference:
        raise UnsupportedError(
            "is a fusion of several stacks on a grid of its own, which no single input can be held against",
            where=pair.output,
            remedy="compare it with a reference volume by 'scisr compare'",
        )
    if reference.partition("[")[0] != pair.input.name:
        raise UnsupportedError(
            f"is a fusion on the pixels of {reference}, not of {pair.input.name}",
            where=pair.output,
            remedy=f"verify it against {reference.partition('[')[0]}",
        )


def _tiles(factors: Sequence[Fraction]) -> bool:
    """Whether all axes became finer, or all coarser by whole numbers."""
    return all(f >= 1 for f in factors) or all(f <= 1 and f.numerator == 1 for f in factors)


def _pixel_checks(pair: Pair, claims: Claims, judge: FormatVerifier | None) -> list[Check]:
    from sciSR.inference.noise import noise_of
    from sciSR.inference.normalise import fit
    from sciSR.inference.statistics import sample
    from sciSR.verify.flux import flux_checks, residual_checks
    from sciSR.verify.measuring import Scene, measure
    from sciSR.verify.operators import WORDS, phase_agreement_check, whole_plane
    from sciSR.verify.pixels import mask_checks, uncertainty_checks, value_checks
    from sciSR.verify.record import bad_pixel_check

    before, after = pair.before, pair.after
    coarser = any(f < 1 for f in pair.factors)
    coarse, fine = (after, before) if coarser else (before, after)
    factors = [1 / f if coarser else f for f in pair.factors]
    product = math.prod(factors, start=Fraction(1))
    share = float(1 / product) if claims.quantity(before) == "total" else 1.0
    level = noise = 0.0
    if before.dtype.kind in "fiub" and before.kind != "labels":
        normaliser = fit(sample(coarse).values, "sky" if before.domain == "astronomy" else "range")
        level, noise = normaliser.offset, noise_of(coarse, normaliser)[0]
    scene = Scene(share, level, noise, _quantum(judge, after))
    found = measure(coarse, fine, factors, scene)
    if coarser or claims.kind in ("fuse", "calibrate") or claims.line:
        return _informed(pair, claims, found, share, coarser=coarser)
    judged = before.domain == "astronomy" and before.kind == "intensity"
    checks = [*mask_checks(pair, found), *value_checks(pair, claims, found, share)]
    checks += uncertainty_checks(pair, claims, found)
    checks += bad_pixel_check(pair, claims, found)
    if before.kind == "labels" or before.dtype.kind == "c":
        return checks
    if before.kind == "phase":
        return [*checks, phase_agreement_check(pair, claims)] if claims.agreement else checks
    checks += flux_checks(pair, claims, found, share, judged=judged)
    if claims.consistency not in WORDS:
        return [*checks, *residual_checks(pair, claims, found, "the block mean")]
    words = WORDS[claims.consistency]
    special, why = None, "values were cut at the ends of the integers that they are stored in"
    if not found.cut:
        special, why = whole_plane(pair, claims, found, scene)
    if special is None:
        return [*checks, Check("consistency", words, "skipped", why, part=before.part)]
    return [*checks, *residual_checks(pair, claims, special, words)]


def _quantum(judge: FormatVerifier | None, image: Image) -> float:
    """The step in which values are stored: the format's word, else that of integers."""
    own = getattr(judge, "quantum", None)
    if own is not None:
        return float(own(image))
    return 1.0 if image.dtype.kind in "iu" else 0.0


def _informed(pair: Pair, claims: Claims, found: Any, share: float, *, coarser: bool) -> list[Check]:
    """A coarser image or a fusion promises geometry, values and a record, and is not held to its input's pixels."""
    from sciSR.verify.flux import flux_checks
    from sciSR.verify.pixels import value_checks

    judged = coarser and not claims.kind and pair.before.domain == "astronomy"
    checks = flux_checks(pair, claims, found, share, judged=judged)
    if not coarser:  # the other frames have a say in where things stand
        checks = [check for check in checks if check.status != "failed"]
    checks += [c for c in value_checks(pair, claims, found, share) if c.name in ("unit", "type", "finite")]
    what = "a coarser image" if coarser else "a fusion of several frames"
    if claims.kind == "calibrate":
        what = "a calibrated exposure"
    if claims.line:
        what = f"what {len(claims.line)} steps made one after another"
    message = f"{what} is not held to its input's pixels"
    return [*checks, Check("consistency", "residual", "skipped", message, part=pair.before.part)]


def _contents(judge: FormatVerifier, pairs: Sequence[Pair]) -> tuple[list[Check], list[KeyChange]]:
    look = getattr(judge, "contents", None)
    if look is None or not pairs:
        return [], []
    checks, keys = look(pairs)
    return list(checks), list(keys)


def _format_checks(judge: FormatVerifier, source: Path | None, target: Path) -> list[Check]:
    """The validator's word on the output; what it says of the input too was not done by whoever made the output."""
    found = judge.validate(target)
    if source is None or all(check.status != "failed" for check in found):
        return found
    try:
        known = {check.name: check for check in judge.validate(source) if check.status == "failed"}
    except SciSRError:
        known = {}
    out = []
    for check in found:
        same = known.get(check.name)
        old = check.status == "failed" and same is not None and (check.value or 0) <= (same.value or 0)
        if old:
            check = Check(
                check.group, check.name, "warning", f"{check.message}; the input has it too",
                check.value, check.limit, check.unit, check.part,
            )  # fmt: skip
        out.append(check)
    return out


def _made_by(after: Sequence[Image]) -> str:
    for image in after:
        for step in reversed(image.provenance.steps):
            if step.get("software"):
                return str(step["software"])
    return ""
