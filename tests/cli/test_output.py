"""What people see: fields aligned, long values wrapped, tables as tables; what programs see: valid JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.cli.output import jsonable, print_fields

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(TREES)
def test_everything_becomes_valid_json(tree: object) -> None:
    json.loads(json.dumps(jsonable(tree), allow_nan=False))


@given(st.dictionaries(st.text("ab_.", min_size=1, max_size=4), TREES, max_size=4))
def test_everything_can_be_shown(tree: dict[str, object]) -> None:
    print_fields(tree)


def test_numpy_values_are_plain_in_json() -> None:
    tree = {"a": np.float32(0.5), "b": np.arange(3), "c": float("nan"), "d": (np.bool_(True),)}
    assert jsonable(tree) == {"a": 0.5, "b": [0, 1, 2], "c": None, "d": [True]}


def test_fields_are_aligned_and_long_ones_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_fields({"a": 1, "long_name": "word " * 12, "none": None, "yes": True})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a          1"
    assert lines[1].startswith("long name  word word")
    assert all(line.startswith(" " * 11 + "word") for line in lines[2:-2])
    assert max(map(len, lines)) <= 41
    assert lines[-2:] == ["none       -", "yes        yes"]


def test_rows_with_the_same_columns_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {
        "a_b.nii": {"cubic": [30.0, 0.9], "net": [31.25, 0.95]},
        "c.nii": {"cubic": [9.5, 0.5], "net": [10.0, 0.6]},
    }
    print_fields({"rows": rows})
    assert capsys.readouterr().out.splitlines() == [
        "rows",
        "                  cubic           net",
        "  a_b.nii  30.00 0.9000  31.25 0.9500",
        "  c.nii    9.500 0.5000  10.00 0.6000",
    ]
