"""An isotropic plan at work: in-plane step, learning, then tile by tile; memory does not grow with the volume."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciSR.forward.slice_sampling import along
from sciSR.image import Image
from sciSR.inference.fill import fill_bad
from sciSR.inference.flags import touches
from sciSR.inference.kinds_parts import reserve
from sciSR.inference.planes import full_folder_named
from sciSR.inference.statistics import bad_pixels
from sciSR.inference.tiles import Span
from sciSR.inference.upscaling import Progress, Put, out_of_float32
from sciSR.throughplane.apply import Tile, as_tensor, detail, enlarged, tiles
from sciSR.throughplane.method import matrix_of
from sciSR.throughplane.uncertainty import Deviations
from sciSR.views import NearestView

if TYPE_CHECKING:
    from sciSR.throughplane.plan import IsotropicPlan

_LEARNING_COST = 3.3
"""Of a pixel in training, forward, backward and the optimiser, relative to one that is only run."""


_TURNS = 30
"""Of clipping and projecting where values have bounds."""


def run(plan: IsotropicPlan, put: Put, progress: Progress, deviations: Deviations | None = None) -> Image:
    """See `IsotropicPlan.run`; `deviations` takes the place of the plan's own, for calibration."""
    shares = _shares(plan)
    staged = in_plane(plan, _part(progress, 0.0, shares[0]))
    network = learned(plan, staged, _part(progress, shares[0], shares[1]))
    if deviations is None and plan.uncertain is not None:
        deviations = Deviations(plan, matrix_of(plan.method, plan.operator))
    work = _Run(plan, staged, network, put, deviations)
    work.all(_part(progress, shares[0] + shares[1], shares[2]))
    progress(1.0)
    found = None if deviations is None else deviations.record()
    step = plan.record(agreement=work.agreement(), spread=work.spread(), uncertainty=found)
    return plan.output.replace(
        provenance=staged.provenance.add(**step),
        uncertainty=plan.output.uncertainty if deviations is None else deviations.stored,
    )


def _part(progress: Progress, start: float, share: float) -> Progress:
    return lambda fraction: progress(start + share * fraction)


def _shares(plan: IsotropicPlan) -> tuple[float, float, float]:
    """Of the time: in-plane step, learning, applying."""
    pixels = math.prod(plan.image.shape)
    network = pixels * len(plan.views) if plan.method.network else pixels * 0.05
    learning = plan.method.steps * 16 * 48 * 24 * _LEARNING_COST
    enlarging = [f for f in plan.target.in_plane if f > 1]
    first = pixels * 0.5 * float(math.prod(enlarging)) if enlarging else 0.0
    total = first + learning + network
    return first / total, learning / total, network / total


# -- the in-plane step ------------------------------------------------------------------------------------------------


def in_plane(plan: IsotropicPlan, progress: Progress) -> Image:
    """The volume with its slices' pixels at the target's spacing; the volume itself where they are already."""
    image = plan.image
    if all(f == 1 for f in plan.target.in_plane):
        return image
    from sciSR.throughplane.in_plane import coarser, finer

    larger = tuple(min(f, Fraction(1)) for f in plan.target.in_plane)
    smaller = tuple(max(f, Fraction(1)) for f in plan.target.in_plane)
    if larger != (1, 1):
        image = coarser(image, larger, scratch_array)
    if smaller != (1, 1):
        image = finer(image, smaller, scratch_array, str(plan.device), progress)
    return image


