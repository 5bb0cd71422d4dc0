"""Planes of cubes are images of their own: same pixels, same place in the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_adapter import ToyAdapter, write_toy

from sciSR.errors import UnsupportedError
from sciSR.grid import AffineGrid, Grid, PixelGrid
from sciSR.image import Image
from sciSR.planes import PlaneGrid, PlaneView, plane_of
from sciSR.reading import frames_of
from sciSR.sequence import Frame


class Movie(ToyAdapter):
    """A format whose first axis is time, by an adapter that knows nothing of frames."""

    def read(self, path: Path, **options: Any) -> list[Image]:
        return [image.replace(axes=("t", "y", "x")) for image in super().read(path)]


@given(axis=st.integers(0, 2), position=st.integers(0, 3), rows=st.slices(4), column=st.integers(0, 3))
def test_a_plane_holds_the_cubes_pixels(axis: int, position: int, rows: slice, column: int) -> None:
    cube = np.arange(64.0).reshape(4, 4, 4)
    plane = PlaneView(cube, {axis: position})
    expected = np.take(cube, position, axis=axis)
    assert plane.shape == (4, 4)
    np.testing.assert_array_equal(plane[rows, :], expected[rows, :])
    np.testing.assert_array_equal(plane[rows, column], expected[rows, column])
    np.testing.assert_array_equal(plane[...], expected)


@given(
    point=st.tuples(st.floats(-3, 9), st.floats(-3, 9)),
    factors=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    fixed=st.integers(0, 2),
)
def test_a_refined_plane_lies_where_the_cubes_plane_lies(
    point: tuple[float, float], factors: tuple[int, int], fixed: int
) -> None:
    affine = np.array([[2.0, 0.1, 0, 5], [0, 3.0, 0.2, 7], [0.3, 0, 4.0, -1], [0, 0, 0, 1]])
    cube = AffineGrid((6, 7, 8), affine)
    plane = PlaneGrid(cube, {fixed: 2})
    assert isinstance(plane, Grid)
    fine = plane.refine(factors)
    assert fine.shape == tuple(n * f for n, f in zip(plane.shape, factors, strict=True))
    assert fine.factors == factors
    at = (np.array(point) + 0.5) * factors - 0.5
    whole = np.insert(np.array(point), fixed, 2.0)
    np.testing.assert_allclose(fine.world(at), cube.world(whole), atol=1e-9)
    np.testing.assert_allclose(fine.index(cube.world(whole)), at, atol=1e-9)


def test_uncertainty_and_mask_follow_the_plane() -> None:
    cube = np.arange(24.0).reshape(2, 3, 4)
    image = Image(cube, ("t", "y", "x"), ("y", "x"), uncertainty=cube + 1, mask=cube > 20)
    plane = plane_of(image, {0: 1})
    assert plane.axes == ("y", "x")
    np.testing.assert_array_equal(plane.uncertainty[...], cube[1] + 1)
    np.testing.assert_array_equal(plane.mask[...], cube[1] > 20)
    assert isinstance(image.grid, PixelGrid)
    assert plane.grid.shape == (3, 4)


def test_an_adapter_without_frames_gives_each_plane_along_its_one_further_axis(tmp_path: Path) -> None:
    data = np.random.default_rng(3).normal(size=(5, 6, 7)).astype(np.float32)
    path = write_toy(tmp_path / "clip.toy", data, np.eye(4))
    frames = frames_of(Movie(), path)
    assert [frame.name for frame in frames] == [f"clip.toy[{k}]" for k in range(5)]
    for frame, plane in zip(frames, data, strict=True):
        np.testing.assert_array_equal(frame.read().values, plane)
        np.testing.assert_array_equal(frame.read(slice(2, 4)).values, plane[2:4])


def test_slices_of_a_volume_are_no_frames(tmp_path: Path) -> None:
    path = write_toy(tmp_path / "volume.toy", np.zeros((5, 6, 7), np.float32), np.eye(4))
    with pytest.raises(UnsupportedError, match=r"volume.toy: its planes along z \(5\) are no frames"):
        frames_of(ToyAdapter(), path)


def test_a_single_slice_is_a_frame(tmp_path: Path) -> None:
    path = write_toy(tmp_path / "slice.toy", np.ones((1, 6, 7), np.float32), np.eye(4))
    (frame,) = frames_of(ToyAdapter(), path)
    assert frame.shape == (6, 7)
    assert frame.name == "slice.toy"


def test_a_pixel_whose_error_is_negative_is_bad() -> None:
    """Pipelines write -1 or -999 where they know none; squared that would be a variance."""
    image = Image.from_array(np.ones((4, 5)))
    sigma = np.full((4, 5), 2.0)
    sigma[1, 2], sigma[2, 3] = -1.0, -999.0
    pixels = Frame(image.replace(uncertainty=sigma), "a").read()
    assert [tuple(p) for p in np.argwhere(pixels.bad)] == [(1, 2), (2, 3)]
    assert pixels.variance is not None
    assert (pixels.variance[~pixels.bad] == 4).all()
