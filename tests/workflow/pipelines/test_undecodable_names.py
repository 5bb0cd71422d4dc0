"""File names that are no UTF-8 are worked on, reported on, failed by name and recorded like all others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from sciSR.cli.main import main

SAMPLE = Path(__file__).resolve().parents[3] / "data_samples" / "star_field.fits"
PIPELINE = """\
pipeline: names
steps:
  - {step: read}
  - {step: upscale, model: nearest}
  - {step: write}
  - {step: report}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_in_another_encoding(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in", tmp_path / os.fsdecode(b"out\xe9")
    source.mkdir()
    shutil.copy(SAMPLE, source / os.fsdecode(b"good\xe9.fits"))
    (source / os.fsdecode(b"bad\xe9.fits")).write_bytes(b"SIMPLE  =                    T" + b" " * 3000)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    events = tmp_path / "events.jsonl"
    run = ["run", str(tmp_path / "p.yaml"), "-i", str(source), "-o", str(target), "--jobs", "2", "--json"]

    assert main([*run, "--log-json", str(events)]) == 4
    told = json.loads(capfd.readouterr().out)
    assert {each["key"]: each["status"] for each in told["results"]} == {"bad": "failed", "good": "done"}
    ends = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    assert [each["event"] for each in ends].count("finished") == 2
    assert "good\\udce9.fits" in (target / "good.html").read_text(encoding="utf-8")
    assert json.loads((target / "summary.json").read_text(encoding="utf-8"))["failed"] == 1

    assert main([*run[:-1], "--resume", "--dry-run"]) == 0
    assert "failed before: bad\\udce9.fits" in capfd.readouterr().out
