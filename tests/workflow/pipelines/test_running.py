"""One item through a pipeline's steps: all of its outputs or none, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline_tasks import SAMPLES, assert_done, make_task, outputs_of, records, tree

import sciSR
from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines import registry
from sciSR.workflow.pipelines.registry import step_of
from sciSR.workflow.pipelines.running import run_task
from sciSR.workflow.pipelines.work import Product, Work
from sciSR.workflow.run import upscale_file


def swap_in(work: Work, *, by: str) -> Product:
    """Another file's pixels, upscaled."""
    target = work.folder / f"{work.name}.fits"
    upscale_file(by, target, model="nearest")
    return replace(work.product, files=(target,), state={"pixels": work.product.files})


def broken(work: Work) -> Product:
    """Always fails."""
    raise ZeroDivisionError("division by zero")


def stopped(work: Work) -> Product:
    """As if somebody pressed Ctrl-C."""
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def steps_of_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin might bring."""
    known = {**registry.steps(), **{f.__name__: step_of(f.__name__, f) for f in (swap_in, broken, stopped)}}
    monkeypatch.setattr(registry, "steps", lambda: known)
    monkeypatch.setattr("pipeline_tasks.steps", lambda: known)


SIMPLE = ({"step": "read"}, {"step": "upscale", "model": "linear"}, {"step": "write"})


@pytest.mark.parametrize("name", ["star_field.fits", "phantom.nii.gz", "phantom_dicom"])
def test_a_pipeline_of_one_step_is_the_command(name: str, tmp_path: Path) -> None:
    """Same pixels, same record, and ``scisr verify`` of the original and the output passes."""
    task = make_task(tmp_path, [SAMPLES / name], tree(*SIMPLE))
    result = run_task(task)
    assert_done(result)
    made = Path(task.output) / result.outputs[0].path
    assert {output.path.partition(".")[0] for output in result.outputs} == {"item1_hr"}
    for output in result.outputs:
        place = Path(task.output) / output.path
        assert file_sha256(place) == output.sha256
    found = sciSR.verify_files(task.files[0], made)
    assert found.passed, [check for check in found.checks if check.status == "failed"]
    digests = [s["input_sha256"] for s in sciSR.read_all(made)[0].provenance.steps if "input_sha256" in s]
    assert not digests or digests == [file_sha256(task.files[0])]
    assert not Path(task.scratch).exists()
    assert sorted(p.name for p in Path(task.output).iterdir()) == sorted(
        [".scisr", *{o.path for o in result.outputs}]
    )


def test_the_steps_before_branches_are_done_once_and_each_branch_has_its_name(tmp_path: Path) -> None:
    nodes = tree(
        {"step": "read"},
        {"step": "degrade"},
        {"branches": {m: [{"step": "upscale", "model": m}] for m in ("nearest", "cubic")}},
        {"step": "evaluate", "against": "read", "save": False},
        {"step": "write"},
    )
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes, name="{item}_{branch}")
    result = run_task(task)
    assert_done(result)
    assert [step["step"] for step in result.steps].count("degrade") == 1
    assert set(outputs_of(task)) == {"item1_nearest.fits", "item1_cubic.fits"}
    told = records(result)
    psnr = {m: told[f"evaluate.{m}"]["parts"][0]["scores"]["psnr"] for m in ("nearest", "cubic")}
    assert psnr["cubic"] > psnr["nearest"]
    # A branch is the pipeline without the other.
    alone = make_task(
        tmp_path, [SAMPLES / "star_field.fits"], [n for n in nodes if n.branch != "nearest"], name="alone"
    )
    assert_done(run_task(alone))
    made = outputs_of(task)
    assert made["alone.fits"] == made["item1_cubic.fits"]


def test_branches_of_one_name_are_refused_before_any_work(tmp_path: Path) -> None:
    nodes = tree({"step": "read"}, {"branches": {"a": [], "b": []}}, {"step": "write"})
    if len(nodes) == 2:  # branches without steps are one
        pytest.skip("no branches")
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes)
    result = run_task(task)
    assert result.error is not None
    assert result.error["exit_code"] == 2
    assert "{branch}" in result.error["message"]
    assert result.steps == ()
    assert outputs_of(task) == {}


def test_two_steps_may_write_under_names_of_their_own(tmp_path: Path) -> None:
    nodes = tree(
        {"step": "degrade"},
        {"step": "write", "output": "low/{item}", "name": "low"},
        {"step": "upscale", "model": "cubic"},
        {"step": "verify"},
        {"step": "write"},
        {"step": "report"},
    )
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes, name="{stem}/{item}_hr")
    result = run_task(task)
    assert_done(result)
    assert set(outputs_of(task)) == {"low/item1.fits", "item1/item1_hr.fits", "item1/item1_hr.html"}
    clash = [n for n in nodes if n.step != "report"]
    clash[1] = type(clash[1])(**{**clash[1].as_dict(), "parameters": {**clash[1].parameters, "output": None}})
    other = run_task(make_task(tmp_path, [SAMPLES / "star_field.fits"], clash, name="one"))
    assert other.error is not None
    assert "two outputs would be called one.fits" in other.error["message"]


@pytest.mark.parametrize("bad", ["cut", "junk", "empty", "missing"])
@pytest.mark.parametrize("name", ["star_field.fits", "phantom.nii.gz"])
def test_a_bad_file_fails_in_one_line_and_leaves_nothing(tmp_path: Path, name: str, bad: str) -> None:
    task = make_task(tmp_path, [SAMPLES / name], tree(*SIMPLE))
    path = Path(task.files[0])
    content = path.read_bytes()
    changed = {"cut": content[: len(content) // 2], "junk": bytes(5000), "empty": b"", "missing": b""}
    path.write_bytes(changed[bad])
    if bad == "missing":
        path.unlink()
    result = run_task(task)
    assert result.status == "failed"
    assert result.outputs == ()
    assert result.error is not None
    assert result.error["exit_code"] == 3
    assert "unexpected" not in result.error["message"]
    assert "\n" not in result.error["message"]
    assert str(tmp_path) not in result.error["message"]
    assert outputs_of(task) == {}
    assert not Path(task.scratch).exists()


def test_a_late_failure_leaves_nothing_and_says_where(tmp_path: Path) -> None:
    """The image was written already when the evaluation found no truth."""
    nodes = tree(*SIMPLE, {"step": "evaluate", "truth": "truth/{stem}.fits"})
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes)
    result = run_task(task)
    assert result.error is not None
    assert result.error["step"] == "04-evaluate"
    assert [step["step"] for step in result.steps] == ["read", "upscale", "write"]
    assert "truth/item1.fits" in result.error["message"]
    assert outputs_of(task) == {}
    assert not Path(task.scratch).exists()


def test_what_a_step_breaks_by_itself_is_told_and_not_raised(tmp_path: Path) -> None:
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], tree(*SIMPLE, {"step": "broken"}))
    result = run_task(task)
    assert result.error is not None
    assert "unexpected ZeroDivisionError" in result.error["message"]
    assert outputs_of(task) == {}


def test_an_interrupt_goes_through_and_leaves_nothing(tmp_path: Path) -> None:
    task = make_task(tmp_path, [SAMPLES / "star_field.fits"], tree(*SIMPLE, {"step": "stopped"}))
    with pytest.raises(KeyboardInterrupt):
        run_task(task)
    assert outputs_of(task) == {}
    assert not Path(task.scratch).exists()


def test_the_fraction_done_only_grows_and_comes_to_its_end(tmp_path: Path) -> None:
    told: list[float] = []
    nodes = tree(*SIMPLE[:2], {"step": "verify"}, SIMPLE[2])
    assert_done(run_task(make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes), told.append))
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 4


def test_existing_outputs_are_kept_unless_the_task_may_replace_them(tmp_path: Path) -> None:
    task = make_task(tmp_path, [SAMPLES / "phantom.nii.gz"], tree(*SIMPLE))
    mine = Path(task.output) / "item1_hr.nii.gz"
    mine.write_bytes(b"mine")
    result = run_task(task)
    assert result.error is not None
    assert result.error["exit_code"] == 2
    assert result.steps == ()  # said before any work
    assert mine.read_bytes() == b"mine"
    assert_done(run_task(replace(task, overwrite=True)))
    first = outputs_of(task)
    # Doing it again gives the same bytes.
    assert_done(run_task(replace(task, may_replace=("item1_hr.nii.gz",))))
    assert outputs_of(task) == first


def test_what_is_random_follows_from_the_tasks_seed(tmp_path: Path) -> None:
    nodes = tree({"step": "degrade", "noise": "gaussian", "snr": 30}, {"step": "write"})
    own = tree({"step": "degrade", "noise": "gaussian", "snr": 30, "seed": 7}, {"step": "write"})
    made = {}
    for name, steps, seed in (
        ("a", nodes, 1),
        ("b", nodes, 1),
        ("c", nodes, 2),
        ("d", own, 1),
        ("e", own, 2),
    ):
        task = make_task(tmp_path, [SAMPLES / "phantom.nii.gz"], steps, name=name, seed=seed)
        assert_done(run_task(task))
        made[name] = np.asarray(sciSR.read(Path(task.output) / f"{name}.nii.gz"))
    assert (made["a"] == made["b"]).all()
    assert not (made["a"] == made["c"]).all()
    assert (made["d"] == made["e"]).all()


def test_a_broken_promise_fails_the_item_with_exit_code_6_or_is_a_warning(tmp_path: Path) -> None:
    """The image of another scene on the same pixels is not what the step was given."""
    other = tmp_path / "in" / "other.fits"
    other.parent.mkdir()
    image = sciSR.read(SAMPLES / "star_field.fits")
    sciSR.write(image.replace(data=np.asarray(image)[::-1]), other)
    for how in ("fail", "warn"):
        nodes = tree(
            *SIMPLE[:2],
            {"step": "swap_in", "by": str(other)},
            {"step": "verify", "on_failure": how},
            SIMPLE[2],
        )
        task = make_task(tmp_path, [SAMPLES / "star_field.fits"], nodes)
        result = run_task(task)
        if how == "fail":
            assert result.error is not None
            assert result.error["kind"] == "VerificationError"
            assert result.error["exit_code"] == 6
            assert "checks failed" in result.error["message"]
            assert outputs_of(task) == {}
        else:
            assert_done(result)
            assert any("checks failed" in text for text in result.warnings)
            assert records(result)["verify"]["passed"] is False
