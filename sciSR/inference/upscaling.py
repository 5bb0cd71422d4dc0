"""Upscale one image: the plan (what will be done) and its run (block by block)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

import sciSR
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.inference.agreement import Agreement
from sciSR.inference.choose import Choice, choose, parse_scale, scale_text, spatial_factors
from sciSR.inference.consistency import kspace_step
from sciSR.inference.device import choose_device, tune_allocator
from sciSR.inference.normalise import Normaliser, fit
from sciSR.inference.planes import ImagePlane, Plane, Scratch
from sciSR.inference.runner import Runner
from sciSR.inference.stages import ClassicalStage, FourierStage, NetworkStage, ReadyStage, to_network_memory
from sciSR.inference.statistics import Sample, plane_indices, read_rows, sample
from sciSR.inference.tiles import Span
from sciSR.views import NearestView

Put = Callable[[tuple[slice | int, ...], np.ndarray], None]
Progress = Callable[[float], None]
Stage = ClassicalStage | NetworkStage | FourierStage
Consistency = Literal["auto", "block", "kspace", "none"]

_FINISH_BYTES = 32 << 20  # rows are brought to their final values in pieces of this size


@dataclass(frozen=True)
class Promise:
    """An array that will come: shape and dtype only."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        raise UsageError("this image has not been computed yet", remedy="run its plan, or use sciSR.upscale")


