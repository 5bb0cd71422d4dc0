"""What fusing promises: better than any stack alone, motion found, bad slices told apart, an honest deviation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from stack_scene import Body, axes_for, psnr, take, three, truth

from sciSR.forward.slice_sampling import SliceSampling
from sciSR.stacks import FusedVolume, Stack, fuse_stacks
from sciSR.stacks.rigid import Rigid, displacement

EXTENT = 48.0
MOVES = (
    Rigid((1.8, -1.5, 1.7), (-1.6, 1.9, 1.5), (0.0, 0.0, 0.0)),
    Rigid((-2.0, 1.2, 1.6), (2.1, -1.2, -1.7), (0.0, 0.0, 0.0)),
)
"""Of 2.9 and 2.8 degrees, 2.9 and 3.0 millimetres."""
NOISE = 1.0


@pytest.fixture(scope="module")
def body() -> Body:
    return Body.of(0, EXTENT, 120)


@pytest.fixture(scope="module")
def stacks(body: Body) -> list[Stack]:
    return three(body, EXTENT, MOVES, noise=NOISE)


@pytest.fixture(scope="module")
def fused(stacks: list[Stack]) -> FusedVolume:
    return fuse_stacks(stacks)


def head() -> np.ndarray:
    """Points of the body, millimetres."""
    points = np.random.default_rng(0).normal(size=(300, 3))
    return 0.4 * EXTENT * points / np.linalg.norm(points, axis=1, keepdims=True)


def test_three_moved_stacks_are_better_than_one(body: Body, stacks: list[Stack], fused: FusedVolume) -> None:
    """At least 3 dB over the known-profile inverse of the stack that did not move (the others see the same body)."""
    true = truth(body, fused.volume.shape, fused.affine)
    first = stacks[0].data
    operator = SliceSampling(first.shape[2], fused.volume.shape[2], 1.0, "gaussian")
    alone = max(
        psnr(first @ m.T.numpy().astype(np.float32), true) for m in (operator.smoothest, operator.inverse)
    )
    assert psnr(fused.volume, true) > alone + 3


def test_registration_is_within_a_tenth_of_a_millimetre(fused: FusedVolume) -> None:
    for motion, right in zip(fused.motions[1:], MOVES, strict=True):
        assert displacement(motion.matrix, right.matrix, head()).max() < 0.1
        assert not any(s.own for s in motion.slices)
    assert np.array_equal(fused.motions[0].matrix, np.eye(4))


def test_the_deviation_is_that_of_the_errors(body: Body, fused: FusedVolume) -> None:
    true = truth(body, fused.volume.shape, fused.affine)
    core = (slice(8, -8),) * 3
    error = np.sqrt(np.mean((fused.volume - true)[core] ** 2))
    told = np.sqrt(np.mean(fused.std[core] ** 2))
    assert 1 / 1.3 < told / error < 1.3


def test_the_grid_is_the_first_stacks_edge_to_edge(stacks: list[Stack], fused: FusedVolume) -> None:
    assert fused.volume.shape == (48, 48, 48)
    first = stacks[0]
    for corner in (-0.5, 1.0):
        ends = [
            np.array(s) - 0.5 if corner > 0 else np.full(3, -0.5) for s in (first.data.shape, (48, 48, 48))
        ]
        places = [a[:3, :3] @ e + a[:3, 3] for a, e in zip((first.affine, fused.affine), ends, strict=True)]
        np.testing.assert_allclose(*places, atol=1e-9)


def test_the_report_is_json_and_names_no_slice_without_need(fused: FusedVolume) -> None:
    report = json.loads(json.dumps(fused.report))
    assert report["settled"]
    for entry in report["stacks"]:
        assert entry["slices_left_out"] == []
        assert entry["noise"] == pytest.approx(NOISE, rel=0.25)
    assert [s.size for s in fused.slice_weights] == [12, 12, 12]


def test_the_same_again_gives_the_same(stacks: list[Stack], fused: FusedVolume) -> None:
    again = fuse_stacks(stacks)
    assert np.array_equal(again.volume, fused.volume)
    assert np.array_equal(again.std, fused.std)


@pytest.mark.slow
def test_units_do_not_matter(stacks: list[Stack], fused: FusedVolume) -> None:
    other = fuse_stacks([replace(s, data=-4000 + 1e-3 * 2**20 * s.data) for s in stacks])
    scale = 1e-3 * 2**20
    assert np.abs((other.volume + 4000) / scale - fused.volume).max() < 2e-2
    np.testing.assert_allclose(other.std / scale, fused.std, rtol=2e-2)


@pytest.mark.slow
def test_gain_and_offset_of_each_stack_are_found(stacks: list[Stack], fused: FusedVolume) -> None:
    changed = [stacks[0], replace(stacks[1], data=1.7 * stacks[1].data + 30), stacks[2]]
    other = fuse_stacks(changed, slice_motion=False)
    assert other.gains[0] == (1.0, 0.0)
    assert other.gains[1][0] == pytest.approx(1.7, rel=0.02)
    assert other.gains[1][1] == pytest.approx(30, abs=3)
    assert np.abs(other.volume - fused.volume).std() < NOISE


@pytest.mark.slow
def test_dark_and_moved_slices_are_told_apart(body: Body, fused: FusedVolume) -> None:
    """One slice lost its signal, one was taken from elsewhere in the body, one moved by 2 mm and 3 degrees."""
    moved = Rigid((3.0, 0.0, 0.0), (0.0, 2.0, 0.0), (-6.0, 0.0, 0.0))
    clean = three(body, EXTENT, MOVES, noise=NOISE)
    second = take(
        body,
        EXTENT,
        axes_for(0),
        motion=MOVES[0],
        slice_motions={4: moved},
        noise=NOISE,
        seed=1,
        name="stack1",
    )
    data = second.data.copy()
    data[:, :, 6] *= 0.1
    data[:, :, 8] = data[::-1, :, 8]
    spoilt = fuse_stacks([clean[0], replace(second, data=data), clean[2]])
    weights = spoilt.slice_weights[1]
    assert weights[6] < 0.2
    assert weights[8] < 0.2
    assert weights[[1, 2, 3, 5, 7, 9, 10]].min() > 0.5
    assert spoilt.motions[1].slices[4].own
    right = moved.matrix @ MOVES[0].matrix
    points = np.stack([np.full(50, -6.0), *np.random.default_rng(0).uniform(-15, 15, (2, 50))], axis=1)
    before = displacement(MOVES[0].matrix, right, points).mean()
    assert displacement(spoilt.motions[1].slices[4].rigid.matrix, right, points).mean() < 0.3 * before
    true = truth(body, fused.volume.shape, fused.affine)
    assert psnr(spoilt.volume, true) > psnr(fused.volume, true) - 1.5
    assert {e["slice"] for e in spoilt.report["stacks"][1]["slices_left_out"]} >= {6}
