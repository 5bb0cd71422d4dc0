"""Filters: values, patterns, comparisons, lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.workflow.pipelines.finding_values import all_match, value_matches


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("Light", "light", True), ("*light*", "Light Frame", True), ("light", "Light Frame", False),
        (30, "30.0", True), (30.0, "30", True), (30, "31", False), (30, "thirty", False),
        (">= 30", "30", True), (">=30", "29.9", False), ("< 1e3", "300", True), ("> 3", "many", False),
        ("!= dark*", "Light", True), ("!= dark*", "Dark 3", False), ("!= 5", "5.0", False), ("== 5", "5.0", True),
        (">= 2024-03-01", "2024-03-02T01:00:00", True), ("< 2024-03-01", "2024-03-02", False),
        (["Ha", "OIII"], "oiii", True), (["Ha", ">= 3"], "r", False), (True, "T", True), (False, "T", False),
        ("M51 [OIII]", "M51 [OIII]", True), ("02", "2", False), (2, "02", True), ("*", "", True),
    ],
)  # fmt: skip
def test_a_value_fits(wanted: Any, found: str, fits: bool) -> None:
    assert value_matches(wanted, found) is fits


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.text())))
def test_what_is_missing_fits_nothing(wanted: Any) -> None:
    assert not value_matches(wanted, None)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_comparisons_are_those_of_numbers(bound: float, value: float) -> None:
    assert value_matches(f">= {bound!r}", repr(value)) is (value >= bound)
    assert value_matches(f"< {bound!r}", repr(value)) is (value < bound)


def test_all_filters_must_fit() -> None:
    facts = {"FILTER": "Ha", "EXPTIME": "300"}
    assert all_match({"filter": "Ha", "EXPTIME": "> 60"}, facts)
    assert all_match({}, facts)
    assert not all_match({"FILTER": "Ha", "GAIN": "*"}, facts)
