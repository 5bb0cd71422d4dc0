"""Masks, values and uncertainties of the output: checks of what was measured."""

from __future__ import annotations

import numpy as np

from sciSR.image import Image
from sciSR.verify.claims import Claims
from sciSR.verify.measuring import Measured
from sciSR.verify.result import Check, Pair, Status

_CLIPPED = 10
_CLIPPED_PIXELS = 20
_SIGMA = 1e-4
_PLAUSIBLE = 0.2


def mask_checks(pair: Pair, found: Measured) -> list[Check]:
    """Bad pixels cover in the output what they cover in the input, and no more."""
    part, before, after = pair.before.part, pair.before, pair.after
    out = [
        _count(
            "no bad pixel lost",
            found.lost,
            f"{found.lost} output pixels are finite where the input has no value, the first at {found.lost_at}",
            part,
        ),
        _count(
            "no bad pixel spread",
            found.leaked,
            f"{found.leaked} output pixels have no value although the input has one, the first at {found.leaked_at}",
            part,
        ),
    ]
    if before.mask is not None and after.mask is None:
        message = "the input's mask (data quality) has no counterpart in the output"
        out.append(Check("mask", "mask", "failed", message, part=part))
    elif after.mask is not None and before.mask is not None:
        wrong = found.mask_leaked + found.mask_lost
        message = f"{found.mask_lost} output pixels lost their flag, {found.mask_leaked} got one"
        out.append(_count("mask", wrong, message, part))
    return out


def _count(name: str, wrong: int, message: str, part: str) -> Check:
    if wrong:
        return Check("mask", name, "failed", message, float(wrong), 0.0, "pixels", part)
    return Check(
        "mask", name, "passed", "the footprint of bad pixels is the input's", 0.0, 0.0, "pixels", part
    )


def value_checks(pair: Pair, claims: Claims, found: Measured, share: float) -> list[Check]:
    """Type, unit, range: nothing infinite, constant or clipped."""
    before, after, part = pair.before, pair.after, pair.before.part
    out = [_dtype(before, after, part), _unit(before, after, part)]
    if found.infinite:
        message = f"{found.infinite} output pixels are infinite although the input's are not"
        out.append(Check("values", "finite", "failed", message, float(found.infinite), 0.0, "pixels", part))
    if before.kind == "labels":
        return [*out, _labels(found, part)]
    if found.n and found.fine_high.count:
        out += _range(pair, claims, found, share)
    return out


def _dtype(before: Image, after: Image, part: str) -> Check:
    kinds = before.dtype.kind, after.dtype.kind
    message = f"{before.dtype} became {after.dtype}" if before.dtype != after.dtype else f"{after.dtype}"
    good = after.dtype == before.dtype or (
        before.kind != "labels" and (kinds[1] == "f" if kinds[0] != "c" else kinds[1] == "c")
    )
    if good and kinds == ("f", "f") and after.dtype.itemsize < 4 <= before.dtype.itemsize:
        good = False
    if not good and kinds[1] in "iub" and before.kind != "labels":
        # Wider integers hold all values there were; that the means agree shows whether they were cut.
        good = kinds[0] in "iub" and after.dtype.itemsize >= before.dtype.itemsize
    return Check("values", "type", "passed" if good else "failed", message, part=part)


def _unit(before: Image, after: Image, part: str) -> Check:
    told = [" ".join((image.unit or "").split()) for image in (before, after)]
    if told[0] == told[1]:
        return Check("values", "unit", "passed", told[0] or "none in either", part=part)
    message = f"{told[0] or 'none'} became {told[1] or 'none'}"
    return Check("values", "unit", "failed", message, part=part)


def _labels(found: Measured, part: str) -> Check:
    message = f"{found.differing} output pixels hold labels that no input pixel beside them has"
    good = not found.differing
    message = "every label is one of the input's around it" if good else message
    return Check(
        "values",
        "labels",
        "passed" if good else "failed",
        message,
        float(found.differing),
        0.0,
        "pixels",
        part,
    )


