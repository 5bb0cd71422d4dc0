"""What was done to an image stays readable, compact and free of names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.provenance import Provenance, file_sha256

values = st.one_of(
    st.text(max_size=20),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)
steps = st.lists(st.dictionaries(st.text(min_size=1, max_size=10), values, max_size=5), max_size=4)


@given(steps)
def test_a_record_survives_json(record: list) -> None:
    provenance = Provenance(tuple(record))
    text = provenance.to_json()
    assert Provenance.from_json(text) == provenance
    assert text.isascii()
    assert "\n" not in text


def test_adding_a_step_leaves_the_old_record_alone() -> None:
    first = Provenance().add(step="read")
    second = first.add(step="upscale", scale=2)
    assert [s["step"] for s in second.steps] == ["read", "upscale"]
    assert len(first.steps) == 1
    assert list(json.loads(second.to_json())[1]) == ["step", "scale"]


def test_nan_is_refused_rather_than_written_as_broken_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Provenance().add(psnr=float("nan")).to_json()


def test_the_summary_is_one_line_a_human_can_read() -> None:
    weights = "1f2e3d4c" + 56 * "0"
    provenance = Provenance().add(
        software="sciSR 0.1.0", step="upscale", scale=2, model="espcn", weights_sha256=weights
    )
    assert provenance.summary() == "sciSR 0.1.0 upscale x2 espcn (sha256 1f2e3d4c)"
    assert provenance.add(step="crop").summary().endswith("; sciSR crop")
    assert Provenance().summary() == ""


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(5_000_000))
    assert file_sha256(path) == hashlib.sha256(bytes(5_000_000)).hexdigest()


def test_the_hash_of_a_folder_knows_content_and_order_but_no_names(tmp_path: Path) -> None:
    for folder, names in (("one", "ab"), ("two", "xy"), ("three", "yx")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"first", b"second"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    one, two, three = (file_sha256(tmp_path / f) for f in ("one", "two", "three"))
    assert one == two
    assert one != three
