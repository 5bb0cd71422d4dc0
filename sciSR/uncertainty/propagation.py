"""Noise carried through the very stages that made an image, plane by plane; memory does not grow with the image.

A probe is the plane with noise added; what it changes in the output, squared, is one sample of the variance (Jacobian-
vector products by finite differences of one standard deviation). Consistency is part of the stages, so what the
measurement fixes carries the probe's noise and nothing else.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from sciSR.inference.consistency import block_mean_step
from sciSR.inference.flags import touches
from sciSR.inference.kinds_parts import Kept
from sciSR.inference.normalise import Normaliser, fit
from sciSR.inference.planes import SCRATCH_IN_MEMORY, ImagePlane, Scratch
from sciSR.inference.statistics import plane_indices
from sciSR.inference.tiles import Span, mirror, split
from sciSR.uncertainty.interface import ErrorModel, Uncertain
from sciSR.uncertainty.noise import PixelNoise
from sciSR.uncertainty.probes import Deviation, NoisyPlane
from sciSR.uncertainty.smoothing import REACH, Probed, smoothed_variance

if TYPE_CHECKING:
    from sciSR.inference.runner import Runner
    from sciSR.inference.upscaling import UpscalePlan

_TILE = 512
_SAMPLES = 250_000


class StoredDeviation(Kept):
    """The standard deviation of every output pixel: in memory while small, else in a file without a name."""

    def __init__(self, shape: tuple[int, ...], limit: int = SCRATCH_IN_MEMORY) -> None:
        super().__init__(shape, np.float32, limit)
        if self._array is None:
            weakref.finalize(self, self._file.close)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)


@dataclass
class Propagation:
    """What a plan does to find its uncertainty.

    Attributes
    ----------
    settings : Uncertain
    noise : PixelNoise
        Of the plan's image.
    """

    settings: Uncertain
    noise: PixelNoise
    _stored: StoredDeviation | None = None
    _sample: list[np.ndarray] = field(default_factory=list)
    _normaliser: Normaliser | None = None

    def begin(self, plan: UpscalePlan) -> None:
        """Make room for the result."""
        self._stored, self._sample = StoredDeviation(plan.output.shape), []

    @property
    def stored(self) -> StoredDeviation:
        """Of all planes that are done."""
        assert self._stored is not None
        return self._stored

    def put(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Keep some rows of one plane, and a sample of them."""
        self.stored.put(index, block)
        good = block[::4, ::4]
        self._sample.append(good[np.isfinite(good)])

    def replicate(self, plan: UpscalePlan) -> None:
        """The result where each fine pixel is a copy of a coarse one, or its share: its noise needs no probes."""
        from sciSR.inference.runner import Runner

        runner = Runner(plan.device, plan.tile, row_multiple=int(plan.factors[0]))
        for number, index in enumerate(plane_indices(plan.image)):
            with PlanePropagation(self, plan, index, number, runner) as plane:
                for rows, band in plan.fine_rows(plane.source, runner):
                    plane.take(rows, band)
                plane.finish_copies()

    def record(self) -> Mapping[str, Any]:
        """JSON-ready, for the provenance."""
        values = np.concatenate(self._sample) if self._sample else np.empty(0)
        median = {"median": float(f"{np.median(values):.4g}")} if values.size else {}
        noise = {
            "noise": {"from": self.noise.origin, **{k: float(f"{v:.6g}") for k, v in self.noise.parameters}}
        }
        return self.settings.record(**noise, **median)

    def normaliser(self, plan: UpscalePlan, model: ErrorModel) -> Normaliser:
        """What the error model's values are relative to: of its own kind, whatever made the image."""
        kind = getattr(model, "normalisation", plan.normaliser.kind)
        if plan.normaliser.kind == kind:
            return plan.normaliser
        if self._normaliser is None or self._normaliser.kind != kind:
            self._normaliser = fit(plan.sample.values, kind)
        return self._normaliser

    def plane(
        self, plan: UpscalePlan, index: tuple[slice | int, ...], number: int, runner: Runner
    ) -> PlanePropagation:
        """One plane's, which takes the noiseless output first."""
        return PlanePropagation(self, plan, index, number, runner)


