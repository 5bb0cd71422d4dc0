"""Muon makes the update's singular values even and leaves its directions; AdamW does the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sciSR.errors import UsageError
from sciSR.models.files import architecture
from sciSR.training.config import OptimizerConfig
from sciSR.training.optimizers import Muon, build, muon_groups, orthogonalise, set_rate


def matrix(rows: int, columns: int, seed: int, smallest: float = 0.1) -> torch.Tensor:
    """With singular values from `smallest` to 1."""
    generator = torch.Generator().manual_seed(seed)
    u, _, v = torch.linalg.svd(torch.randn(rows, columns, generator=generator), full_matrices=False)
    return u @ torch.diag(torch.linspace(smallest, 1, min(rows, columns))) @ v


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 1000))
def test_singular_values_become_even(rows, columns, seed):
    values = torch.linalg.svdvals(orthogonalise(matrix(rows, columns, seed)))
    assert values.min() > 0.6
    assert values.max() < 1.3


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_singular_vectors_stay_and_the_scale_is_irrelevant(rows, columns, seed, scale):
    given_ = matrix(rows, columns, seed)
    made = orthogonalise(given_)
    torch.testing.assert_close(orthogonalise(scale * given_), made, rtol=1e-3, atol=1e-4)
    product = made.mT @ given_  # V S' S V^T: symmetric only if the vectors are the same
    torch.testing.assert_close(product, product.mT, rtol=0, atol=1e-4)


def test_stacked_matrices_are_made_orthogonal_one_by_one():
    several = torch.stack([matrix(6, 9, seed) for seed in range(3)])
    alone = torch.stack([orthogonalise(each) for each in several])
    torch.testing.assert_close(orthogonalise(several), alone)


def test_zero_gradient_gives_no_step():
    assert orthogonalise(torch.zeros(4, 5)).abs().max() == 0


def test_kernels_are_muons_but_for_narrow_ends_biases_and_norms():
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3),  # 9 inputs an output: AdamW
        nn.Conv2d(16, 16, 3),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 4, 3),  # 4 outputs: AdamW
    )
    groups = muon_groups(model)
    orthogonal = [id(weight) for group in groups if group["orthogonal"] for weight in group["params"]]
    assert orthogonal == [id(model[1].weight)]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_transposed_convolution_is_judged_by_its_outputs():
    model = nn.Sequential(nn.ConvTranspose2d(16, 8, 3), nn.ConvTranspose2d(16, 1, 9))
    (group,) = [group for group in muon_groups(model) if group["orthogonal"]]
    assert group["transposed"]
    assert [id(weight) for weight in group["params"]] == [id(model[0].weight)]


@pytest.mark.parametrize("transposed", [False, True])
def test_step_is_the_published_one(transposed):
    """m <- .95 m + .05 g, U = orthogonalise(.05 g + .95 m), w <- (1 - lr d) w - lr max(1, rows / columns)^(1/2) U."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(5, 64, 2, bias=False) if transposed else nn.Conv2d(5, 64, 2, bias=False)
    optimizer = Muon(muon_groups(layer), lr=1.0, weight_decay=0.5)
    set_rate(optimizer, 1e-3)
    expected, m = layer.weight.detach().clone(), torch.zeros(64, 20)
    for step in range(3):
        gradient = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(step))
        layer.weight.grad = gradient.clone()
        optimizer.step()
        flat = (gradient.transpose(0, 1) if transposed else gradient).reshape(64, 20)
        m = 0.95 * m + 0.05 * flat
        update = orthogonalise(0.05 * flat + 0.95 * m) * (64 / 20) ** 0.5
        update = update.reshape(64, 5, 2, 2)
        expected = (1 - 0.01 * 0.5) * expected - 0.01 * (update.transpose(0, 1) if transposed else update)
        torch.testing.assert_close(layer.weight.detach(), expected, rtol=0, atol=1e-6)


def test_rest_is_stepped_exactly_as_by_adamw():
    torch.manual_seed(1)
    muon_model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3))
    adam_model = copy.deepcopy(muon_model)
    config = OptimizerConfig(kind="muon", lr=1e-2, weight_decay=0.1)
    muon = build(config, muon_model)
    rest = [adam_model[0].weight, adam_model[0].bias, adam_model[1].bias]
    adamw = torch.optim.AdamW(rest, lr=1e-2, weight_decay=0.1, betas=config.betas)
    for step in range(3):
        for a, b in zip(muon_model.parameters(), adam_model.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(step))
            b.grad = a.grad.clone()
        set_rate(muon, 1e-2 / (step + 1))
        set_rate(adamw, 1e-2 / (step + 1))
        muon.step()
        adamw.step()
    pairs = ((muon_model[0].weight, rest[0]), (muon_model[0].bias, rest[1]), (muon_model[1].bias, rest[2]))
    for mine, theirs in pairs:
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", ["muon", "adamw", "adam", "sgd"])
def test_saved_optimizer_goes_on_exactly(kind, tmp_path):
    def steps(model, optimizer, first, last):
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            for weight in model.parameters():
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()

    config = OptimizerConfig(kind=kind, lr=1e-3)
    torch.manual_seed(2)
    model = architecture("ESPCN")(scale=2).to(memory_format=torch.channels_last)
    whole = copy.deepcopy(model)
    steps(whole, build(config, whole), 0, 6)
    half = build(config, model)
    steps(model, half, 0, 3)
    torch.save({"model": model.state_dict(), "optimizer": half.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = architecture("ESPCN")(scale=2).to(memory_format=torch.channels_last)
    resumed.load_state_dict(saved["model"])
    other = build(config, resumed)
    other.load_state_dict(saved["optimizer"])
    steps(resumed, other, 3, 6)
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_muons_rate_is_ten_times_adamws():
    model = nn.Conv2d(8, 8, 3)
    optimizer = build(OptimizerConfig(kind="muon"), model)
    set_rate(optimizer, 2e-3)
    assert {group["orthogonal"]: group["lr"] for group in optimizer.param_groups} == {True: 2e-2, False: 2e-3}


def test_network_without_weights_is_refused():
    with pytest.raises(UsageError, match="no weights"):
        build(OptimizerConfig(), nn.ReLU())
