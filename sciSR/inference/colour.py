"""Colour images: luminance through the network, the two colour differences by interpolation, together again as RGB.

A network sees one plane. The eye, and nearly all of a picture's detail, lie in the luminance; colour differences are
smooth, and a network that never saw them would only invent there. Since Y, U, V and R, G, B are mixtures of each other
without an offset, what holds for Y, U and V (means of the original pixels, scaling, bad pixels) holds for R, G and B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from sciSR.colour import CHROMA, LUMA, bad_together, mixture, rgb_axis, to_rgb
from sciSR.image import Image
from sciSR.inference.agreement import Agreement
from sciSR.inference.planes import ImagePlane, Scratch
from sciSR.inference.statistics import sample
from sciSR.inference.tiles import Span
from sciSR.inference.upscaling import Progress, Put, UpscalePlan
from sciSR.planes import plane_of

CHROMA_METHOD = "cubic"
_CHROMA_SHARE = 0.25  # of the time, for the progress


def plan_colour(image: Image, plan: Callable[..., Any]) -> UpscalePlan | ColourPlan:
    """Decide how an image with an ``"rgb"`` axis will be upscaled.

    Parameters
    ----------
    image : Image
    plan : callable
        ``plan(image, **changes)``: :func:`sciSR.inference.plan_upscale` with the user's settings but for the changes.

    Returns
    -------
    UpscalePlan or ColourPlan
        The first where luminance is not upscaled by a network: what is linear is the same for each channel.
    """
    axis = rgb_axis(image)
    assert axis is not None
    luma = plan(mixture(image, axis, LUMA))
    if not luma.choice.trained:
        return replace(luma, image=image, sample=sample(image))
    changes = {"model": CHROMA_METHOD, "consistency": luma.consistency}
    changes |= {"forward": "auto", "noise": None, "psf_fwhm": None}  # what only a network is told
    u, v = (plan(mixture(image, axis, weights), **changes) for weights in CHROMA)
    return ColourPlan(image, axis, luma, (u, v))


@dataclass
class ColourPlan:
    """What will be done to an image in colour; used like an :class:`~sciSR.inference.upscaling.UpscalePlan`.

    Attributes
    ----------
    image : Image
    axis : int
        The one of R, G, B.
    luma : UpscalePlan
        Of Y.
    chroma : pair of UpscalePlan
        Of U and V.
    """

    image: Image
    axis: int
    luma: UpscalePlan
    chroma: tuple[UpscalePlan, UpscalePlan]

    @property
    def choice(self) -> Any:
        """The method for luminance."""
        return self.luma.choice

    @property
    def consistency(self) -> str:
        """What the result reproduces, in each channel."""
        return self.luma.consistency

    @property
    def factors(self) -> tuple[Fraction, Fraction]:
        """Along the two spatial axes."""
        return self.luma.factors

    @cached_property
    def messages(self) -> list[str]:
        """What was decided and why."""
        name = self.luma.models[0][1].name
        return [*self.luma.messages, f"colour: {name} for luminance Y, {CHROMA_METHOD} for U and V"]

    @cached_property
    def output(self) -> Image:
        """The result without its pixels, red, green and blue again."""
        return replace(self.luma, image=self.image).output

    def run(self, put: Put, progress: Progress | None = None) -> Image:
        """Compute all planes; see :meth:`sciSR.inference.upscaling.UpscalePlan.run`."""
        kept = [_Planes(plan.output) for plan in self.chroma]
        try:
            for number, (plan, planes) in enumerate(zip(self.chroma, kept, strict=True)):
                plan.run(planes.put, _part(progress, number * _CHROMA_SHARE / 2, _CHROMA_SHARE / 2))
            joining = _Joining(self, kept, put)
            final = self.luma.run(joining, _part(progress, _CHROMA_SHARE, 1 - _CHROMA_SHARE))
        finally:
            for planes in kept:
                planes.close()
        step = dict(final.provenance.steps[-1])
        step["colour"] = {"transform": "YUV (BT.601)", "luminance": step["model"], "chroma": CHROMA_METHOD}
        if self.consistency != "kspace":  # that one is measured on whole planes, of luminance
            step["agreement"] = dict(joining.agreement().report(enforced=self.consistency != "none"))
        return self.output.replace(provenance=self.image.provenance.add(**step))


class _Planes:
    """The planes of a finished image, kept to be read again by bands of rows."""

    def __init__(self, image: Image) -> None:
        self.rows, columns = image.spatial_axes
        self.shape = image.shape[self.rows], image.shape[columns]
        self.kept: dict[tuple[int, ...], Scratch] = {}

    def put(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        """Take full-width rows of one plane."""
        self.kept.setdefault(_plane(index), Scratch(self.shape)).write(_span(index[self.rows]), block)

    def read(self, index: tuple[slice | int, ...]) -> np.ndarray:
        """The same rows again."""
        return self.kept[_plane(index)].read(_span(index[self.rows]))

    def close(self) -> None:
        """Free memory or files."""
        for scratch in self.kept.values():
            scratch.close()


class _Joining:
    """Takes bands of luminance, joins them with the colour differences, and hands on red, green and blue."""

    def __init__(self, plan: ColourPlan, chroma: list[_Planes], put: Put) -> None:
        self.plan, self.chroma, self.put = plan, chroma, put
        self.rows, _ = plan.luma.image.spatial_axes
        self.place = sum(axis < plan.axis for axis in plan.image.spatial_axes)
        self.agreements = [Agreement(plan.factors, share=float(plan.luma.share)) for _ in range(3)]
        self.sources: list[ImagePlane] = []

    def __call__(self, index: tuple[slice | int, ...], block: np.ndarray) -> None:
        final = to_rgb(block, *(planes.read(index) for planes in self.chroma)).astype(np.float32)
        if self.plan.consistency != "kspace":
            self._measure(index, final)
        axis = self.plan.axis
        self.put((*index[:axis], slice(None), *index[axis:]), np.moveaxis(final, 0, self.place))

    def agreement(self) -> Agreement:
        """Of all three channels together."""
        first, *others = self.agreements
        for other in others:
            first.largest = max(first.largest, other.largest)
            first.lowest, first.highest = min(first.lowest, other.lowest), max(first.highest, other.highest)
            first.squares, first.count = first.squares + other.squares, first.count + other.count
        return first

    def _measure(self, index: tuple[slice | int, ...], final: np.ndarray) -> None:
        rows = _span(index[self.rows])
        if rows.start == 0:
            self.sources = [self._channel(index, channel) for channel in range(3)]
            for agreement in self.agreements:
                agreement.begin_plane()
        for agreement, source, values in zip(self.agreements, self.sources, final, strict=True):
            agreement.feed(rows, values, source)

    def _channel(self, index: tuple[slice | int, ...], channel: int) -> ImagePlane:
        """One plane of red, green or blue as it was measured, bad where any of them is."""
        image, axis = self.plan.image, self.plan.axis
        plane = plane_of(image, {axis: channel}).replace(mask=bad_together(image, axis))
        whole = tuple(slice(None) if isinstance(entry, slice) else entry for entry in index)
        return ImagePlane(plane, whole, 0.0, 1.0, has_bad=self.plan.luma.sample.n_bad > 0)


def _plane(index: tuple[slice | int, ...]) -> tuple[int, ...]:
    """Which plane a band belongs to."""
    return tuple(entry for entry in index if not isinstance(entry, slice))


def _span(rows: slice | int) -> Span:
    assert isinstance(rows, slice)
    return Span(rows.start, rows.stop)


def _part(progress: Progress | None, start: float, share: float) -> Progress | None:
    return None if progress is None else lambda fraction: progress(start + share * fraction)
