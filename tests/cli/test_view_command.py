"""`scisr view` as a process: the address it prints, Ctrl-C, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sciSR.cli.main import main

SAMPLE = Path(__file__).resolve().parents[2] / "data_samples" / "star_field.fits"


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sciSR", "view", *words, "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_prints_the_address_and_ends_cleanly_with_ctrl_c() -> None:
    with running(str(SAMPLE)) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url, timeout=30) as reply:
            assert b"star_field.fits" in reply.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err
    assert url.split("/")[3] not in err


def test_programs_get_one_document(tmp_path: Path) -> None:
    with running(str(SAMPLE), "--json") as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += process.stdout.readline()
        document = json.loads(text)
        assert document["views"] == ["star_field.fits"]
        assert f":{document['port']}/" in document["url"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing.fits"], 3, "no such file"),
        ([], 2, "Missing argument"),
        ([str(SAMPLE), "--port", "70000"], 2, "port"),
        ([str(SAMPLE), "--part", "NONE"], 2, "holds no image"),
        ([str(SAMPLE), "--volume", "-1"], 2, "volume"),
    ],
)
def test_what_is_refused_is_told_in_a_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", *words, "--no-open"]) == code
    err = capsys.readouterr().err
    assert said.lower() in err.lower()
    assert err.count("\n") == 1


def test_napari_that_is_not_installed_is_told_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("napari") is not None:
        pytest.skip("napari is installed")
    assert main(["view", str(SAMPLE), "--napari"]) == 2
    assert "pip install 'sciSR[napari]'" in capsys.readouterr().err


def test_help_says_whom_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "--help"]) == 0
    text = capsys.readouterr().out
    assert "not for diagnosis" in text
    assert "127.0.0.1" in text
