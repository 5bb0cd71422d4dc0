"""The forward operator: its transpose, what it does to a constant, and how an independent body looks through it."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from stack_scene import Body, axes_for, grid_affine, take, truth

from sciSR.forward.slice_sampling import SliceSampling, table_of
from sciSR.stacks import Stack
from sciSR.stacks.canvas import Canvas, output_grid, profile_response
from sciSR.stacks.operator import StackOperator
from sciSR.stacks.rigid import Rigid
from sciSR.stacks.sampling import Sampling, _Device, taps

CPU = torch.device("cpu")
SKEWED = table_of([-0.8, -0.3, 0.0, 0.5, 1.2], [0.0, 0.7, 1.0, 0.4, 0.0])


def canvas_for(stack: Stack, reach: float = 8.0) -> Canvas:
    return Canvas.around(output_grid(stack, 1.0), reach, CPU)


def noisy_stack(profile: object = "gaussian", in_plane: float = 1.0) -> Stack:
    shape = (24, 20, 6)
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    affine = grid_affine(shape, np.array([in_plane, in_plane, 4.0]), axes_for(1))
    return Stack(data, affine, 2, 4.0, profile)  # type: ignore[arg-type]


def motions(number: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([Rigid.of(spread * rng.normal(size=6), np.zeros(3)).matrix for _ in range(number)])


@pytest.mark.parametrize("profile", ["gaussian", "rect", "sinc", SKEWED])
@pytest.mark.parametrize("spread", [0.3, 6.0])
def test_the_adjoint_is_the_adjoint(profile: object, spread: float) -> None:
    stack = noisy_stack(profile, in_plane=1.5)
    canvas = canvas_for(stack)
    operator = StackOperator(canvas, stack, motions(6, spread))
    assert len(operator.groups) == 1 if spread < 1 else len(operator.groups) > 1
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(canvas.shape, generator=generator)
    y = torch.randn(len(operator.index), generator=generator)
    forward = operator.apply(canvas.forward(x)).double()
    back = canvas.back(operator.adjoint(y)).double()
    difference = float(forward @ y.double()) - float((x.double() * back).sum())
    assert abs(difference) < 1e-6 * float(forward.norm() * y.double().norm())


@pytest.mark.parametrize("profile", ["gaussian", "rect", "sinc", SKEWED])
def test_a_constant_stays_constant(profile: object) -> None:
    stack = noisy_stack(profile, in_plane=2.0)
    canvas = canvas_for(stack)
    operator = StackOperator(canvas, stack, motions(6, 4.0))
    seen = operator.apply(canvas.forward(torch.full(canvas.shape, 7.0)))
    np.testing.assert_allclose(seen.numpy(), 7.0, rtol=2e-6)


def test_an_independent_body_looks_as_it_should() -> None:
    """Blobs integrated over the profile in closed form, against the operator on the blobs' own values."""
    body, move = Body.of(3, 28.0, 60), Rigid((4.0, -3.0, 5.0), (1.3, -0.7, 2.1), (5.0, 0.0, -3.0))
    stack = take(body, 28.0, axes_for(0), motion=move)
    canvas = canvas_for(stack, 12.0)
    operator = StackOperator(canvas, stack, np.repeat(move.matrix[None], 7, axis=0))
    scene = torch.from_numpy(truth(body, canvas.shape, canvas.affine).astype(np.float32))
    difference = operator.apply(canvas.forward(scene)) - operator.measured
    # The finest blobs are as fine as a grid of 1 mm can hold: what is left is their spline interpolation.
    assert float(difference.abs().max()) < 1.5e-2 * float(operator.measured.max())
    assert float(difference.square().mean().sqrt()) < 5e-4 * float(operator.measured.max())


def test_without_motion_it_is_the_slice_sampling_of_through_plane() -> None:
    stack = noisy_stack("sinc")
    canvas = Canvas.around(output_grid(stack, 1.0), 16.0, CPU)
    inner = torch.randn(canvas.inner, generator=torch.Generator().manual_seed(0))
    inner[..., :10] = inner[..., -10:] = 0  # what lies beyond the ends differs: mirrored there, empty here
    full = torch.zeros(canvas.shape)
    full[canvas.inside] = inner
    operator = StackOperator(canvas, stack, np.repeat(np.eye(4)[None], 6, axis=0))
    seen = operator.apply(canvas.forward(full)).reshape(6, 24, 20)
    expected = SliceSampling(6, 24, 1.0, "sinc").apply(inner).movedim(-1, 0)
    assert float((seen - expected)[1:-1].abs().max()) < 0.02 * float(expected.abs().max())


def test_a_skewed_profile_leans_to_its_own_side() -> None:
    stack = noisy_stack(SKEWED)
    f = torch.linspace(-0.4, 0.4, 81)
    response = profile_response(stack, f)
    at, weight = np.linspace(-0.8, 1.2, 20001) * 4.0, None
    weight = np.interp(at / 4.0, *SKEWED)
    expected = [np.sum(weight * np.exp(2j * np.pi * float(v) * at)) / weight.sum() for v in f]
    np.testing.assert_allclose(response.numpy(), expected, atol=2e-3)


def test_bad_voxels_and_those_outside_are_not_measured() -> None:
    stack = noisy_stack()
    bad = np.zeros(stack.data.shape, dtype=bool)
    bad[:3] = True
    data = stack.data.copy()
    data[:, 0] = np.nan
    stack = replace(stack, data=data, bad=bad)
    canvas = canvas_for(stack)
    far = np.repeat(Rigid(translation=(0.0, 500.0, 0.0)).matrix[None], 6, axis=0)
    assert StackOperator(canvas, stack, np.repeat(np.eye(4)[None], 6, axis=0)).index.size == 21 * 19 * 6
    lost = StackOperator(canvas, stack, far)
    assert lost.index.size == 0
    assert float(lost.adjoint(torch.zeros(0)).abs().max()) == 0


def test_kept_or_not_and_on_any_device_the_matrix_is_the_same() -> None:
    shape, generator = (12, 11, 13), torch.Generator().manual_seed(0)
    points = 2 + 6 * torch.rand(501, 3, generator=generator, dtype=torch.float64)
    pieces = [(250, lambda: points[:250]), (251, lambda: points[250:])]
    kept, made = (Sampling(shape, pieces, CPU, keep) for keep in (True, False))
    x, y = torch.randn(shape, generator=generator), torch.randn(501, generator=generator)
    assert torch.equal(kept.apply(x)[0], made.apply(x)[0])
    assert torch.equal(kept.adjoint(y), made.adjoint(y))
    device = _Device(*taps(points, shape), 12 * 11 * 13)
    torch.testing.assert_close(device.apply(x.reshape(-1)), kept.apply(x)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(device.adjoint(y), kept.adjoint(y).reshape(-1), rtol=1e-5, atol=1e-5)


def test_an_operator_that_is_dropped_leaves_the_memory_at_once() -> None:
    """Motion makes new ones all the time: none may wait for the garbage collector."""
    stack = noisy_stack()
    operator = StackOperator(canvas_for(stack), stack, motions(6, 1.0))
    operator.adjoint(operator.measured)
    sampling = weakref.ref(operator.groups[0].sampling)
    del operator
    assert sampling() is None
