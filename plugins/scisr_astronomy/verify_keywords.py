"""The fate of every keyword of a FITS header: kept, changed by a rule, added, lost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sciSR.verify.result import KeyChange
from scisr_astronomy.verify_headers import COMMENTARY, UNPARSABLE, lines_of, readable, values_of
from scisr_astronomy.verify_rules import Rule, Scales, free, is_form, letter_of, rule_of, same

_ADDED = {
    "LTV1": "gives the original pixel of each new one",
    "LTV2": "gives the original pixel of each new one",
    "LTM1_1": "gives the original pixel of each new one",
    "LTM2_2": "gives the original pixel of each new one",
}
_SHOWN = 60


def key_changes(
    before: Any, after: Any, scales: Scales, part: str, broken: Collection[str] = ("",)
) -> list[KeyChange]:
    """Every keyword of two headers.

    Parameters
    ----------
    before, after : astropy.io.fits.Header
        Of the input and of the output.
    scales : Scales
    part : str
        How the image is named.
    broken : collection of str
        WCS descriptions (letters) whose points do not lie where they should. In the others a keyword may be written in
        another form (CD for PC and CDELT), since the places of pixels agree.

    Returns
    -------
    list of KeyChange
    """
    before, after = readable(before), readable(after)
    old, new = values_of(before), values_of(after)
    out = []
    for key, values in old.items():
        if key in new:
            out.append(_both(key, values, new[key], before, scales, part, broken))
        else:
            out.append(_gone(key, values, before, scales, part, broken))
    out += [_added(key, values, part) for key, values in new.items() if key not in old]
    for key in COMMENTARY:
        out += _lines(key, lines_of(before, key), lines_of(after, key), part)
    return out


def _text(values: list[Any]) -> str:
    text = ", ".join("" if v is None else str(v) for v in values)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _both(
    key: str, old: list[Any], new: list[Any], header: Any, scales: Scales, part: str, broken: Collection[str]
) -> KeyChange:
    texts = {"key": key, "before": _text(old), "after": _text(new), "part": part}
    equal = len(set(map(str, old))) == 1 == len(set(map(str, new))) or len(old) == len(new)
    equal = equal and all(same(a, b) for a, b in zip(old, new, strict=False))
    rule = rule_of(key, old[0], header, scales)
    fate = "kept" if equal else "changed"
    if free(key):
        return KeyChange(fate=fate, rule="" if equal else free(key), **texts)
    if rule is None:
        if not equal and is_form(key) and letter_of(key) not in broken:
            return KeyChange(fate="changed", rule="written otherwise; the places of pixels agree", **texts)
        return KeyChange(fate=fate, allowed=equal, rule="" if equal else "nothing about it changed", **texts)
    return _by_rule(key, rule, new, fate, texts, broken)


def _by_rule(
    key: str, rule: Rule, new: list[Any], fate: Any, texts: dict[str, str], broken: Collection[str]
) -> KeyChange:
    if rule.expected is None:
        return KeyChange(fate=fate, rule=f"{rule.text}; it should be gone", allowed=False, **texts)
    if _follows(new[0], rule.expected):
        return KeyChange(fate=fate, rule=rule.text if fate == "changed" else "", **texts)
    if is_form(key) and letter_of(key) not in broken:
        return KeyChange(fate=fate, rule="written otherwise; the places of pixels agree", **texts)
    return KeyChange(fate=fate, rule=f"{rule.text}: should be {rule.expected}", allowed=False, **texts)


def _follows(value: Any, expected: Any) -> bool:
    if isinstance(expected, str) or isinstance(value, str):
        return same(str(value).replace(" ", ""), str(expected).replace(" ", "")) or same(value, expected)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value - expected) <= 1e-9 * max(abs(expected), 1e-300) or value == expected


def _gone(
    key: str, old: list[Any], header: Any, scales: Scales, part: str, broken: Collection[str]
) -> KeyChange:
    texts = {"key": key, "before": _text(old), "part": part}
    if why := free(key):
        return KeyChange(fate="lost", rule=why, **texts)
    if key == "EXTNAME" and str(old[0]).strip().upper() == "COMPRESSED_IMAGE":
        return KeyChange(fate="lost", rule="the image is not compressed any more", **texts)
    rule = rule_of(key, old[0], header, scales)
    if rule is not None and rule.may_go:
        return KeyChange(fate="lost", rule=rule.text, **texts)
    if is_form(key) and letter_of(key) not in broken:
        return KeyChange(fate="lost", rule="written otherwise; the places of pixels agree", **texts)
    return KeyChange(fate="lost", allowed=False, **texts)


def _added(key: str, new: list[Any], part: str) -> KeyChange:
    rule = free(key) or _ADDED.get(key, "")
    return KeyChange(key=key, fate="added", after=_text(new), rule=rule, part=part)


def _lines(key: str, old: list[str], new: list[str], part: str) -> list[KeyChange]:
    """Comments and history as a whole: all lines are still there, in their order."""
    name = key or "(blank)"
    left = iter(new)
    missing = [line for line in old if not any(line == other for other in left)]
    more = len(new) - len(old) + len(missing)
    out = []
    if old:
        fate: Any = "lost" if missing else "kept"
        after = f"{len(missing)} of {len(old)} lines are not there" if missing else f"{len(new)} lines"
        before = missing[0][:_SHOWN] if missing else f"{len(old)} lines"
        out.append(KeyChange(name, fate, before, after, "", not missing, part))
    if more > 0:
        why = "cards whose value can't be parsed, and notes" if any(UNPARSABLE in n for n in new) else "notes"
        out.append(KeyChange(name, "added", "", f"{more} lines", why, True, part))
    return out
