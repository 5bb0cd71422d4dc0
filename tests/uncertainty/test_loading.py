"""Error heads by task; their files, cards and calibrations; what they may never do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sciSR.errors import ModelError
from sciSR.image import Image
from sciSR.inference.plan import plan_upscale
from sciSR.models.error_head import ErrorHead
from sciSR.models.files import error_head_paths, list_models, load_card, load_spec, shipped_paths
from sciSR.provenance import file_sha256
from sciSR.training.error_tasks import TASKS
from sciSR.uncertainty.interface import Uncertain
from sciSR.uncertainty.loading import (
    DEFAULT,
    calibration_of,
    calibrations,
    head_name,
    load_error_model,
    read_head,
    save_head,
)

HEADS = sorted(error_head_paths())


def test_every_task_of_auto_has_its_head():
    assert set(HEADS) == set(TASKS)
    for name, task in TASKS.items():
        assert head_name(task.domain, task.forward, task.scale) == name
        model = load_error_model(task.domain, task.forward, task.scale, task.automatic)
        assert model is not None
        assert (model.name, model.scale) == (name, task.scale)
        assert model.calibration.is_calibrated
        assert model.calibration == calibration_of(name, task.automatic)
        assert task.automatic in shipped_paths()


@pytest.mark.parametrize(
    ("domain", "forward", "scale"),
    [
        ("mr", "kspace", 3),
        ("ct", "", 2),
        ("generic", "", 2),
        ("mr", "detector", 2),
        ("astronomy", "kspace", 2),
    ],
)
def test_none_where_none_fits(domain, forward, scale):
    assert load_error_model(domain, forward, scale, "cubic") is None


@pytest.mark.parametrize("name", HEADS)
def test_unknown_methods_have_the_calibration_of_all_together(name):
    task = TASKS[name]
    model = load_error_model(task.domain, task.forward, task.scale, "a-network-of-mine")
    assert model.calibration == calibration_of(name, DEFAULT)


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_small_whole_and_have_true_cards(name):
    path, task = error_head_paths()[name], TASKS[name]
    model, card = read_head(path), load_card(error_head_paths()[name])
    assert path.stat().st_size <= 100_000
    assert card["sha256"] == file_sha256(path) == model.sha256
    assert card["name"] == name == model.name
    assert card["parameters"] == sum(p.numel() for p in model.network.parameters())
    assert all(torch.isfinite(p).all() for p in model.network.parameters())
    assert model.normalisation == task.normalisation == card["normalisation"]
    assert "Research use" in " ".join(card["limits"])
    assert set(card["calibration"]["methods"]) == {*task.methods, DEFAULT}
    for row in card["calibration"]["methods"].values():
        assert 0.3 < row["factor"] < 3
        assert 1.5 < row["interval_95"] < 6
        assert row["files"] >= 3
    roles = {
        role: {row["file"] for row in card["data"]["files"] if row["role"] == role} for role in task.files
    }
    assert roles == {role: set(names) for role, names in task.files.items()}
    assert not roles["train"] & roles["calibrate"]
    assert not any("/check/" in name for names in roles.values() for name in names)
    assert all(len(row["sha256"]) == 64 and row["licence"] for row in card["data"]["files"])


def test_heads_are_no_models():
    names = {spec.name for spec in list_models()} | set(shipped_paths())
    assert not names & set(HEADS)
    with pytest.raises(ModelError, match="unknown"):
        load_spec(HEADS[0])


def test_written_and_read_again(tmp_path: Path):
    torch.manual_seed(1)
    network = ErrorHead(2, "range", 8, 2)
    arguments = {"scale": 2, "stretch": "range", "features": 8, "depth": 2}
    facts = {"name": "error-test-x2", "arguments": arguments, "normalisation": "range"}
    digest = save_head(tmp_path / "h.safetensors", network, facts)
    again = read_head(tmp_path / "h.safetensors")
    assert again.sha256 == digest == save_head(tmp_path / "i.safetensors", network, facts)
    given = torch.rand(12, 12), torch.rand(24, 24), torch.rand(24, 24)
    whole = network(*(x[None, None] for x in given))[0, 0]
    torch.testing.assert_close(again.total(*given), whole, rtol=2e-2, atol=1e-3)


def test_other_files_are_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="no error head"):
        read_head(next(iter(shipped_paths().values())))
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError):
        read_head(tmp_path / "x.safetensors")


def test_cards_are_read_once():
    assert calibrations(HEADS[0]) is calibrations(HEADS[0])
    assert calibrations("error-nowhere-x2") == {}


def test_looking_a_head_up_imports_little_before_it_is_wanted():
    code = "import sys; import sciSR.uncertainty.loading; assert 'safetensors' not in sys.modules, 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def sky(gain: float = 1.0, offset: float = 0.0) -> Image:
    g = np.random.default_rng(3)
    y, x = np.mgrid[:48, :48]
    field = 100 + 400 * np.exp(-((y - 20) ** 2 + (x - 27) ** 2) / 8) + g.normal(0, 3, (48, 48))
    error = np.full((48, 48), 3.0 * gain)
    return Image.from_array(gain * field + offset, domain="astronomy", uncertainty=error)


def stated(image: Image, **options) -> np.ndarray:
    plan = plan_upscale(image, 2, "espcn-astro-x2", device="cpu", uncertainty=True, **options)
    return np.asarray(plan.run(lambda index, block: None).uncertainty[:, :])


@pytest.mark.parametrize(("gain", "offset"), [(1e-3, 0.0), (250.0, -1e4)])
def test_another_unit_or_pedestal_changes_nothing(gain, offset):
    np.testing.assert_allclose(stated(sky(gain, offset)), gain * stated(sky()), rtol=2e-3)


def test_the_engine_gives_the_same_in_tiles():
    np.testing.assert_allclose(stated(sky(), tile=16), stated(sky()), rtol=1e-4)


@pytest.mark.parametrize("method", ["cubic", "espcn-mr-kspace-x2"])
def test_a_head_is_given_its_own_normalisation_whatever_made_the_image(method):
    g = np.random.default_rng(5)
    slices = np.abs(200 * (np.hypot(*np.mgrid[-1:1:40j, -1:1:40j]) < 0.7) + g.normal(0, 4, (40, 40)))
    image = Image.from_array(slices, domain="mr")
    model = load_error_model("mr", "kspace", 2, method)
    found = []
    for settings in (True, Uncertain(model=model)):
        plan = plan_upscale(image, 2, method, device="cpu", uncertainty=settings)
        assert plan.uncertain.normaliser(plan, model).kind == "range"
        found.append(np.asarray(plan.run(lambda index, block: None).uncertainty[:, :]))
    assert (found[0] > 0).all()
    np.testing.assert_array_equal(*found)
