"""Flux per original pixel and in total, and the residual against the noise: checks of what was measured."""

from __future__ import annotations

import math
from fractions import Fraction

from sciSR.verify.claims import Claims
from sciSR.verify.measuring import Measured
from sciSR.verify.result import Check, Pair, Status

RELATIVE = 1e-7
"""Of the image's range: what arithmetic in float32 may leave of an exact agreement besides the rounding of values."""
COLOUR = 1e-6
"""The same where three channels were mixed and taken apart again."""
TOTAL = 0.01
"""Largest error of a total that claims no agreement, of the sum of absolute differences from the typical value."""
SHIFT = 0.1
"""Input pixels: displacement of the picture from where its geometry says, and how many standard errors are one."""
_ERRORS = 8
_RECORD = 0.03


def flux_checks(pair: Pair, claims: Claims, found: Measured, share: float, *, judged: bool) -> list[Check]:
    """Flux per original pixel, in total, and where it stands.

    Parameters
    ----------
    pair : Pair
    claims : Claims
    found : Measured
        With the block mean (or sum) as the operator.
    share : float
        What a fine pixel holds of a coarse one.
    judged : bool
        Whether flux is a promise of this image; otherwise what is found is only reported.
    """
    unit, part = pair.before.unit or "", pair.before.part
    if not found.n:
        return [Check("flux", "total", "skipped", "no good pixel to compare", part=part)]
    return [
        *_per_pixel(claims, found, unit, part, judged=judged),
        _total(pair, found, share, unit, part, judged=judged),
        *_registration(found, part, exact=claims.enforced and claims.consistency == "block"),
    ]


def exact_limit(claims: Claims, found: Measured) -> float:
    """The most that an agreement that is claimed to be exact may leave, beyond the rounding of each pixel."""
    return (COLOUR if "colour" in claims.step else RELATIVE) * found.range


def _per_pixel(claims: Claims, found: Measured, unit: str, part: str, *, judged: bool) -> list[Check]:
    name = "flux per original pixel"
    worst = f"largest difference {found.largest.value:.3g}{_unit(unit)} at input pixel {found.largest.where or '-'}"
    if claims.enforced and claims.consistency == "block":
        limit = exact_limit(claims, found)
        good = found.excess.value <= limit
        if not good:
            worst = (
                f"the output claims to keep it to rounding; {worst}, "
                f"most beyond rounding at {found.excess.where or '-'}"
            )
        status: Status = "passed" if good else "failed"
        return [
            Check("flux", name, status, worst, found.largest.value, limit + 4 * found.rounding, unit, part)
        ]
    noise = f"; {found.deviation.value:.3g} sigma at {found.deviation.where}" if found.n_chi2 else ""
    if claims.consistency:
        worst = f"not claimed to be kept; {worst}"
    status = "passed"
    if judged and found.n_chi2 and found.chi2 > found.n_chi2:
        status = "warning"
    return [Check("flux", name, status, worst + noise, found.largest.value, unit=unit, part=part)]


def _total(pair: Pair, found: Measured, share: float, unit: str, part: str, *, judged: bool) -> Check:
    difference = found.predicted - found.total
    limit = TOTAL * found.weight + 1e-6 * abs(found.total) + found.n * found.rounding
    good = abs(difference) <= limit
    message = f"{found.predicted:.7g} from the output, {found.total:.7g} in the input"
    factor = float(math.prod((f for f in pair.factors if f > 1), start=Fraction(1)))
    ratio = found.predicted / found.total if found.total else math.nan
    if not good and factor > 1:
        for times, hint in (
            (
                factor,
                "values were kept where a pixel holds a total: they should be shared out (or --quantity density)",
            ),
            (1 / factor, "values were shared out where a pixel holds a density (or --quantity total)"),
        ):
            if abs(ratio / times - 1) < 0.05:
                message += f", {ratio:.3g} times as much; {hint}"
                break
        else:
            message += f", {ratio:.4g} times as much"
    status: Status = "passed" if good else ("failed" if judged else "warning")
    return Check("flux", "total", status, message, abs(difference), limit, unit, part)


def _registration(found: Measured, part: str, *, exact: bool) -> list[Check]:
    """An output that agrees to rounding lies where it should; any other is looked at."""
    name = "place of the pixels"
    if found.registering is None or (exact and found.excess.value <= 1e-6 * found.range):
        return []
    shift, error = found.registering.shift()
    if not math.isfinite(shift) or error > SHIFT / 2:
        return [Check("geometry", name, "skipped", "too little structure to see a shift", part=part)]
    bad = shift > SHIFT and shift > _ERRORS * error
    message = f"the picture lies within {shift:.3f} input pixels of where its geometry says"
    if bad:
        message = f"the picture lies up to {shift:.2f} input pixels from where its geometry says"
    return [
        Check("geometry", name, "failed" if bad else "passed", message, shift, SHIFT, "input pixels", part)
    ]


def residual_checks(pair: Pair, claims: Claims, found: Measured, operator: str) -> list[Check]:
    """Chi-square of ``A x - y`` against the noise, and the recorded agreement against the measured one.

    Parameters
    ----------
    operator : str
        What A is, in words.
    """
    part = pair.before.part
    out = [_chi2(claims, found, operator, part)]
    recorded = claims.agreement
    if recorded and found.n:
        out.append(_reproduced(claims, found, pair.before.unit or "", part))
    return out


def _chi2(claims: Claims, found: Measured, operator: str, part: str) -> Check:
    name = "chi-square of the residual"
    if not found.n_chi2:
        why = "neither an uncertainty nor noise that could be estimated"
        return Check("consistency", name, "skipped", why, part=part)
    value = found.chi2 / found.n_chi2
    source = "the input's uncertainty" if found.told else "the estimated noise"
    worst = f"worst {found.deviation.value:.3g} sigma at {found.deviation.where or '-'}"
    message = f"of {operator} against {source}; {worst}"
    status: Status = "passed" if value <= 1 else ("failed" if claims.enforced else "warning")
    if status == "warning":
        message += "; nothing claims that the output reproduces its input"
    return Check("consistency", name, status, message, value, 1.0, "", part)


def _reproduced(claims: Claims, found: Measured, unit: str, part: str) -> Check:
    name, recorded = "recorded agreement", claims.agreement.get("max_abs")
    if not isinstance(recorded, int | float) or isinstance(recorded, bool) or not math.isfinite(recorded):
        return Check("consistency", name, "failed", f"recorded as {recorded!r}, not a number", part=part)
    slack = _RECORD * recorded + 4 * found.rounding + exact_limit(claims, found)
    apart = abs(found.largest.value - recorded)
    if found.unseen or found.cut:  # the worst may have stood where it can't be seen
        apart = max(0.0, found.largest.value - recorded)
    message = f"recorded as {recorded:.3g}{_unit(unit)}, measured {found.largest.value:.3g}"
    good = apart <= slack
    rms = claims.agreement.get("rms")
    if good and isinstance(rms, int | float) and not (found.unseen or found.cut):
        measured = math.sqrt(found.squares / found.n)
        good = abs(measured - rms) <= _RECORD * rms + 4 * found.rounding + exact_limit(claims, found)
        message += f"; rms {rms:.3g}, measured {measured:.3g}"
    if not good:
        message += ": the record is not of these pixels"
    return Check("consistency", name, "passed" if good else "failed", message, apart, slack, unit, part)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""
