"""A predicted frame holds the light that falls on its pixels, and the way back is the exact adjoint."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from sciSR.fusion.forward import Canvas, Footprint, Predictor, footprint, on_window, window_of
from sciSR.fusion.map import predict_frame
from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.transforms import Affine, Displacement

torch.set_num_threads(1)

NATIVE = (30, 36)
FACTORS = [Fraction(1), Fraction(3, 2), Fraction(2), Fraction(8, 3), Fraction(3)]
shifts = st.floats(-4, 4, allow_nan=False)


def target(rows: Fraction = FACTORS[2], columns: Fraction | None = None) -> Target:
    return Target(NATIVE, (rows, rows if columns is None else columns))


def star(
    shape: tuple[int, int],
    centre: tuple[float, float] | np.ndarray,
    sigma: float,
    factors: tuple[float, float],
) -> np.ndarray:
    """A round Gaussian of flux 1, meant over pixels `factors` times finer than native; exact."""
    lines = []
    for n, c, s in zip(shape, centre, factors, strict=True):
        edges = (np.arange(n + 1) / s) - 0.5
        lines.append(np.diff(ndtr((edges - c) / sigma)) * s)
    return np.outer(*lines)


def in_double(where: Footprint) -> Footprint:
    return replace(where, fraction=(where.fraction[0].double(), where.fraction[1].double()))


def prediction(image: np.ndarray, grid: Target, transform: object, shape: tuple[int, int] = NATIVE) -> tuple:
    zeros = np.zeros(shape, np.float32)
    frame = PreparedFrame("frame", zeros, zeros + 1, zeros.astype(bool), transform)  # type: ignore[arg-type]
    return predict_frame(image.astype(np.float32), grid, frame)


@given(
    dy=shifts,
    dx=shifts,
    degrees=st.floats(-180, 180),
    scale=st.floats(0.8, 1.25),
    rows=st.sampled_from(FACTORS),
    columns=st.sampled_from(FACTORS),
    seed=st.integers(0, 2**16),
)
def test_going_back_is_the_exact_adjoint(dy, dx, degrees, scale, rows, columns, seed):
    canvas = Canvas.around(target(rows, columns))
    turn = Affine.about((14.5, 17.5), np.radians(degrees), scale, (dy, dx))
    where = footprint(canvas, turn, NATIVE)
    assert where is not None
    where, predictor = in_double(where), Predictor(canvas, 1 / scale)
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(canvas.shape, generator=random, dtype=torch.float64)
    y = torch.randn(len(where.base), generator=random, dtype=torch.float64)
    there, back = predictor.predict(x, where), predictor.adjoint(y, where)
    error = abs(float(there @ y) - float((x * back).sum()))
    assert error < 1e-6 * float(there.norm() * y.norm())


def test_going_back_is_the_exact_adjoint_through_a_local_warp():
    canvas = Canvas.around(target())
    field = np.random.default_rng(1).normal(0, 0.4, (8, 9, 2))
    where = in_double(footprint(canvas, Displacement(field, 6.0, (-4.0, -4.0)), NATIVE))
    predictor, random = Predictor(canvas), torch.Generator().manual_seed(2)
    x = torch.randn(canvas.shape, generator=random, dtype=torch.float64)
    y = torch.randn(len(where.base), generator=random, dtype=torch.float64)
    assert torch.isclose(
        predictor.predict(x, where) @ y, (x * predictor.adjoint(y, where)).sum(), rtol=0, atol=1e-6
    )


@given(
    dy=shifts,
    dx=shifts,
    row=st.floats(11, 19),
    column=st.floats(11, 24),
    factor=st.sampled_from([Fraction(2), Fraction(8, 3), Fraction(3)]),
)
def test_a_predicted_star_is_its_light_in_each_pixel_wherever_it_falls(dy, dx, row, column, factor):
    grid, factors = target(factor), (float(factor), float(factor))
    image = star(grid.shape, (row, column), 0.8, factors)
    predicted, unknown = prediction(image, grid, Affine.shift(dy, dx))
    expected = star(NATIVE, (row + dy, column + dx), 0.8, (1.0, 1.0))
    # Between fine pixels there are splines: what they lack of so narrow a star.
    assert np.abs(predicted - expected)[~unknown].max() < 3e-3 * expected.max()
    assert predicted.sum() == pytest.approx(1.0, rel=3e-4)
    found = [(predicted * g).sum() for g in np.mgrid[: NATIVE[0], : NATIVE[1]]]
    np.testing.assert_allclose(found, (row + dy, column + dx), rtol=0, atol=4e-3)


@given(degrees=st.floats(-180, 180), scale=st.floats(0.9, 1.1), dy=shifts, dx=shifts)
def test_a_turned_frame_of_another_pixel_size_sees_the_star_where_the_transform_puts_it(
    degrees, scale, dy, dx
):
    grid = target()
    turn = Affine.about((14.5, 17.5), np.radians(degrees), scale, (dy, dx))
    place = np.array([14.2, 18.3])
    image = star(grid.shape, place, 1.0, (2.0, 2.0))
    predicted, unknown = prediction(image, grid, turn, (44, 44))
    # A level: light per native area of the reference.
    expected = star((44, 44), turn(place), scale * 1.0, (1.0, 1.0)) * scale**2
    # The pixel's square is not turned with the frame, and its size is rounded to 2 %.
    assert np.abs(predicted - expected)[~unknown].max() < 6e-3 * expected.max()
    weights = np.where(unknown, 0, predicted)
    found = [(weights * g).sum() / weights.sum() for g in np.mgrid[:44, :44]]
    np.testing.assert_allclose(found, turn(place), rtol=0, atol=2e-3)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_flat_scene_gives_flat_frames_for_any_factor(factor):
    grid = target(factor)
    predicted, unknown = prediction(
        np.full(grid.shape, 7.25), grid, Affine.about((14, 17), 0.3, 1.0, (1.3, 0.2))
    )
    np.testing.assert_allclose(predicted[~unknown], 7.25, rtol=1e-5)


def test_what_lies_beyond_the_field_or_is_nan_is_unknown():
    grid = target()
    image = np.ones(grid.shape)
    image[20:24, 30:34] = np.nan
    _, unknown = prediction(image, grid, Affine.shift(5, 0))
    assert unknown[:5].all()
    assert unknown[15:17, 15:17].all()
    assert not unknown[6:14].any()
    assert np.isfinite(prediction(image, grid, Affine.shift(5, 0))[0]).all()


def test_slopes_are_the_derivatives_by_the_position():
    grid = target()
    canvas = Canvas.around(grid)
    predictor = Predictor(canvas)
    scene = torch.zeros(canvas.shape, dtype=torch.float64)
    scene[canvas.inside(slice(0, 60), slice(0, 72))] = torch.from_numpy(
        star(grid.shape, (14, 17), 0.9, (2, 2))
    )
    c, step = predictor.coefficients(scene), 1e-3

    def seen(dy: float, dx: float) -> tuple[np.ndarray, Footprint]:
        where = in_double(footprint(canvas, Affine.shift(-dy, -dx), NATIVE))
        return on_window(predictor.sample(c, where), where), where

    # A frame moved by -d has its pixels at +d in the reference.
    (up, _), (down, _), (right, _), (left, _) = seen(step, 0), seen(-step, 0), seen(0, step), seen(0, -step)
    _, where = seen(0, 0)
    by_row, by_column = (on_window(s, where) for s in predictor.slopes(c, where))
    np.testing.assert_allclose(by_row, (up - down) / (2 * step), atol=1e-4)
    np.testing.assert_allclose(by_column, (right - left) / (2 * step), atol=1e-4)


def test_a_frame_that_misses_the_field_has_no_footprint():
    canvas = Canvas.around(target())
    assert footprint(canvas, Affine.shift(500, 0), NATIVE) is None
    assert footprint(canvas, Affine.shift(0, -90), NATIVE) is None


def test_a_footprint_picks_the_pixels_of_its_window_and_puts_them_back():
    canvas = Canvas.around(target(), slice(0, 20), slice(10, 40), margin=4)
    values = np.random.default_rng(3).random(NATIVE).astype(np.float32)
    where = footprint(canvas, Affine.about((10, 10), 0.4, 1.0, (0.3, 2.2)), NATIVE)
    picked = window_of(values, where)
    assert len(picked) == len(where.base) < values.size
    again = on_window(picked, where)
    known = np.isfinite(again)
    np.testing.assert_array_equal(again[known], values[where.rows, where.columns][known])
    assert known.sum() == len(picked)


@given(
    start=st.integers(0, 30),
    height=st.integers(8, 30),
    degrees=st.floats(-180, 180),
    dy=st.floats(-20, 20),
    dx=st.floats(-20, 20),
)
def test_a_tile_gets_every_pixel_that_falls_on_it(start, height, degrees, dy, dx):
    """The window searched is found along the rim; no pixel of the frame on the canvas may lie outside it."""
    grid = target()
    canvas = Canvas.around(grid, slice(start, start + height), slice(start, start + height), margin=4)
    turn = Affine.about((14, 17), np.radians(degrees), 1.0, (dy, dx))
    pixels = np.stack(np.mgrid[: NATIVE[0], : NATIVE[1]], -1).reshape(-1, 2)
    on = grid.fine(turn.inverse(pixels)) - np.array(canvas.start)
    first = np.floor(on) - 1
    inside = ((first >= 0) & (first <= np.array(canvas.shape) - 4)).all(axis=1)
    where = footprint(canvas, turn, NATIVE)
    assert (0 if where is None else len(where.base)) == inside.sum()


@given(degrees=st.floats(-180, 180), dy=st.floats(-9, 9), dx=st.floats(-9, 9), step=st.integers(5, 40))
def test_bands_share_out_the_pixels_of_a_frame_without_overlap(degrees, dy, dx, step):
    canvas = Canvas.around(target())
    turn = Affine.about((14, 17), np.radians(degrees), 1.0, (dy, dx))
    whole = footprint(canvas, turn, NATIVE)
    bands = [(top, min(top + step, canvas.shape[0])) for top in range(0, canvas.shape[0], step)]
    parts = [footprint(canvas, turn, NATIVE, band) for band in bands]
    for part, (top, bottom) in zip(parts, bands, strict=True):
        if part is not None:
            row = part.base // canvas.shape[1]
            assert top <= int(row.min())
            assert int(row.max()) < bottom
    found = torch.cat([p.base for p in parts if p is not None])
    assert torch.equal(found.sort().values, whole.base.sort().values)
