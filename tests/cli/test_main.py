"""The command line: help at once, one line per failure, the exit codes of the design."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sciSR.cli.main import COMMANDS, main

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
HEAVY = ("torch", "numpy", "scipy", "astropy", "nibabel", "pydicom", "highdicom", "skimage", "rich")


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from sciSR.cli.main import main
assert main(["--help"]) == 0
print("LOADED", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_help_of_upscale_shows_the_formats_options_without_their_libraries() -> None:
    libraries = tuple(name for name in HEAVY if name != "numpy")
    code = f"""
import sys
from sciSR.cli.main import main
assert main(["upscale", "--help"]) == 0
print("LOADED", [name for name in {libraries} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"
    for flag in ("--scale", "--model", "--hdu", "--quantity", "--axes", "--dtype", "--series"):
        assert flag in done.stdout
    assert "not for diagnosis" in done.stdout


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sciSR", "--version"], capture_output=True, text=True, check=True
    )
    assert "sciSR" in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nonsense"], 2),
        (["upscale"], 2),
        (["upscale", SAMPLES / "phantom.nii.gz", "--no-such-option"], 2),
        (["upscale", SAMPLES / "phantom.nii.gz", "--scale", "0.5"], 2),
        (["upscale", SAMPLES / "phantom.nii.gz", "--scale", "two"], 2),
        (["upscale", SAMPLES / "phantom.nii.gz", "--model", "no-such-model"], 2),
        (["upscale", SAMPLES / "phantom.nii.gz", "--device", "abacus"], 2),
        (["upscale", SAMPLES / "phantom.nii.gz", "--precision", "fp8"], 2),
        (["upscale", SAMPLES / "no_such_file.fits"], 3),
        (["upscale", SAMPLES / "README.md"], 3),
        (["info", SAMPLES / "no_such_file.fits"], 3),
        (["info", SAMPLES / "README.md"], 3),
        (["models", "no-such-model"], 2),
    ],
)
def test_failures_are_one_line_and_a_code(
    words: list[object],
    code: int,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if words[:1] == ["upscale"] and len(words) > 1:
        words = [*words, "-o", tmp_path / "out.nii.gz"]
    assert run(*words) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_failures_with_json_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", SAMPLES / "README.md", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["exit_code"] == 3
    assert "README.md" in document["error"]["message"]


def test_a_defect_of_ours_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError("a defect\nin two lines")

    monkeypatch.setattr("sciSR.plugins.adapter_for", broken)
    assert run("info", SAMPLES / "phantom.nii.gz") == 3
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("SCISR_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("info", SAMPLES / "phantom.nii.gz")


def test_out_of_memory_is_code_5(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr("sciSR.plugins.adapter_for", full)
    assert run("info", SAMPLES / "phantom.nii.gz") == 5


def test_warnings_are_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import warnings

    from sciSR import plugins
    from sciSR.errors import SciSRWarning

    real = plugins.adapter_for

    def talkative(path: Path) -> object:
        warnings.warn("something\nto know", SciSRWarning, stacklevel=1)
        warnings.warn("a library's own worry", RuntimeWarning, stacklevel=1)
        return real(path)

    monkeypatch.setattr(plugins, "adapter_for", talkative)
    assert run("info", SAMPLES / "phantom.nii.gz", "--json") == 0
    said = capsys.readouterr()
    assert said.err == "warning: something to know\n"
    json.loads(said.out)


def test_logging_is_silent_until_the_command_line_configures_it() -> None:
    code = """
import logging, warnings
import sciSR.workflow.run
logging.getLogger("sciSR.workflow.run").error("not shown")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
