"""Training a zoo from a folder of patches: it stops in time, goes on, keeps the order of starts, and needs little."""

from __future__ import annotations

import concurrent.futures as futures
import dataclasses
import itertools
import json
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
from toy_training import toy_config, write_patch_file

from sciSR.models.files import load_model
from sciSR.training.config import TrainConfig
from sciSR.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "train_zoo.py"
sys.path.append(str(SCRIPT.parent))

import zoo_run  # noqa: E402
from zoo_plan import Task  # noqa: E402

BARE = """
import runpy, sys
for name in ("astropy", "nibabel", "pydicom", "pydantic", "ruamel", "ruamel.yaml", "click"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, "benchmarks")
runpy.run_path(sys.argv[0], run_name="__main__")
"""
STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What --prepare leaves: a patch file, the configurations of two networks that share it, a table of terms."""
    path = tmp_path_factory.mktemp("zoo")
    child = toy_config(name="child")
    child = dataclasses.replace(child, model=dataclasses.replace(child.model, start="toy"))
    write_patch_file(path / "toy.npz", toy_config())
    configs = {"a-child": child.as_dict(), "b-parent": toy_config().as_dict()}
    (path / "toy.json").write_text(json.dumps(configs), encoding="utf-8")
    return path


def job(folder: Path, out: Path, config: TrainConfig | None = None, **changes: Any) -> zoo_run.Job:
    made = zoo_run.Job(config or toy_config(), folder / "toy.npz", out, "cpu", 1, deadline=1e12)
    return dataclasses.replace(made, **changes)


def test_run_whose_time_is_up_stops_and_goes_on_to_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = zoo_run.run(job(folder, tmp_path / "straight"), STEPS)
    clock = itertools.chain([0.0, 1.0, 2.0], itertools.repeat(200.0))  # up after the second step
    with monkeypatch.context() as patch:
        patch.setattr(
            zoo_run,
            "time",
            types.SimpleNamespace(time=lambda: next(clock), perf_counter=lambda: 0.0),
        )
        first = zoo_run.run(job(folder, tmp_path / "stopped", deadline=100.0), STEPS)
    assert (first["whole"], first["stopped"], first["done"]) == (False, False, 3)
    second = zoo_run.run(job(folder, tmp_path / "stopped"), STEPS)
    assert (second["whole"], second["done"]) == (True, STEPS)
    assert second["gain"] == straight["gain"]
    one, other = (RunFolder(tmp_path / part / "toy").weights for part in ("straight", "stopped"))
    assert one.read_bytes() == other.read_bytes()


def test_run_that_can_not_end_in_time_is_not_begun(folder: Path, tmp_path: Path) -> None:
    result = zoo_run.run(job(folder, tmp_path, deadline=0.0), STEPS)
    assert result == {"whole": False, "done": 0}
    assert not list(tmp_path.iterdir())


def test_probe_measures_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    config = toy_config(name="toy")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, patch=12))
    found = zoo_run.probe(job(folder, tmp_path, config), 4)
    weights = sum(p.numel() for p in zoo_run_network(config).parameters() if p.ndim == 4)
    assert found["ms"] > 0
    assert (
        found["flops"] >= 3 * 2 * config.training.batch * 12 * 12 * weights
    )  # two operations a weight and pixel
    assert not list(tmp_path.iterdir())


def zoo_run_network(config: TrainConfig) -> Any:
    from sciSR.training.networks import Networks

    return Networks(config).main


def test_fault_of_one_network_is_said_and_stops_no_other(folder: Path, tmp_path: Path) -> None:
    bad = toy_config(name="bad", model__arguments={"nonsense": 1})
    jobs = {"bad": job(folder, tmp_path, bad), "toy": job(folder, tmp_path)}
    tasks = [Task(name, 1, 1, 0) for name in jobs] + [Task("later", 1, 1, 0, after="bad")]
    results = dict(zoo_run.in_turn(zoo_run.pool(1), jobs, tasks, dict.fromkeys([*jobs, "later"], STEPS), 1))
    assert "nonsense" in results["bad"]["error"]
    assert results["toy"]["whole"]
    assert results["later"] == {"whole": False, "waits": "bad"}


def test_several_at_a_time_keep_the_order_of_starts(folder: Path, tmp_path: Path) -> None:
    """With threads here; processes take the same way."""
    began: list[str] = []

    def submit(call: Any, task: zoo_run.Job, steps: int) -> futures.Future[Any]:
        began.append(task.config.name)
        future: futures.Future[Any] = futures.Future()
        future.set_result({"whole": True, "done": steps})
        return future

    jobs = {name: job(folder, tmp_path, toy_config(name=name)) for name in "abcd"}
    tasks = [
        Task("a", 1, 1, 0, after="d"),
        Task("b", 1, 1, 0),
        Task("c", 1, 1, 0, after="a"),
        Task("d", 1, 1, 0),
    ]
    pool = types.SimpleNamespace(submit=submit)
    done = dict(zoo_run.in_turn(pool, jobs, tasks, dict.fromkeys("abcd", 1), 2))
    assert began.index("d") < began.index("a") < began.index("c")
    assert set(done) == set("abcd")


def test_all_is_trained_and_packed_where_no_format_can_be_read(folder: Path, tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", BARE, str(SCRIPT), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    out = tmp_path / "runs"
    done = call("--train", str(folder), "--only", "child", "--out", str(out), "--quick", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    parent, child = done.stdout.splitlines()[1:]  # the one it begins from is trained too, and first
    assert parent.startswith("toy: 4/4 steps")
    assert child.startswith("child: 4/4 steps")
    card = json.loads(RunFolder(out / "child").card.read_text(encoding="utf-8"))
    assert card["recipe"]["model"]["start"] == str(RunFolder(out / "toy").weights)
    assert load_model(RunFolder(out / "child").weights)[1].name == "child"

    done = call("--bundle", str(out), "--out", str(tmp_path / "packed"), "--megabytes", "0.3")
    assert done.returncode == 0, done.stderr
    packed = sorted((tmp_path / "packed").glob("*.zip"))
    assert len(packed) > 1
    assert all(path.stat().st_size < 300_000 for path in packed)
    names = [name for path in packed for name in zipfile.ZipFile(path).namelist()]
    assert len(names) == len(set(names))
    assert {"toy/toy.safetensors", "child/child.yaml", "child/metrics.csv", "zoo.json"} <= set(names)
    assert not any("checkpoint" in name for name in names)
