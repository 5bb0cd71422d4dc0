"""Rigid motions: numbers and matrices say the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sciSR.stacks.rigid import Rigid, displacement

numbers = st.lists(st.floats(-60, 60), min_size=3, max_size=3).map(np.array)


@given(numbers, numbers, numbers)
def test_numbers_to_matrix_and_back(turn: np.ndarray, shift: np.ndarray, centre: np.ndarray) -> None:
    rigid = Rigid.of(np.concatenate([turn, shift]), centre)
    matrix = rigid.matrix
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(Rigid.of_matrix(matrix, centre).parameters, rigid.parameters, atol=1e-6)


@given(numbers, numbers, numbers, numbers)
def test_the_centre_is_a_matter_of_writing(
    turn: np.ndarray, shift: np.ndarray, centre: np.ndarray, other: np.ndarray
) -> None:
    rigid = Rigid.of(np.concatenate([turn, shift]), centre)
    points = np.random.default_rng(0).normal(size=(5, 3)) * 50
    assert displacement(rigid.matrix, rigid.about(other).matrix, points).max() < 1e-6
