"""The loop learns, keeps what it promises in the run's folder, and stops when it should."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors import safe_open
from toy_training import ToyPatches, history_of, toy_config

from sciSR.errors import SciSRError, UsageError
from sciSR.models.files import architecture, load_model
from sciSR.training import checkpoint
from sciSR.training.config import AdversarialConfig, LossTerm, TrainConfig
from sciSR.training.config_file import load_config
from sciSR.training.logs import heartbeat
from sciSR.training.loop import train
from sciSR.training.machine import make_fabric
from sciSR.training.networks import Average, Networks
from sciSR.training.pair import Batch
from sciSR.training.run_folder import open_run
from sciSR.training.validation import interpolate
from sciSR.training.visit import visit


def run(tmp_path, config, patches=None, **options):
    lines: list[str] = []
    folder, whole = train(
        config, patches or ToyPatches(), tmp_path, device="cpu", show=lines.append, **options
    )
    return folder, whole, lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training that is long enough to learn something."""
    config = toy_config(
        training__steps=60, training__validate_every=20, training__samples=2, schedule__warmup=5
    )
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, kind="muon", lr=2e-3)
    )
    patches = ToyPatches()
    folder, whole, lines = run(tmp_path_factory.mktemp("runs"), config, patches)
    assert whole
    return config, patches, folder, lines


def test_network_learns_more_than_interpolation(finished):
    _, _, folder, _ = finished
    rows = history_of(folder)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["psnr"] > rows[-1]["psnr_interpolation"] + 0.5


def test_one_line_and_one_row_are_left_at_each_validation(finished):
    _, _, folder, lines = finished
    assert [row["step"] for row in history_of(folder)] == [20, 40, 60]
    assert [line.split()[1] for line in lines] == ["20/60", "40/60", "60/60"]
    assert all("ms/step" in line and "left" in line for line in lines)


def test_folder_holds_all_that_a_run_leaves(finished):
    config, _, folder, _ = finished
    assert load_config(folder.config) == config
    for path in (folder.checkpoint, folder.curves, *(folder.sample(step) for step in (20, 40, 60))):
        assert path.stat().st_size > 0
    assert list((folder.path / "events").glob("events*"))
    assert not list(folder.path.rglob("*.tmp"))


def test_weights_are_the_averaged_ones_with_spec_and_configuration(finished):
    config, _, folder, _ = finished
    model, spec, digest = load_model(folder.weights)
    assert (spec.name, spec.architecture, spec.scale, spec.forward_model) == ("toy", "ESPCN", 2, "kspace")
    assert not spec.adversarial
    with safe_open(folder.weights, "pt") as file:
        assert TrainConfig.from_dict(json.loads(file.metadata()["config"])) == config
    saved = torch.load(folder.checkpoint, weights_only=True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, saved["average"][key])
        assert not torch.equal(value, saved["model"][key])
    assert digest in folder.card.read_text()


def test_card_draft_says_what_the_run_knows(finished):
    config, _, folder, _ = finished
    card = YAML(typ="safe", pure=True).load(folder.card.read_text(encoding="utf-8"))
    assert card["name"] == "toy"
    assert card["training"]["steps"] == 60
    assert card["training"]["versions"]["torch"] == torch.__version__
    assert card["recipe"]["optimizer"]["kind"] == "muon"
    assert TrainConfig.from_dict({**card["recipe"], "card": {}}) == config


def test_learning_rate_follows_the_schedule(finished):
    config, _, folder, _ = finished
    rows = history_of(folder)
    last = config.optimizer.lr * (
        config.schedule.floor + (1 - config.schedule.floor) * 0.5 * (1 + math.cos(math.pi * 59 / 60))
    )
    assert rows[-1]["lr"] == pytest.approx(last)


def test_older_run_is_left_alone_unless_told(tmp_path):
    config = toy_config(training__steps=2, training__validate_every=2)
    folder, _, _ = run(tmp_path, config)
    before = folder.weights.read_bytes()
    with pytest.raises(UsageError, match="--resume goes on"):
        run(tmp_path, config)
    assert folder.weights.read_bytes() == before
    run(
        tmp_path,
        dataclasses.replace(config, training=dataclasses.replace(config.training, seed=5)),
        overwrite=True,
    )
    assert folder.weights.read_bytes() != before


def test_folder_that_is_no_run_is_never_removed(tmp_path):
    mine = tmp_path / "toy" / "thesis.tex"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(UsageError, match="not a run's folder"):
        run(tmp_path, toy_config(), overwrite=True)
    assert mine.read_text() == "years of work"


