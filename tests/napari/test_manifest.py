"""The manifest against the fields of npe2's schema (0.2.x): what is required and allowed, and that it is there.

npe2 itself can't be had here; the rules are those of its documentation and of the models it validates with.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import sciSR.napari
from sciSR.errors import UsageError
from sciSR.plugins import adapters

MANIFEST = Path(sciSR.napari.__file__).with_name("napari.yaml")
COMMAND_ID = re.compile(r"^(([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\.)*[A-Z_][A-Z_0-9]*$", re.IGNORECASE)
DISPLAY_NAME = re.compile(r"^[^\W_][\w -~:.'\"]{1,88}[^\W_]$")
PYTHON_NAME = re.compile(
    r"^(([a-zA-Z_][\w-]+\.)*[a-zA-Z_][\w-]+):(([a-zA-Z_][\w-]+\.)*[a-zA-Z_][\w-]+)$", re.ASCII
)
FIELDS = {
    "commands": ({"id", "title"}, {"python_name", "short_title", "category", "icon", "enablement"}),
    "readers": ({"command", "filename_patterns"}, {"accepts_directories"}),
    "widgets": ({"command", "display_name"}, {"autogenerate"}),
}
CATEGORIES = {"Acquisition", "Annotation", "Dataset", "Image Processing", "IO", "Measurement", "Registration"}
CATEGORIES |= {"Segmentation", "Simulation", "Themes", "Transformations", "Utilities", "Visualization"}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return YAML(typ="safe").load(MANIFEST.read_text())


def test_its_head(manifest: dict[str, Any]) -> None:
    assert manifest["name"] == "sciSR"  # as the distribution is called
    assert DISPLAY_NAME.match(manifest["display_name"])
    assert re.fullmatch(r"0\.\d+\.\d+", manifest["schema_version"])
    assert set(manifest["categories"]) <= CATEGORIES
    assert set(manifest) <= {
        "name",
        "display_name",
        "schema_version",
        "categories",
        "contributions",
        "visibility",
    }


def test_its_contributions_have_the_fields_that_npe2_takes(manifest: dict[str, Any]) -> None:
    assert set(manifest["contributions"]) == set(FIELDS)
    for kind, entries in manifest["contributions"].items():
        needed, allowed = FIELDS[kind]
        for entry in entries:
            assert needed <= set(entry) <= needed | allowed


def test_its_commands_exist_once_and_are_used(manifest: dict[str, Any]) -> None:
    commands = {entry["id"]: entry for entry in manifest["contributions"]["commands"]}
    assert len(commands) == len(manifest["contributions"]["commands"])
    for name, entry in commands.items():
        assert COMMAND_ID.match(name)
        assert name.startswith("sciSR.")
        assert PYTHON_NAME.match(entry["python_name"])
        module, _, attribute = entry["python_name"].partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
    used = {e["command"] for kind in ("readers", "widgets") for e in manifest["contributions"][kind]}
    assert used == set(commands)


@pytest.mark.parametrize("format_", ["fits", "nifti", "dicom", "ser"])
def test_every_suffix_of_the_formats_is_offered(manifest: dict[str, Any], format_: str) -> None:
    (reader,) = manifest["contributions"]["readers"]
    for suffix in adapters()[format_].suffixes:
        assert any(fnmatch(f"name{suffix}", pattern) for pattern in reader["filename_patterns"]), suffix
    assert reader["accepts_directories"]


def test_the_widget_is_made_of_arguments_that_magicgui_knows() -> None:
    from sciSR.napari.widget import model_names, upscale_layer

    parameters = inspect.signature(upscale_layer).parameters
    assert parameters["viewer"].annotation == "napari.Viewer"
    assert parameters["layer"].annotation == "napari.layers.Image"
    assert parameters["scale"].annotation.__metadata__ == ({"min": 1.0, "max": 16.0, "step": 0.5},)
    assert parameters["uncertainty"].annotation is bool
    assert {"auto", "lanczos"} <= set(model_names())
    assert parameters["model"].default in model_names()
    with pytest.raises(UsageError, match="no image layer"):
        upscale_layer(None, None)


def test_it_is_announced_to_napari() -> None:
    pyproject = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert '[project.entry-points."napari.manifest"]\nsciSR = "sciSR.napari:napari.yaml"' in pyproject
    for point in entry_points(group="napari.manifest"):
        if point.name == "sciSR":  # an editable install made before this file has no such entry yet
            assert (Path(importlib.util.find_spec(point.module).origin).parent / point.attr).is_file()


def test_without_napari_the_window_says_what_to_do() -> None:
    from sciSR.napari.window import check_installed

    if importlib.util.find_spec("napari") is not None:
        pytest.skip("napari is installed")
    with pytest.raises(UsageError, match="pip install"):
        check_installed()
