"""Whether an upscaled volume shows what its input shows, where its header says: displaced, flipped, rescaled, shuffled.

The headers alone can't tell: a resampler that aligns corners (``scipy.ndimage.zoom`` by default) moves the content by
up to half a pixel, whatever affine is written beside it. So the content is compared. Each input voxel is compared with
the mean of the output over the same volume of the world; the difference is explained by the input's gradient times a
displacement that is linear along each axis (one step of Lucas and Kanade 1981, with the smoothing of an interpolation
as second differences), by least squares. Symmetric kernels leave no trace in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from sciSR.image import Image
from sciSR.verify.result import Check

DISPLACED = 0.1
"""Input voxels; a resampler that aligns corners is off by 0.25 at factor 2 and by 0.375 at factor 4. The nearest
neighbour at factor 3/2 rightly is off by 1/6: every third of its pixels lies between two."""
_RUNS, _STRIPS = (24, 5, 5), (96, 6, 16)
_BINS, _TAIL = 64, 0.05
_CELL = 8
_GAIN, _GAIN_OF_FEW = 0.1, 0.3
_FEW = 27
_NOISY = 0.25
_NEAR = 24
_RELATED = 0.5
Box = tuple[slice, ...]


@dataclass
class _Sums:
    """Normal equations of the displacement, means of cells, and what the flips would correlate to."""

    size: int
    products: np.ndarray = field(init=False)
    right: np.ndarray = field(init=False)
    energy: np.ndarray = field(init=False)
    squares: float = 0.0
    count: int = 0
    cells: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    voxels: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.energy = np.zeros((3, _BINS))
        self.products, self.right = np.zeros((self.size, self.size)), np.zeros(self.size)

    def reach(self, axis: int) -> np.ndarray:
        """Between which places along an axis, from -1 to 1, nearly all of the structure lies: only there is a
        displacement seen."""
        share = np.cumsum(self.energy[axis]) / self.energy[axis].sum()
        ends = [np.searchsorted(share, _TAIL), np.searchsorted(share, 1 - _TAIL)]
        return (np.array(ends) + 0.5) * 2 / _BINS - 1

    def add(self, terms: np.ndarray, difference: np.ndarray) -> None:
        self.products += terms @ terms.T
        self.right += terms @ difference
        self.squares += float(difference @ difference)
        self.count += difference.size


def content_checks(before: Image, after: Image, mapping: np.ndarray, *, slices: int | None) -> list[Check]:
    """Displacement, flips, scale of values and order of slices, by content.

    Parameters
    ----------
    before, after : Image
        With the same axes; the first three (of a 2-D image, two) lie in space. Of further axes the first entry is
        looked at.
    mapping : ndarray, shape (4, 4)
        Index in `before` to index in `after`, by what the headers say.
    slices : int or None
        Axis along which the order of slices is looked at.

    Returns
    -------
    list of Check
    """
    if np.linalg.norm(mapping[:3, :3], axis=0).max() <= 1 and math.prod(after.shape) < math.prod(
        before.shape
    ):
        # A coarser output shows means of the input's voxels: the input is what is finer.
        before, after, mapping = after, before, np.linalg.inv(mapping)
    values = _reader(before, before), _reader(after, before)
    if before.kind == "phase":
        return [
            Check("geometry", "content in place", "skipped", "phases wrap: their content is not compared")
        ]
    space = min(3, len(before.shape))
    sums = _Sums(2 + 3 * space)
    for box in _boxes(before.shape[:space], slices):
        _add_block(sums, values, box, mapping, before.shape[:space], after.shape[:space])
    if not sums.cells:
        return [Check("geometry", "content in place", "failed", "the output covers no voxel of the input")]
    few = sum(len(one) for one, _ in sums.cells) < _FEW
    one, two = (np.concatenate([pair[k] for pair in (sums.voxels if few else sums.cells)]) for k in (0, 1))
    # Where an image is noise its cells hardly differ: what is a small share of the voxels' own spread is no offset.
    spread = float(np.concatenate([pair[0] for pair in sums.voxels]).std())
    checks = _scale_of_values(one, two, _GAIN_OF_FEW if few else _GAIN, _NOISY * spread)
    if one.std() <= 1e-6 * max(abs(one).max(), 1e-30):
        return [
            Check("geometry", "content in place", "skipped", "the input is constant where looked at"),
            *checks,
        ]
    likeness = _correlation(*(np.concatenate([pair[k] for pair in sums.voxels]) for k in (0, 1)))
    if likeness < 0.9 and (flipped := _flipped(values, mapping, (before, after), slices, likeness)):
        return [Check("geometry", "content in place", "failed", flipped, round(likeness, 3))]
    if likeness < _RELATED:
        message = f"the output does not show the input: correlation {likeness:.2f}"
        return [Check("geometry", "content in place", "failed", message, round(likeness, 3), _RELATED)]
    placed = _displacement(sums, before, space)
    if placed.status == "failed" and _copies(values, mapping, before, after):
        message = f"{placed.message.partition(':')[0]}: pixels are copies, at a fractional factor some of a neighbour"
        placed = replace(placed, status="passed", message=message, limit=0.5)
    checks.insert(0, placed)
    if slices is not None and slices < space and before.shape[slices] > 2:
        checks.insert(1, _slice_order(values, mapping, before, after, slices))
    return checks


Read = Callable[[Box], np.ndarray]


def _reader(image: Image, like: Image) -> Read:
    """Blocks of the first three axes as floats; labels as foreground, complex values as magnitude."""
    space = min(3, len(image.shape))

    def read(box: Box) -> np.ndarray:
        block = np.asarray(image.data[(*box, *(slice(0, 1),) * (len(image.shape) - space))])
        block = block.reshape(block.shape[:space])
        if like.kind == "labels":
            return (block != 0).astype(np.float64)
        block = np.abs(block) if block.dtype.kind == "c" else block.astype(np.float64)
        if image.mask is not None:
            bad = np.asarray(image.mask[(*box, *(slice(0, 1),) * (len(image.shape) - space))])
            block = np.where(bad.reshape(block.shape), np.nan, block)
        return np.where(np.isfinite(block), block, np.nan)

    return read


def _boxes(shape: tuple[int, ...], slices: int | None) -> Iterator[Box]:
    """Runs of slices and strips of rows, spread over the field, each over the whole width."""
    order = [axis for axis in range(len(shape)) if axis != slices]
    ranges = [[slice(0, n)] for n in shape]
    if slices is not None and slices < len(shape):
        ranges[slices] = _spread(shape[slices], *_RUNS)
    ranges[order[0]] = _spread(shape[order[0]], *_STRIPS)
    return itertools.product(*ranges)


def _spread(size: int, whole: int, count: int, length: int) -> list[slice]:
    """The whole of a short axis, else `count` ranges of some length from end to end."""
    if size <= whole:
        return [slice(0, size)]
    return [slice(s, s + length) for s in np.linspace(0, size - length, count).round().astype(int).tolist()]


def _means(read: Read, box: Box, mapping: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of the output over each input voxel of a box, shape of the box; NaN where the output does not reach."""
    from scipy.ndimage import map_coordinates

    space = len(shape)
    linear, offset = mapping[:space, :space], mapping[:space, 3]
    counts = [max(1, int(np.ceil(np.linalg.norm(linear[:, k]) - 0.01))) for k in range(space)]
    ends = (
        np.array(list(itertools.product(*[(b.start - 0.5, b.stop - 0.5) for b in box]))) @ linear.T + offset
    )
    low = np.clip(np.floor(ends.min(axis=0)) - 1, 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(ends.max(axis=0)) + 2, low + 1, shape).astype(int)
    fine = read(tuple(slice(a, b) for a, b in zip(low, high, strict=True)))
    index = np.stack(np.meshgrid(*[np.arange(b.start, b.stop) for b in box], indexing="ij")).astype(
        np.float64
    )
    total = np.zeros(index.shape[1:])
    for within in itertools.product(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts]):
        point = index + np.reshape(within, (-1, *(1,) * space))
        at = np.einsum("ij,j...->i...", linear, point) + offset.reshape(-1, *(1,) * space)
        sizes = np.reshape(shape, (-1, *(1,) * space))
        outside = ((at < -0.55) | (at > sizes - 0.45)).any(axis=0)
        local = np.rint(at * 1e6) / 1e6 - low.reshape(-1, *(1,) * space)
        total += np.where(outside, np.nan, map_coordinates(fine, local, order=1, mode="nearest"))
    return total / np.prod(counts)


