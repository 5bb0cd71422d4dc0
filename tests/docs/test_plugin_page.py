"""The plugin page's example is a plugin: it passes the conformance suite and is found by the command line."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sciSR.testing import check_adapter

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write-a-plugin.md"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's first code block as an installed package, with the entry point that the page gives."""
    text = PAGE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)
    entry = re.search(r'```toml\n\[project\.entry-points\."scisr\.adapters"\]\n(.*?)```', text, re.S)
    assert code is not None
    assert entry is not None
    site = tmp_path / "site"
    info = site / "scisr_npz-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "scisr_npz.py").write_text(code.group(1), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scisr-npz\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scisr.adapters]\n" + entry.group(1).replace('"', ""))
    monkeypatch.syspath_prepend(str(site))
    from sciSR import plugins

    plugins.load.cache_clear()
    yield importlib.import_module("scisr_npz")
    plugins.load.cache_clear()
    sys.modules.pop("scisr_npz", None)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """An image and a volume."""
    random = np.random.default_rng(1)
    affine = np.array([[0.9, -0.1, 0, 4], [0.1, 0.9, 0, -2], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    made = []
    for name, shape in (("image.npz", (21, 16)), ("volume.npz", (12, 9, 5))):
        data = random.normal(size=shape).astype(np.float32)
        np.savez(tmp_path / name, affine=affine, data=data, record=np.array("[]"))
        made.append(tmp_path / name)
    return made


def test_the_pages_adapter_keeps_all_promises(package: ModuleType, files: list[Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    check_adapter(package.adapter, files, work)


def test_the_command_line_finds_and_uses_it(
    package: ModuleType, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from sciSR.cli.main import main

    assert main(["plugins"]) == 0
    assert "scisr_npz:adapter" in capsys.readouterr().out
    assert main(["upscale", str(files[1]), "--domain", "mr"]) == 0
    [image] = package.adapter.read(files[1].with_name("volume_x2.npz"))
    assert image.shape == (24, 18, 5)
    assert image.provenance.steps[-1]["step"] == "upscale"


def test_links_of_the_pages_lead_somewhere() -> None:
    root = PAGE.parents[1]
    for page in [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("data_samples/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