def test_weights_that_the_last_step_ruined_are_not_kept(tmp_path):
    """Its own loss was still finite; the run ended with success and weights of NaN."""
    config = toy_config(training__steps=1, optimizer__lr=1e30, schedule__warmup=0)
    with pytest.raises(SciSRError, match="held-out patches after step 1 is not finite"):
        run(tmp_path, config)
    assert not (tmp_path / "toy" / "toy.safetensors").exists()


def test_a_checkpoint_of_ruined_weights_does_not_replace_the_last_good_one(tmp_path):
    """Going on from it gave NaN for ever."""
    network = torch.nn.Linear(2, 2)
    session = checkpoint.Session(tmp_path / "checkpoint.pt", network, None, None, None, None)
    session.save(checkpoint.State(step=1))
    with torch.no_grad():
        network.weight[0, 0] = math.nan
    with pytest.raises(SciSRError, match="not finite after step 2"):
        session.save(checkpoint.State(step=2))
    assert checkpoint.load(session.path)["state"]["step"] == 1


def test_a_folder_that_can_t_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UsageError, match="can't be made"):
        open_run(tmp_path / "runs", "toy", resume=False, overwrite=False)
    with pytest.raises(UsageError, match="exists already"):
        open_run(tmp_path, "runs", resume=False, overwrite=False)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_and_keeps_the_batch(tmp_path, bad):
    class Broken(ToyPatches):
        def make(self, count, scale, seed):
            batch = super().make(count, scale, seed)
            if seed == 1005:
                batch.truth[1, 0, 12, 12] = bad
            return batch

    config = toy_config(augment__flips=False, augment__rotations=False)
    with pytest.raises(SciSRError, match="loss of step 5 is not finite"):
        run(tmp_path, config, Broken())
    with np.load(tmp_path / "toy" / "bad_batch_step5.npz") as kept:
        assert not np.isfinite(kept["truth"][1, 0, 12, 12])
        assert kept["input"].shape == (4, 1, 12, 12)
    saved = torch.load(tmp_path / "toy" / "checkpoint.pt", weights_only=True)
    assert saved["state"]["step"] == 4  # what was learned before is kept
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_training_stops_early_and_keeps_the_best(tmp_path):
    config = toy_config(
        optimizer__lr=1e-30,
        training__steps=20,
        training__validate_every=1,
        training__patience=2,
        training__ema=0.0,
    )
    folder, whole, _ = run(tmp_path, config)
    rows = history_of(folder)
    assert whole
    assert len(rows) == 3  # the first one, and two that are not better
    assert len({row["loss"] for row in rows}) == 1
    with safe_open(folder.weights, "pt") as file:
        assert file.metadata()["steps"] == "1"


def test_scales_share_their_weights(tmp_path):
    config = toy_config(
        model__architecture="VDSR", model__arguments={"depth": 3, "width": 8}, model__scales=(2, 3)
    )
    networks = Networks(config)
    assert len(list(networks.parameters())) == len(list(networks.main.parameters()))
    other = networks.others["3"]
    with torch.no_grad():
        for weight in networks.main.parameters():
            weight.add_(0.01)
    for mine, theirs in zip(networks.main.parameters(), other.parameters(), strict=True):
        assert mine is theirs
    x = torch.randn(1, 1, 8, 8)
    assert networks(x, torch.zeros(1, 0), 3).shape == (1, 1, 24, 24)
    folder, whole, _ = run(tmp_path, config, ToyPatches(scales=(2, 3)))
    assert whole
    for scale in (2, 3):
        model, spec, _ = load_model(folder.weights, scale=scale)
        assert model(x).shape[-1] == 8 * scale
        assert spec.scales == (2, 3)


def test_network_with_other_weights_at_each_scale_is_refused():
    with pytest.raises(UsageError, match="at each scale"):
        Networks(toy_config(model__scales=(2, 3)))


def test_conditional_network_is_told_its_condition(tmp_path):
    config = toy_config(
        model__architecture="ConditionalECBSR",
        model__arguments={"conditions": 1, "features": 8, "blocks": 2},
        model__conditions=("fwhm",),
        training__steps=4,
        training__validate_every=4,
        training__batch=4,
    )
    folder, whole, _ = run(tmp_path, config, ToyPatches(conditions=1))
    assert whole
    model, spec, _ = load_model(folder.weights)
    assert spec.conditions == ("fwhm",)
    x = torch.randn(1, 1, 8, 8)
    assert not torch.equal(model(x, torch.zeros(1, 1)), model(x, torch.ones(1, 1)))