def scratch_array(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array on disk, in a file without a name: nothing is left however the process ends.

    Raises
    ------
    ResourceError
        The folder of temporary files is full: writing to the map of a file without space would end the process.
    """
    with full_folder_named(), tempfile.TemporaryFile(prefix=".scisr-") as file:  # the map keeps it alive
        reserve(file.fileno(), 4 * math.prod(shape))
        return np.memmap(file, np.float32, "r+", 0, shape)


# -- learning ---------------------------------------------------------------------------------------------------------


def learned(plan: IsotropicPlan, image: Image, progress: Progress) -> Any:
    """The network, after it has learned from the volume."""
    method = plan.method
    if not method.network:
        return None
    if method.model is None:
        from sciSR.models.through_plane import ThroughPlane

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network: Any = ThroughPlane()
    else:
        network = copy.deepcopy(method.model)
    network = network.to(plan.device)
    if method.steps and plan.normaliser.scale > 0:  # a constant teaches nothing
        from sciSR.throughplane.learning import Schedule, Task, fit
        from sciSR.throughplane.sharp import VolumeSlices

        slices = slices_to_learn_from(plan, image)
        schedule = Schedule(method.steps, lr=method.lr, seed=plan.seed, bf16=plan.bf16)
        network = fit(
            network,
            VolumeSlices(np.ascontiguousarray(slices)),
            Task.of(plan.operator),
            schedule,
            lambda step, loss, _: progress(step / method.steps),
        )
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def slices_to_learn_from(plan: IsotropicPlan, image: Image) -> np.ndarray:
    """Slices ``[n, X, Y]``, normalised, of the first volume that holds any structure: a series may begin with none."""
    slices = np.empty(0)
    for index in volumes(image):
        volume = Volume(plan, image, index)
        values, bad, _ = volume.read(Tile((0, volume.shape[0]), (0, volume.shape[1])))
        slices = np.moveaxis(volume.normalised(values), 2, 0)
        if (bad is None or not bad.all()) and np.ptp(slices) > 0:
            break
    return slices


# -- volumes and tiles ------------------------------------------------------------------------------------------------


def volumes(image: Image) -> Iterator[tuple[Any, ...]]:
    """One index per volume: slices along the three axes of space, numbers along all others."""
    space = {*image.spatial_axes, image.slice_axis}
    outer = tuple(1 if axis in space else n for axis, n in enumerate(image.shape))
    for index in np.ndindex(*outer):
        yield tuple(slice(None) if axis in space else int(i) for axis, i in enumerate(index))


class Volume:
    """One volume of an image: thick slices by tiles, ``[X, Y, slices]``."""

    def __init__(self, plan: IsotropicPlan, image: Image, index: tuple[Any, ...]) -> None:
        self.plan, self.image, self.index = plan, image, index
        first, second = image.spatial_axes
        assert image.slice_axis is not None
        self.axes = (first, second, image.slice_axis)
        self.shape = (image.shape[first], image.shape[second])

    def place(self, tile: Tile) -> tuple[Any, ...]:
        """Index of a tile, all slices, into the image's data."""
        told = {
            self.axes[0]: slice(*tile.rows),
            self.axes[1]: slice(*tile.columns),
            self.axes[2]: slice(None),
        }
        return tuple(told.get(axis, entry) for axis, entry in enumerate(self.index))

    def ordered(self, block: np.ndarray) -> np.ndarray:
        """A block as it lies in the data -> ``[X, Y, slices]``."""
        return block.transpose(self._kept())

    def restored(self, block: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`ordered`."""
        return block.transpose(np.argsort(self._kept()))

    def _kept(self) -> tuple[int, ...]:
        return tuple(sorted(self.axes).index(axis) for axis in self.axes)

    def read(self, tile: Tile) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Values (float64, bad ones filled), where they are bad (None: nowhere), and the values as they stand."""
        index = self.place(tile)
        raw = self.ordered(np.asarray(self.image.data[index]))
        if not self.plan.has_bad:
            return raw.astype(np.float64), None, raw
        mask = None if self.image.mask is None else self.ordered(np.asarray(self.image.mask[index]))
        bad = bad_pixels(raw, mask)
        values = raw.astype(np.float64)
        if bad.any():
            for k in np.flatnonzero(bad.any((0, 1))):
                level = self.plan.normaliser.offset
                values[..., k] = fill_bad(np.where(bad[..., k], level, values[..., k]), bad[..., k], level)
        return values, bad if bad.any() else None, raw

    def normalised(self, values: np.ndarray) -> np.ndarray:
        return self.plan.normaliser.forward(values)


class _Run:
    """All volumes, tile by tile."""

    def __init__(
        self, plan: IsotropicPlan, image: Image, network: Any, put: Put, deviations: Deviations | None
    ) -> None:
        self.plan, self.image, self.network, self.put = plan, image, network, put
        self.matrix = matrix_of(plan.method, plan.operator)
        self.halo = network.receptive_field() if network is not None else 0
        self.largest = self.squares = self.count = 0.0
        self.low, self.high = math.inf, -math.inf
        self.variance = self.voxels = 0.0
        self.deviations = deviations

    def all(self, progress: Progress) -> None:
        done, every = 0, list(volumes(self.image))
        for index in every:
            volume = Volume(self.plan, self.image, index)
            parts = tiles(volume.shape, self.plan.operator.fine, self.halo, self.plan.tile)
            for part in parts:
                self._tile(volume, part)
                done += 1
                progress(done / (len(every) * len(parts)))
            if self.deviations is not None:
                self.deviations.settle(volume, parts)
        if self.deviations is not None:
            self.deviations.close()

    def _tile(self, volume: Volume, core: Tile) -> None:
        plan, operator = self.plan, self.plan.operator
        around = enlarged(core, volume.shape, self.halo)
        values, bad, raw = volume.read(around)
        inner = _inside(core, around)
        cut = (slice(*inner.rows), slice(*inner.columns))
        offset, scale = plan.normaliser.offset, plan.normaliser.scale
        y = torch.from_numpy(np.ascontiguousarray(values[cut])).to(_wide(plan.device)) - offset
        x = along(self.matrix, y, 2)
        spread: Tensor | None = None
        if self.network is not None and scale > 0:
            block = as_tensor(volume.normalised(values), plan.device)
            add, variance = detail(self.network, block, operator, inner, plan.views, bf16=plan.bf16)
            x += add.to(x) * scale
            self.variance += float(variance.double().sum()) * scale**2
            self.voxels += variance.numel()
            # The mean over the views varies less than a single one.
            spread = variance.cpu().double() * (scale**2 / len(plan.views))
        if plan.enforced:
            x = operator.project(x, y, 2)
        if plan.bounds is not None:
            x = self._bounded(x, y)
        final = (x + offset).float()
        if not bool(torch.isfinite(final).all()):
            raise out_of_float32(plan.image, float(x.abs().max()))
        self._measure(final, y + offset, None if bad is None else bad[cut])
        out = final.cpu().numpy()
        flags = None
        if bad is not None:
            flags = _flag(out, raw[cut], bad[cut], plan.target.across)
        if self.deviations is not None:
            self.deviations.take(volume.place(core), volume, spread, flags)
        self.put(volume.place(core), volume.restored(out))

    def _bounded(self, x: Tensor, y: Tensor) -> Tensor:
        """Within the bounds, and agreeing with the slices as far as that allows: by projections in turns."""
        plan = self.plan
        assert plan.bounds is not None
        low, high = (bound - plan.normaliser.offset for bound in plan.bounds)
        for _ in range(_TURNS if plan.enforced else 0):
            x = plan.operator.project(x.clamp(low, high), y, 2)
        return x.clamp(low, high)

    def _measure(self, final: Tensor, y: Tensor, bad: np.ndarray | None) -> None:
        """How well the written values agree with the slices."""
        miss = (self.plan.operator.apply(final.double(), 2) - y).abs()
        good = (
            torch.ones_like(miss, dtype=torch.bool) if bad is None else torch.from_numpy(~bad).to(miss.device)
        )
        if bad is not None:  # a thick slice that saw a bad neighbour's fill
            near = torch.from_numpy(bad).to(miss.device)
            near = near.any(2, keepdim=True).expand_as(near)
            good = good & ~near
        if not bool(good.any()):
            return
        chosen = miss[good]
        self.largest = max(self.largest, float(chosen.max()))
        self.squares += float(chosen.square().sum())
        self.count += chosen.numel()
        self.low, self.high = min(self.low, float(y[good].min())), max(self.high, float(y[good].max()))

    def agreement(self) -> dict[str, Any] | None:
        """Largest and root-mean-square difference between the measured slices and the result seen as them."""
        if not self.count:
            return None
        span = self.high - self.low or abs(self.high) or 1.0
        resampled = any(f != 1 for f in self.plan.target.in_plane)
        return {
            "operator": "slice profile" + (", of the slices as resampled before" if resampled else ""),
            "enforced": self.plan.enforced,
            "max_abs": float(f"{self.largest:.3g}"),
            "max_relative_to_range": float(f"{self.largest / span:.3g}"),
            "rms": float(f"{math.sqrt(self.squares / self.count):.3g}"),
        }

    def spread(self) -> float | None:
        """Root mean square difference between the views of the network, in the image's unit."""
        return float(f"{math.sqrt(self.variance / self.voxels):.3g}") if self.voxels else None


def _wide(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # no float64 there


def _inside(core: Tile, around: Tile) -> Tile:
    rows, columns = (
        (a - b[0], c - b[0])
        for (a, c), b in zip((core.rows, core.columns), (around.rows, around.columns), strict=True)
    )
    return Tile(rows, columns)


def _flag(out: np.ndarray, raw: np.ndarray, bad: np.ndarray, factor: Fraction) -> np.ndarray:
    """Bad voxels come back over the same piece of the body, with the input's own values; in place. Says where."""
    n, fine = bad.shape[2], out.shape[2]
    footprint = touches(bad, Span(0, n), Span(0, fine), factor, axis=2)
    nearest = (Fraction(1), Fraction(1), factor)
    value = NearestView(raw.astype(np.float64), nearest)[:, :, :]
    own = NearestView(bad, nearest)[:, :, :]
    value[footprint & ~own] = np.nan
    out[footprint] = value[footprint]
    return footprint
