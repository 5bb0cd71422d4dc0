"""Whether a fact is what a filter asks for: a value, a pattern, a comparison, or a list of these."""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_COMPARED = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_TRUE, _FALSE = {"t", "true", "yes", "y"}, {"f", "false", "no", "n"}


def all_match(filters: Mapping[str, Any], facts: Mapping[str, str]) -> bool:
    """Whether each filter's key is among the facts, with a fitting value. Keys match without regard to case."""
    folded = {name.casefold(): value for name, value in facts.items()}
    return all(
        value_matches(wanted, facts.get(key, folded.get(key.casefold()))) for key, wanted in filters.items()
    )


def value_matches(wanted: Any, found: str | None) -> bool:
    """Whether a fact is what is wanted.

    Parameters
    ----------
    wanted : bool, int, float, str, or sequence of these
        A number equals any text of the same number. A text is a pattern of the shell's kind (``*``, ``?``, ``[ab]``),
        without regard to case, or a comparison: ``">= 30"`` of numbers, or of texts in their order (dates);
        ``"!= dark*"``. Of a sequence one must fit.
    found : str or None
        None, a fact that is missing, fits nothing.
    """
    if found is None:
        return False
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return any(value_matches(each, found) for each in wanted)
    if isinstance(wanted, bool):
        return found.strip().casefold() in (_TRUE if wanted else _FALSE)
    if isinstance(wanted, int | float):
        number = as_number(found)
        return number is not None and math.isclose(number, wanted, rel_tol=1e-9, abs_tol=0.0)
    compared = _COMPARED.fullmatch(wanted)
    return _pattern(wanted, found) if compared is None else _compare(compared[1], compared[2], found)


def _compare(sign: str, wanted: str, found: str) -> bool:
    numbers = as_number(wanted), as_number(found)
    if sign in ("==", "!="):
        equal = _pattern(wanted, found) if None in numbers else value_matches(numbers[0], found)
        return equal == (sign == "==")
    if numbers[0] is not None:  # a text is neither more nor less than a number
        return numbers[1] is not None and _OPERATORS[sign](numbers[1], numbers[0])
    return _OPERATORS[sign](found.strip(), wanted)


def _pattern(wanted: str, found: str) -> bool:
    wanted, found = wanted.strip().casefold(), found.strip().casefold()
    return wanted == found or fnmatch.fnmatchcase(found, wanted)


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