def test_progressive_network_is_judged_on_every_level(tmp_path):
    config = toy_config(
        model__architecture="LapSRN",
        model__arguments={"depth": 1, "width": 8},
        model__scale=4,
        loss__terms=(LossTerm("charbonnier"),),
        training__steps=4,
        training__validate_every=4,
    )
    folder, whole, _ = run(tmp_path, config, ToyPatches(scales=(4,)))
    assert whole
    before = Networks(config)
    after, _, _ = load_model(folder.weights)
    assert len(before.main.levels(torch.randn(1, 1, 8, 8))) == 2
    assert len(list(after.parameters())) == len(list(before.parameters()))


def test_discriminator_plays_from_its_start_on(tmp_path):
    config = toy_config(
        loss__adversarial=AdversarialConfig(weight=1e-2, start=4),
        training__steps=8,
        training__validate_every=4,
    )
    folder, whole, _ = run(tmp_path, config, ToyPatches(patch=16))
    assert whole
    rows = torch.load(folder.checkpoint, weights_only=True)["state"]["history"]
    assert "train_discriminator" not in rows[0]
    assert rows[1]["train_discriminator"] > 0
    assert rows[1]["train_loss"] > rows[1]["train_l1"]
    assert load_model(folder.weights)[1].adversarial


def test_start_weights_are_begun_from(tmp_path, finished):
    _, _, trained, _ = finished
    config = toy_config(
        name="fine",
        model__start=str(trained.weights),
        optimizer__lr=1e-30,
        training__steps=1,
        training__validate_every=1,
    )
    folder, _, _ = run(tmp_path, config)
    assert history_of(folder)[0]["loss"] == pytest.approx(history_of(trained)[-1]["loss"], rel=1e-5)


def test_average_is_exponential_with_whole_first_steps():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    average = Average(network, 0.9)
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        start = average.network[0].weight.item()
        network[1].num_batches_tracked.fill_(7)
        network[1].running_mean.fill_(3.0)
        average.update(1000)
    assert average.network[0].weight.item() == pytest.approx(0.9 * start + 0.1)
    assert average.network[1].running_mean.item() == pytest.approx(0.3)
    assert average.network[1].num_batches_tracked.item() == 7
    early = Average(network, 0.999)
    with torch.no_grad():
        network[0].weight.fill_(2.0)
    early.update(0)
    assert early.network[0].weight.item() == pytest.approx(0.1 * 1 + 0.9 * 2)


def test_visit_is_a_function_of_seed_and_step():
    config = toy_config(augment__gain=(0.5, 2.0), forward__noise="gaussian")
    batch = ToyPatches().make(4, 2, 0)
    batch.noise[:, 0] = 0.01
    first, again, other = (visit(batch, config, step) for step in (3, 3, 4))
    assert torch.equal(first.input, again.input)
    assert torch.equal(first.truth, again.truth)
    assert not torch.equal(first.input, other.input)


def test_steps_ask_for_their_own_batches(finished):
    config, patches, _, _ = finished
    assert patches.asked == [(0, config.training.batch, config.training.seed)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "tpu"}, "auto, cpu, cuda or cuda:N"),
        ({"device": "cpu", "devices": 3}, "can't be shared by 3"),
        ({"device": "cuda:99"}, "the machine has"),
    ],
)
def test_machines_that_are_not_there_are_refused(tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        train(toy_config(), ToyPatches(), tmp_path, **options)


def test_fp16_is_refused_on_a_cpu(tmp_path):
    with pytest.raises(UsageError, match="needs a GPU"):
        run(tmp_path, toy_config(training__precision="fp16"))


def test_mixed_precision_leaves_the_input_whole():
    """In bfloat16 it would keep eight bits, and so would the interpolation that a network corrects by little."""
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    fabric = make_fabric("bf16", "cpu", 1, 1, 1)
    network = fabric.setup(architecture("ESPCN")(scale=2))
    with torch.no_grad():
        network.body[-2].weight.zero_()
        assert torch.equal(network(x), interpolate(Batch(x, torch.zeros(1, 1, 16, 16), x, x)))
        assert fabric.autocast().fast_dtype == torch.bfloat16


def test_heartbeat_speaks_after_its_pause_and_not_before():
    lines: list[str] = []
    heartbeat(lines.append, 100, pause=3600)(10, 5.0)
    assert lines == []
    heartbeat(lines.append, 100, pause=0)(10, 500.0)
    assert lines == ["step 10/100  500.0 ms/step  0:45 left"]
