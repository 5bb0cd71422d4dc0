"""Kinds of voxels that are no plain intensities: probabilities, phases, complex values, labels.

Each is brought to real-valued intensities, which any plan maker knows (in the plane, across slices), and back: a
probability is kept within its scale; a phase goes as cosine and sine, complex voxels as real and imaginary part. Labels
are compared and never mixed: :func:`resample_labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from sciSR.errors import UnsupportedError
from sciSR.image import Image
from sciSR.inference.kinds_agreement import joined, mean_agreement, phase_agreement
from sciSR.inference.kinds_labels import LabelPlan, resample_labels
from sciSR.inference.kinds_parts import BadView, Kept, PartView, RootMeanSquare
from sciSR.inference.kinds_ranges import Turn, scale_of, survey, turn_of
from sciSR.inference.upscaling import Progress, Promise, Put
from sciSR.views import NearestView

__all__ = ["LabelPlan", "is_other_kind", "method_for", "plan_kind", "resample_labels"]


class RealPlan(Protocol):
    """The plan of a real-valued intensity image.

    Where it has an attribute `bounds`, None or (low, high), it keeps its good pixels within them when it is set, and
    measures its agreement afterwards.
    """

    messages: list[str]

    @property
    def output(self) -> Image: ...

    def run(self, put: Put, progress: Progress | None = None) -> Image: ...


MakePlan = Callable[[Image], Any]


def is_other_kind(image: Image) -> bool:
    """Whether :func:`plan_kind` has to treat an image."""
    return image.kind in ("probability", "phase") or image.dtype.kind == "c"


def method_for(image: Image) -> str:
    """The classical method for an image of these kinds: networks have learned from intensities.

    Fourier interpolation for complex MR, whose k-space it leaves as it was measured; a phase or a probability alone has
    none.
    """
    return "fourier" if image.dtype.kind == "c" and image.domain == "mr" else "cubic"


def plan_kind(image: Image, make_plan: MakePlan) -> Any:
    """Decide how an image of any kind but labels will be treated; reads it once for the ends of its values.

    Parameters
    ----------
    image : Image
        A probability, a phase, or one of complex voxels; others are given to `make_plan` as they are.
    make_plan : callable
        ``make_plan(image)`` for a real-valued image of intensities returns its plan: see :class:`RealPlan`.

    Returns
    -------
    BoundedPlan, PairPlan, or what `make_plan` returns

    Raises
    ------
    SciSRError
        Values that are no probability or fill no turn; whatever `make_plan` raises.
    """
    if not is_other_kind(image):
        return make_plan(image)
    if image.dtype.kind == "c" and image.kind != "intensity":
        raise UnsupportedError(
            f"complex voxels are no {image.kind}",
            where=image.where,
            remedy="give --complex magnitude or real",
        )
    seen = survey(image)
    if image.kind == "probability":
        return _bounded(image, make_plan, scale_of(image, seen.low, seen.high), (seen.low, seen.high))
    # A voxel is bad in both parts if it is in one.
    mask = BadView(image) if seen.n_bad else None
    plain = image.replace(kind="intensity", uncertainty=None, mask=mask, value_range=None)
    if image.kind == "phase":
        turn = turn_of(image, seen.low, seen.high)
        plain = plain.replace(quantity="density", unit=None)
        names = ("cosine", "sine")
        functions = (lambda x: np.cos(turn.angle(x)), lambda x: np.sin(turn.angle(x)))
        return _pair(image, make_plan, plain, names, functions, np.dtype(np.float64), seen.n_bad > 0, turn)
    dtype = np.empty(0, image.dtype).real.dtype
    functions = (np.real, np.imag)
    return _pair(image, make_plan, plain, ("real", "imaginary"), functions, dtype, seen.n_bad > 0, None)


# -- probabilities ----------------------------------------------------------------------------------------------------


def _bounded(
    image: Image, make_plan: MakePlan, bounds: tuple[float, float], ends: tuple[float, float]
) -> BoundedPlan:
    plan = make_plan(image.replace(kind="intensity", quantity="density"))
    if itself := hasattr(plan, "bounds"):
        plan.bounds = bounds
    message = f"probabilities: kept within [{bounds[0]:g}, {bounds[1]:g}]"
    if image.value_range is None:
        message += f", the scale that their values, {ends[0]:.4g} to {ends[1]:.4g}, are on"
    return BoundedPlan(image, plan, bounds, itself, [*plan.messages, message])


@dataclass
class BoundedPlan:
    """A probability map through the plan of an intensity image, kept within its scale.

    Attributes
    ----------
    image : Image
    plan : RealPlan
        Of the same values as intensities.
    bounds : (float, float)
    itself : bool
        Whether `plan` keeps within the bounds by itself.
    messages : list of str
    """

    image: Image
    plan: Any
    bounds: tuple[float, float]
    itself: bool
    messages: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return _of_plan(self, name, "plan")

    @cached_property
    def output(self) -> Image:
        """The result without its pixels."""
        image = self.image
        return self.plan.output.replace(kind=image.kind, quantity=image.quantity)  # type: ignore[no-any-return]

    def run(self, put: Put, progress: Progress | None = None) -> Image:
        """Compute all planes; see :meth:`sciSR.inference.upscaling.UpscalePlan.run`."""
        record: dict[str, Any] = {"kind": "probability", "bounds": list(self.bounds)}
        if self.itself:
            final = self.plan.run(put, progress)
            return _with_step(self, final, record, {})
        kept = Kept(self.output.shape, np.float32)
        try:
            limiting = _Limiting(self, put, kept)
            final = self.plan.run(limiting, progress)
            changes: dict[str, Any] = {}
            if limiting.largest > 0:  # otherwise what the plan has measured is still so
                changes["agreement"] = dict(
                    mean_agreement(self.image, kept, _factors(self.image, self.output))
                )
                record["largest_change"] = float(f"{limiting.largest:.3g}")
        finally:
            kept.close()
        return _with_step(self, final, record, changes)


class _Limiting:
    """Hands blocks on, their good pixels within the bounds."""

    def __init__(self, plan: BoundedPlan, put: Put, kept: Kept) -> None:
        self.bounds, self.put, self.kept, self.largest = plan.bounds, put, kept, 0.0
        self.bad = NearestView(BadView(plan.image), _factors(plan.image, plan.output))

    def __call__(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        outside = (block < self.bounds[0]) | (block > self.bounds[1])
        if outside.any():
            outside &= ~self.bad[index]
            limited = np.where(outside, np.clip(block, *self.bounds), block).astype(block.dtype)
            self.largest = max(self.largest, float(np.abs(limited - block)[outside].max(initial=0.0)))
            block = limited
        self.kept.put(index, block)
        self.put(index, block)


# -- phases and complex voxels ----------------------------------------------------------------------------------------


def _pair(
    image: Image,
    make_plan: MakePlan,
    plain: Image,
    names: tuple[str, str],
    functions: Any,
    dtype: np.dtype,
    has_bad: bool,
    turn: Turn | None,
) -> PairPlan:
    views = [PartView(image.data, function, dtype) for function in functions]
    first, second = (make_plan(plain.replace(data=view)) for view in views)
    messages = [*first.messages, *(said for said in second.messages if said not in first.messages)]
    if turn is None:
        messages.append("complex voxels: real and imaginary part, each by itself")
    else:
        messages.append(f"a phase with a turn of {turn}: as real and imaginary part of exp(i phase)")
    return PairPlan(image, first, second, names, has_bad, turn, messages)


@dataclass
class PairPlan:
    """A phase or complex voxels through the plans of two real parts.

    Attributes
    ----------
    image : Image
    first, second : RealPlan
        Of cosine and sine, or of the real and the imaginary part.
    names : pair of str
    has_bad : bool
    turn : Turn or None
        Of a phase.
    messages : list of str
    """

    image: Image
    first: Any
    second: Any
    names: tuple[str, str]
    has_bad: bool
    turn: Turn | None
    messages: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return _of_plan(self, name, "first")

    @cached_property
    def output(self) -> Image:
        """The result without its pixels: complex64, or float32 for a phase."""
        image, part = self.image, self.first.output
        factors = _factors(image, part)
        error = image.uncertainty
        share = (
            1.0
            if self.turn or image.quantity == "density"
            else float(1 / np.prod([float(f) for f in factors]))
        )
        known: Any = None if error is None else NearestView(error, factors, scale=share)
        if self._finds_uncertainty:
            known = Promise(part.shape, np.dtype(np.float32))
        return part.replace(  # type: ignore[no-any-return]
            data=Promise(part.shape, np.dtype(np.float32 if self.turn else np.complex64)),
            kind=image.kind,
            quantity=image.quantity,
            unit=image.unit,
            value_range=image.value_range,
            mask=None if image.mask is None else NearestView(image.mask, factors),
            uncertainty=known,
        )

    @property
    def _finds_uncertainty(self) -> bool:
        """Whether both parts do: the standard deviation of either, of which a complex voxel has one."""
        return self.turn is None and None not in (
            getattr(part, "uncertain", None) for part in (self.first, self.second)
        )

    def run(self, put: Put, progress: Progress | None = None) -> Image:
        """Compute the first part, keep it, and join it with the second as that comes."""
        kept = Kept(self.output.shape, np.float32)
        try:
            one = self.first.run(kept.put, _half(progress, 0.0))

            def join(index: tuple[slice | int, ...], block: np.ndarray) -> None:
                values = self._joined(index, kept[index], block)
                if self.turn is not None:  # to be compared with the input once all is there
                    kept.put(index, values)
                put(index, values)

            other = self.second.run(join, _half(progress, 0.5))
            agreement = self._agreement(_last_step(one), _last_step(other), kept)
        finally:
            kept.close()
        record = {"kind": "complex" if self.turn is None else "phase", "parts": list(self.names)}
        if self.turn is not None:
            record["turn"] = [self.turn.low, self.turn.high]
        left = {"agreement", "bad_pixels"}
        first_step = _last_step(one)
        differs = {k: v for k, v in _last_step(other).items() if k not in left and first_step.get(k) != v}
        if differs:  # each part has its own statistics
            record["of_second"] = differs
        final = _with_step(self, one, record, {} if agreement is None else {"agreement": dict(agreement)})
        return final.replace(uncertainty=RootMeanSquare(one, other)) if self._finds_uncertainty else final

    def _joined(self, index: tuple[slice | int, ...], one: np.ndarray, other: np.ndarray) -> np.ndarray:
        if self.turn is None:
            values = np.empty(one.shape, dtype=np.complex64)
            values.real, values.imag = one, other
            return values
        with np.errstate(invalid="ignore"):
            values = self.turn.values(np.arctan2(other.astype(np.float64), one.astype(np.float64)))
        if self.has_bad:  # their own values, which need be no phase
            factors = _factors(self.image, self.output)
            bad = NearestView(BadView(self.image), factors)[index]
            if bad.any():
                values = np.where(bad, NearestView(self.image.data, factors)[index], values)
        return values.astype(np.float32)

    def _agreement(
        self, one: Mapping[str, Any], other: Mapping[str, Any], kept: Kept
    ) -> Mapping[str, Any] | None:
        if "agreement" not in one or "agreement" not in other:
            return None
        if self.turn is None:
            return joined(one["agreement"], other["agreement"])
        return phase_agreement(self.image, kept, _factors(self.image, self.output), self.turn)


# -- what all plans share ---------------------------------------------------------------------------------------------


def _factors(image: Image, output: Image) -> tuple[Fraction, ...]:
    """New voxels per old one along each axis."""
    return tuple(Fraction(fine, n) for fine, n in zip(output.shape, image.shape, strict=True))


def _of_plan(plan: Any, name: str, attribute: str) -> Any:
    """What a plan does not have itself is that of the plan that it goes through: method, factors, consistency."""
    if name.startswith("_") or attribute not in plan.__dict__:
        raise AttributeError(name)
    return getattr(plan.__dict__[attribute], name)


def _last_step(final: Image) -> Mapping[str, Any]:
    return final.provenance.steps[-1] if final.provenance.steps else {}


def _with_step(plan: Any, final: Image, kind: Mapping[str, Any], changes: Mapping[str, Any]) -> Image:
    """The result with the provenance of the plan that it went through, and how its kind was treated."""
    *before, step = final.provenance.steps
    provenance = type(final.provenance)(tuple(before)).add(**{**step, **changes, "kind": dict(kind)})
    return plan.output.replace(provenance=provenance)  # type: ignore[no-any-return]


def _half(progress: Progress | None, start: float) -> Progress | None:
    return None if progress is None else lambda fraction: progress(start + fraction / 2)