@dataclass
class UpscalePlan:
    """What will be done to one image; made by :func:`plan_upscale`.

    Attributes
    ----------
    image : Image
    choice : Choice
    factors : pair of Fraction
        Along the two spatial axes; whole numbers of fine pixels.
    consistency : {"block", "kspace", "none"}
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
        error = image.uncertainty
        return image.replace(
            data=Promise(tuple(grid.shape), dtype),
            grid=grid,
            uncertainty=None
            if error is None
            else NearestView(error, self.all_factors, scale=float(self.share)),
            mask=None if image.mask is None else NearestView(image.mask, self.all_factors),
        )

    def run(self, put: Put, progress: Progress | None = None) -> Image:
        """Compute all planes and hand them over by bands of rows.

        Parameters
        ----------
        put : callable
            ``put(index, block)`` with one int or slice per axis of the output.
        progress : callable, optional
            Called with the fraction done, 0 to 1.

        Returns
        -------
        Image
            :attr:`output` with its provenance completed by the measured agreement with the input.
        """
        if self.image.kind == "labels":
            self._run_labels(put, progress)
            return self.output.replace(provenance=self._provenance(None))
        if self.device.type == "cpu":
            tune_allocator()
        agreement = Agreement(self.factors, "block mean" if self.consistency != "kspace" else "k-space crop")
        planes = plane_indices(self.image)
        done, total = 0, len(planes) * self._work_per_plane()

        def advance(pixels: int) -> None:
            nonlocal done
            done += pixels
            if progress is not None:
                progress(min(1.0, done / total))

        runner = Runner(self.device, self.tile, self.consistency == "block", advance)
        for index in planes:
            self._run_plane(index, runner, agreement, put)
        if progress is not None:
            progress(1.0)
        unit = self._unit * float(self.share)
        report = agreement.report(unit, enforced=self.consistency != "none")
        return self.output.replace(provenance=self._provenance(report))

    # -- one plane ------------------------------------------------------------------------------------------------

    @cached_property
    def _unit(self) -> float:
        """The robust scale rounded to a power of two, so that dividing by it is exact."""
        scale = self.normaliser.scale
        return float(2.0 ** np.round(np.log2(scale))) if scale > 0 else 1.0

    def _stages(self) -> list[Stage]:
        if not self.choice.trained:
            if self.choice.name == "fourier":
                return [FourierStage(self.factors)]
            return [ClassicalStage(self.choice.name, self.factors)]
        model, spec, digest = self.models[0]
        normaliser = Normaliser(self.normaliser.kind, 0.0, self.normaliser.scale / self._unit)
        return [NetworkStage(model, spec, digest, normaliser, self.bf16)] * self.choice.times

    def _work_per_plane(self) -> int:
        height, width = (self.image.shape[axis] for axis in self.image.spatial_axes)
        pixels, work = height * width, 0
        for stage in self._stages():
            pixels = int(pixels * stage.factors[0] * stage.factors[1])
            work += pixels
        return max(1, work)

    def _run_plane(
        self, index: tuple[slice | int, ...], runner: Runner, agreement: Agreement, put: Put
    ) -> None:
        source = ImagePlane(
            self.image, index, self.normaliser.offset, self._unit, has_bad=self.sample.n_bad > 0
        )
        agreement.begin_plane()
        scratch: list[Scratch] = []
        try:
            for rows, band in self._fine_rows(source, runner, agreement, scratch):
                self._finish(index, rows, band, source, agreement, put)
        finally:
            for each in scratch:
                each.close()

    def _fine_rows(
        self, source: ImagePlane, runner: Runner, agreement: Agreement, scratch: list[Scratch]
    ) -> Iterator[tuple[Span, np.ndarray]]:
        """Fine rows, relative to the offset: all stages but the last into scratch planes, the last streamed."""
        stages, plane = self._stages(), source
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1
            if last and self.consistency != "kspace" and not isinstance(stage, FourierStage):
                yield from runner.bands(stage, plane)
                return
            refined = runner.to_scratch(stage, plane)
            scratch.append(refined)
            if self.consistency == "kspace":
                refined = self._kspace(refined, plane, stage, agreement if last else None)
                scratch.append(refined)
            elif isinstance(stage, FourierStage) and self.consistency == "block":
                yield from runner.bands(ReadyStage("fourier", stage.factors, refined), plane)
                return
            plane = refined
        whole = Runner(runner.device, runner.tile, block_mean=False)
        one = (Fraction(1), Fraction(1))
        yield from whole.bands(ReadyStage("done", one, plane), plane)

    def _kspace(self, fine: Scratch, plane: Plane, stage: Stage, agreement: Agreement | None) -> Scratch:
        out, _, after = kspace_step(fine, plane, int(stage.factors[0]))
        if agreement is not None:
            agreement.take_plane(after, plane.region(Span(0, plane.shape[0]), Span(0, plane.shape[1])))
        return out

    def _finish(
        self,
        index: tuple[slice | int, ...],
        rows: Span,
        band: np.ndarray,
        source: ImagePlane,
        agreement: Agreement,
        put: Put,
    ) -> None:
        """Offset, share and flags; measure the agreement on the values as written; hand over."""
        share, offset = float(self.share), self.normaliser.offset
        final = np.empty_like(band)
        step = max(1, _FINISH_BYTES // (8 * band.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            values = band[part].astype(np.float64)
            values *= self._unit
            values += offset
            values *= share
            with np.errstate(over="ignore"):
                final[part] = values
            if self.consistency != "kspace":
                values = final[part].astype(np.float64)
                values /= share
                values -= offset
                values /= self._unit
                band[part] = values
        if self.consistency != "kspace":
            agreement.feed(rows, band, source)
        self._flag(rows, final, source)
        first, _ = self.image.spatial_axes
        put(
            tuple(slice(rows.start, rows.stop) if a == first else entry for a, entry in enumerate(index)),
            final,
        )

    def _flag(self, rows: Span, final: np.ndarray, source: ImagePlane) -> None:
        """Put the input's own bad values back over every fine pixel that touches a bad one."""
        coarse = rows.coarse(self.factors[0])
        bad = source.bad(coarse)
        if bad is None or not bad.any():
            return
        footprint = _touches(bad, coarse, rows, self.factors[0], axis=0)
        columns = Span(0, final.shape[1])
        footprint = _touches(footprint, Span(0, bad.shape[1]), columns, self.factors[1], axis=1)
        raw = NearestView(
            _Offset(source.raw(coarse).astype(np.float64), coarse.start, source.shape),
            self.factors,
        )[rows.start : rows.stop, :]
        flagged = np.where(np.isfinite(raw), raw * float(self.share), raw)
        # A fine pixel that only overlaps a bad one, its own centre being in a good one, has no value of its own.
        nearest_bad = NearestView(_Offset(bad, coarse.start, source.shape), self.factors)[
            rows.start : rows.stop, :
        ]
        flagged[footprint & ~nearest_bad] = np.nan
        final[footprint] = flagged[footprint]

    # -- labels, provenance ---------------------------------------------------------------------------------------

    def _run_labels(self, put: Put, progress: Progress | None) -> None:
        view = NearestView(self.image.data, self.all_factors)
        fine = self.output
        planes = plane_indices(fine)
        for number, index in enumerate(planes):
            put(index, read_rows(fine.replace(data=view), index, slice(None)))
            if progress is not None:
                progress((number + 1) / len(planes))

    def _provenance(self, agreement: Any) -> Any:
        step: dict[str, Any] = {
            "software": f"sciSR {sciSR.__version__}",
            "step": "upscale",
            "scale": scale_text(self.factors),
            "model": self.choice.name if not self.choice.trained else self.models[0][1].name,
        }
        if self.choice.trained:
            step["weights_sha256"] = self.models[0][2]
            step["applied"] = self.choice.times
            step["precision"] = "bf16" if self.bf16 else "fp32"
        step |= {
            "quantity": self.image.quantity,
            "consistency": self.consistency,
            "bad_pixels": self.sample.n_bad,
        }
        if agreement is not None:
            step["agreement"] = dict(agreement)
        return self.image.provenance.add(**step)


class _Offset:
    """Rows of a plane, indexed as if the whole plane were there."""

    def __init__(self, rows: np.ndarray, start: int, shape: tuple[int, int]) -> None:
        self.rows, self.start, self.shape, self.dtype = rows, start, shape, rows.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        rows, columns = index
        return self.rows[rows.start - self.start : rows.stop - self.start, columns]


