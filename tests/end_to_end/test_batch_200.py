"""A mixed batch with bad files, killed twice and resumed: every good item is done once, every bad one fails by name.

At a size for every run of the tests; ``python benchmarks/batch.py`` does the same with 200 items, 20 of them bad.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("batch", ROOT / "benchmarks" / "batch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


@pytest.mark.slow
def test_two_kills_and_one_resume(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    items, bad = 24, 4
    found = benchmark.batch(tmp_path, items, bad, ["--jobs", "2"])["found"]
    skipped, before = found.pop("skipped as done"), found.pop("outputs before the last run")
    # What was in place before is not done again, but for items that were just being put into place.
    assert before - 2 <= skipped <= before
    assert found == {
        "exit code": 4,
        "items": items,
        "verified outputs": items - bad,
        "named failures": bad,
        "good items that failed": [],
        "recorded twice": 0,
        "files nobody accounts for": [],
        "left in scratch": 0,
        "done again by a run after the end": 0,
    }


def test_every_kind_of_bad_file_fails_by_name(benchmark: ModuleType, tmp_path: Path) -> None:
    """None of twenty kinds ends in a traceback or a result, and none stops the good ones."""
    import mixed_batch

    from sciSR.workflow.pipelines.pipeline import Pipeline

    good, bad = mixed_batch.make(tmp_path / "in", 23, 20)
    (tmp_path / "pipeline.yaml").write_text(benchmark.PIPELINE)
    pipeline = Pipeline.from_file(tmp_path / "pipeline.yaml")
    run = pipeline.run(tmp_path / "in", tmp_path / "out", jobs=2)
    names = {item.key: item.files[0].name.split(".")[0] for item in pipeline.items(tmp_path / "in")}
    assert sorted(names[result.key] for result in run.failures) == sorted(bad)
    for result in run.failures:
        name, error = result.key.split("__")[-1], result.error or {}
        assert name.startswith(("damaged-", names[result.key]))
        assert name in error["message"]
        assert "\n" not in error["message"]
        assert "unexpected" not in error["message"]
        assert error["exit_code"] in (3, 6)
    done = [result.key.split("__")[-1] for result in run.results if result.status == "done"]
    assert sorted(done) == sorted(good)
