"""`scisr train`: one command from files to weights, with every refusal before any work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_training import toy_config, write_patch_file

from sciSR.cli.main import main
from sciSR.models.files import load_model
from sciSR.training.config_file import load_config

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
CONFIG = """
name: own
domain: mr
normalisation: range
model: {architecture: ESPCN}
data: {train: [phantom.nii.gz], patch: 16, patches: 8, validation_patches: 4, foreground: 0.1}
training: {steps: 4, batch: 2, validate_every: 2, checkpoint_every: 2, precision: fp32, samples: 1}
"""


@pytest.fixture
def patches(tmp_path):
    path = tmp_path / "patches.npz"
    write_patch_file(
        path, toy_config(training__steps=4, training__validate_every=2, training__checkpoint_every=2)
    )
    return path


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def train(tmp_path, *words: object) -> int:
    return main(["train", *map(str, words), "--out", str(tmp_path / "runs"), "--device", "cpu"])


def test_patch_file_becomes_weights(tmp_path, patches, capsys):
    assert train(tmp_path, patches) == 0
    said = capsys.readouterr()
    weights = tmp_path / "runs" / "toy" / "toy.safetensors"
    assert said.out.strip() == str(weights)
    assert "step 4/4" in said.err
    assert load_model(weights)[1].name == "toy"


@pytest.mark.filterwarnings("ignore:all files are of one subject")
def test_own_files_become_weights(tmp_path, config, capsys):
    assert train(tmp_path, config, "--data", SAMPLES, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["whole"]
    assert document["validation"]["step"] == 4
    spec = load_model(document["weights"])[1]
    assert (spec.name, spec.domain) == ("own", "mr")
    card = Path(document["card"]).read_text(encoding="utf-8")
    assert "phantom.nii.gz" in card
    assert "sha256" in card


def test_values_are_set_and_kept(tmp_path, patches):
    assert train(tmp_path, patches, "--set", "name=slow", "--set", "optimizer.lr=1e-5", "--quiet") == 0
    assert load_config(tmp_path / "runs" / "slow" / "config.yaml").optimizer.lr == 1e-5


def test_older_run_is_refused_before_any_file_is_opened(tmp_path, config, capsys):
    older = tmp_path / "runs" / "own"
    older.mkdir(parents=True)
    (older / "config.yaml").write_text("name: own\n")
    assert train(tmp_path, config, "--data", tmp_path / "nowhere") == 2
    said = capsys.readouterr().err
    assert "exists already" in said
    assert "--resume" in said


def test_resume_goes_on_and_overwrite_begins_anew(tmp_path, patches, capsys):
    assert train(tmp_path, patches, "--set", "training.steps=2") == 0
    assert train(tmp_path, patches, "--resume") == 0
    said = capsys.readouterr().err
    assert "goes on after step 2" in said
    assert "changed since: training.steps: 2 -> 4" in said
    assert train(tmp_path, patches, "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["validation"]["step"] == 4


def test_all_errors_of_a_configuration_are_one_line(tmp_path, config, capsys):
    config.write_text(
        CONFIG.replace("domain: mr", "domain: mrr").replace("steps: 4", "stepps: 4"), encoding="utf-8"
    )
    assert train(tmp_path, config, "--set", "optimizer.lr=-1", "--json") == 2
    said = capsys.readouterr()
    for part in ("3 errors", "domain [own.yaml:3]", "did you mean steps?", "optimizer.lr [--set]"):
        assert part in said.err
        assert part in json.loads(said.out)["error"]["message"]


def test_what_is_in_the_patches_cant_be_set(tmp_path, patches, capsys):
    assert train(tmp_path, patches, "--set", "forward.kind=gaussian") == 2
    assert "forward.kind is kspace, not gaussian" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none.npz", "none.yaml"])
def test_missing_source_is_named(tmp_path, name, capsys):
    assert train(tmp_path, tmp_path / name) in (2, 3)
    assert name in capsys.readouterr().err


def start(patches: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "sciSR",
        "train",
        str(patches),
        "--out",
        str(out),
        "--device",
        "cpu",
        *more,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    patches = tmp_path / "long.npz"
    write_patch_file(patches, toy_config(training__steps=100_000, training__validate_every=10))
    process = start(patches, tmp_path / "runs")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("step 10/")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume goes on" in err
    assert out == ""
    saved = torch.load(tmp_path / "runs" / "toy" / "checkpoint.pt", weights_only=True)
    assert saved["state"]["step"] >= 10


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one(tmp_path, patches):
    process = start(patches, tmp_path / "two", "--devices", "2", "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert json.loads(out)["whole"]
    assert train(tmp_path, patches) == 0
    two, one = (load_model(tmp_path / out / "toy" / "toy.safetensors")[0] for out in ("two", "runs"))
    for mine, theirs in zip(two.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
