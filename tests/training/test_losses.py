"""Loss terms: what they measure, what they don't see, and which part of a patch counts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.forward.kspace import KSpaceCrop
from sciSR.training import losses
from sciSR.training.config import LossConfig, LossTerm, ModelConfig, TrainConfig
from sciSR.training.pair import Batch

SMOOTH = {
    "mse": {},
    "charbonnier": {"eps": 0.1},
    "huber": {"delta": 0.3},
    "log_mse": {},
    "fourier": {},
    "ssim": {},
}


def config(terms=("l1",), mode="none", kind="none", normalisation="range"):
    terms = tuple(LossTerm(t) if isinstance(t, str) else t for t in terms)
    return TrainConfig(
        "toy", "mr", normalisation, ModelConfig("ESPCN"), loss=LossConfig(terms, mode), consistency=kind
    )


def batch(side=16, scale=2, count=2, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, 1, scale * side, scale * side, generator=g, dtype=dtype)
    x = torch.nn.functional.avg_pool2d(truth, scale)
    return Batch(x, truth, torch.zeros(count, 3), torch.zeros(count, 0))


def term(kind, **options):
    return {**losses.PIXEL, "ssim": losses.ssim}[kind](**options)


def images(shape=(2, 1, 14, 13), seed=3):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=g, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("kind", SMOOTH)
def test_gradients_are_those_of_the_value(kind):
    x, t = images((2, 1, 12, 11))
    of = term(kind, **SMOOTH[kind])
    assert torch.autograd.gradcheck(lambda v: of(v, t), x.requires_grad_())


@pytest.mark.parametrize("kind", [*losses.PIXEL, "ssim"])
def test_nothing_is_smaller_than_equality(kind):
    x, t = images()
    of = term(kind)
    least = {"charbonnier": 1e-3, "log_mse": 0.5 * math.log(1e-5)}.get(kind, 0.0)
    assert of(t, t).item() == pytest.approx(least, abs=1e-12)
    assert of(x, t).item() > least + 1e-3


def test_values_by_hand():
    x, t = torch.zeros(1, 1, 2, 2), torch.tensor([[[[3.0, 0.0], [0.0, -1.0]]]])
    assert term("l1")(x, t).item() == pytest.approx(1)
    assert term("mse")(x, t).item() == pytest.approx(2.5)
    assert term("huber", delta=1.0)(x, t).item() == pytest.approx((2.5 + 0.5) / 4)
    assert term("charbonnier", eps=4.0)(x, t).item() == pytest.approx((5 + 4 + 4 + math.sqrt(17)) / 4)
    assert term("gradient")(x, t).item() == pytest.approx((3 + 1) / 2 + (3 + 1) / 2)


def test_every_patch_counts_by_its_psnr():
    x, t = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    t[1] *= 1e-2
    before = term("log_mse", floor=0.0)(x, t)
    t[1] *= 0.1  # 20 dB for one of two patches
    assert (before - term("log_mse", floor=0.0)(x, t)).item() == pytest.approx(20 / 8.685889638 / 2, rel=1e-6)


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_fourier_amplitude_is_blind_to_shifts(dy, dx):
    x, t = images()
    rolled = torch.roll(x, (dy, dx), (-2, -1))
    assert term("fourier")(rolled, x).item() < 1e-12
    assert term("fourier")(rolled, t).item() == pytest.approx(term("fourier")(x, t).item(), rel=1e-9)


def test_fourier_amplitude_sees_blur_and_its_window_takes_the_edges_out():
    x, _ = images((1, 1, 32, 32))
    assert term("fourier")(torch.nn.functional.avg_pool2d(x, 3, 1, 1), x) > 0.1
    edge = x.clone()
    edge[..., 0, :] += 5
    assert term("fourier", window=True)(edge, x) < 1e-12 < term("fourier")(edge, x)


@pytest.mark.parametrize("data_range", [1.0, 8.0])
@pytest.mark.parametrize("shape", [(11, 11), (40, 27)])
def test_ssim_is_that_of_scikit_image(shape, data_range):
    from skimage.metrics import structural_similarity

    x, t = (data_range * v for v in images((3, 1, *shape)))
    expected = sum(
        structural_similarity(
            a.numpy(), b.numpy(), data_range=data_range, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x[:, 0], t[:, 0], strict=True)
    ) / 3  # fmt: skip
    assert losses.ssim(data_range)(x, t).item() == pytest.approx(1 - expected, abs=1e-10)


def test_parts_are_weighted_and_add_up():
    data = batch()
    loss = losses.build(config([LossTerm("l1", 2.0), LossTerm("mse", 0.5), LossTerm("l1", 1.0)]), 2, "cpu")
    total, parts = loss((data.truth + 0.1).requires_grad_(), data)
    assert set(parts) == {"l1", "mse", "l1_2"}
    assert parts["l1"].item() == pytest.approx(0.2, rel=1e-5)
    assert parts["mse"].item() == pytest.approx(0.005, rel=1e-4)
    assert total.item() == pytest.approx(sum(v.item() for v in parts.values()), rel=1e-6)
    assert total.requires_grad
    assert not parts["l1"].requires_grad


@given(st.integers(0, 60), st.integers(4, 64), st.sampled_from([2, 3, 4]))
def test_the_rim_is_not_judged_but_half_of_the_area_is(halo, side, scale):
    data = batch(side, scale, count=1)
    loss = losses.build(config(), halo, "cpu")
    x = data.truth.clone().requires_grad_()
    loss(x + 0.1, data)[0].backward()
    judged = (x.grad[0, 0] != 0).sum().item()
    assert judged >= 0.5 * x.numel()
    rim = min(halo, int(side * (1 - math.sqrt(0.5)) / 2))
    assert judged == (scale * (side - 2 * rim)) ** 2
    assert judged < x.numel() or rim == 0


def test_half_precision_predictions_are_judged_in_float32():
    data = batch()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = losses.build(config(["l1", "ssim"]), 1, "cpu")((data.truth + 1e-3).bfloat16(), data)
    assert total.dtype == torch.float32


@pytest.mark.parametrize("normalisation", ["range", "sky"])
def test_levels_are_summed_each_against_the_truth_of_its_size(normalisation):
    data = batch(12, 8)
    truths = [losses.reduced(data.truth, f, normalisation) for f in (4, 2)] + [data.truth]
    eps = 1e-3
    loss = losses.build(
        config([LossTerm("charbonnier", 1.0, {"eps": eps}), "ssim"], normalisation=normalisation), 1, "cpu"
    )
    total, parts = loss(truths, data)
    assert parts["charbonnier"].item() == pytest.approx(3 * eps, rel=1e-3)
    assert parts["ssim"].item() == pytest.approx(0, abs=1e-5)  # the last level's alone
    worse, _ = loss([truths[0] + 0.5, *truths[1:]], data)
    assert (worse - total).item() == pytest.approx(0.5 - eps, rel=1e-2)


def test_a_sky_is_reduced_by_flux():
    z = torch.zeros(1, 1, 4, 4)
    z[..., 0, 0] = 5.0
    small = losses.reduced(z, 2, "sky")
    assert small.sinh().sum().item() == pytest.approx(math.sinh(5.0) / 4, rel=1e-5)


def test_within_leaves_out_what_an_input_pixel_holds_in_all():
    data = batch()
    noise = torch.randn(data.input.shape, generator=torch.Generator().manual_seed(1))
    blocks = torch.nn.functional.interpolate(noise, scale_factor=2, mode="nearest")
    loss = losses.build(config([LossTerm("l1", 1.0, {"within": True})]), 1, "cpu")
    assert loss(data.truth + blocks, data)[0].item() < 1e-6
    ramp = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).repeat(16, 16)
    assert loss(data.truth + blocks + ramp, data)[0].item() == pytest.approx(1, rel=1e-5)


def test_kspace_inside_judges_what_lies_beyond_the_band():
    data = batch(64, 2, count=1)
    plain = losses.build(config(["l1"]), 4, "cpu")
    inside = losses.build(config(["l1"], "inside", "kspace"), 4, "cpu")
    coarse = torch.randn(data.input.shape, generator=torch.Generator().manual_seed(2))
    seen = 0.1 * KSpaceCrop(2).pinv(coarse)  # an error that the measurement shows
    beyond = 0.1 * KSpaceCrop(2).out_of_band(
        torch.randn(data.truth.shape, generator=torch.Generator().manual_seed(3))
    )
    for error, share in ((seen, 0.0), (beyond, 1.0)):
        bare = plain(data.truth + error, data)[0].item()
        _, parts = inside(data.truth + error, data)
        assert parts["plain"].item() == pytest.approx(0.1 * bare, rel=1e-5)
        assert parts["l1"].item() == pytest.approx(share * bare, abs=0.15 * bare)


@pytest.mark.parametrize("kind", ["blockmean", "gaussian", "kspace"])
def test_same_adds_how_far_the_bare_output_is_from_the_input(kind):
    data = batch(16, 2)
    start, shifted = (
        losses.build(config(["l1"], "same", kind), 1, "cpu")(data.truth + d, data)[1] for d in (0.0, 0.25)
    )
    assert shifted["level"] > start["level"] + 0.01
    assert shifted["l1"].item() == pytest.approx(start["l1"].item(), abs=1e-4)  # the step takes it out
    if kind == "blockmean":  # exactly how this input was made
        assert start["level"].item() == pytest.approx(0, abs=1e-7)
        assert shifted["level"].item() == pytest.approx(losses.LEVEL * 0.25, rel=1e-4)
    assert "level" not in losses.build(config(["l1"], "inside", kind), 1, "cpu")(data.truth, data)[1]


def test_a_discriminator_sees_what_is_judged():
    data = batch(24, 2)
    loss = losses.build(config(["l1"], "inside", "kspace"), 3, "cpu")
    x = data.truth + 0.1 * torch.randn(data.truth.shape, generator=torch.Generator().manual_seed(5))
    fake, real = loss.judged(x, data)
    assert fake.shape == real.shape == (2, 1, 2 * (24 - 2 * 3 - 2 * 2), 2 * (24 - 2 * 3 - 2 * 2))
    assert (fake - real).abs().mean().item() == pytest.approx(loss(x, data)[1]["l1"].item(), rel=1e-6)
    assert loss.finished([x[..., ::2, ::2], x], data).shape == data.truth.shape


@pytest.mark.parametrize(
    ("terms", "mode", "message"),
    [
        (["l3"], "none", "l3.*l1, mse"),
        ([LossTerm("charbonnier", 1.0, {"epsilon": 1e-3})], "none", "epsilon.*known: eps, within"),
        ([LossTerm("vgg")], "none", "option file is missing"),
        (["l1"], "inside", "no consistency step of kind 'none'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(terms, mode, message):
    with pytest.raises(UsageError, match=message):
        losses.build(config(terms, mode), 1, "cpu")


def test_ssim_of_too_small_a_patch_says_so():
    with pytest.raises(UsageError, match=r"11 pixels.*has 8"):
        losses.build(config(["ssim"]), 0, "cpu")(torch.zeros(2, 1, 8, 8), batch(4, 2))
