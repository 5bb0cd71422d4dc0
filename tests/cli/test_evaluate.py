"""`scisr evaluate` in a shell line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sciSR.cli.main import main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
PHANTOM = str(SAMPLES / "phantom.nii.gz")


def test_the_table_has_every_score_of_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--models", "espcn-mr-kspace-x2", "--planes", "2", PHANTOM]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "mr kspace x2: 1 image"
    words = ("PSNR dB", "SSIM", "NRMSE", "bias %", "s/Mpixel", "parameters", "gain dB")
    assert all(word in lines[2] for word in words)
    first = [line.split()[0] for line in lines[3:] if line]
    assert first == ["nearest", "linear", "cubic", "quintic", "lanczos", "fourier", "espcn-mr-kspace-x2"]
    assert "58,212" in said.out
    assert "phantom.nii.gz" in said.err


def test_json_is_one_document_and_holds_the_gain(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "-m", "espcn-mr-kspace-x2", "--planes", "2", "--json", "-q", PHANTOM]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err == ""
    [table] = json.loads(said.out)["tables"]
    assert table["protocol"] == "mr kspace"
    network = table["methods"]["espcn-mr-kspace-x2"]
    assert network["kind"] == "trained"
    row = table["rows"]["phantom.nii.gz"]
    best = max(scores["psnr"] for name, scores in row.items() if name != "espcn-mr-kspace-x2")
    assert network["gain_db"]["mean"] == pytest.approx(row["espcn-mr-kspace-x2"]["psnr"] - best)
    assert network["gain_db"]["se"] is None, "one image has no standard error"


def test_some_failures_are_code_4_and_one_is_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "a.nii.gz", tmp_path / "b.fits"
    shutil.copy(PHANTOM, good)
    bad.write_bytes(b"SIMPLE  =                    T")
    words = ["evaluate", "-m", "classical", "--planes", "1", "--per-image", "--markdown"]
    assert main([*words, str(good), str(bad)]) == 4
    said = capsys.readouterr()
    assert "b.fits" in said.err
    assert "| cubic |" in said.out
    assert sorted(tmp_path.iterdir()) == [good, bad], "nothing is written"
    assert main([*words, str(bad)]) == 3
    assert main([*words, str(tmp_path / "missing.nii")]) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "no-such-net", PHANTOM],
        ["-m", "all-mri-x7", PHANTOM],
        ["-m", "espcn-mr-kspace-x2", "--scale", "3", PHANTOM],
        ["-m", "all", "--forward", "lens", PHANTOM],
        ["-m", "classical", "--snr", "0", PHANTOM],
        [PHANTOM],
        ["-m", "all"],
    ],
)
def test_what_makes_no_sense_is_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
