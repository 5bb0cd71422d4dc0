"""Labels are never mixed: the nearest, or the one with most votes, and none is lost or invented."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from sciSR.errors import ModelError, SciSRWarning, UsageError
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.inference import plan_upscale, upscale
from sciSR.inference.kinds import resample_labels
from sciSR.views import NearestView

F = Fraction


def volume(shape: tuple[int, int, int], n: int, seed: int, dtype: type = np.int16) -> np.ndarray:
    """Blobs of labels, some of a single voxel; with gaps in their numbers and, where they can be, negative ones."""
    rng = np.random.default_rng(seed)
    names = np.array([0, 3, 4, 17, 90, 101, 120])[:n]
    if np.issubdtype(dtype, np.signedinteger):
        names = np.concatenate([names, [-5]])
    rough = rng.integers(0, len(names), [max(1, s // 2) for s in shape])
    where = np.kron(rough, np.ones((2, 2, 2), dtype=int))
    where = np.pad(where, 1, mode="edge")[tuple(slice(0, s) for s in shape)]
    single = rng.random(shape) < 0.05
    where[single] = rng.integers(0, len(names), int(single.sum()))
    return names[where].astype(dtype)


def run(image: Image, factors: tuple[Fraction | int, ...], method: str, kernel: str = "auto") -> np.ndarray:
    plan = resample_labels(image, factors, method, kernel)
    out = np.full(plan.output.shape, 99, dtype=plan.output.dtype)

    def put(index: tuple[slice | int, ...], block: np.ndarray) -> None:
        out[index] = block

    final = plan.run(put)
    assert final.dtype == image.dtype
    assert final.provenance.steps[-1]["kind"]["method"] == method
    return out


def scores(data: np.ndarray, factors: tuple[Fraction | int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Each label's linearly interpolated indicator, all of them at once, by SciPy."""
    names = np.unique(data)
    at = [
        np.clip((np.arange(int(n * f)) + 0.5) / float(f) - 0.5, 0, n - 1)
        for n, f in zip(data.shape, factors, strict=True)
    ]
    grid = np.meshgrid(*at, indexing="ij")
    return names, np.stack([map_coordinates((data == k).astype(float), grid, order=1) for k in names])


SIZES = st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(2, 9))


@st.composite
def finer(draw: st.DrawFn) -> tuple[tuple[int, int, int], tuple[Fraction, ...]]:
    shape = draw(SIZES)
    return shape, tuple(F(n + draw(st.integers(0, 2 * n)), n) for n in shape)


@given(case=finer(), n=st.integers(1, 7), seed=st.integers(0, 99))
def test_the_label_is_the_one_whose_interpolated_indicator_is_highest(
    case: tuple[tuple[int, int, int], tuple[Fraction, ...]], n: int, seed: int
) -> None:
    shape, factors = case
    data = volume(shape, n, seed)
    out = run(Image.from_array(data, kind="labels"), factors, "argmax")
    names, every = scores(data, factors)
    chosen = np.take_along_axis(every, np.searchsorted(names, out)[None], axis=0)[0]
    lost = [k for k in names if not (names[every.argmax(axis=0)] == k).any()]
    kept_by_force = np.isin(out, lost)
    assert np.all(every.max(axis=0)[~kept_by_force] - chosen[~kept_by_force] <= 2e-6)


@given(
    case=finer(),
    n=st.integers(1, 7),
    seed=st.integers(0, 99),
    method=st.sampled_from(["nearest", "argmax"]),
    kernel=st.sampled_from(["linear", "cubic"]),
    dtype=st.sampled_from([np.uint8, np.int16, np.int64, np.float32]),
)
def test_type_and_set_of_labels_are_kept(
    case: tuple[tuple[int, int, int], tuple[Fraction, ...]],
    n: int,
    seed: int,
    method: str,
    kernel: str,
    dtype: type,
) -> None:
    shape, factors = case
    data = volume(shape, n, seed, dtype)
    out = run(Image.from_array(data, kind="labels"), factors, method, kernel)
    assert out.dtype == data.dtype
    assert set(np.unique(out)) == set(np.unique(data))


def test_noise_of_a_hundred_labels_loses_none_however_small_the_factor() -> None:
    data = np.random.default_rng(3).permutation(216).reshape(6, 6, 6).astype(np.int32)
    out = run(Image.from_array(data, kind="labels"), (F(7, 6), F(7, 6), F(8, 6)), "argmax")
    assert set(np.unique(out)) == set(range(216))


@given(case=finer(), seed=st.integers(0, 99))
def test_nearest_is_the_voxel_that_the_centre_lies_in(
    case: tuple[tuple[int, int, int], tuple[Fraction, ...]], seed: int
) -> None:
    shape, factors = case
    data = volume(shape, 5, seed)
    image = Image.from_array(data, kind="labels")
    assert np.array_equal(run(image, factors, "nearest"), NearestView(data, factors)[...])


def test_a_tie_goes_to_the_nearest_label_and_flat_regions_stay() -> None:
    data = np.array([[[0, 0, 9, 9]] * 3], dtype=np.uint8)
    out = run(Image.from_array(data, kind="labels"), (1, F(5, 3), F(5, 4)), "argmax")
    # the middle column's centre is on the edge: as near to 0 as to 9, and nearest neighbour takes the upper one
    assert out[0, 0].tolist() == [0, 0, 9, 9, 9]
    assert out[0, 0].tolist() == NearestView(data, (1, F(5, 3), F(5, 4)))[0, 0, :].tolist()


