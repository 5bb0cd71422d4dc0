"""An Image holds together: axes, grid, uncertainty and mask all fit the data, and nothing is read before its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciSR.errors import UsageError
from sciSR.grid import AffineGrid, PixelGrid
from sciSR.image import Image, LazyArray


class Untouchable:
    """Raises if anybody reads it."""

    shape = (3, 4, 5)
    dtype = np.dtype(np.int16)

    def __getitem__(self, index: Any) -> np.ndarray:
        raise AssertionError("was read")


def test_making_and_describing_an_image_reads_nothing() -> None:
    data = Untouchable()
    image = Image(data=data, axes=("z", "y", "x"), spatial=("y", "x"), uncertainty=data, mask=data)
    record = image.replace(unit="K").describe()
    assert json.loads(json.dumps(record))["shape"] == [3, 4, 5]
    assert record["dtype"] == "int16"
    assert isinstance(data, LazyArray)


def test_an_array_gets_axes_and_a_pixel_grid() -> None:
    image = Image.from_array(np.zeros((2, 3, 4, 5)))
    assert image.axes == ("n0", "n1", "y", "x")
    assert image.spatial == ("y", "x")
    assert image.spatial_axes == (2, 3)
    assert image.grid == PixelGrid((2, 3, 4, 5))
    assert Image.from_array(np.zeros((4, 5)), unit="Jy").unit == "Jy"


def test_spatial_axes_come_in_the_order_of_the_data() -> None:
    image = Image(data=np.zeros((3, 4, 5)), axes=("x", "y", "z"), spatial=("z", "x"))
    assert image.spatial == ("x", "z")
    assert image.spatial_axes == (0, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": ("y",)}, "do not name the 2 axes"),
        ({"axes": ("x", "x")}, "do not name the 2 axes"),
        ({"spatial": ("y",)}, "spatial must name two"),
        ({"spatial": ("y", "z")}, "spatial must name two"),
        ({"spatial": ("y", "y")}, "spatial must name two"),
        ({"quantity": "flux"}, "quantity must be"),
        ({"kind": "label"}, "kind must be"),
        ({"grid": PixelGrid((4, 6))}, r"the grid covers \(4, 6\) pixels"),
        ({"mask": np.zeros((5, 4), bool)}, r"mask has shape \(5, 4\)"),
        ({"uncertainty": np.zeros(4)}, "uncertainty has shape"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Image(**({"data": np.zeros((4, 5)), "axes": ("y", "x"), "spatial": ("y", "x")} | fields))


def test_a_vector_is_no_image() -> None:
    with pytest.raises(UsageError, match="at least two axes"):
        Image.from_array(np.zeros(5))


def test_replace_checks_again() -> None:
    image = Image(
        data=np.zeros((4, 5, 3)),
        axes=("x", "y", "z"),
        spatial=("x", "y"),
        grid=AffineGrid((4, 5, 3), np.eye(4)),
    )
    with pytest.raises(UsageError, match="the grid covers"):
        image.replace(data=np.zeros((8, 10, 3)))
    finer = image.replace(data=np.zeros((8, 10, 3)), grid=image.grid.refine((2, 2, 1)))
    assert finer.shape == (8, 10, 3)
    assert image.shape == (4, 5, 3)


def test_messages_name_the_file_and_the_part_but_no_folder() -> None:
    image = Image.from_array(np.zeros((4, 5)))
    assert image.where == "image"
    assert image.replace(source=Path("/data/patient/m51.fits"), part="SCI").where == "m51.fits[SCI]"


def test_an_image_converts_to_an_array() -> None:
    data = np.arange(20, dtype=np.int16).reshape(4, 5)
    image = Image.from_array(data)
    assert np.asarray(image).dtype == np.int16
    assert np.array_equal(np.asarray(image, dtype=np.float64), data)
