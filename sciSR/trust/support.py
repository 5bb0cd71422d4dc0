"""Hallucination check: is each source or edge of the output backed by the data?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sciSR.errors import GeometryError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from sciSR.image import Image
    from sciSR.trust.templates import Array, Forward, Noise

LIMIT = 3.0
KINDS = {"block": "block", "kspace": "kspace", "gaussian": "gaussian"}
_OF_MODEL = {"detector": "block", "kspace": "kspace", "gaussian": "gaussian"}
_OF_DOMAIN = {"mr": "kspace"}
_BAND = 1024  # coarse rows that are looked at together
_OVERLAP = 32
_MOST_PLANES = 3


@dataclass(frozen=True)
class Feature:
    """Something that stands out in the output.

    Attributes
    ----------
    kind : {"source", "edge"}
    index : tuple of float
        Its centre in output pixels, one per axis of the data.
    strength : float
        Its flux, or the height of its step, in the image's unit.
    support : float
        How many sigma of the input's noise speak for it: the matched filter of what it would look like in the input.
    is_supported : bool
        Whether that is at least the limit.
    """

    kind: Literal["source", "edge"]
    index: tuple[float, ...]
    strength: float
    support: float
    is_supported: bool


@dataclass(frozen=True)
class Support:
    """All features of one output.

    Attributes
    ----------
    features : tuple of Feature
    limit : float
        Sigma.
    noise : float
        One standard deviation of the input's noise, in its unit (the median where it differs from pixel to pixel).
    by_chance : float
        About how many peaks of the input's noise alone reach the limit: they count as supported, since one such peak
        can't be told from a faint source. 5 sigma leaves hardly any.
    is_cut : bool
        Whether a plane had more blobs and edges than are looked at; the strongest were.
    """

    features: tuple[Feature, ...]
    limit: float
    noise: float
    by_chance: float = 0.0
    is_cut: bool = False

    def line(self) -> str:
        """What was found, in one line."""
        count, bad = len(self.features), len(self.unsupported)
        if not count:
            return "no source or edge stands out of the output"
        those = f"the strongest {count}" if self.is_cut else f"{count}"
        return f"{bad} of {those} sources and edges are not supported by the data at {self.limit:g} sigma"

    @property
    def unsupported(self) -> tuple[Feature, ...]:
        return tuple(feature for feature in self.features if not feature.is_supported)

    def record(self) -> dict[str, Any]:
        """JSON-ready, for the provenance and the report."""
        return {
            "features": len(self.features),
            "unsupported": len(self.unsupported),
            "limit_sigma": self.limit,
            "noise": float(f"{self.noise:.4g}"),
            "by_chance": round(self.by_chance),
            **({"cut": True} if self.is_cut else {}),
        }


def check_support(
    before: Image,
    after: Image,
    *,
    limit: float = LIMIT,
    forward: str = "auto",
    noise: float | None = None,
    psf_fwhm: float | None = None,
    threshold: float | None = None,
    planes: int = _MOST_PLANES,
) -> Support:
    """Hold every source, blob and edge of an output against the input it was made of.

    Each feature (what stands out of its surroundings) is degraded by the forward model and looked for in the input with
    a matched filter, together with its neighbours and a local background, whose amplitudes are free. Its support is the
    amplitude over its error. A faint star that is there has the support of its signal to noise; a noise peak that was
    sharpened into one has that of the noise peak; what lies in detail that the input can't show has none. Of two
    sources less than two input pixels apart the fainter one also needs that one source alone does not fit the input.

    Parameters
    ----------
    before, after : Image
        Input and output; both as read, or as given to and returned by :func:`sciSR.upscale`.
    limit : float
        Sigmas below which a feature counts as not supported.
    forward : {"auto", "block", "kspace", "gaussian"}
        How the input came to its pixels: the mean of the fine pixels, truncated k-space, a Gaussian. By default what
        the output's provenance says, otherwise that of the domain.
    noise : float, optional
        Standard deviation of the input's noise, in its unit; by default its uncertainty, otherwise estimated.
    psf_fwhm : float, optional
        Of the Gaussian, in input pixels; 1 by default.
    threshold : float, optional
        How high, in sigmas of the input's noise, something must stand out of the output to count as a feature. By
        default 3 of the output's own noise (sky), or of what the input's noise makes of a blob.
    planes : int
        Of volumes and cubes so many planes are looked at, spread around the middle.

    Returns
    -------
    Support
        Sources in astronomy; blobs (kind "source") and edges elsewhere.

    Raises
    ------
    UsageError, GeometryError, UnsupportedError
        Unknown forward model; the output is no refinement of the input; labels, phases, complex pixels.
    """
    for image in (before, after):
        if image.kind not in ("intensity", "probability") or image.dtype.kind == "c":
            what = "complex pixels" if image.dtype.kind == "c" else image.kind
            raise UnsupportedError(
                f"sources and edges are looked for in intensities, not in {what}", where=image.where
            )
    from sciSR.trust.anatomy import MOST

    if forward not in ("auto", *KINDS):
        raise UsageError(f"unknown forward model {forward!r}", remedy=f"use auto, {', '.join(KINDS)}")
    factors = _factors(before, after)
    kind = _forward(before, after, factors) if forward == "auto" else forward
    if kind != "block" and any(f.denominator != 1 for f in factors):
        raise UsageError(
            f"{kind} needs a whole-number scale", where=after.where, remedy="give forward='block'"
        )
    share = 1.0 if after.quantity == "density" else float(factors[0] * factors[1])
    found: list[Feature] = []
    typical: list[float] = []
    places, is_cut = 0, False
    for pair in _pairs(before, after, kind, factors, planes):
        known = pair.noise(noise)
        typical.append(known.typical)
        places += (pair.own.stop - pair.own.start) * before.shape[before.spatial_axes[1]]
        looked_at: list[Found] = []
        found.extend(pair.features(known, limit, psf_fwhm or 1.0, share, threshold, looked_at))
        is_cut |= before.domain != "astronomy" and len(looked_at) >= MOST
    chance = 0.5 * math.erfc(limit / math.sqrt(2)) * places
    return Support(tuple(found), limit, float(np.median(typical)) if typical else 0.0, chance, is_cut)


def _factors(before: Image, after: Image) -> tuple[Fraction, Fraction]:
    """Fine pixels for each coarse one, along both spatial axes."""
    same = all(
        n == m
        for axis, (n, m) in enumerate(zip(before.shape, after.shape, strict=False))
        if axis not in before.spatial_axes
    )
    if len(before.shape) != len(after.shape) or not same or before.spatial_axes != after.spatial_axes:
        raise GeometryError(f"shape {after.shape} is no refinement of {before.shape}", where=after.where)
    first, second = (Fraction(after.shape[axis], before.shape[axis]) for axis in before.spatial_axes)
    if min(first, second) < 1 or max(first.denominator, second.denominator) > 64:
        raise GeometryError(f"shape {after.shape} is no refinement of {before.shape}", where=after.where)
    return first, second


def _forward(before: Image, after: Image, factors: tuple[Fraction, Fraction]) -> str:
    """The forward model of an output: that of its last upscale step, or of its domain."""
    whole = all(f.denominator == 1 for f in factors)
    for step in reversed(after.provenance.steps):
        if step.get("step") == "upscale":
            said = step.get("consistency") if step.get("consistency") in KINDS else None
            kind = said or _OF_MODEL.get(str(step.get("forward_model", "")))
            if kind is not None and (whole or kind == "block"):
                return kind
            break
    return _OF_DOMAIN.get(before.domain, "block") if whole else "block"


@dataclass(frozen=True)
class _Pair:
    """A band of a plane of the input and the same band of the output.

    Attributes
    ----------
    before, after : Image
    plane : tuple
        Index of the plane.
    rows : slice
        Input rows that are looked at, overlap included.
    own : slice
        Those whose features are counted.
    """

    before: Image
    after: Image
    plane: tuple[slice | int, ...]
    rows: slice
    own: slice
    kind: str
    factors: tuple[Fraction, Fraction]

    def noise(self, given: float | None) -> Noise:
        from sciSR.trust.input_noise import noise_model

        return noise_model(self.before, self.plane, self.rows, self._read(self.before, self.rows), given)

    def _read(self, image: Image, rows: slice) -> Array:
        from sciSR.inference.statistics import bad_pixels, read_rows

        values = read_rows(image, self.plane, rows)
        mask = None if image.mask is None else read_rows(image, self.plane, rows, "mask")
        return np.where(bad_pixels(values, mask), np.nan, values.astype(np.float64))

    def _fine(self) -> slice:
        first = self.factors[0]
        return slice(int(self.rows.start * first), int(self.rows.stop * first))

    def features(
        self,
        noise: Noise,
        limit: float,
        fwhm: float,
        share: float,
        threshold: float | None,
        looked_at: list[Found],
    ) -> Iterator[Feature]:
        """All of the band; with those of its overlap they are added to `looked_at`."""
        from sciSR.trust.templates import Forward

        data, output = self._read(self.before, self.rows), self._read(self.after, self._fine()) * share
        forward = Forward(self.kind, self.factors, (data.shape[0], data.shape[1]), fwhm)
        found = _sky if self.before.domain == "astronomy" else _anatomy
        top = self._fine().start
        first, last = int(self.own.start * self.factors[0]), int(self.own.stop * self.factors[0])
        looked_at.extend(found(output, data, noise, forward, threshold))
        for kind, y, x, strength, support in looked_at:
            if not first <= y + top + 0.5 < last:
                continue
            place = iter((y + top, x))
            index = tuple(
                float(next(place)) if isinstance(each, slice) else float(each) for each in self.plane
            )
            yield Feature(kind, index, strength / share, float(support), bool(support >= limit))


Found = tuple[Literal["source", "edge"], float, float, float, float]


def _sky(
    output: Array, data: Array, noise: Noise, forward: Forward, threshold: float | None
) -> Iterator[Found]:
    from sciSR.trust.sky import Judge, detect

    first, second = (float(f) for f in forward.factors)
    detected = detect(output, noise.typical, (first, second), threshold)
    judge = Judge(detected, data, noise, forward)
    for number, source in enumerate(detected.sources):
        yield "source", source.y, source.x, source.flux, judge.support(number)


def _anatomy(
    output: Array, data: Array, noise: Noise, forward: Forward, threshold: float | None
) -> Iterator[Found]:
    from sciSR.trust.anatomy import DETECTION, Judge, detect

    judge = Judge(output, data - _shown(output, forward), noise, forward)
    for spot in detect(
        output, noise, float(max(forward.factors)), DETECTION if threshold is None else threshold
    ):
        support, contrast = judge.support(spot)
        kind: Literal["source", "edge"] = "edge" if spot.kind == "edge" else "source"
        yield kind, spot.y, spot.x, contrast, support


def _shown(output: Array, forward: Forward) -> Array:
    """The forward model's image of a whole output; NaN where bad pixels reach."""
    import torch

    from sciSR.forward.gaussian import GaussianDecimation
    from sciSR.forward.kspace import KSpaceCrop
    from sciSR.forward.pixel import BlockMean

    bad = ~np.isfinite(output)
    fine = torch.from_numpy(np.where(bad, np.nanmedian(output) if not bad.all() else 0.0, output))
    scale = int(forward.factors[0])
    operator: Any = BlockMean(forward.factors)
    if forward.kind == "kspace":
        operator = KSpaceCrop(scale)
    elif forward.kind == "gaussian":
        operator = GaussianDecimation(scale, forward.fwhm * scale)
    shown = operator.apply(fine).numpy()
    if bad.any():
        reached = BlockMean(forward.factors).apply(torch.from_numpy(bad.astype(np.float64))).numpy()
        shown = np.where(reached > 0, np.nan, shown)
    return shown


def _pairs(
    before: Image, after: Image, kind: str, factors: tuple[Fraction, Fraction], most: int
) -> Iterator[_Pair]:
    """Bands of the planes; whole planes where the forward model is global."""
    from sciSR.inference.statistics import plane_indices

    planes = plane_indices(before)
    chosen = {round((len(planes) - 1) * share) for share in np.linspace(0, 1, max(most, 1) + 2)[1:-1]}
    size = before.shape[before.spatial_axes[0]]
    step = factors[0].denominator
    height = size if kind != "block" else -(-_BAND // step) * step
    overlap = -(-_OVERLAP // step) * step
    for number in sorted(chosen if len(planes) > most else range(len(planes))):
        for start in range(0, size, height):
            stop = min(size, start + height)
            rows = slice(max(0, start - overlap), min(size, stop + overlap))
            yield _Pair(before, after, planes[number], rows, slice(start, stop), kind, factors)
