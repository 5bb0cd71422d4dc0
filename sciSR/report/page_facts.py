"""What a page is about: a file and the one made of it, read lazily, with all that is known of both."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciSR.adapter import Adapter
from sciSR.errors import GeometryError, SciSRError, UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.report.page_layout import Layout, Screen
from sciSR.report.page_scene import Sources

if TYPE_CHECKING:
    from sciSR.trust.support import Support
    from sciSR.verify.result import Verification

STEPS = ("upscale", "isotropic", "fuse", "fuse stacks")
"""Steps of a record that make finer pixels."""
_LARGEST_PLANE = 16_000_000
"""Output pixels of a plane that is compared as a whole where the operator needs all of it."""


@dataclass(eq=False)
class Facts:
    """All that is known of one pair.

    Attributes
    ----------
    input : Path or None
        None where it is not at hand.
    output : Path
    input_name, output_name : str
        How the page calls them: never by a patient's name.
    before : Image or None
    after : Image
    truth : Image or None
    std : LazyArray or None
        Standard deviation of the output.
    factors : tuple of Fraction
        Output pixels per input pixel, one per axis of the data.
    steps : tuple of mapping
        The output's record.
    parts : tuple of str
        Names of all images of the output; the page is about `after`'s.
    verification, support
        None where it was not or could not be done; `notes` says why.
    support_start : tuple of int
        Output pixel from which the features' places count.
    notes : list of str
    """

    input: Path | None
    output: Path
    input_name: str
    output_name: str
    before: Image | None
    after: Image
    factors: tuple[Fraction, ...]
    truth: Image | None = None
    std: Any = None
    steps: tuple[Mapping[str, Any], ...] = ()
    parts: tuple[str, ...] = ()
    verification: Verification | None = None
    support: Support | None = None
    support_start: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def step(self) -> Mapping[str, Any]:
        """The step that made finer pixels; empty where the output has no record."""
        found = [s for s in self.steps if s.get("step") in STEPS or "agreement" in s]
        return found[-1] if found else {}

    @property
    def is_medical(self) -> bool:
        return self.after.domain in ("mr", "ct", "pet") or self.layout().is_volume

    def layout(self, volume: int = 0) -> Layout:
        return Layout.of(self.after, volume)


def gather(
    output: Path,
    given: Path | None,
    *,
    truth: Path | None = None,
    part: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Facts:
    """Read a pair's headers; pixels stay on disk.

    Parameters
    ----------
    output : Path
    given : Path or None
        The input.
    truth : Path, optional
        The scene itself on the output's pixels.
    part : str, optional
        Which image of files that hold several; the first by default.
    options : mapping, optional
        Of the formats, for reading.

    Raises
    ------
    SciSRError
        A file can't be read; they do not belong together.
    """
    from sciSR.verify.checking import with_record
    from sciSR.verify.companion import deviation_of
    from sciSR.workflow.stack_names import record_name

    afters, adapter = _read(output, options)
    after = with_record(adapter, _part(afters, part, output))
    before = None
    if given is not None:
        befores, _ = _read(given, options)
        before = _matching(befores, after, given)
    facts = Facts(
        given,
        output,
        "" if given is None else record_name(given),
        record_name(output),
        before,
        after,
        _factors(before, after, output),
        truth=None if truth is None else _truth(truth, after, options),
        std=deviation_of(adapter, output, after),
        steps=after.provenance.steps,
        parts=tuple(image.part for image in afters),
    )
    if before is None:
        facts.notes.append(
            "The input was not found: what needs it (comparison, residual, checks) is left out."
        )
    return facts


def _read(path: Path, options: Mapping[str, Any] | None) -> tuple[list[Image], Adapter]:
    from sciSR.plugins import adapter_for

    adapter = adapter_for(path)
    known = {option.name for option in adapter.options if not option.writes}
    images = adapter.read(path, **{k: v for k, v in (options or {}).items() if k in known})
    if not images:
        raise UnsupportedError("holds no image", where=path)
    return images, adapter


def _part(images: Sequence[Image], part: str | None, path: Path) -> Image:
    if part is None:
        return images[0]
    found = [image for image in images if image.part == part]
    if not found:
        names = ", ".join(image.part for image in images)
        raise UsageError(f"holds no image {part!r}", where=path, remedy=f"it has {names}")
    return found[0]


def _matching(images: Sequence[Image], after: Image, path: Path) -> Image:
    """The input's image that became this one: of the same part; of one part, that one."""
    same = [image for image in images if image.part == after.part] or list(images[:1])
    before = same[0]
    if before.axes != after.axes:
        raise GeometryError(
            f"has axes {', '.join(before.axes)}, the output {', '.join(after.axes)}: not made of it",
            where=path,
        )
    return before


