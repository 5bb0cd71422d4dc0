"""The picture of a fused volume shows the body the right way round, whatever the order of the voxels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sciSR.report.stack_sheet import SheetVolume, StackSheet, direction_name, draw, draw_png, planes_of

SHAPE = (20, 24, 16)


def marked(order: tuple[int, ...] = (0, 1, 2), back: tuple[int, ...] = ()) -> SheetVolume:
    """A ramp that is brightest at the right, front, top; axes stored in `order`, those in `back` from behind."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)
    data = index @ np.array([1.0, 10.0, 100.0])
    affine = np.eye(4)
    affine[:3, 3] = [-9.5, -11.5, -7.5]
    for axis in back:
        data = np.flip(data, axis)
        affine[:3, 3] += (SHAPE[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
    return SheetVolume(data.transpose(order), affine[:, [*order, 3]])


def pictures(volume: SheetVolume) -> list[np.ndarray]:
    return [volume.at(points) for points, _ in planes_of(volume)]


def test_right_is_on_the_left_and_the_head_is_up() -> None:
    axial, coronal, sagittal = pictures(marked())
    assert (np.diff(axial, axis=1) < 0).all()  # x grows to the right of the body
    assert (np.diff(axial, axis=0) < 0).all()  # rows run from front to back
    assert (np.diff(coronal, axis=1) < 0).all()
    assert (np.diff(coronal, axis=0) < 0).all()  # rows run from head to feet
    assert (np.diff(sagittal, axis=1) < 0).all()  # the front is on the left
    assert (np.diff(sagittal, axis=0) < 0).all()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("back", [(), (0,), (1, 2), (0, 1, 2)])
def test_the_order_of_voxels_does_not_show(order: tuple[int, ...], back: tuple[int, ...]) -> None:
    for one, other in zip(pictures(marked()), pictures(marked(order, back)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_nothing_is_shown_outside_and_where_voxels_are_bad() -> None:
    volume = marked()
    bad = np.zeros(volume.data.shape, bool)
    bad[10, 12, 8] = True
    holed = SheetVolume(volume.data, volume.affine, bad)
    world = holed.affine[:3, :3] @ [10, 12, 8] + holed.affine[:3, 3]
    assert np.isnan(holed.at(world[None]))
    assert np.isfinite(volume.at(world[None]))
    assert np.isnan(volume.at(np.array([[100.0, 0, 0], [0, 0, 8.1]]))).all()
    assert np.isfinite(volume.at(np.array([[0, 0, 7.9]]))).all()  # within the last voxel


def test_the_same_data_give_the_same_bytes_and_a_picture() -> None:
    volume = marked()
    sheet = StackSheet(
        volume, volume, volume, [np.ones(5), np.linspace(0, 1, 9)], ["1 axial", "2 coronal"], "t", "HU"
    )
    first, second = draw_png(sheet), draw_png(sheet)
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_every_sheet_says_that_it_is_for_research() -> None:
    volume = marked()
    figure = draw(StackSheet(volume, volume, volume))
    assert "Research use only, not for diagnosis" in figure.get_suptitle()


def test_a_volume_of_nothing_can_be_drawn() -> None:
    empty = SheetVolume(np.full((4, 4, 4), np.nan), np.eye(4))
    assert draw_png(StackSheet(empty, empty, empty, [np.zeros(4)], ["1"])).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("normal", "name"), [((0, 0.1, -1), "axial"), ((0.2, 0.9, 0), "coronal"), ((-1, 0.5, 0.3), "sagittal")]
)
def test_directions_are_named_after_the_closest_plane(normal: tuple[float, ...], name: str) -> None:
    assert direction_name(np.array(normal)) == name
