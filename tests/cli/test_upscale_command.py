"""`scisr upscale` as a part of shell lines, and on machines that are too small."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from networks import write_network
from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def test_a_reader_that_leaves_the_pipe_does_not_stop_the_batch(tmp_path: Path) -> None:
    inputs = [tmp_path / f"{name}.nii.gz" for name in "abc"]
    for path in inputs:
        shutil.copy(SAMPLES / "phantom.nii.gz", path)
    words = [sys.executable, "-m", "sciSR", "upscale", *inputs, "--model", "nearest"]
    reading, writing = os.pipe()
    os.close(reading)  # nobody listens
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.glob("*_x2.nii.gz")) == [f"{name}_x2.nii.gz" for name in "abc"]


def test_memory_that_torch_can_not_get_is_code_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def fourier_resample(*args: object) -> None:
        torch.empty(1 << 60)  # the real error of a real allocation

    monkeypatch.setattr("sciSR.inference.stages.fourier_resample", fourier_resample)
    words = [
        "upscale",
        SAMPLES / "phantom.nii.gz",
        "-o",
        tmp_path / "o.nii.gz",
        "--model",
        "fourier",
        "--json",
    ]
    assert main([str(word) for word in words]) == 5
    said = capsys.readouterr()
    assert "out of memory" in json.loads(said.out)["results"][0]["error"]
    assert list(tmp_path.iterdir()) == []


def test_what_networks_are_told_is_given_by_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_network(tmp_path, "ConditionalECBSR", 2)
    words = [
        "upscale",
        str(SAMPLES / "phantom.nii.gz"),
        "-o",
        str(tmp_path / "o.nii.gz"),
        "--model",
        model,
        "--json",
    ]
    assert main([*words, "--forward", "gaussian", "--noise", "12.5", "--psf-fwhm", "1.2"]) == 0
    [part] = json.loads(capsys.readouterr().out)["results"][0]["parts"]
    assert part["forward_model"] == "gaussian"
    assert {name: told["value"] for name, told in part["conditions"].items()} == {
        "noise": 12.5,
        "fwhm": 1.2,
        "kspace": 0.0,
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--model", "cubic", "--noise", "3"], "cubic can't be told the noise"),
        (["--model", "espcn-mr-kspace-x2", "--forward", "gaussian"], "undoes kspace, not gaussian"),
        (["--noise", "-1"], "not negative"),
        (["--model", "cubic", "--consistency", "gaussian", "--psf-fwhm", "3"], "blowing up noise"),
    ],
)
def test_options_that_no_method_can_follow_are_refused(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["upscale", str(SAMPLES / "phantom.nii.gz"), "-o", str(tmp_path / "o.nii.gz")]
    assert main([*words, *options]) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