def _add_block(
    sums: _Sums,
    values: tuple[Read, Read],
    box: Box,
    mapping: np.ndarray,
    shape: tuple[int, ...],
    fine: tuple[int, ...],
) -> None:
    old, new = values[0](box), _means(values[1], box, mapping, fine)
    good = np.isfinite(old) & np.isfinite(new)
    if not good.any():
        return
    sums.cells.append(_cells(old, new, good))
    sums.voxels.append((old[good], new[good]))
    terms = [np.ones(old.shape), old]
    inner, places = np.ones(old.shape, dtype=bool), []
    for axis, n in enumerate(shape):
        gradient, curvature = np.zeros(old.shape), np.zeros(old.shape)
        if old.shape[axis] > 2:
            before, after = np.roll(old, 1, axis), np.roll(old, -1, axis)
            gradient, curvature = (after - before) / 2, before + after - 2 * old
            np.moveaxis(inner, axis, 0)[[0, -1]] = False
        place = (np.arange(box[axis].start, box[axis].stop) - (n - 1) / 2) / max((n - 1) / 2, 1)
        along = np.broadcast_to(place.reshape([-1 if k == axis else 1 for k in range(old.ndim)]), old.shape)
        terms += [gradient, gradient * along, curvature]
        places.append(along)
    inner &= good & np.all([np.isfinite(t) for t in terms], axis=0)
    if inner.any():
        sums.add(np.stack([t[inner] for t in terms]), (new - old)[inner])
        for axis, along in enumerate(places):
            weight = terms[2 + 3 * axis][inner] ** 2
            sums.energy[axis] += np.histogram(along[inner], _BINS, (-1, 1), weights=weight)[0]


