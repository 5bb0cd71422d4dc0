"""Arrays for napari index like NumPy's, whatever the order of the axes beneath."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.napari.arrays import LayerArray, LevelArray
from sciSR.report.pyramid import PlanePyramid

VALUES = np.arange(3 * 4 * 5 * 2, dtype=np.int16).reshape(3, 4, 5, 2)


class StepOne:
    """A reader that takes what the contract of lazy arrays allows, and no more."""

    shape, dtype = VALUES.shape, VALUES.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        assert isinstance(index, tuple)
        assert len(index) == 4
        assert all(isinstance(e, int) or e.step in (None, 1) for e in index)
        return VALUES[index]


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    out: list[Any] = []
    for size in shape:
        if draw(st.booleans()):
            out.append(draw(st.integers(-size, size - 1)))
        else:
            out.append(draw(st.slices(size)))
    keep = draw(st.integers(0, len(out)))
    return (*out[:keep], *([Ellipsis] if draw(st.booleans()) else []))


@given(data=st.data(), order=st.permutations(range(4)))
def test_indexing_is_numpys(data: st.DataObject, order: list[int]) -> None:
    array = LayerArray(StepOne(), order)
    plain = VALUES.transpose(order)
    index = data.draw(indices(plain.shape))
    np.testing.assert_array_equal(array[index], plain[index])


def test_it_offers_what_a_layers_data_must() -> None:
    array = LayerArray(StepOne(), (3, 2, 1, 0))
    assert array.shape == (2, 5, 4, 3)
    assert (array.ndim, array.size, len(array), array.dtype) == (4, 120, 2, np.int16)
    np.testing.assert_array_equal(np.asarray(array), VALUES.T)
    np.testing.assert_array_equal(np.asarray(array, dtype=np.float32), VALUES.T.astype(np.float32))
    with pytest.raises(IndexError):
        array[5]
    with pytest.raises(ValueError, match="does not order"):
        LayerArray(StepOne(), (0, 1, 2))


def test_an_axis_can_be_added() -> None:
    plane = np.arange(12).reshape(3, 4)
    array = LayerArray(plane, (None, 1, 0))
    assert array.shape == (1, 4, 3)
    np.testing.assert_array_equal(np.asarray(array), plane.T[None])
    np.testing.assert_array_equal(array[0, 1:3], plane.T[1:3])


def test_levels_of_a_plane_are_arrays_too() -> None:
    values = np.random.default_rng(0).normal(size=(600, 900)).astype(np.float32)
    pyramid = PlanePyramid(values)
    level = LevelArray(pyramid, 1)
    assert level.shape == (300, 450)
    whole = np.asarray(level)
    np.testing.assert_allclose(whole, values.reshape(300, 2, 450, 2).mean(axis=(1, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(level[10:20:3, 7], whole[10:20:3, 7])
