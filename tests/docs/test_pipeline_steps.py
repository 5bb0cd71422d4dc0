"""The page of steps says what the steps are, and the plugin page's step is one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pipeline_tasks import SAMPLES, assert_done, make_task, outputs_of, records

import sciSR
from sciSR.errors import UsageError
from sciSR.workflow.pipelines.running import run_task

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_tables_are_those_of_the_docstrings() -> None:
    spec = importlib.util.spec_from_file_location("pipeline_steps", DOCS / "pipeline_steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = (DOCS / "pipeline-steps.md").read_text(encoding="utf-8")
    assert module.page() == wanted, "run: python docs/pipeline_steps.py"
    for step in module.steps().values():
        if step.distribution == "sciSR":
            told = module.described(step.function.__doc__ or "")
            missing = set(step.entry.model_fields) - {"step", "name"} - set(told)
            assert not missing, f"{step.name}: parameters without a text"


def test_a_step_can_be_called_from_python_as_the_page_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m51.fits").write_bytes((SAMPLES / "star_field.fits").read_bytes())
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (DOCS / "pipeline-steps.md").read_text(encoding="utf-8"), re.S)
    assert code is not None
    exec(compile(code.group(1), "page", "exec"), {})
    assert "m51_x2.fits" in capsys.readouterr().out
    assert sciSR.verify_files("m51.fits", Path("scratch") / "m51_x2.fits").passed


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The plugin page's step as an installed package, with the entry point that the page gives."""
    text = (DOCS / "write-a-plugin.md").read_text(encoding="utf-8").partition("## A step of your own")[2]
    code = re.search(r"```python\n(.*?)```", text, re.S)
    entry = re.search(r'```toml\n\[project\.entry-points\."scisr\.steps"\]\n(.*?)```', text, re.S)
    assert code is not None
    assert entry is not None
    site = tmp_path / "site"
    info = site / "scisr_sky-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "scisr_sky.py").write_text(code.group(1), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scisr-sky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scisr.steps]\n" + entry.group(1).replace('"', ""))
    monkeypatch.syspath_prepend(str(site))
    from sciSR import plugins
    from sciSR.workflow.pipelines import loading, registry, schema

    def forget() -> None:
        plugins.load.cache_clear()
        for module in (registry, schema, loading):
            for value in vars(module).values():
                getattr(value, "cache_clear", lambda: None)()

    forget()
    yield importlib.import_module("scisr_sky")
    forget()
    sys.modules.pop("scisr_sky", None)


def test_the_plugin_pages_step_runs_as_its_pipeline_says(package: ModuleType, tmp_path: Path) -> None:
    text = (DOCS / "write-a-plugin.md").read_text(encoding="utf-8").partition("## A step of your own")[2]
    told = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert told is not None
    file = tmp_path / "pipeline.yaml"
    file.write_text(told.group(1), encoding="utf-8")
    pipeline = sciSR.Pipeline.from_file(file)
    task = make_task(
        tmp_path, [SAMPLES / "star_field.fits"], pipeline.nodes, name=pipeline.config.outputs.name
    )
    result = run_task(task)
    assert_done(result)
    made = outputs_of(task)
    assert set(made) == {"item1_x2.fits", "item1_x2_sky.json"}
    level = json.loads(made["item1_x2_sky.json"])["level"]
    assert records(result)["subtract_sky"]["level"] == level
    image, before = (sciSR.read(p) for p in (Path(task.output) / "item1_x2.fits", task.files[0]))
    after, values = np.asarray(image, np.float64), np.asarray(before, np.float64)
    assert np.isclose(np.nansum(after), np.nansum(values - level), rtol=1e-3)  # counts, shared out
    assert [s["step"] for s in image.provenance.steps] == ["subtract_sky", "read", "upscale"]
    file.write_text(told.group(1).replace("percentile: 40", "percentil: 40"), encoding="utf-8")
    with pytest.raises(UsageError, match="percentile"):
        sciSR.Pipeline.from_file(file)
    assert os.environ.get("SCISR_DEBUG", "") in ("", "0")