def _cells(old: np.ndarray, new: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of small cubes, without most of the noise, whose smoothing would pass for a loss of scale."""
    sides = [min(n, _CELL) for n in old.shape]
    at = tuple(slice(0, n - n % side) for n, side in zip(old.shape, sides, strict=True))
    old, new, good = (a[at] for a in (old, new, good))
    shape = [v for n, side in zip(old.shape, sides, strict=True) for v in (n // side, side)]
    inner = tuple(range(1, 2 * old.ndim, 2))
    weight = good.reshape(shape).sum(axis=inner)
    kept = weight > 0
    one, two = (np.where(good, a, 0).reshape(shape).sum(axis=inner)[kept] / weight[kept] for a in (old, new))
    return one, two


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    spread = float(one.std() * two.std())
    return float(((one - one.mean()) * (two - two.mean())).mean()) / spread if spread > 0 else 0.0


def _flipped(
    values: tuple[Read, Read],
    mapping: np.ndarray,
    images: tuple[Image, Image],
    slices: int | None,
    likeness: float,
) -> str:
    """In words, if the output turned around along some axes is much more like the input."""
    before, after = images
    space = min(3, len(before.shape))
    best, words = likeness + 0.1, ""
    for flips in itertools.product((False, True), repeat=space):
        turn = np.eye(4)
        for axis in np.flatnonzero(flips):
            turn[axis, axis], turn[axis, 3] = -1, after.shape[axis] - 1
        cells = []
        for box in _boxes(before.shape[:space], slices) if any(flips) else ():
            old, new = values[0](box), _means(values[1], box, turn @ mapping, after.shape[:space])
            good = np.isfinite(old) & np.isfinite(new)
            cells += [(old[good], new[good])] if good.any() else []
        if cells and (found := _correlation(*(np.concatenate(c) for c in zip(*cells, strict=True)))) > best:
            names = ", ".join(before.axes[axis] for axis in np.flatnonzero(flips))
            best, words = (
                found,
                f"the output is flipped along {names}: correlation {found:.2f}, as it is {likeness:.2f}",
            )
    return words


def _displacement(sums: _Sums, before: Image, space: int) -> Check:
    """The largest displacement, along each axis that has some structure."""
    name, unit = "content in place", "input voxels"
    scale = np.sqrt(np.diag(sums.products))
    used = scale > 1e-9 * scale.max(initial=0)
    if sums.count < 50 or used.sum() < 3:
        return Check("geometry", name, "skipped", "too little content to tell where it is")
    products = sums.products[np.ix_(used, used)] / np.outer(scale[used], scale[used])
    inverse = np.linalg.pinv(products, rcond=1e-10)
    solved, error = np.zeros(sums.size), np.zeros(sums.size)
    solved[used] = inverse @ (sums.right[used] / scale[used])
    rest = max(sums.squares - float(solved[used] @ (sums.right[used] / scale[used])), 0) / sums.count
    error[used] = np.sqrt(rest * np.diag(inverse)) / scale[used]
    solved[used] /= scale[used]
    worst, where, unsure = 0.0, "", []
    for axis in range(space):
        shift, stretch = (2 + 3 * axis, 3 + 3 * axis)
        if not used[shift]:
            continue
        ends = sums.reach(axis)
        found = float(np.abs(solved[shift] + solved[stretch] * ends).max())
        doubt = 3 * float(error[shift] + error[stretch] * np.abs(ends).max())
        if doubt > DISPLACED and found <= doubt:
            unsure.append(before.axes[axis])
        elif found >= worst:
            worst = found
            where = f"{solved[shift]:+.3f} in the middle, {solved[stretch]:+.3f} more at the end of {before.axes[axis]}"
    if not where:
        return Check("geometry", name, "skipped", "too little content to tell where it is")
    message = f"displaced by {worst:.3f} input voxels at most ({where})"
    if unsure:
        message += f"; too little content along {', '.join(unsure)}"
    status = "failed" if worst > DISPLACED else "passed"
    if status == "failed":
        message += ": the pixels are not where the header says"
    return Check("geometry", name, status, message, round(worst, 4), DISPLACED, unit)


def _copies(values: tuple[Read, Read], mapping: np.ndarray, before: Image, after: Image) -> bool:
    """Whether output pixels are copies of input ones, and a factor is no whole number: the nearest neighbour."""
    space = min(3, len(before.shape))
    sizes = np.linalg.norm(mapping[:space, :space], axis=0)
    if np.allclose(sizes, np.rint(sizes), atol=1e-6):
        return False
    box = tuple(slice(n // 3, n // 3 + max(1, min(12, n // 3))) for n in before.shape[:space])
    ends = np.array([[b.start + 0.5, b.stop - 1.5] for b in box])
    ends = np.sort(mapping[:space, :space] @ ends + mapping[:space, 3:], axis=1)
    low, high = np.ceil(ends[:, 0]).astype(int), np.floor(ends[:, 1]).astype(int) + 1
    if (low < 0).any() or (high > after.shape[:space]).any() or (high <= low).any():
        return False
    fine = values[1](tuple(slice(a, b) for a, b in zip(low, high, strict=True)))
    return bool(np.isin(fine, values[0](box)).mean() > 0.999)


def _scale_of_values(one: np.ndarray, two: np.ndarray, most: float, least_spread: float) -> list[Check]:
    """Gain and offset between means of cells of the input and of the output; offsets are shares of the cells' spread,
    or of `least_spread`."""
    spread, middle = float(one.std()), float(one.mean())
    name = "scale of values"
    if spread <= 1e-6 * max(abs(one).max(), 1e-30):
        off = abs(float(two.mean()) - middle)
        fine = off <= 1e-3 * max(abs(middle), 1e-30) or off < 1e-12
        message = f"mean {two.mean():.6g}, of the input {middle:.6g}"
        return [Check("values", name, "passed" if fine else "failed", message)]
    gain = float(((one - middle) * (two - two.mean())).mean()) / spread**2
    shift = (float(two.mean()) - middle) / max(spread, least_spread)
    message = (
        f"values are {gain:.3g} times the input's, their mean is {shift:+.3g} of its standard deviation off"
    )
    fine = abs(gain - 1) <= most and abs(shift) <= most
    return [Check("values", name, "passed" if fine else "failed", message, round(gain, 4), 1 + most)]


def _slice_order(
    values: tuple[Read, Read], mapping: np.ndarray, before: Image, after: Image, axis: int
) -> Check:
    """Each slice of the input must be more like its own place in the output than like the places beside it."""
    space = min(3, len(before.shape))
    box = tuple(
        slice(0, n) if k == axis else slice(max(0, n // 2 - 32), min(n, n // 2 + 32))
        for k, n in enumerate(before.shape[:space])
    )
    old = np.moveaxis(values[0](box), axis, 0)
    new = np.moveaxis(_means(values[1], box, mapping, after.shape[:space]), axis, 0)
    count, wrong = len(old), []
    spread = float(np.nanstd(old))
    for k in range(count):
        others = [j for j in range(max(0, k - _NEAR), min(count, k + _NEAR + 1)) if j != k]
        apart = [float(np.sqrt(np.nanmean((new[k] - old[j]) ** 2))) for j in (k, *others)]
        if np.isfinite(apart[0]) and apart[0] > 0.02 * spread and min(apart[1:]) < 0.5 * apart[0]:
            wrong.append(k)
    if wrong:
        shown = ", ".join(str(k) for k in wrong[:6]) + (", ..." if len(wrong) > 6 else "")
        message = f"{len(wrong)} of {count} slices show what belongs to others: {shown} (counted from 0)"
        return Check("geometry", "order of slices", "failed", message, len(wrong), 0)
    return Check("geometry", "order of slices", "passed", f"{count} slices, each shows its own place")