def test_the_outline_of_a_disc_is_nearer_to_the_truth_than_with_nearest() -> None:
    def disc(size: int) -> np.ndarray:
        y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
        return (np.hypot(x, y) < 0.35).astype(np.uint8)

    image = Image.from_array(disc(32), kind="labels")
    wrong = {
        how: np.mean(np.asarray(upscale(image, 4, label_method=how).data) != disc(128))
        for how in ("nearest", "argmax")
    }
    assert wrong["argmax"] < 0.9 * wrong["nearest"]


def test_a_coarser_axis_takes_the_label_with_the_largest_share() -> None:
    data = np.zeros((6, 4, 4), np.int16)
    data[:2], data[2:3], data[3:] = 5, 7, 9
    with pytest.warns(SciSRWarning, match="1 of 3 labels"):
        out = run(Image.from_array(data, kind="labels"), (F(1, 3), 1, 2), "argmax")
    assert out[:, 0, 0].tolist() == [5, 9]
    assert out.shape == (2, 4, 8)


def test_labels_too_small_for_a_coarser_grid_are_told_of() -> None:
    data = np.zeros((6, 4, 4), np.int16)
    data[1, 1, 1] = 3
    with pytest.warns(SciSRWarning, match="1 of 2 labels are too small"):
        run(Image.from_array(data, kind="labels"), (F(1, 3), 1, 1), "argmax")


def test_bad_voxels_have_no_vote_and_keep_their_value() -> None:
    data = np.ones((1, 6, 6), np.float32)
    data[0, 2, 2] = np.nan
    mask = np.zeros(data.shape, bool)
    data[0, 4, 4], mask[0, 4, 4] = 77, True
    out = run(Image.from_array(data, kind="labels", mask=mask), (1, 3, 3), "argmax")
    assert np.isnan(out[0, 6:9, 6:9]).all()
    assert (out[0, 12:15, 12:15] == 77).all()
    out[0, 6:9, 6:9] = out[0, 12:15, 12:15] = 1
    assert (out == 1).all()


@settings(max_examples=10)
@given(order=st.permutations(["x", "y", "z", "t"]), seed=st.integers(0, 99))
def test_any_order_of_axes_and_a_series_give_the_same(order: list[str], seed: int) -> None:
    data = np.stack([volume((3, 5, 6), 5, seed + k) for k in range(2)], axis=-1)
    factors = dict(zip("zyxt", (F(7, 3), F(2), F(3, 2), F(1)), strict=True))
    plain = run(
        Image(data=data, axes=tuple("zyxt"), spatial=("y", "x"), kind="labels"),
        tuple(factors.values()),
        "argmax",
    )
    moved = np.transpose(data, ["zyxt".index(name) for name in order])
    image = Image(data=moved, axes=tuple(order), spatial=("y", "x"), kind="labels")
    out = run(image, tuple(factors[name] for name in order), "argmax")
    back = np.transpose(out, [order.index(name) for name in "zyxt"])
    assert np.array_equal(back, plain)


def test_the_grid_of_a_volume_is_refined_along_its_slices() -> None:
    grid = AffineGrid((4, 6, 5), np.diag([1.0, 1.0, 4.0, 1.0]))
    image = Image(
        data=volume((4, 6, 5), 4, 0), axes=("x", "y", "z"), spatial=("x", "y"), grid=grid, kind="labels"
    )
    plan = resample_labels(image, (1, 1, F(21, 5)), "argmax")
    assert plan.output.shape == (4, 6, 21)
    assert plan.output.grid.spacing[2] == pytest.approx(4 * 5 / 21)
    assert plan.messages == ["a label map: argmax of linear one-hot"]


def test_in_the_plane_the_method_is_an_option_and_nearest_the_default() -> None:
    data = volume((2, 7, 9), 5, 1)
    image = Image.from_array(data, kind="labels")
    factors = (F(1), F(2), F(2))
    assert np.array_equal(upscale(image, 2).data, NearestView(data, factors)[...])
    assert np.array_equal(upscale(image, 2, label_method="argmax").data, run(image, factors, "argmax"))
    cubic = upscale(image, 2, "cubic", label_method="argmax")
    assert np.array_equal(cubic.data, run(image, factors, "argmax", "cubic"))


def test_what_can_not_be_is_refused_in_one_line() -> None:
    image = Image.from_array(volume((2, 7, 9), 5, 1), kind="labels")
    with pytest.raises(ModelError, match="label-method argmax"):
        plan_upscale(image, 2, "linear")
    with pytest.raises(UsageError, match="not interpolated by lanczos"):
        plan_upscale(image, 2, "lanczos", label_method="argmax")
    with pytest.raises(UsageError, match="unknown label method"):
        plan_upscale(image, 2, label_method="vote")
    with pytest.raises(UsageError, match="unknown label method"):
        resample_labels(image, (1, 2, 2), "vote")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="whole pixels"):
        _ = resample_labels(image, (1, F(3, 2), 2)).output
