"""``scisr run``: what it says, what it leaves, and its exit codes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import sciSR
from sciSR.cli.main import main
from sciSR.workflow.batch.ledger import Ledger

PIPELINE = """\
pipeline: test
inputs: {files: ["**/*.fits"]}
steps:
  - {step: read}
  - {step: upscale, model: cubic}
  - {step: verify}
  - {step: write}
outputs: {name: "{item}_x2"}
limits: {retries: 0}
"""


@pytest.fixture
def night(tmp_path):
    """A pipeline, four images and one that is none."""
    folder = tmp_path / "night"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(4):
        fits.writeto(folder / f"m{number}.fits", rng.normal(100, 5, (24, 20)).astype(np.float32))
    (folder / "bad.fits").write_bytes((folder / "m0.fits").read_bytes()[:2000])
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path


def run(night: Path, *options: str, output: str = "out") -> int:
    where = ["--input", str(night / "night"), "--output", str(night / output)]
    return main(["run", str(night / "pipeline.yaml"), *where, *options])


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.fits"))}


def test_good_items_are_done_and_the_bad_one_is_named(night, capsys):
    assert run(night) == 4
    printed = capsys.readouterr()
    assert [line.split(" ")[0] for line in printed.out.splitlines()] == ["m0", "m1", "m2", "m3"]
    assert "error: bad" in printed.err
    assert "4 done, 0 already done, 1 failed of 5" in printed.err
    assert set(outputs(night / "out")) == {f"m{n}_x2.fits" for n in range(4)}
    assert not list((night / "out" / ".scisr" / "scratch").glob("*"))
    for number in range(4):
        pair = [night / "night" / f"m{number}.fits", night / "out" / f"m{number}_x2.fits"]
        assert sciSR.verify_files(*pair).passed


def test_dry_run_writes_nothing(night, capsys):
    assert run(night, "--dry-run") == 0
    assert not (night / "out").exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all("about" in line for line in lines if line.startswith("m"))


def test_who_has_the_files_is_told_which_one_is_not_named(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Doe^Jane.dcm").write_bytes(b"no header at all" * 50)
    (tmp_path / "p.yaml").write_text(
        "pipeline: p\ninputs: {files: ['*.dcm']}\nsteps: [{step: read}, {step: verify}]\n"
    )
    where = [str(tmp_path / "p.yaml"), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main(["run", *where]) in (3, 4)
    said = capsys.readouterr()
    key = re.search(r"--files-of (damaged-[0-9a-f]{8})", said.err)[1]
    assert "Doe" not in said.out + said.err
    assert main(["run", *where[:-2], "--files-of", key]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "in" / "Doe^Jane.dcm")
    assert main(["run", *where, "--files-of", key[:-1]]) == 2
    assert f"did you mean {key}?" in capsys.readouterr().err


def test_resume_skips_what_is_done_and_does_again_what_has_changed(night, capsys):
    assert run(night) == 4
    before = outputs(night / "out")
    shutil.copy(night / "night" / "m3.fits", night / "night" / "bad.fits")
    (night / "out" / "m1_x2.fits").write_bytes(b"tampered")
    (night / "out" / "m2_x2.fits").unlink()
    assert run(night, "--dry-run", "--json") == 0
    plan = {item["key"]: item for item in json.loads(capsys.readouterr().out.split("\n", 4)[-1])["items"]}
    assert {key for key, item in plan.items() if item["state"] == "to do"} == {"bad", "m1", "m2"}
    assert run(night, "--resume", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {r["key"]: r["status"] for r in found["results"]} == {
        "m0": "skipped",
        "m1": "done",
        "m2": "done",
        "m3": "skipped",
        "bad": "done",
    }
    after = outputs(night / "out")
    assert {name: after[name] for name in before} == before
    assert run(night, "--resume") == 0
    assert "0 done, 5 already done" in capsys.readouterr().err


def test_a_parameter_that_changes_makes_all_to_do_again(night, capsys):
    assert run(night) == 4
    assert run(night, "--resume", "--set", "steps.1.model=linear", "-q") == 4
    found = Ledger.read(night / "out").results()
    assert {r.key for r in found if r.status == "done"} == {"m0", "m1", "m2", "m3"}
    assert "error: " in capsys.readouterr().err


def test_an_earlier_run_is_not_run_over_unasked(night, capsys):
    assert run(night) == 4
    before = outputs(night / "out")
    assert run(night) == 2
    assert "--resume" in capsys.readouterr().err
    assert outputs(night / "out") == before
    assert run(night, "--overwrite") == 4


def test_files_of_others_are_left_alone(night):
    (night / "out").mkdir()
    (night / "out" / "m1_x2.fits").write_bytes(b"mine")
    assert run(night) == 4
    assert (night / "out" / "m1_x2.fits").read_bytes() == b"mine"
    failed = [r.key for r in Ledger.read(night / "out").results() if not r.ok]
    assert failed == ["bad", "m1"]
    assert run(night, "--resume") == 4
    assert (night / "out" / "m1_x2.fits").read_bytes() == b"mine"


def test_shards_together_are_the_whole(night):
    codes = [run(night, "--shard", f"{part}/3", "-q", output="parts") for part in (1, 2, 3)]
    assert set(codes) <= {0, 3, 4}
    assert run(night, "-q", output="whole") == 4
    assert outputs(night / "parts") == outputs(night / "whole")
    assert run(night, "--resume", "-q", output="parts") == 4


def test_from_python_gives_results(night, capsys):
    pipeline = sciSR.Pipeline.from_file(night / "pipeline.yaml")
    done = pipeline.run(night / "night", night / "out", jobs=2)
    assert capsys.readouterr().out == ""
    assert done.exit_code == 4
    assert [r.key for r in done.failures] == ["bad"]
    assert done.counts == {"done": 4, "skipped": 0, "failed": 1}
    assert all((night / "out" / o.path).is_file() for r in done.results for o in r.outputs)
    assert {path.name for path in done.files} == {"summary.json", "summary.html"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--memory-limit", "lots"], "--memory-limit: must be a size"),
        (["--time-limit", "-3"], "--time-limit"),
        (["--jobs", "0"], "neither a number from 1 nor 'auto'"),
        (["--shard", "5/3"], "5/3"),
        (["--set", "steps.1.modl=linear"], "did you mean model?"),
        (["--set", "limits.time=soon"], "must be a time"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(night, capsys, options, said):
    assert run(night, *options) == 2
    assert said in capsys.readouterr().err
    assert not outputs(night / "out")


def test_folders_are_needed_and_apart(night, capsys):
    pipeline = str(night / "pipeline.yaml")
    assert main(["run", pipeline]) == 2
    assert "--input" in capsys.readouterr().err
    assert main(["run", pipeline, "--input", str(night / "night"), "--output", str(night / "night")]) == 2
    assert main(["run", pipeline, "--input", str(night / "no"), "--output", str(night / "out")]) == 2
    assert not (night / "out").exists()


def test_an_interruption_is_one_json_document_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sciSR.Pipeline.from_file", interrupted)
    assert main(["run", "any.yaml", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 130