def _range(pair: Pair, claims: Claims, found: Measured, share: float) -> list[Check]:
    part, unit = pair.before.part, pair.before.unit or ""
    low, high = (e.reached / share for e in (found.fine_low, found.fine_high))
    y_low, y_high = found.coarse_low.reached, found.coarse_high.reached
    if low == high and y_low != y_high:
        return [Check("values", "range", "failed", f"every output pixel is {low:.6g}", part=part)]
    over = max(0.0, high - y_high, y_low - low)
    message = f"{low:.6g} to {high:.6g}, the input {y_low:.6g} to {y_high:.6g}"
    if share != 1:
        message += " (as totals of an input pixel)"
    if over:
        message += f"; beyond it by {over / found.range:.2g} of its range"
    out = [Check("values", "range", "passed", message, over, unit=unit, part=part)]
    if pair.before.kind == "intensity" and "bounds" not in str(claims.step.get("kind", "")):
        out += _clipped(pair, found, part)
    return out


def _clipped(pair: Pair, found: Measured, part: str) -> list[Check]:
    """Many output pixels at exactly the end of the range, few of the input at the end of its own."""
    before, after = pair.before.dtype, pair.after.dtype
    ends: tuple[float, ...] = getattr(pair.before.data, "ends", ())  # of stored integers behind scaled values
    if before == after and after.kind in "iu":  # the input's own form can hold no more
        ends = (float(np.iinfo(after).min), float(np.iinfo(after).max))
    pixels = found.n_fine / max(1, found.n + found.cut + found.unseen + found.n_bad)
    for name, fine, coarse in (
        ("upper end", found.fine_high, found.coarse_high),
        ("lower end", found.fine_low, found.coarse_low),
    ):
        if fine.count <= max(_CLIPPED_PIXELS, _CLIPPED * coarse.count * max(1.0, pixels)):
            continue
        message = f"{fine.count} output pixels stand at exactly {fine.reached:.6g}"
        message += f", {coarse.count} input pixels at the end of theirs"
        status: Status = "warning" if fine.reached in ends else "failed"
        return [Check("values", f"clipped at the {name}", status, message, float(fine.count), part=part)]
    return []


def uncertainty_checks(pair: Pair, claims: Claims, found: Measured) -> list[Check]:
    """A companion of standard deviations: on the same grid, positive, and what its kind promises."""
    before, after, part = pair.before, pair.after, pair.before.part
    name = "uncertainty"
    if after.uncertainty is None:
        if before.uncertainty is None:
            return []
        message = "the input's uncertainty has no counterpart on the output's pixels"
        return [Check("values", name, "failed", message, part=part)]
    if found.sigma_bad and found.coarse_high.reached > found.coarse_low.reached:  # a constant shows no noise
        message = f"of {found.sigma_seen} output pixels {found.sigma_bad} have no positive, finite standard deviation"
        return [Check("values", name, "failed", message, float(found.sigma_bad), 0.0, "pixels", part)]
    out = [Check("values", name, "passed", "positive and finite wherever the data are", part=part)]
    if before.uncertainty is None or claims.kind == "degrade" or not found.sigma_high:
        return out
    low, high = found.sigma_low, found.sigma_high
    message = f"{low:.4g} to {high:.4g} times the input's"
    status: Status = "passed"
    if "uncertainty" in claims.step:
        # What the measurement fixes carries its noise: by the triangle inequality the mean of the fine pixels'
        # deviations is at least the deviation of their mean; the calibration may scale it.
        if found.sigma_mean_low < _PLAUSIBLE:
            status, message = "warning", message + ": less than the measurement's own noise"
    elif max(abs(low - 1), abs(high - 1)) > _SIGMA and claims.kind:
        status, message = "failed", message + ": it did not follow the finer pixels"
    return [*out, Check("values", "uncertainty against the input's", status, message, part=part)]
