"""YAML is data: no tag makes an object or runs anything, no alias multiplies, nothing is nested without end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_texts import aliases
from hostile import refusal

from networks import write_network
from sciSR.evaluation.card import read_draft
from sciSR.models.files import load_card
from sciSR.models.user_models import add_model
from sciSR.training.config_file import load_config
from sciSR.workflow.degrade_settings import settings_of
from sciSR.workflow.pipelines.loading import load_pipeline


def card(path: Path) -> object:
    return load_card(path.with_suffix(".safetensors"))


def draft(path: Path) -> object:
    return read_draft(path.with_suffix(".safetensors"))


def added(path: Path) -> object:
    return add_model(path.with_suffix(".safetensors"), "mine")


READERS: dict[str, Callable[[Path], object]] = {
    "training": load_config,
    "degrading": settings_of,
    "pipeline": load_pipeline,
    "card": card,
    "draft": draft,
    "added": added,
}
TAGS = (
    "!!python/object/apply:os.system ['touch {marker}']",
    "!!python/object/new:os.system ['touch {marker}']",
    "!!python/object/apply:subprocess.check_output [[touch, '{marker}']]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!python/object:builtins.object {{}}",
    "!unknown x",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Path(write_network(tmp_path_factory.mktemp("weights"), "ESPCN", 2)).read_bytes()


@pytest.fixture
def place(tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a YAML file goes that all readers can take; weights lie beside it."""
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))
    (tmp_path / "a.safetensors").write_bytes(weights)
    return tmp_path / "a.yaml"


@pytest.mark.parametrize("reader", READERS)
def test_a_tag_runs_nothing(place: Path, reader: str) -> None:
    marker = place.with_name("ran")
    for tag in TAGS:
        place.write_text(f"name: {tag.format(marker=marker)}\n")
        assert place.name in refusal(lambda: READERS[reader](place))
        assert not marker.exists()


HOSTILE = {
    "aliases": "\n".join(aliases(25)),
    "itself": "a: &a [*a]\n",
    "merged": "a: &a {b: 1}\nc: &c ["
    + ", ".join(["{<<: *a}"] * 300)
    + "]\nd: ["
    + ", ".join(["*c"] * 300)
    + "]\n",
    "deep": "a: " + "[" * 3000 + "]" * 3000,
    "deep mappings": "{a: " * 3000 + "1" + "}" * 3000,
    "deep dashes": "- " * 1500 + "a",
    "large": "a: 1\n# " + "x" * (2 << 20),
    "no date": "a: 2026-02-30\n",
    "no text": "a: \x00\n",
    "other type": "a: !!int text\n",
    "stamp": "a: !!timestamp x\n",
}


@pytest.mark.parametrize("reader", ["training", "degrading", "pipeline", "card", "draft"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_grows_or_never_ends(place: Path, reader: str, name: str) -> None:
    place.write_text(HOSTILE[name])
    start = time.process_time()
    assert refusal(lambda: READERS[reader](place), memory=400 << 20)
    assert time.process_time() - start < 10
