"""Branches are compared on the same items, and no number is made up."""

import pytest

from sciSR.workflow.batch.summary_scores import score_table, scores
from sciSR.workflow.pipelines.work import ItemResult


def item(key, **branches):
    steps = tuple(
        {
            "id": f"04-evaluate.{name}",
            "step": "evaluate",
            "branch": name,
            "record": {"parts": [{"scores": part} for part in parts]},
        }
        for name, parts in branches.items()
    )
    return ItemResult(key, "done", steps=steps)


def test_means_are_over_the_items_that_all_branches_have():
    found = scores(
        [
            item("a", net=[{"psnr": 40.0}, {"psnr": 42.0}], cubic=[{"psnr": 38.0}]),
            item("b", net=[{"psnr": 30.0}], cubic=[{"psnr": 31.0}]),
            item("c", net=[{"psnr": 99.0}], cubic=[{"psnr": None, "ssim": float("nan")}]),
            ItemResult("d", "failed"),
        ]
    )
    assert [(row["branch"], row["scores"]["psnr"]["items"]) for row in found] == [("net", 2), ("cubic", 2)]
    assert found[0]["scores"]["psnr"]["mean"] == pytest.approx(35.5)
    assert found[1]["scores"]["psnr"]["mean"] == pytest.approx(34.5)
    assert "ssim" not in found[1]["scores"]
    head, body = score_table(found)
    assert head == ["branch", "items", "psnr"]
    assert body == [["net", "2", "35.5"], ["cubic", "2", "34.5"]]


def test_nothing_evaluated_is_no_table():
    assert scores([ItemResult("a", "done")]) == []
    assert score_table([]) == ([], [])
