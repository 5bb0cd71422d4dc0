"""The feature network: it learns from patches without labels, and its distance is a loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sciSR.errors import ModelError, UsageError
from sciSR.training import features, losses, patch_file, perceptual
from sciSR.training.config import LossConfig, LossTerm, ModelConfig, TrainConfig
from sciSR.training.features import FeatureNetwork, blurred, load_features, pretrain, save_features, vicreg
from sciSR.training.pair import Batch


class Stripes:
    """Patches of stripes, each of its own width and direction."""

    def batches(self, first_step, size, seed):
        step = first_step
        while True:
            g = torch.Generator().manual_seed(seed * 10_000 + step)
            frequency, turn, phase = (torch.rand(size, 1, 1, 1, generator=g) for _ in range(3))
            y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
            along = x * torch.cos(6 * turn) + y * torch.sin(6 * turn)
            truth = torch.sin((0.3 + 1.5 * frequency) * along + 6 * phase)
            yield Batch(F.avg_pool2d(truth, 2), truth, torch.zeros(size, 3), torch.zeros(size, 0))
            step += 1

    def validation(self):
        return next(self.batches(0, 16, 99))


@pytest.fixture(scope="module")
def network():
    return pretrain(Stripes(), steps=60, batch=8, crop=16)


def ratio(network, stage=2):
    """How much worse missing detail is than detail that lies one pixel off."""
    truth = Stripes().validation().truth
    low = blurred(truth)
    shifted = low + (truth - low).roll(1, -1)
    measured = [F.l1_loss(network(x)[stage], network(truth)[stage]) for x in (low, shifted)]
    return (measured[0] / measured[1]).item()


def test_the_same_seed_gives_the_same_network_and_leaves_the_random_state_alone(network):
    state = torch.random.get_rng_state()
    again = pretrain(Stripes(), steps=60, batch=8, crop=16)
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_training_makes_missing_detail_worse_than_displaced_detail(network):
    torch.manual_seed(0)
    random = FeatureNetwork().requires_grad_(False)
    random.measure(Stripes().validation().truth)
    assert ratio(network) > 1.5 * ratio(random)


def test_channels_count_alike_and_missing_detail_as_in_the_pixels(network):
    truths = torch.cat([batch.truth for batch, _ in zip(Stripes().batches(0, 8, 1), range(8), strict=False)])
    missing = blurred(truths)
    for values, without in zip(network(truths), network(missing), strict=True):
        deviation = values.std((0, 2, 3))
        torch.testing.assert_close(deviation, deviation.mean().expand_as(deviation), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            F.l1_loss(values, without), F.l1_loss(truths, missing), rtol=1e-3, atol=0.0
        )


def test_stages_halve_the_resolution(network):
    assert [tuple(f.shape) for f in network(torch.zeros(2, 1, 24, 16))] == [
        (2, 24, 24, 16),
        (2, 48, 12, 8),
        (2, 96, 6, 4),
    ]


def test_vicreg_asks_for_agreement_spread_and_independence():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 8, generator=g)
    settled = vicreg(z, z)
    assert settled < 0.7  # nothing but sampling
    assert vicreg(z, z + 1) - settled == pytest.approx(25, rel=1e-3)
    assert vicreg(0 * z, 0 * z) == pytest.approx(25 * (1 - 1e-2), rel=1e-3)
    copies = z[:, :1].expand(-1, 8)
    assert (
        vicreg(copies, copies) > settled + 2 * 0.9 * 7
    )  # covariance of 1 with each of the seven others, both views
    z = torch.randn(6, 3, generator=g, dtype=torch.float64)
    other = torch.randn(6, 3, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(vicreg, (z.requires_grad_(), other.requires_grad_()))


def test_the_loss_is_zero_at_equality_and_its_gradient_is_the_predictions(network, tmp_path):
    save_features(tmp_path / "f.safetensors", network, "range", patches="stripes")
    term = perceptual.features(str(tmp_path / "f.safetensors"))
    t = Stripes().validation().truth
    x = (t + 0.1 * torch.randn(t.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    assert term(t, t).item() == 0
    term(x, t.requires_grad_()).backward()
    assert x.grad.abs().max() > 0
    assert t.grad is None
    one, other = (perceptual.features(str(tmp_path / "f.safetensors"), layers=[n])(x, t) for n in (2, 3))
    weighted = perceptual.features(str(tmp_path / "f.safetensors"), layers={"2": 2.0, "3": 0.5})(x, t)
    torch.testing.assert_close(weighted, 2 * one + 0.5 * other)


def test_it_is_a_term_of_the_loss(network, tmp_path):
    save_features(tmp_path / "f.safetensors", network, "range")
    term = LossTerm("features", 0.1, {"file": str(tmp_path / "f.safetensors")})
    config = TrainConfig("toy", "mr", "range", ModelConfig("ESPCN"), loss=LossConfig((LossTerm("l1"), term)))
    batch = Stripes().validation()
    total, parts = losses.build(config, 1, "cpu")(0.5 * batch.truth, batch)
    assert parts["features"] > 0
    torch.testing.assert_close(total, parts["l1"] + parts["features"])


def test_what_does_not_fit_is_refused(network, tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(ModelError, match=r"no such file.*sciSR.training.features"):
        load_features(path, "range")
    path.write_bytes(b"12345678")
    with pytest.raises(ModelError, match="can't be read"):
        load_features(path, "range")
    save_features(path, network, "sky")
    with pytest.raises(ModelError, match=r"'sky', this run's for 'range'"):
        load_features(path, "range")
    with pytest.raises(UsageError, match=r"no stage \[4\]"):
        perceptual.features(str(path), normalisation="sky", layers=[4])
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="no feature network"):
        load_features(path, "range")


def test_the_command_trains_on_a_patch_file(tmp_path, monkeypatch, capsys):
    config = TrainConfig("toy", "mr", "range", ModelConfig("ESPCN"))
    batch = next(Stripes().batches(0, 8, 1))
    arrays = {
        f"train_x2_{key}": (
            getattr(batch, key)[:, 0] if key in ("input", "truth") else getattr(batch, key)
        ).numpy()
        for key in ("input", "truth", "noise", "condition")
    }
    about = {"version": patch_file.VERSION, "config": config.as_dict(), "scales": [2], "pairs": {"x2": 8}}
    patch_file.save(tmp_path / "patches.npz", about, arrays)
    out = tmp_path / "f.safetensors"
    monkeypatch.setattr(
        "sys.argv", ["features", str(tmp_path / "patches.npz"), "-o", str(out), "--steps", "2"]
    )
    features.main()
    assert "parameters" in capsys.readouterr().out
    assert load_features(out, "range").widths == (24, 48, 96)
