"""Normal equations of a warp on a lattice of B-splines, against their plain definition."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.fusion.planetary.lattice import Lattice, WarpEquations, prior_stencil
from sciSR.fusion.transforms import Displacement

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def small() -> tuple[Lattice, np.ndarray, np.ndarray, WarpEquations]:
    lattice = Lattice((24, 19), 8.0)
    gradient = RNG.standard_normal((2, 24, 19)).astype(np.float32)
    weight = RNG.uniform(0, 4, (24, 19)).astype(np.float32)
    return lattice, gradient, weight, WarpEquations(lattice, gradient, weight, amplitude=1.5, length=12.0)


def dense(lattice: Lattice, gradient: np.ndarray) -> np.ndarray:
    """Columns: gradient . field of each unknown, ``(pixels, unknowns)``."""
    rows, columns = lattice.basis(0).astype(float), lattice.basis(1).astype(float)
    both = np.einsum("ri,cj->rcij", rows, columns)
    return np.einsum("krc,rcij->rcijk", gradient, both).reshape(gradient[0].size, -1)


def test_a_step_solves_the_penalised_least_squares_problem(small: tuple) -> None:
    lattice, gradient, weight, equations = small
    design = dense(lattice, gradient)
    size = (*lattice.size, 2)
    prior = np.stack([equations.prior_times(e.reshape(size)).ravel() for e in np.eye(design.shape[1])])
    np.testing.assert_allclose(prior, prior.T)
    residual, c = RNG.standard_normal(weight.shape).astype(np.float32), RNG.standard_normal(size)
    normal = design.T @ (weight.ravel()[:, None] * design) + prior
    right = design.T @ (weight * residual).ravel() - prior @ c.ravel()
    expected = np.linalg.solve(normal, right).reshape(size)
    np.testing.assert_allclose(equations.step(residual, c), expected, atol=2e-5)
    inverse = np.linalg.inv(normal)
    at = np.einsum("i,j->ij", lattice.basis(0, np.array([9.0]))[0], lattice.basis(1, np.array([7.5]))[0])
    for k in (0, 1):
        unit = np.zeros(size)
        unit[..., k] = at
        variance = unit.ravel() @ inverse @ unit.ravel()
        assert equations.covariance_at((9.0, 7.5))[k, k] == pytest.approx(variance, rel=1e-4)


def test_the_displacement_handed_on_is_the_field_that_was_fitted(small: tuple) -> None:
    lattice, _, _, equations = small
    c = RNG.standard_normal((*lattice.size, 2))
    warp = Displacement(lattice.nodes(c), lattice.spacing, (lattice.origin, lattice.origin))
    grid = np.stack(np.meshgrid(np.arange(24.0), np.arange(19.0), indexing="ij"), axis=-1)
    np.testing.assert_allclose(warp(grid) - grid, np.moveaxis(equations.field(c), 0, -1), atol=2e-3)


@pytest.mark.parametrize(("spacing", "length"), [(16.0, 24.0), (8.0, 30.0), (16.0, 8.0)])
def test_the_prior_has_the_amplitude_asked_for(spacing: float, length: float) -> None:
    lattice = Lattice((int(40 * spacing),) * 2, spacing)
    nothing = np.zeros((2, *lattice.shape), np.float32)
    stride = int(spacing)
    equations = WarpEquations(
        lattice,
        nothing[:, ::stride, ::stride],
        nothing[0, ::stride, ::stride],
        amplitude=0.7,
        length=length,
        stride=stride,
    )
    middle = (20 * spacing, 20 * spacing)
    assert np.sqrt(equations.covariance_at(middle)[0, 0]) == pytest.approx(0.7, rel=0.03)
    assert prior_stencil(spacing, 0.7, length).shape == (5, 5)