def _factors(before: Image | None, after: Image, output: Path) -> tuple[Fraction, ...]:
    """From the shapes; without the input from the record's scale."""
    if before is not None:
        found = tuple(Fraction(a, b) for a, b in zip(after.shape, before.shape, strict=True))
        if min(found) < 1:
            raise GeometryError(
                f"has {'x'.join(map(str, after.shape))} pixels, fewer than its input's "
                f"{'x'.join(map(str, before.shape))}: not made of it",
                where=output,
            )
        return found
    scales = [s["scale"] for s in after.provenance.steps if "scale" in s]
    factors = [Fraction(1)] * len(after.shape)
    if scales and not isinstance(scales[-1], Mapping):
        from sciSR.inference.choose import parse_scale

        with contextlib.suppress(SciSRError):
            pair = parse_scale(str(scales[-1]), native=True)
            for axis, factor in zip(after.spatial_axes, pair, strict=True):
                factors[axis] = factor
    return tuple(factors)


def _truth(path: Path, after: Image, options: Mapping[str, Any] | None) -> Image:
    images, _ = _read(path, options)
    same = [image for image in images if image.shape == after.shape]
    if not same:
        shapes = ", ".join("x".join(map(str, image.shape)) for image in images)
        raise GeometryError(
            f"has {shapes} pixels, the result {'x'.join(map(str, after.shape))}: no truth for it", where=path
        )
    return next((image for image in same if image.part == after.part), same[0])


def sources_of(facts: Facts, volume: int = 0) -> Sources:
    """What the pictures are made of.

    Parameters
    ----------
    facts : Facts
    volume : int
        Which one of several.
    """
    layout = facts.layout(volume)
    factors = layout.factors(facts.factors)
    after = Screen(facts.after, layout)
    before = None if facts.before is None else Screen(facts.before, layout)
    share = 1.0
    if facts.after.quantity == "total" and before is not None:
        share = 1 / float(np.prod([float(f) for f in facts.factors]))
    return Sources(
        before,
        after,
        factors,
        std=None if facts.std is None else Screen(facts.after, layout, facts.std),
        truth=None if facts.truth is None else Screen(facts.truth, layout),
        share=share,
        residual=None if before is None else residual_of(facts, before, after, factors, share),
        unit=facts.after.unit or "",
        domain=facts.after.domain,
    )


def residual_of(
    facts: Facts, before: Screen, after: Screen, factors: tuple[float, float, float], share: float
) -> Any:
    """``residual(z, y, x)``: what the forward model makes of the output, less the input, in the input's unit.

    Of the block mean where nothing else is recorded; None where the operator is not known here.
    """
    kind = str(facts.step.get("consistency", "block"))
    fz, fy, fx = (Fraction(f).limit_denominator(10_000) for f in factors)
    if fz != 1 or facts.after.kind != "intensity":
        return None
    if kind in ("block", "none", ""):
        if fy.denominator != 1 or fx.denominator != 1:
            return None

        def block(z: int, y: slice, x: slice) -> NDArray:
            from sciSR.report.page_layout import block_mean

            p, q = int(fy), int(fx)
            fine = after.read(
                slice(z, z + 1), slice(y.start * p, y.stop * p), slice(x.start * q, x.stop * q)
            )[0]
            coarse = before.read(slice(z, z + 1), y, x)[0]
            return block_mean(fine, p, q) / share - coarse

        return block
    if kind != "kspace" or fy != fx or fy.denominator != 1 or after.channels != 1:
        return None
    if after.shape[1] * after.shape[2] > _LARGEST_PLANE:
        return None
    if facts.layout().main != 2:  # acquired planes are not the displayed ones
        return None

    def kspace(z: int, y: slice, x: slice) -> NDArray:
        import torch

        from sciSR.inference.whole_plane import KSpaceSamples

        turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in after.layout.flips[1:])
        fine = torch.from_numpy(np.nan_to_num(after.plane(z)[turn]).astype(np.float64))
        found = KSpaceSamples(int(fy)).apply(fine).numpy()[turn] - before.plane(z)
        return np.asarray(found[y, x], np.float32)

    return kspace
