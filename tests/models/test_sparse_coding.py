"""Sparse coding: codes that solve their problem, patches that lie alike in any tile, an interpolation to begin with."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.models import sparse_coding
from sciSR.models.files import architecture, load_model, save_model
from sciSR.models.gradient_reach import gradient_reach
from sciSR.models.sparse_coding import SparseCoding
from sciSR.models.spec import ModelSpec, receptive_field

SHAPES = [(2, 3), (2, 5), (3, 3), (4, 1)]
"""Scales and sizes of patches."""


def network(scale: int = 2, patch: int = 3, seed: int = 0, **more: object) -> SparseCoding:
    """Small, with random weights that keep every path alive."""
    torch.manual_seed(seed)
    model = SparseCoding(**({"scale": scale, "atoms": 24, "patch": patch, "components": 9} | more))
    with torch.no_grad():
        model.analysis.copy_(torch.randn_like(model.analysis) / model.analysis[0].numel() ** 0.5)
        model.high.copy_(0.2 * torch.randn_like(model.high))
        model.floor.fill_(0.05)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(("scale", "patch"), SHAPES)
def test_a_fresh_network_is_the_interpolation(scale: int, patch: int) -> None:
    model = SparseCoding(scale, atoms=16, patch=patch, components=4)
    x = torch.rand(2, 1, 13, 9)
    assert torch.equal(model(x), model.skip(x))
    assert model(x).shape == (2, 1, 13 * scale, 9 * scale)


def test_it_holds_as_many_numbers_as_its_dictionaries_need() -> None:
    model = architecture("SparseCoding")(scale=2, atoms=512, patch=3, components=30)
    side = 2 * model.features_radius() + 1
    expected = 30 * side**2 + 512 * 30 + 512 * 36 + 1
    assert sum(weight.numel() for weight in model.parameters()) == expected


@pytest.mark.parametrize("kernel", ["cubic", "lanczos"])
@pytest.mark.parametrize(("scale", "patch"), SHAPES)
def test_receptive_field_is_that_of_the_gradients(scale: int, patch: int, kernel: str) -> None:
    model = network(scale, patch, kernel=kernel)
    radius = receptive_field(model)
    assert radius == model.receptive_field()
    assert gradient_reach(model, scale, 2 * radius + 7) == radius


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    top=st.integers(0, 20),
    left=st.integers(0, 20),
    height=st.integers(1, 15),
    width=st.integers(1, 15),
    shape=st.sampled_from(SHAPES),
)
def test_a_tile_with_its_halo_equals_the_whole(
    seed: int, top: int, left: int, height: int, width: int, shape: tuple[int, int]
) -> None:
    model = network(*shape, seed=seed)
    halo, scale = model.receptive_field(), shape[0]
    side = 36 + 2 * halo
    x = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(seed))
    whole = model(x)
    rows, columns = slice(top, top + height + 2 * halo), slice(left, left + width + 2 * halo)
    tile = model(x[..., rows, columns])
    inner = (slice(scale * halo, scale * (halo + height)), slice(scale * halo, scale * (halo + width)))
    place = [
        slice(scale * (start + halo), scale * (start + halo + n))
        for start, n in ((top, height), (left, width))
    ]
    torch.testing.assert_close(tile[..., *inner], whole[..., *place], rtol=0, atol=2e-6)


def test_the_chunks_that_bound_the_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), torch.rand(2, 1, 21, 17)
    whole = model(x)
    monkeypatch.setattr(sparse_coding, "CHUNK", 50)
    torch.testing.assert_close(model(x), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("scale", "patch"), SHAPES)
def test_overlapping_patches_are_averaged(scale: int, patch: int) -> None:
    model, x = network(scale, patch), torch.rand(1, 1, 7, 8)
    wide, reach = scale * patch, patch // 2
    patches = (model.codes(model.features(x)) @ model.high).reshape(7, 8, wide, wide)
    total, count = torch.zeros(scale * 7, scale * 8), torch.zeros(scale * 7, scale * 8)
    for (row, column), (i, j) in itertools.product(
        itertools.product(range(7), range(8)), itertools.product(range(wide), range(wide))
    ):
        y, x_ = scale * (row - reach) + i, scale * (column - reach) + j
        if 0 <= y < scale * 7 and 0 <= x_ < scale * 8:
            total[y, x_] += patches[row, column, i, j]
            count[y, x_] += 1
    torch.testing.assert_close(model.detail(x)[0, 0], total / count, rtol=1e-5, atol=1e-6)


def test_codes_minimise_what_they_must() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = network(iterations=400, sparsity=0.15)
    features = torch.randn(5, 9)
    length = features.norm(dim=1, keepdim=True) + model.floor
    for feature, code in zip(features / length, model.codes(features) / length, strict=True):
        lasso = linear_model.Lasso(alpha=0.15 / 9, fit_intercept=False, tol=1e-10, max_iter=100_000)
        lasso.fit(model.low.mT.double().numpy(), feature.double().numpy())
        expected = torch.from_numpy(lasso.coef_).float()

        def value(a: torch.Tensor, feature: torch.Tensor = feature) -> float:
            return float((feature - a @ model.low).square().sum() / 2 + 0.15 * a.abs().sum())

        assert value(code) == pytest.approx(value(expected), rel=1e-4)
        assert (code == 0).sum() > 8


def test_codes_follow_their_features_without_a_leap() -> None:
    model = network()
    features = torch.randn(200, 9)
    near = features + 1e-4 * F.normalize(torch.randn(200, 9), dim=1)
    assert float((model.codes(near) - model.codes(features)).norm(dim=1).max()) < 0.01


def test_what_is_flat_is_left_to_the_interpolation() -> None:
    model = network()
    model.analysis -= model.analysis.mean((2, 3), keepdim=True)  # as derivatives are: blind to the level
    flat = torch.full((1, 1, 15, 15), 3.7)
    assert model.detail(flat).abs().max() < 1e-5
    x = torch.rand(1, 1, 15, 15)
    torch.testing.assert_close(model.detail(x + 5), model.detail(x), rtol=0, atol=2e-5)
    faint, plain = model.detail(1e-4 * x).abs().max() / 1e-4, model.detail(x).abs().max()
    assert faint < 0.2 * plain


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    model = network(finish="detector", sparsity=0.12)
    arguments = {"atoms": 24, "components": 9, "sparsity": 0.12, "finish": "detector"}
    spec = ModelSpec("sparse-test", "SparseCoding", arguments, 2, model.receptive_field())
    save_model(tmp_path / "a.safetensors", model, spec)
    again, found, _ = load_model(tmp_path / "a.safetensors")
    x = torch.rand(1, 1, 20, 20)
    assert found == spec
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"patch": 4}, "odd"),
        ({"sparsity": 0.0}, "positive"),
        ({"finish": "x"}, "finish"),
        ({"atoms": 0}, "at least 1"),
    ],
)
def test_impossible_arguments_are_refused(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SparseCoding(**wrong)