class PlanePropagation:
    """The probes of one plane. A context manager: it frees its scratch planes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.base.close()

    def __init__(
        self,
        whole: Propagation,
        plan: UpscalePlan,
        index: tuple[slice | int, ...],
        number: int,
        runner: Runner,
    ) -> None:
        self.whole, self.plan, self.index, self.number, self.runner = whole, plan, index, number, runner
        self.source = plan.source_plane(index)
        self.factors = plan.factors
        self.shape = tuple(int(n * f) for n, f in zip(self.source.shape, plan.factors, strict=True))
        self.deviation = Deviation(plan.image, whole.noise, index)
        self.base = Scratch(self.shape)  # type: ignore[arg-type]

    def take(self, rows: Span, band: np.ndarray) -> None:
        """Rows of the noiseless output, relative to the offset, before their final values."""
        self.base.write(rows, settled(self.plan, rows, band, self.source))

    def differences(self, probe: int) -> Iterator[tuple[Span, np.ndarray]]:
        """What a probe's noise changes, by rows; in units of the plane."""
        key = (self.whole.settings.seed, probe, self.number)
        noisy = NoisyPlane(self.source, self.deviation, key)
        for rows, band in self.plan.fine_rows(noisy, self.runner):
            yield rows, settled(self.plan, rows, band, noisy) - self.base.read(rows)

    def finish(self) -> None:
        """Run the probes and store the standard deviation."""
        squares = Scratch(self.shape)  # type: ignore[arg-type]
        probes = max(1, self.whole.settings.probes)
        with closing(squares):
            for probe in range(probes):
                for rows, change in self.differences(probe):
                    power = np.square(change) / probes
                    squares.write(rows, power if probe == 0 else squares.read(rows) + power)
            self._store_all(squares)

    def finish_copies(self) -> None:
        """Store the standard deviation where each fine pixel has the noise of one coarse pixel."""
        squares = Scratch(self.shape)  # type: ignore[arg-type]
        with closing(squares):
            for rows in split(self.source.shape[0], _TILE):
                sigma, _ = self.deviation.rows(slice(rows.start, rows.stop))
                fine = np.square(sigma / self.plan.unit)
                for axis, factor in enumerate(self.factors):
                    fine = np.repeat(fine, int(factor), axis)
                squares.write(rows.fine(self.factors[0]), fine)
            self._store_all(squares)

    def _store_all(self, squares: Scratch) -> None:
        for rows in split(self.source.shape[0], _TILE):
            self._store(rows, squares)

    def _store(self, coarse: Span, squares: Scratch) -> None:
        """Rows of the result over some coarse rows."""
        own = coarse.fine(self.factors[0])
        if (
            self.factors[0].denominator != 1
        ):  # a fine row may lie over two coarse ones: it goes with its centre's
            own = Span(*(int(-(-n * self.factors[0] // 1)) for n in (coarse.start, coarse.stop)))
        band = np.empty((len(own), self.shape[1]), dtype=np.float32)
        for columns in split(self.source.shape[1], _TILE):
            wide = columns.fine(self.factors[1])
            band[:, wide.start : wide.stop] = self._tile(own, wide, squares)
        self.put(own, band)

    def put(self, rows: Span, band: np.ndarray) -> None:
        """Store fine rows, NaN where the noise or the pixel itself is not known."""
        band[self._unknown(rows)] = np.nan
        first, _ = self.plan.image.spatial_axes
        place = tuple(
            slice(rows.start, rows.stop) if axis == first else entry for axis, entry in enumerate(self.index)
        )
        self.whole.put(place, band)

    def _tile(self, rows: Span, columns: Span, squares: Scratch) -> np.ndarray:
        """Standard deviation over some fine pixels, in the image's unit."""
        model = self.whole.settings.model
        halo = REACH + (0 if model is None else model.halo)
        own = rows, columns
        coarse = tuple(s.coarse(f).grow(halo) for s, f in zip(own, self.factors, strict=True))
        fine = tuple(s.fine(f) for s, f in zip(coarse, self.factors, strict=True))
        injected = np.square(self._sigma(*coarse) / self.plan.unit)
        seen = Probed(
            squares.region(*fine).astype(np.float64),
            injected,
            self.factors,
            self.whole.settings.probes,
            (coarse[0].start, coarse[1].start),
            self._slopes(coarse, fine),
        )
        deviation = np.sqrt(smoothed_variance(seen))
        if model is not None:
            deviation = self._total(model, coarse, fine, deviation)
        inner = tuple(a.within(b) for a, b in zip(own, fine, strict=True))
        return deviation[inner] * (self.plan.unit * float(self.plan.share))

    def _slopes(
        self, coarse: tuple[Span, ...], fine: tuple[Span, ...]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Squares of the slope of a network's stretch, ``z = asinh(x / scale)``; None where there is none."""
        normaliser = self.plan.normaliser
        if not self.plan.choice.trained or normaliser.kind != "sky" or normaliser.scale <= 0:
            return None
        relative = normaliser.scale / self.plan.unit
        low, high = (
            1 + np.square(each.astype(np.float64) / relative)
            for each in (self.source.region(*coarse), self.base.region(*fine))
        )
        return low, high

    def _total(
        self, model: ErrorModel, coarse: tuple[Span, ...], fine: tuple[Span, ...], noise: np.ndarray
    ) -> np.ndarray:
        """With the network's own error: all in units of the normaliser's scale."""
        normaliser = self.whole.normaliser(self.plan, model)
        relative = normaliser.scale / self.plan.unit
        if relative <= 0:
            return noise
        shift = (self.plan.normaliser.offset - normaliser.offset) / self.plan.unit
        given = (self.source.region(*coarse) + shift, self.base.region(*fine) + shift, noise)
        with torch.inference_mode():
            total = model.total(*(torch.from_numpy((each / relative).astype(np.float32)) for each in given))
        return total.double().numpy() * relative

    def _sigma(self, rows: Span, columns: Span) -> np.ndarray:
        """Injected noise over a region that may reach outside the image."""
        inside = mirror(rows, self.source.shape[0])
        low, high = int(inside.min()), int(inside.max()) + 1
        sigma, _ = self.deviation.rows(slice(low, high))
        return sigma[inside - low][:, mirror(columns, self.source.shape[1])]

    def _unknown(self, fine: Span) -> np.ndarray:
        """Fine pixels over bad ones, or over those whose noise is not known."""
        coarse = fine.coarse(self.factors[0])
        _, unknown = self.deviation.rows(slice(coarse.start, coarse.stop))
        _, bad = self.source.measured(coarse)
        flags = unknown if bad is None else unknown | bad
        flags = touches(flags, coarse, fine, self.factors[0], axis=0)
        columns = Span(0, self.shape[1])
        return touches(flags, Span(0, self.source.shape[1]), columns, self.factors[1], axis=1)


def settled(plan: UpscalePlan, rows: Span, band: np.ndarray, source: ImagePlane) -> np.ndarray:
    """Fine rows after the consistency step that comes with their final values; relative to the offset, float64.

    Parameters
    ----------
    plan : UpscalePlan
    rows : Span
        Whole coarse rows, where the factors are whole numbers.
    band : ndarray, shape (fine rows, fine columns)
        From the last stage.
    source : ImagePlane
        What was measured, noise and all.
    """
    if not plan.settles_rows:
        return band.astype(np.float64)
    coarse = rows.coarse(plan.factors[0])
    measured, bad = source.measured(coarse)
    y = (measured.astype(np.float64) - source.offset) / source.unit
    values = torch.from_numpy(band).double()
    columns = Span(0, measured.shape[1])
    if bad is None:
        step = block_mean_step(values, torch.from_numpy(y), plan.factors, (coarse, columns))
        return step.numpy()
    means = _means(values, plan.factors)
    y = np.where(bad, means, y)  # a bad pixel's own value means nothing
    return block_mean_step(values, torch.from_numpy(y), plan.factors, (coarse, columns)).numpy()


def _means(values: torch.Tensor, factors: tuple[Fraction, Fraction]) -> np.ndarray:
    p, q = (int(f) for f in factors)
    return values.unflatten(1, (-1, q)).unflatten(0, (-1, p)).mean((1, 3)).numpy()
