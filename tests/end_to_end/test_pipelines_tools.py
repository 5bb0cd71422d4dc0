"""What docs/workflow-tools.md promises to other workflow tools, and the examples for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data_samples"
EXAMPLES = ROOT / "docs" / "examples"


def environment() -> dict[str, str]:
    """Where ``scisr`` is the one under test."""
    folder = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def scisr(folder: Path, *words: object) -> tuple[int, Any, str]:
    """Exit code, JSON of stdout, stderr."""
    command = [sys.executable, "-m", "sciSR", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).normal(100, 3, (24, 20)).astype(np.float32)
    fits.writeto(tmp_path / "m51.fits", pixels)
    (tmp_path / "bad.fits").write_bytes((tmp_path / "m51.fits").read_bytes()[:3000])
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_file_in_one_file_out_with_json_alone_on_stdout(folder: Path) -> None:
    (folder / "out").mkdir()
    words = ("upscale", "m51.fits", "-o", "out/hr.fits", "--model", "cubic", "--json")
    code, found, _ = scisr(folder, *words)
    assert code == 0
    assert names(folder / "out") == {"hr.fits"}
    [result] = found["results"]
    assert (result["ok"], result["output"]) == (True, "out/hr.fits")
    before = (folder / "out/hr.fits").read_bytes()
    code, found, said = scisr(folder, *words)  # not replaced without being told
    assert code == found["results"][0]["exit_code"] == 2
    assert "exists already" in said
    assert (folder / "out/hr.fits").read_bytes() == before
    code, found, _ = scisr(folder, "verify", "m51.fits", "out/hr.fits", "--json")
    assert code == 0
    with fits.open(folder / "out/hr.fits", mode="update") as hdus:
        hdus[0].data += 50
    code, found, _ = scisr(folder, "verify", "m51.fits", "out/hr.fits", "--json")
    assert code == 6
    assert found


def test_default_names_and_failures(folder: Path) -> None:
    code, found, said = scisr(folder, "upscale", "m51.fits", "bad.fits", "--model", "nearest", "--json")
    assert code == 4
    assert [result["ok"] for result in found["results"]] == [True, False]
    assert found["results"][1]["exit_code"] == 3
    assert "bad.fits" in found["results"][1]["error"]
    assert "Traceback" not in said
    assert names(folder) == {"m51.fits", "bad.fits", "m51_x2.fits"}
    code, found, _ = scisr(folder, "upscale", "m51.fits", "--no-such-option", "--json")
    assert code == found["error"]["exit_code"] == 2


def test_snakemake_runs_the_example(folder: Path) -> None:
    snakemake = shutil.which("snakemake") or shutil.which("snakemake", path=str(Path(sys.executable).parent))
    if snakemake is None:
        pytest.skip("snakemake is not installed")
    (folder / "images").mkdir()
    shutil.move(folder / "m51.fits", folder / "images/m51.fits")
    command = [snakemake, "--snakefile", str(EXAMPLES / "Snakefile"), "--cores", "1"]
    command += ["--config", "model=cubic"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    made = {f"m51_x2.fits{end}" for end in ("", ".json", ".verified.json", ".html")}
    assert names(folder / "results") == made | {"logs"}
    assert json.loads((folder / "results/m51_x2.fits.json").read_text())["results"][0]["ok"]


def test_the_snakefile_calls_what_there_is(folder: Path) -> None:
    """Its commands with their fields filled in, where snakemake itself is not at hand."""
    text = (EXAMPLES / "Snakefile").read_text()
    commands = [
        "".join(re.findall(r'"([^"]*)"', each)) for each in re.findall(r"shell:\n((?: +\".*\"\n)+)", text)
    ]
    assert len(commands) == 3
    values = {
        "input:q": "m51.fits", "input.before:q": "m51.fits", "input.after:q": "hr.fits", "output.image:q": "hr.fits",
        "output.record:q": "r.json", "params.scale": "2", "params.model": "cubic", "log:q": "log",
    }  # fmt: skip
    for command, output in zip(commands, ("hr.fits", "v.json", "page.html"), strict=True):
        for field, value in {**values, "output:q": output}.items():
            command = command.replace(f"{{{field}}}", value)
        assert "{" not in command
        run_in_shell(command, folder)
        assert (folder / output).stat().st_size


def test_the_commands_of_the_nextflow_example_run(folder: Path) -> None:
    text = (EXAMPLES / "main.nf").read_text()
    commands = [each.strip() for each in re.findall(r'"""(.*?)"""', text, flags=re.DOTALL)]
    assert len(commands) == 2
    fields = {
        "image": "m51.fits", "image.name": "m51.fits", "result": "m51_x2.fits", "before": "m51.fits",
        "after": "m51_x2.fits", "after.name": "m51_x2.fits", "params.scale": "2", "params.model": "cubic",
    }  # fmt: skip
    for command in commands:
        for field, value in fields.items():
            command = command.replace(f"${{{field}}}", value)
        assert "$" not in command
        run_in_shell(command, folder)
    assert names(folder) >= {"m51_x2.fits", "m51.fits.json", "m51_x2.fits.verified.json"}
    assert text.count("{") == text.count("}")


def run_in_shell(command: str, folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_nipype_runs_the_example(tmp_path: Path) -> None:
    pytest.importorskip("nipype", reason="nipype is not installed")
    source = shutil.copy(SAMPLES / "phantom.nii.gz", tmp_path / "T2w.nii.gz")
    command = [sys.executable, str(EXAMPLES / "nipype_example.py"), source, str(tmp_path / "results")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "results/upscaled/T2w_hr.nii.gz").is_file()
