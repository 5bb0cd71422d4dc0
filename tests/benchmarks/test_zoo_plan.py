"""Sharing patches, bytes and time among networks: whatever the machine, all end in time and the heaviest gets most."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.training.config import AugmentConfig, DataConfig, ForwardConfig, ModelConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import zoo_plan  # noqa: E402
from zoo_plan import Task  # noqa: E402


@st.composite
def task_lists(draw: st.DrawFn) -> list[Task]:
    """Tasks of very different speed, some of which begin from an earlier one."""
    count = draw(st.integers(1, 12))
    number = st.floats(0.1, 50, allow_nan=False)
    return [
        Task(
            str(i),
            draw(st.sampled_from([1.0, 2.0, 6.0])),
            draw(number),
            draw(st.floats(0, 3)),
            draw(st.sampled_from([None, *map(str, range(i))])),
        )
        for i in range(count)
    ]


@given(task_lists(), st.integers(1, 8))
def test_all_is_done_in_time_and_the_time_is_used(tasks: list[Task], workers: int) -> None:
    seconds = 600.0
    steps = zoo_plan.plan(tasks, seconds, workers)
    took = zoo_plan.makespan(tasks, steps, workers)
    assert took <= seconds
    assert all(zoo_plan.LEAST <= steps[task.name] <= zoo_plan.MOST for task in tasks)
    most = {task.name: zoo_plan.MOST for task in tasks}
    if zoo_plan.makespan(tasks, most, workers) > seconds:  # more would have been too much
        more = {name: min(zoo_plan.MOST, 2 * count + 2) for name, count in steps.items()}
        assert zoo_plan.makespan(tasks, more, workers) > 0.99 * seconds


@given(task_lists(), st.integers(1, 8))
def test_no_task_is_ordered_before_the_one_it_begins_from(tasks: list[Task], workers: int) -> None:
    steps = zoo_plan.plan(tasks, 60.0, workers)
    seen: set[str] = set()
    for task in zoo_plan.order(tasks, steps):
        assert task.after is None or task.after in seen
        seen.add(task.name)
    assert len(seen) == len(tasks)


@given(task_lists(), st.integers(1, 8))
def test_workers_can_do_no_more_than_all_of_them_together(tasks: list[Task], workers: int) -> None:
    steps = {task.name: 100 for task in tasks}
    each = {task.name: task.seconds(100) for task in tasks}
    took = zoo_plan.makespan(tasks, steps, workers)
    assert max(each.values()) - 1e-9 <= took <= sum(each.values()) + 1e-6
    assert took >= sum(each.values()) / workers - 1e-6
    assert zoo_plan.makespan(tasks, steps, 1) == pytest.approx(sum(each.values()))


def test_time_follows_the_weights_and_what_was_begun_keeps_its_steps() -> None:
    tasks = [Task("default", 6, 10, 0), Task("other", 2, 5, 0), Task("begun", 2, 5, 0, steps=4000, done=3000)]
    steps = zoo_plan.plan(tasks, 165.0, 1)
    assert steps["begun"] == 4000  # 5 s are left of it
    assert steps["default"] * 10 == pytest.approx(3 * steps["other"] * 5, rel=0.01)
    assert steps["default"] == pytest.approx(12_000, rel=0.01)


def config(name: str = "a", **changes: object) -> TrainConfig:
    base = TrainConfig(name, "mr", "range", ModelConfig("ECBSR"), ForwardConfig("kspace"))
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def test_patches_are_shared_where_nothing_in_them_differs() -> None:
    configs = {
        "mri-x2": config(),
        "mri-x2-espcn": config(model=ModelConfig("ESPCN"), data=DataConfig(patches=5, workers=2)),
        "mri-x2-gain": config(augment=AugmentConfig(gain=(0.5, 2.0), mixup=0.5)),  # drawn at each visit
        "mri-x2-gamma": config(augment=AugmentConfig(gamma=(0.5, 2.0))),  # in the patches
        "mri-x4": config(model=ModelConfig("ECBSR", scale=4)),
        "mri-blur": config(forward=ForwardConfig("gaussian")),
        "mri-large": config(data=DataConfig(patch=64)),
    }
    assert sorted(zoo_plan.groups(configs).items()) == [
        ("mri-blur", ["mri-blur"]),
        ("mri-large", ["mri-large"]),
        ("mri-x2", ["mri-x2", "mri-x2-espcn", "mri-x2-gain"]),
        ("mri-x2-gamma", ["mri-x2-gamma"]),
        ("mri-x4", ["mri-x4"]),
    ]


@pytest.mark.parametrize(
    ("start", "found"),
    [(None, None), ("b", "b"), ("runs/b/b.safetensors", "b"), ("a", None), ("shipped-x2", None)],
)
def test_start_is_another_network_of_the_zoo_by_name_or_by_file(start: str | None, found: str | None) -> None:
    assert zoo_plan.origin(config(model=ModelConfig("ECBSR", start=start)), ["a", "b"]) == found


def test_bytes_are_all_shared_out() -> None:
    shares = zoo_plan.shares({"x": [6.0], "y": [6.0, 2.0, 1.0], "z": [1.0]}, 58e6)
    assert sum(shares.values()) == pytest.approx(58e6)
    assert shares["y"] > shares["x"] > shares["z"]


def test_every_start_that_is_known_is_a_network_of_the_recipes() -> None:
    from sciSR.training.config_file import load_config

    names = {load_config(path).name for path in (ROOT / "configs" / "train").glob("*.yaml")}
    assert {*zoo_plan.STARTS, *zoo_plan.STARTS.values()} <= names
