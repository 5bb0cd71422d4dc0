"""Training across the slices: what a visit shows agrees with its operator, and a run is one like any other."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_files import config_of, write_volume
from toy_training import history_of

from sciSR.errors import UsageError
from sciSR.models.files import load_model
from sciSR.models.through_plane import ThroughPlane
from sciSR.throughplane.learning import step_loss
from sciSR.training import losses
from sciSR.training.config import ForwardConfig, LoopConfig, LossConfig, LossTerm, OptimizerConfig
from sciSR.training.config_file import check
from sciSR.training.dataset import FilePatches
from sciSR.training.loop import train
from sciSR.training.pair import Batch
from sciSR.training.patch_file import PatchFile
from sciSR.training.prepare import prepare
from sciSR.training.thick_slices import PROFILES, operator_of, reproduction, thicken, thin
from sciSR.training.visit import visit

ACROSS = ForwardConfig("slice_profile")
NETWORK = {"architecture": "ThroughPlane", "scale": 1, "arguments": {"features": 8, "blocks": 1, "planes": 4}}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Three volumes, patches of 32 pixels."""
    root = tmp_path_factory.mktemp("data")
    for k in range(3):
        write_volume(root / f"sub-{k}_T1.nii.gz", seed=k)
    made = config_of(root, forward=ACROSS, model=NETWORK, augment={"gamma": (0.7, 1.4)}, patch=32, patches=12)
    return dataclasses.replace(
        made,
        name="across",
        optimizer=OptimizerConfig("muon"),
        training=LoopConfig(
            steps=6, batch=3, precision="fp32", validate_every=3, checkpoint_every=2, samples=2
        ),
    )


@pytest.fixture(scope="module")
def patches(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("patches") / "p.npz"
    prepare(config, path)
    return PatchFile(path)


def sharp(count: int = 3, side: int = 40, seed: int = 0) -> Batch:
    truth = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))
    return Batch(truth, truth, torch.zeros(count, 3), torch.zeros(count, 0))


def test_a_prepared_file_holds_each_sharp_patch_once(patches):
    with np.load(patches.path) as archive:
        assert {key for key in archive.files if key.startswith("train")} == {
            "train_x1_input",
            "train_x1_noise",
            "train_x1_condition",
        }
        assert archive["train_x1_input"].shape == (12, 32, 32)
        assert archive["train_x1_input"].dtype == np.float16
    batch = next(patches.batches(0, 4, 1))
    assert torch.equal(batch.input, batch.truth)
    assert sorted(row["role"] for row in patches.about["files"]) == ["train", "train", "validation"]


def test_sharp_patches_are_the_volumes_own_voxels(config):
    """Nothing is done to them before a visit, whatever contrast the recipe asks for."""
    import nibabel

    source = FilePatches(config)
    slices = [
        np.moveaxis(nibabel.load(path).get_fdata(), 2, 0)
        for path in (*source.files.train, *source.files.validation)
    ]
    patch = next(source.batches(0, 1, 1)).truth[0, 0].double().numpy()

    def fits(piece: np.ndarray) -> bool:
        slope, level = np.polyfit(piece.ravel(), patch.ravel(), 1)
        return np.abs(slope * piece + level - patch).max() < 1e-4

    windows = [np.lib.stride_tricks.sliding_window_view(plane, (32, 32)) for v in slices for plane in v]
    near = [
        piece
        for view in windows
        for piece in view.reshape(-1, 32, 32)
        if np.corrcoef(piece.ravel()[::7], patch.ravel()[::7])[0, 1] > 0.999
    ]
    assert any(fits(piece) for piece in near)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    low=st.floats(1.2, 9),
    width=st.floats(0, 4),
    thin_=st.floats(0.4, 1.5),
    side=st.sampled_from([16, 33, 112]),
)
def test_thick_slices_are_what_the_told_operator_makes_of_the_truth(seed, low, width, thin_, side):
    forward = ForwardConfig("slice_profile", ratio=(low, low + width), thickness=(thin_, thin_ + 0.3))
    batch = sharp(2, side, seed)
    seen = thicken(batch, forward, np.random.default_rng(seed))
    operator = operator_of(seen.input, seen.condition)
    assert (operator.coarse, operator.fine) == (seen.input.shape[2], seen.truth.shape[2])
    assert operator.profile in PROFILES
    assert seen.input.shape[3] == seen.truth.shape[3] <= side
    assert torch.equal(operator.apply(seen.truth, 2), seen.input)
    for piece, patch in zip(seen.truth[:, 0], batch.truth[:, 0], strict=True):
        windows = patch.unfold(0, piece.shape[0], 1).unfold(1, piece.shape[1], 1)
        assert (windows == piece).all(-1).all(-1).any()