def _touches(bad: np.ndarray, coarse: Span, fine: Span, factor: Fraction, axis: int) -> np.ndarray:
    """Fine pixels that overlap any bad coarse one, along one axis."""
    o = np.arange(fine.start, fine.stop, dtype=np.int64)
    p, q = factor.numerator, factor.denominator
    low, high = (o * q) // p, -((-(o + 1) * q) // p) - 1  # first and last coarse pixel under each fine one
    out = np.take(bad, low - coarse.start, axis=axis)
    for step in range(1, int((high - low).max(initial=0)) + 1):
        out |= np.take(bad, np.minimum(low + step, high) - coarse.start, axis=axis)
    return out


def plan_upscale(
    image: Image,
    scale: Any = 2,
    model: str = "auto",
    *,
    consistency: Consistency = "auto",
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    tile: int | None = None,
) -> UpscalePlan:
    """Decide how an image will be upscaled; reads it once for its statistics.

    Parameters
    ----------
    image : Image
    scale : number, str, or pair
        2, 1.5, ``"3/2"``, or one number per spatial axis. A scale that does not give whole pixels is rounded to
        the nearest that does, so that the field stays exact.
    model : str
        ``"auto"``, ``"nearest"``, ``"linear"``, ``"cubic"``, ``"lanczos"``, ``"fourier"``, a trained model's name or
        the path of its weights.
    consistency : {"auto", "block", "kspace", "none"}
        Which measurement the result must reproduce: the mean of each original pixel, the acquired part of k-space,
        none. ``"auto"`` takes the network's own, and for classical methods the block mean except on MR and CT.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : {"fp32", "bf16"}
        bf16 is about twice as fast and agrees to 63 dB.
    tile : int, optional
        Tile size in input pixels; by default as large as the memory allows, up to 512. The result does not depend
        on it.

    Returns
    -------
    UpscalePlan

    Raises
    ------
    SciSRError
        Impossible scale, unknown model or device, or pixels that can't be upscaled.
    """
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"unknown precision {precision!r}", remedy="use fp32 or bf16")
    if tile is not None and tile < 1:
        raise UsageError(f"a tile of {tile} pixels is too small")
    wish = parse_scale(scale)
    factors = spatial_factors(image, wish)
    where = choose_device(device)
    choice = choose(image, wish, model)
    messages = list(choice.messages)
    if factors != wish:
        messages.append(
            f"x{scale_text(wish)} would not give whole pixels: x{float(factors[0]):.9g}, x{float(factors[1]):.9g}"
        )
    if image.kind == "labels":
        empty = Sample(np.empty(0), 0, int(np.prod(image.shape)))
        return UpscalePlan(
            image, choice, factors, "none", where, False, tile, empty, Normaliser("range", 0, 0), [], messages
        )
    statistics = sample(image)
    models: list[Any] = []
    if choice.trained:
        choice, models = _load(image, choice, statistics, where, messages)
    kind = models[0][1].normalisation if models else "sky"
    return UpscalePlan(
        image,
        choice,
        factors,
        _consistency(image, choice, models, consistency, factors),
        where,
        precision == "bf16",
        tile,
        statistics,
        fit(statistics.values, kind),
        models,
        messages,
    )


def _load(
    image: Image, choice: Choice, statistics: Sample, device: torch.device, messages: list[str]
) -> tuple[Choice, list[Any]]:
    """Load the network; where it was our choice, let the image check it first."""
    from sciSR.models.files import load_model

    model, spec, digest = load_model(choice.name)
    return choice, [(to_network_memory(model, device), spec, digest)]


_OF_SPEC = {"blockmean": "block", "kspace": "kspace", "gaussian": "none", "none": "none"}


def _consistency(
    image: Image, choice: Choice, models: list[Any], asked: str, factors: tuple[Fraction, Fraction]
) -> str:
    if asked not in ("auto", "block", "kspace", "none"):
        raise UsageError(f"unknown consistency {asked!r}", remedy="use auto, block, kspace or none")
    if asked == "kspace" and (factors[0] != factors[1] or factors[0].denominator != 1):
        raise UsageError("k-space consistency needs one whole-number scale", where=image.where)
    if asked != "auto":
        return asked
    if choice.trained:
        return _OF_SPEC[models[0][1].consistency]
    if choice.name == "fourier" and image.domain == "mr":
        return "none"  # zero filling keeps the acquired coefficients by itself
    return "none" if image.domain in ("mr", "ct") else "block"


def upscale(
    image: Image, scale: Any = 2, model: str = "auto", *, progress: Progress | None = None, **options: Any
) -> Image:
    """Upscale an image in memory.

    Parameters
    ----------
    image : Image
        From :func:`sciSR.read`, or :meth:`Image.from_array`.
    scale, model, **options
        See :func:`plan_upscale`.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    Image
        float32 (labels keep their dtype), on the refined grid, with the provenance of what was done.
    """
    plan = plan_upscale(image, scale, model, **options)
    data = np.empty(plan.output.shape, dtype=plan.output.dtype)

    def put(index: tuple[slice | int, ...], block: np.ndarray) -> None:
        data[index] = block

    return plan.run(put, progress).replace(data=data)
