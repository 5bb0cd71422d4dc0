"""`scisr info`, `scisr models` and `scisr plugins`: for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sciSR.cli.main import main
from sciSR.inference.choose import CLASSICAL

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
SAMPLE_FILES = ["star_field.fits", "phantom.nii.gz", "phantom_dicom"]


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "adapter", "shapes"),
    [
        ("star_field.fits", "fits", [[360, 384]]),
        ("phantom.nii.gz", "nifti", [[96, 96, 24]]),
        ("phantom_dicom", "dicom", [[12, 96, 96]]),
    ],
)
def test_info_tells_format_and_shapes(
    name: str, adapter: str, shapes: list[list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(said(capsys, "info", SAMPLES / name, "--json"))
    assert document["adapter"] == adapter
    found = [part["shape"] for part in document["parts"]]
    assert all(shape in found for shape in shapes)


@pytest.mark.parametrize("name", SAMPLE_FILES)
def test_info_for_people_names_the_format(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "info", SAMPLES / name)
    assert "adapter" in text
    assert "{" not in text


def test_info_of_dicom_shows_no_patient(capsys: pytest.CaptureFixture[str]) -> None:
    assert "PHANTOM" not in said(capsys, "info", SAMPLES / "phantom_dicom", "--json")


def test_models_lists_classical_and_trained(capsys: pytest.CaptureFixture[str]) -> None:
    models = {model["name"]: model for model in json.loads(said(capsys, "models", "--json"))["models"]}
    assert set(CLASSICAL) <= set(models)
    assert any(model["kind"] == "ESPCN" for model in models.values())
    text = said(capsys, "models")
    assert all(name in text for name in models)


def test_a_trained_model_shows_its_card_and_checksum(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(said(capsys, "models", "--json"))["models"]
    trained = next(model["name"] for model in listed if model["kind"] == "ESPCN")
    document = json.loads(said(capsys, "models", trained, "--json"))
    assert len(document["sha256"]) == 64
    assert document["scale"] == 2
    assert "card" in document


def test_a_classical_model_has_a_page_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(capsys, "models", "fourier", "--json"))["kind"] == "classical"


def test_plugins_lists_the_three_formats(capsys: pytest.CaptureFixture[str]) -> None:
    plugins = json.loads(said(capsys, "plugins", "--json"))["plugins"]
    formats = {entry["name"]: entry for entry in plugins if entry["kind"] == "file format"}
    assert {"fits", "nifti", "dicom"} <= set(formats)
    assert all(formats[name]["error"] is None for name in ("fits", "nifti", "dicom"))
    assert "nifti" in said(capsys, "plugins")


def test_a_broken_plugin_is_named_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sciSR import plugins as registry

    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scisr.adapters]\nodd = no_such_module_at_all:adapter\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.load.cache_clear()
    try:
        assert main(["plugins", "--json"]) == 0
        output = capsys.readouterr()
        entry = next(each for each in json.loads(output.out)["plugins"] if each["name"] == "odd")
        assert "no_such_module_at_all" in entry["error"]
        assert entry["package"] == "stranger"
        [line] = output.err.splitlines()
        assert line.startswith("warning: plugin 'odd' of stranger")
        assert main(["info", str(SAMPLES / "phantom.nii.gz"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["adapter"] == "nifti"
    finally:
        registry.load.cache_clear()