def test_a_visit_is_a_function_of_seed_and_step(config, patches):
    batch = next(patches.batches(0, 3, 1))
    one, again, other = (visit(batch, config, step) for step in (5, 5, 6))
    assert torch.equal(one.input, again.input)
    assert torch.equal(one.truth, again.truth)
    assert not torch.equal(one.condition, other.condition)
    assert torch.equal(operator_of(one.input, one.condition).apply(one.truth, 2), one.input)


def test_held_out_slices_are_always_the_same(config, patches):
    one, two = patches.validation(), PatchFile(patches.path).validation()
    assert torch.equal(one.input, two.input)
    operator = operator_of(one.input, one.condition)
    assert (operator.fine / operator.coarse, operator.thickness, operator.profile) == (4, 1, "gaussian")
    assert (operator_of(one.input, FilePatches(config).validation().condition)) == operator


def test_networks_agree_with_the_slices_and_are_judged_as_on_a_single_volume(config):
    torch.manual_seed(0)
    network = ThroughPlane(8, 1, 4)
    seen = thicken(sharp(), ACROSS, np.random.default_rng(2))
    operator = operator_of(seen.input, seen.condition)
    output = thin(network, seen.input, seen.condition)
    assert not torch.allclose(output, reproduction(seen.input, seen.condition), atol=1e-4)
    assert torch.allclose(operator.apply(output, 2), seen.input, atol=1e-5)
    total, _ = losses.build(config, 5, "cpu")(output, seen)
    assert total.item() == pytest.approx(step_loss(network, seen.truth, operator, False).item(), rel=1e-5)


def test_a_stopped_run_goes_on_to_the_same_bytes(config, patches, tmp_path):
    whole, _ = train(config, patches, tmp_path / "whole", device="cpu", show=str)
    half = dataclasses.replace(config, training=dataclasses.replace(config.training, steps=6))
    ticks = []

    class Halt(Exception):
        pass

    def halt(step: int, rate: float) -> None:
        ticks.append(step)
        if step == 4 and len(ticks) == 4:
            raise Halt

    with pytest.raises(Halt):
        train(half, patches, tmp_path / "part", device="cpu", show=str, tick=halt)
    part, done = train(half, patches, tmp_path / "part", device="cpu", show=str, resume=True)
    assert done
    assert part.weights.read_bytes() == whole.weights.read_bytes()
    for old, new in zip(history_of(whole), history_of(part), strict=True):
        assert {k: v for k, v in old.items() if k != "ms_per_step"} == {
            k: v for k, v in new.items() if k != "ms_per_step"
        }
    _, spec, _ = load_model(whole.weights)
    assert (spec.scale, spec.forward_model, spec.receptive_field) == (1, "slice_profile", 5)
    assert whole.sample(6).exists()


def test_half_precision_is_the_networks_alone(config, patches, tmp_path):
    loop = dataclasses.replace(config.training, steps=2, precision="bf16", validate_every=1)
    run, whole = train(dataclasses.replace(config, training=loop), patches, tmp_path, device="cpu", show=str)
    assert whole
    first = history_of(run)[0]
    assert np.isfinite(first["loss"])
    # The reproduction is exact: a fresh network's little detail can't cost more than a decibel or two.
    assert first["psnr"] > first["psnr_interpolation"] - 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"architecture": "ESPCN", "scale": 1}}, "no other network"),
        ({"model": {"architecture": "ThroughPlane", "scale": 2}}, "must be 1 across the slices"),
        ({"forward": {"kind": "kspace"}}, "model.scale: must be at least 2, not 1"),
        ({"forward": {"kind": ["slice_profile", "gaussian"]}}, "can't be mixed"),
        ({"forward": {"kind": "slice_profile", "ratio": [4, 2]}}, "runs from 4.0 down to 2.0"),
        ({"forward": {"kind": "slice_profile", "ratio": 1}}, "forward.ratio: must be above 1"),
        ({"forward": {"kind": "slice_profile", "profiles": ["box"]}}, "forward.profiles"),
        ({"consistency": "gaussian"}, "consistency: must be none"),
        ({"normalisation": "sky"}, "must be linear"),
    ],
)
def test_what_makes_no_sense_across_slices_is_refused(config, changes, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        check(config.as_dict() | changes, "a.yaml")


def test_within_is_refused_across_slices(config):
    within = LossConfig(terms=(LossTerm("l1", 1.0, {"within": True}),))
    with pytest.raises(UsageError, match="within"):
        losses.build(dataclasses.replace(config, loss=within), 5, "cpu")
