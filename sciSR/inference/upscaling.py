"""Upscale one image: the plan (what will be done) and its run (block by block)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.inference.agreement import Agreement
from sciSR.inference.choose import Choice
from sciSR.inference.conditions import Condition
from sciSR.inference.device import tune_allocator
from sciSR.inference.finishing import finish_band
from sciSR.inference.normalise import Normaliser
from sciSR.inference.planes import ImagePlane, Plane, Scratch
from sciSR.inference.record import upscale_step
from sciSR.inference.runner import DEFAULT_TILE, Runner
from sciSR.inference.running import run_planes
from sciSR.inference.stages import ClassicalStage, FourierStage, NetworkStage, ReadyStage
from sciSR.inference.statistics import Sample, bad_pixels, plane_indices, read_rows
from sciSR.inference.tiles import Span, split
from sciSR.inference.whole_plane import GaussianSamples, KSpaceSamples, PlaneOperator, plane_step
from sciSR.views import NearestView

if TYPE_CHECKING:
    from sciSR.trust.familiarity import Familiarity
    from sciSR.uncertainty.propagation import Propagation

Put = Callable[[tuple[slice | int, ...], np.ndarray], None]
Progress = Callable[[float], None]
Stage = ClassicalStage | NetworkStage | FourierStage
Consistency = Literal["auto", "block", "kspace", "gaussian", "none"]
WHOLE_PLANE = {"kspace": "k-space crop", "gaussian": "Gaussian samples"}
"""Kinds of consistency whose operator needs the whole plane, and what reports call it."""

_FINISH_BYTES = 32 << 20  # rows are brought to their final values in pieces of this size


@dataclass(frozen=True)
class Promise:
    """An array that will come: shape and dtype only."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        raise UsageError("this image has not been computed yet", remedy="run its plan, or use sciSR.upscale")


def out_of_float32(image: Image, value: float) -> UnsupportedError:
    """The refusal of values that would be written as infinite or as zero."""
    return UnsupportedError(
        f"values of up to {value:.3g} do not fit float32, in which results are written",
        where=image.where,
        remedy="multiply them by a constant first, or choose another unit",
    )


