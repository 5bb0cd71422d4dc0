"""Means, standard errors and paired gains."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.evaluation.__main__ import without_nan
from sciSR.evaluation.render import gains, markdown, means, plain, report
from sciSR.evaluation.table import MethodInfo, Table, summary

METHODS = {
    "cubic": MethodInfo("classical"),
    "fourier": MethodInfo("classical"),
    "IBP": MethodInfo("oracle"),
    "net": MethodInfo("trained", "ESPCN", 58212),
    "auto": MethodInfo("reference"),
}


def table(rows: dict[str, dict[str, float]], left_out: tuple[str, ...] = ()) -> Table:
    scores = {
        name: {method: {"psnr": value, "ssim": 0.9} for method, value in row.items()}
        for name, row in rows.items()
    }
    used = {m for row in rows.values() for m in row}
    return Table("mr-kspace", 2, scores, {m: i for m, i in METHODS.items() if m in used}, left_out)


def test_a_gain_is_over_the_best_classical_method_of_each_image() -> None:
    found = table(
        {
            "a": {"cubic": 30.0, "fourier": 31.0, "net": 33.0, "auto": 40.0},
            "b": {"cubic": 28.0, "fourier": 27.0, "net": 28.5, "auto": 40.0},
        }
    )
    gain = found.gain("net")
    assert gain.files == {"a": 2.0, "b": 0.5}
    assert (gain.mean, gain.median, gain.least) == (1.25, 1.25, 0.5)
    assert [found.best(name) for name in "ab"] == ["fourier", "cubic"]


@given(st.lists(st.tuples(st.floats(20, 40), st.floats(-2, 2)), min_size=2, max_size=9))
def test_the_standard_error_of_a_gain_is_that_of_the_paired_differences(
    pairs: list[tuple[float, float]],
) -> None:
    rows = {str(n): {"cubic": level, "net": level + gain} for n, (level, gain) in enumerate(pairs)}
    gain = table(rows).gain("net")
    differences = np.array([row["net"] - row["cubic"] for row in rows.values()])
    assert gain.mean == pytest.approx(differences.mean(), abs=1e-9)
    assert gain.se == pytest.approx(differences.std(ddof=1) / math.sqrt(len(pairs)), abs=1e-9)


def test_images_left_out_are_shown_but_not_counted() -> None:
    found = table(
        {"a": {"cubic": 30.0, "net": 31.0}, "phantom": {"cubic": 20.0, "net": 29.0}}, left_out=("phantom",)
    )
    assert found.gain("net").mean == 1.0
    assert found.gain("net").files["phantom"] == 9.0
    assert found.mean("net", "psnr").mean == 31.0
    assert "Not counted in the means: phantom" in report(found)


def test_a_perfect_method_has_an_infinite_mean_and_json_survives_it() -> None:
    found = table({"a": {"cubic": 30.0, "net": math.inf}, "b": {"cubic": math.inf, "net": math.inf}})
    assert found.mean("net", "psnr").mean == math.inf
    assert found.gain("net").files == {"a": math.inf, "b": 0.0}
    document = json.loads(json.dumps(without_nan(found.as_dict()), allow_nan=False))
    assert document["methods"]["net"]["mean"]["psnr"]["mean"] is None
    assert document["rows"]["a"]["cubic"]["psnr"] == 30.0


def test_one_image_has_no_standard_error_and_none_has_no_mean() -> None:
    assert math.isnan(summary({"a": 1.0}).se)
    assert math.isnan(summary({"a": math.nan}).mean)
    assert math.isnan(summary({}).least)


def test_the_gain_over_an_oracle_is_told_beside_it() -> None:
    found = table(
        {"a": {"cubic": 30.0, "IBP": 31.5, "net": 33.0}, "b": {"cubic": 30.0, "IBP": 32.0, "net": 31.0}}
    )
    assert found.gain("net", over="oracle").files == {"a": 1.5, "b": -1.0}
    assert found.as_dict()["methods"]["net"]["gain_over_oracle_db"]["least"] == -1.0
    assert "gain_db" not in found.as_dict()["methods"]["cubic"]


def test_text_holds_every_method_every_image_and_the_same_numbers() -> None:
    found = table({"a": {"cubic": 30.004, "net": 33.0}, "b": {"cubic": 29.0, "net": 30.0}})
    for draw in (plain, markdown):
        text = draw(means(found)) + draw(gains(found))
        assert all(word in text for word in ("cubic", "net", "58,212", "+2.00 ± 1.00", "a", "b", "+3.00"))
    widths = {len(line) for line in plain(means(found)).splitlines()[2:]}
    assert len(widths) == 1, "columns are aligned to the right"
    assert report(found, "markdown").count("|---") >= 2
