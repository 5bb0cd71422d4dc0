"""Tiles hold the image's own values, in the places that the page is told, and never more memory than they may."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sciSR
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.report import pyramid, tile_pyramids, tiles
from sciSR.report.page_layout import Layout, Screen
from sciSR.report.page_pixels import Coding
from sciSR.report.page_scene import Sources
from sciSR.report.tile_pyramids import Pyramids
from sciSR.report.tiles import TileScene


def scene_of(after: Image, before: Image | None = None, **fields: Any) -> TileScene:
    layout = Layout.of(after)
    factors = (1.0, 1.0, 1.0)
    if before is not None:
        factors = layout.factors([a / b for a, b in zip(after.shape, before.shape, strict=True)])
    sources = Sources(
        None if before is None else Screen(before, layout),
        Screen(after, layout),
        factors,
        domain=after.domain,
        **fields,
    )
    names = ["image"] if before is None else ["Input", "Result"]
    lock = threading.Lock()
    return TileScene(sources, Pyramids(), names, dict.fromkeys(("before", "after", "std"), lock))


def picture(scene: TileScene, layer: str, plane: int, at: int, level: int) -> np.ndarray:
    """A whole level, put together of its tiles and decoded as the page does: ``[channel, row, column]``."""
    told = scene.describe()
    about, side = told["planes"][plane], told["tile"]
    extent = about["levels"][level][layer]
    coding = Coding(**told["layers"][layer]["coding"])
    out = None
    for row in range(-(-extent["height"] // side)):
        for column in range(-(-extent["width"] // side)):
            raw, _ = scene.tile(layer, plane, at, level, column, row)
            wide = min(side, extent["width"] - column * side)
            high = min(side, extent["height"] - row * side)
            codes = np.frombuffer(raw, "<u2").reshape(-1, high, wide)
            if out is None:
                out = np.empty((len(codes), extent["height"], extent["width"]))
            out[:, row * side : row * side + high, column * side : column * side + wide] = coding.decode(
                codes
            )
    assert out is not None
    return out


def step_of(scene: TileScene, layer: str) -> float:
    return float(scene.describe()["layers"][layer]["coding"]["step"])


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "f4", "f8"])
def test_native_tiles_hold_the_values(dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-100 if dtype[0] == "i" else 0, 120, (300, 517)).astype(dtype)
    scene = scene_of(Image.from_array(values))
    (got,) = picture(scene, "after", 0, 0, len(scene.describe()["planes"][0]["levels"]) - 1)
    if np.dtype(dtype).kind in "iu":
        np.testing.assert_array_equal(got, values)
    else:
        np.testing.assert_allclose(got, values, atol=step_of(scene, "after") * 0.51)


def test_the_sky_stands_upright_and_bad_pixels_have_no_value() -> None:
    path = Path(__file__).resolve().parents[2] / "data_samples" / "star_field.fits"
    image = sciSR.read(path)
    values = np.asarray(image)
    bad = np.zeros(values.shape, bool)
    bad[3, 5] = bad[100, 200] = True
    scene = scene_of(image.replace(mask=bad))
    (got,) = picture(scene, "after", 0, 0, len(scene.describe()["planes"][0]["levels"]) - 1)
    got = got[::-1]
    good = np.isfinite(values) & ~bad
    np.testing.assert_array_equal(np.isnan(got), ~good)
    softening = scene.describe()["layers"]["after"]["coding"]["softening"]
    allowed = step_of(scene, "after") * (softening + np.abs(values - 50))
    assert (np.abs(got - values)[good] <= allowed[good] + 1e-3).all()


def test_coarse_levels_are_means() -> None:
    values = np.random.default_rng(1).normal(50, 5, (700, 900)).astype(np.float32)
    scene = scene_of(Image.from_array(values))
    levels = scene.describe()["planes"][0]["levels"]
    assert [levels[0]["after"][k] for k in ("width", "height")] == [225, 175]
    (got,) = picture(scene, "after", 0, 0, 0)
    expected = values.reshape(175, 4, 225, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(got, expected, atol=step_of(scene, "after"))


def oblique() -> Image:
    values = np.random.default_rng(2).normal(100, 10, (20, 30, 40)).astype(np.float32)
    affine = np.array([[0, 0.1, 2.0, -9], [1.1, 0, 0, 4], [0, -1.3, 0, 7], [0, 0, 0, 1]])
    return Image(values, ("x", "y", "z"), ("x", "y"), AffineGrid(values.shape, affine), domain="mr")


def test_three_planes_of_a_volume_lie_as_radiologists_look_at_them() -> None:
    image = oblique()
    scene = scene_of(image)
    told = scene.describe()["planes"]
    assert [plane["axis"] for plane in told] == ["z", "y", "x"]
    assert [plane["name"] for plane in told] == ["axial", "coronal", "sagittal"]
    assert [plane["sides"] for plane in told] == [
        [["R", "L"], ["A", "P"]],
        [["R", "L"], ["S", "I"]],
        [["A", "P"], ["S", "I"]],
    ]
    # nibabel turns the same voxels to L, P, I: the display's X, Y, Z.
    turned = nibabel.Nifti1Image(np.asarray(image), image.grid.affine)
    target = nibabel.orientations.axcodes2ornt("LPI")
    judge = np.asarray(
        turned.as_reoriented(
            nibabel.orientations.ornt_transform(
                nibabel.orientations.io_orientation(image.grid.affine), target
            )
        ).dataobj
    )
    for plane, pick in (
        (0, lambda k: judge[:, :, k].T),
        (1, lambda k: judge[:, k, :].T),
        (2, lambda k: judge[k].T),
    ):
        for at in (0, told[plane]["slices"] - 1):
            (got,) = picture(scene, "after", plane, at, len(told[plane]["levels"]) - 1)
            np.testing.assert_allclose(got, pick(at), atol=step_of(scene, "after"))


def test_an_input_lies_under_its_result() -> None:
    coarse = Image.from_array(np.random.default_rng(3).normal(10, 1, (5, 60, 80)).astype(np.float32))
    fine = sciSR.upscale(coarse, 2, "nearest")
    scene = scene_of(fine, coarse)
    (plane,) = scene.describe()["planes"]
    assert (plane["width"], plane["height"], plane["factor"], plane["slices"]) == (80, 60, [2, 2], 5)
    last = plane["levels"][-1]
    assert last["before"]["step"] == [1, 1]
    assert last["after"]["step"] == [0.5, 0.5]
    for at in (0, 4):
        (before,) = picture(scene, "before", 0, at, len(plane["levels"]) - 1)
        (after,) = picture(scene, "after", 0, at, len(plane["levels"]) - 1)
        np.testing.assert_allclose(after, before.repeat(2, 0).repeat(2, 1), atol=2 * step_of(scene, "after"))


def test_totals_are_shown_with_one_stretch() -> None:
    coarse = Image.from_array(np.random.default_rng(4).normal(400, 20, (60, 80)), quantity="total")
    fine = sciSR.upscale(coarse, 2, "nearest")
    scene = scene_of(fine, coarse, share=0.25)
    (before,), (after,) = (picture(scene, name, 0, 0, 0) for name in ("before", "after"))
    assert before.mean() == pytest.approx(after.mean(), rel=1e-3)


def test_colours_have_three_channels() -> None:
    values = np.random.default_rng(5).integers(0, 255, (300, 310, 3)).astype(np.uint8)
    scene = scene_of(Image(values, ("y", "x", "rgb"), ("y", "x")))
    got = picture(scene, "after", 0, 0, len(scene.describe()["planes"][0]["levels"]) - 1)
    np.testing.assert_array_equal(got, np.moveaxis(values, -1, 0))


@given(numbers=st.tuples(*[st.integers(-(10**9), 10**9)] * 5))
def test_numbers_beyond_the_image_are_refused(numbers: tuple[int, ...]) -> None:
    scene = SMALL
    plane, at, level, column, row = numbers
    inside = plane == 0 and at == 0 and level in (0, 1) and column in (0, 1) and row in (0, 1)
    if not inside:
        with pytest.raises(LookupError):
            scene.tile("after", *numbers)
    if (plane, at) != (0, 0):
        with pytest.raises(LookupError):
            scene.progress("after", plane, at)


SMALL = scene_of(Image.from_array(np.zeros((300, 300), np.float32)))


def test_a_large_plane_is_estimated_first_and_exact_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "_SMALL", 1000)
    values = np.random.default_rng(6).normal(size=(2100, 2300)).astype(np.float32)
    scene = scene_of(Image.from_array(values))
    _, exact = scene.tile("after", 0, 0, 0, 0, 0)
    assert not exact
    for _ in range(1000):
        if scene.progress("after", 0, 0)["complete"]:
            break
        scene.pyramids._wake.set()
        threading.Event().wait(0.01)
    assert scene.progress("after", 0, 0) == {"complete": True, "done": 1.0}
    _, exact = scene.tile("after", 0, 0, 0, 0, 0)
    assert exact
    scene.pyramids.close()


def test_memory_stays_bounded_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_pyramids, "_PLANES", 10)
    monkeypatch.setattr(tile_pyramids, "_LEVEL_BYTES", 1 << 20)
    monkeypatch.setattr(pyramid, "_SMALL", 1000)
    scene = scene_of(Image.from_array(np.zeros((40, 2048, 600), np.float32)))
    scene.pyramids.tiles.limit = 1 << 20
    for at in range(40):
        for level in range(len(scene.describe()["planes"][0]["levels"])):
            scene.tile("after", 0, at, level, 0, 0)
        assert scene.pyramids.tiles.size <= 1 << 20
        assert len(scene.pyramids._planes) <= 10
        assert len(scene.pyramids._wishes) <= tile_pyramids._WAITING
    scene.pyramids.close()


class Counted:
    """A stack of files: each slice that is touched is opened once more."""

    shape, dtype, opened = (30, 40, 50), np.dtype(np.float32), 0

    def __getitem__(self, index: Any) -> np.ndarray:
        values = np.broadcast_to(np.arange(50, dtype=np.float32), self.shape)[index]
        self.opened += len(range(30)[index[0]])
        return values


def test_scrolling_across_the_slices_does_not_open_all_of_them_each_time() -> None:
    source = Counted()
    image = Image(source, ("z", "y", "x"), ("y", "x"), AffineGrid(source.shape, np.eye(4)[[2, 1, 0, 3]]))
    scene = scene_of(image)
    axes = [plane["axis"] for plane in scene.describe()["planes"]]
    source.opened = 0
    for at in range(50):
        ((got,),) = [picture(scene, "after", axes.index("x"), at, 0)]
        np.testing.assert_allclose(got, 49 - at, atol=step_of(scene, "after"))  # X runs to the left
    assert source.opened == 4 * 30  # of 50 planes, 16 at a time


class Damaged:
    """A reader that fails in its middle."""

    shape, dtype = (2200, 2200), np.dtype(np.float32)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = index[0]
        if rows.start <= 1200 < rows.stop and rows.stop - rows.start > 1:
            raise sciSR.SciSRError("damaged")
        return np.ones((rows.stop - rows.start, index[1].stop - index[1].start), np.float32)


def test_a_damaged_part_does_not_hide_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "_SMALL", 1000)
    monkeypatch.setattr(tiles, "_SAMPLE_PIXELS", 10_000)
    scene = scene_of(Image(Damaged(), ("y", "x"), ("y", "x")))
    scene.tile("after", 0, 0, 0, 0, 0)
    for _ in range(1000):
        if scene.progress("after", 0, 0)["complete"]:
            break
        threading.Event().wait(0.01)
    levels = scene.describe()["planes"][0]["levels"]
    _, exact = scene.tile("after", 0, 0, len(levels) - 1, 0, 0)
    assert exact
    with pytest.raises(sciSR.SciSRError, match="damaged"):
        scene.tile("after", 0, 0, len(levels) - 1, 0, 4)
    scene.pyramids.close()