@dataclass
class UpscalePlan:
    """What will be done to one image; made by :func:`plan_upscale`.

    Attributes
    ----------
    image : Image
    choice : Choice
    factors : pair of Fraction
        Along the two spatial axes; whole numbers of fine pixels.
    consistency : {"block", "kspace", "gaussian", "none"}
    conditions : tuple of Condition
        What the network is told besides the image.
    psf_fwhm : float, optional
        Of the Gaussian of that consistency, in input pixels; 1 by default.
    bounds : (float, float), optional
        Good pixels are kept within them.
    familiarity : Familiarity, optional
        How like the image is to what the network was trained on; also where it was then not used.
    uncertain : Propagation, optional
        How the standard deviation of each output pixel is found, where it is asked for.
    messages : list of str
        What was decided and why.
    """

    image: Image
    choice: Choice
    factors: tuple[Fraction, Fraction]
    consistency: str
    device: torch.device
    bf16: bool
    tile: int | None
    sample: Sample
    normaliser: Normaliser
    models: list[Any] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    conditions: tuple[Condition, ...] = ()
    psf_fwhm: float | None = None
    bounds: tuple[float, float] | None = None
    uncertain: Propagation | None = None
    familiarity: Familiarity | None = None
    hands_over_tiles: ClassVar[bool] = True

    @cached_property
    def all_factors(self) -> tuple[Fraction, ...]:
        """One factor per axis of the data."""
        first, second = self.image.spatial_axes
        return tuple(
            self.factors[0] if axis == first else self.factors[1] if axis == second else Fraction(1)
            for axis in range(len(self.image.shape))
        )

    @property
    def share(self) -> Fraction:
        """What a fine pixel holds of its coarse one: 1 for densities."""
        return Fraction(1) if self.image.quantity == "density" else 1 / (self.factors[0] * self.factors[1])

    @cached_property
    def output(self) -> Image:
        """The result without its pixels: grid, shape, dtype, uncertainty and mask (as lazy views)."""
        image = self.image
        grid = image.grid.refine(self.all_factors)
        dtype = image.dtype if image.kind == "labels" else np.dtype(np.float32)
        # The fine pixels of one coarse pixel share its error: they are fully correlated, so a total's error is
        # shared out like the total itself.
        error: Any = image.uncertainty
        if error is not None:
            error = NearestView(error, self.all_factors, scale=float(self.share))
        if self.uncertain is not None:
            error = Promise(tuple(grid.shape), np.dtype(np.float32))
        return image.replace(
            data=Promise(tuple(grid.shape), dtype),
            grid=grid,
            uncertainty=error,
            mask=None if image.mask is None else NearestView(image.mask, self.all_factors),
        )

    def run(self, put: Put, progress: Progress | None = None, *, by_tile: bool = False) -> Image:
        """Compute all planes and hand them over by bands of rows.

        Parameters
        ----------
        put : callable
            ``put(index, block)`` with one int or slice per axis of the output.
        progress : callable, optional
            Called with the fraction done, 0 to 1.
        by_tile : bool
            Hand over tiles as they are done instead of bands of full width where that can be, so that memory does not
            grow with the width. Either come in order, from the calling thread.

        Returns
        -------
        Image
            :attr:`output` with its provenance completed by the measured agreement with the input.
        """
        if self.uncertain is not None:
            self.uncertain.begin(self)
        if self.is_replication:
            if self.uncertain is not None:
                self.uncertain.replicate(self)
            agreement = Agreement(self.factors, share=float(self.share))
            self.replicate(put, agreement, progress)
            return self._finished(self.replicated(agreement))
        if self.device.type == "cpu":
            tune_allocator()
        agreement = Agreement(self.factors, self.operator, float(self.share))
        planes = plane_indices(self.image)
        passes = 1 if self.uncertain is None else 1 + self.uncertain.settings.probes
        done, total = 0, len(planes) * self._work_per_plane() * passes

        def advance(pixels: int) -> None:
            nonlocal done
            done += pixels
            if progress is not None:
                progress(min(1.0, done / total))

        run_planes(self, planes, self.runner(advance), agreement, put, by_tile=by_tile)
        if progress is not None:
            progress(1.0)
        return self._finished(self.measured(agreement))

    @property
    def operator(self) -> str:
        """What reports call the operator of the consistency."""
        return WHOLE_PLANE.get(self.consistency, "block mean")

    def runner(self, advance: Progress | None = None, kind: type[Runner] = Runner) -> Runner:
        """What runs the stages as this plan says; `advance` is told of output pixels as they are done."""
        tiled_step = self.consistency == "block" and (self.choice.times > 1 or not self.is_whole)
        # Bands of whole original pixels, so that each can be made consistent by itself.
        multiple = int(self.factors[0]) if self.is_whole else 1
        return kind(self.device, self.tile, tiled_step, multiple, advance or (lambda pixels: None))

    def measured(self, agreement: Agreement) -> Any:
        """What the record says of an agreement."""
        unit = self.unit if self.consistency in WHOLE_PLANE else 1.0
        # Bounds have the last word; only whole blocks can have both.
        spoiled = self.bounds is not None and not self.settles_rows
        return agreement.report(unit, enforced=self.consistency != "none" and not spoiled)

    def _finished(self, agreement: Any) -> Image:
        """The output with what was found on the way."""
        found = None if self.uncertain is None else self.uncertain.record()
        step = upscale_step(self, agreement, uncertainty=found)
        error = self.output.uncertainty if self.uncertain is None else self.uncertain.stored
        return self.output.replace(provenance=self.image.provenance.add(**step), uncertainty=error)

    # -- one plane ------------------------------------------------------------------------------------------------

    @cached_property
    def unit(self) -> float:
        """The robust scale rounded to a power of two, so that dividing by it is exact."""
        scale = self.normaliser.scale
        return float(2.0 ** np.round(np.log2(scale))) if scale > 0 else 1.0

    def stages(self) -> list[Stage]:
        """The refinements, one after another."""
        if not self.choice.trained:
            if self.choice.name == "fourier":
                return [FourierStage(self.factors)]
            return [ClassicalStage(self.choice.name, self.factors)]
        model, spec, digest = self.models[0]
        normaliser = Normaliser(self.normaliser.kind, 0.0, self.normaliser.scale / self.unit)
        told = tuple(condition.value for condition in self.conditions)
        return [NetworkStage(model, spec, digest, normaliser, self.bf16, told)] * self.choice.times

    def _work_per_plane(self) -> int:
        height, width = (self.image.shape[axis] for axis in self.image.spatial_axes)
        pixels, work = height * width, 0
        for stage in self.stages():
            pixels = int(pixels * stage.factors[0] * stage.factors[1])
            work += pixels
        return max(1, work)

    def source_plane(self, index: tuple[slice | int, ...]) -> ImagePlane:
        """One plane of the input, relative to the offset."""
        return ImagePlane(self.image, index, self.normaliser.offset, self.unit, has_bad=self.sample.n_bad > 0)

    def run_plane(
        self,
        index: tuple[slice | int, ...],
        number: int,
        runner: Runner,
        agreement: Agreement,
        put: Put,
        source: ImagePlane | None = None,
    ) -> None:
        """Compute one plane and hand it over; `number` counts the planes, `source` is it if it is at hand."""
        source = source or self.source_plane(index)
        agreement.begin_plane()
        probes = None if self.uncertain is None else self.uncertain.plane(self, index, number, runner)
        with contextlib.nullcontext() if probes is None else probes:
            for rows, band in self.fine_rows(source, runner, agreement):
                if probes is not None:
                    probes.take(rows, band)  # before a float64 band is turned into final values in place
                put(self.place(index, rows), finish_band(self, rows, band, source, agreement))
            if probes is not None:
                probes.finish()

    def place(
        self, index: tuple[slice | int, ...], rows: Span, columns: Span | None = None
    ) -> tuple[Any, ...]:
        """The output's index of some fine pixels of a plane, of full width without `columns`."""
        first, second = self.image.spatial_axes
        across = slice(None) if columns is None else slice(columns.start, columns.stop)
        return tuple(
            slice(rows.start, rows.stop) if axis == first else across if axis == second else entry
            for axis, entry in enumerate(index)
        )

    def fine_rows(
        self, source: ImagePlane, runner: Runner, agreement: Agreement | None = None
    ) -> Iterator[tuple[Span, np.ndarray]]:
        """Fine rows from top to bottom, relative to the offset, in units of :attr:`unit`; `agreement` is measured."""
        scratch: list[Scratch] = []
        try:
            yield from self._fine_rows(source, runner, agreement or Agreement(self.factors), scratch)
        finally:
            for each in scratch:
                each.close()

    @property
    def settles_rows(self) -> bool:
        """Whether the block means are made exact as rows get their final values."""
        return self.consistency == "block" and self.is_whole

    def _fine_rows(
        self, source: ImagePlane, runner: Runner, agreement: Agreement, scratch: list[Scratch]
    ) -> Iterator[tuple[Span, np.ndarray]]:
        """Fine rows, relative to the offset: all stages but the last into scratch planes, the last streamed."""
        stages, plane = self.stages(), source
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1
            if last and self.consistency not in WHOLE_PLANE and not isinstance(stage, FourierStage):
                yield from runner.bands(stage, plane)
                return
            refined = runner.to_scratch(stage, plane)
            scratch.append(refined)
            if self.consistency in WHOLE_PLANE and last:
                refined = self._consistent(refined, source, agreement)
                scratch.append(refined)
            elif self.consistency == "kspace":  # the next stage sees what the first would have measured
                refined, _ = plane_step(refined, plane, KSpaceSamples(int(stage.factors[0])))
                scratch.append(refined)
            elif isinstance(stage, FourierStage) and runner.block_mean:
                yield from runner.bands(ReadyStage("fourier", stage.factors, refined), plane)
                return
            plane = refined
        assert isinstance(plane, Scratch)
        for rows in split(plane.shape[0], DEFAULT_TILE * runner.row_multiple):
            yield rows, plane.read(rows)

    def _consistent(self, fine: Scratch, source: Plane, agreement: Agreement) -> Scratch:
        """The nearest plane that reproduces the measured one, after all stages."""
        scale = int(self.factors[0])
        operator: PlaneOperator
        if self.consistency == "kspace":
            operator = KSpaceSamples(scale)
        else:
            operator = GaussianSamples(scale, 1.0 if self.psf_fwhm is None else self.psf_fwhm)
        out, after = plane_step(fine, source, operator, self._as_written)
        agreement.take_plane(after, source.region(Span(0, source.shape[0]), Span(0, source.shape[1])))
        return out

    def _as_written(self, values: torch.Tensor) -> torch.Tensor:
        """Float64 values relative to the offset after their rounding in the image's unit, in their own place."""
        share = float(self.share)
        values.mul_(self.unit).add_(self.normaliser.offset)
        if self.bounds is not None:
            values.clamp_(*self.bounds)
        if share != 1:
            values.mul_(share)
        values.copy_(values.float())
        if share != 1:
            values.div_(share)
        return values.sub_(self.normaliser.offset).div_(self.unit)

    def out_of_range(self, values: np.ndarray) -> UnsupportedError:
        """The refusal of what is not finite in float32; `values` are relative to the offset."""
        return out_of_float32(self.image, float(np.abs(values).max()) * self.unit)

    @property
    def whole_plane(self) -> bool:
        """Whether the consistency is one of whole planes, and measured on them."""
        return self.consistency in WHOLE_PLANE

    @property
    def is_whole(self) -> bool:
        """Whether both factors are whole numbers."""
        return all(f.denominator == 1 for f in self.factors)

    # -- replication, provenance ----------------------------------------------------------------------------------

    @property
    def is_replication(self) -> bool:
        """Nearest neighbour on whole-number factors, and labels: values are repeated, to the bit."""
        exact = self.choice.name == "nearest" and self.is_whole and self.consistency not in WHOLE_PLANE
        return self.image.kind == "labels" or exact

    def replicate(self, put: Put, agreement: Agreement, progress: Progress | None = None) -> None:
        """Repeat the input's values; `agreement` is measured, which the rounding to float32 alone can spoil."""
        fine, share = self.output, float(self.share)
        view = fine.replace(data=NearestView(self.image.data, self.all_factors))
        planes = plane_indices(fine)
        first, second = fine.spatial_axes
        step = max(1, _FINISH_BYTES // (8 * fine.shape[second]))
        for number, index in enumerate(planes):
            for rows in split(fine.shape[first], step):
                part = slice(rows.start, rows.stop)
                values = read_rows(view, index, part)
                where = tuple(part if axis == first else entry for axis, entry in enumerate(index))
                if self.image.kind == "labels":
                    put(where, values)
                    continue
                final = self._replicated(values, share)
                bad = bad_pixels(values, None if fine.mask is None else read_rows(fine, index, part, "mask"))
                agreement.take(final[~bad].astype(np.float64) / share, values[~bad])
                put(where, final)
            if progress is not None:
                progress((number + 1) / len(planes))

    def replicated(self, agreement: Agreement) -> Any:
        """What the record says of the agreement of repeated values; nothing of labels."""
        return None if self.image.kind == "labels" else agreement.report(enforced=self.consistency != "none")

    def _replicated(self, values: np.ndarray, share: float) -> np.ndarray:
        with np.errstate(over="ignore"):
            final = (values if share == 1 else values * share).astype(np.float32, copy=False)
        if (np.isinf(final) & np.isfinite(values)).any():
            raise out_of_float32(self.image, float(np.abs(values[np.isfinite(values)]).max()))
        return final
