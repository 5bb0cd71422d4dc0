"""Sources of a sky image, and whether the input shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciSR.trust.templates import Array, Fit, Forward, Noise, Patch, fit, level_and_slope

DETECTION = 3.0
"""Sigmas above the output's own background at which a pixel belongs to a source."""
SHALLOWEST = 0.5
"""... and in sigmas of the input's noise: an output without noise shows no end of sources."""
CLOSE = 2.0
"""Coarse pixels between two peaks below which one source may have been split into two."""
SHAPE = 0.02
"""Part of its own brightness by which a single source may differ from the output's shape of it."""
_MESH = 32  # coarse pixels of the background's mesh
BRIGHT = 20.0
"""Times as bright as a source is what may show structure of its own around it (rings, spikes, lumps in its wings)."""
_WIDER = (0.0, 0.25, 0.4, 0.6, 0.9)  # times the distance of two peaks: Gaussians that widen the one
_WINGS = 20  # coarse pixels that the wings of a bright source are followed
_NEIGHBOURS = 12
_MOST = 20000


@dataclass(frozen=True)
class Source:
    """A detection: its place (fine pixels), its flux, and its pixels above the background.

    Attributes
    ----------
    y, x : float
    flux : float
        Sum over the fine pixels.
    box : pair of slice
    """

    y: float
    x: float
    flux: float
    box: tuple[slice, slice]


@dataclass(frozen=True)
class Detected:
    """The sources of an output.

    Attributes
    ----------
    sources : list of Source
    labels : ndarray of int
        Number of the source, from 1, that a pixel belongs to; 0 for none. A source reaches one coarse pixel farther
        than the pixels that stand out, so that what was taken from beside it is part of it.
    above : ndarray
        The output minus its background.
    """

    sources: list[Source]
    labels: NDArray[np.int32]
    above: Array


def detect(
    output: Array, noise: float, factors: tuple[float, float], threshold: float | None = None
) -> Detected:
    """Find sources.

    Parameters
    ----------
    output : ndarray, float64 ``[H, W]``
        A density; NaN where bad.
    noise : float
        Of the input.
    factors : pair of float
    threshold : float, optional
        In sigmas of the input's noise; by default `DETECTION` sigmas of the output's own.
    """
    import sep
    from scipy.ndimage import find_objects
    from skimage.segmentation import expand_labels

    bad = ~np.isfinite(output)
    if bad.all():
        return Detected([], np.zeros(output.shape, np.int32), np.zeros_like(output))
    level = float(np.median(output[~bad]))
    clean = np.ascontiguousarray(np.where(bad, 0.0, output - level))
    side = [int(max(16, min(n, _MESH * f))) for n, f in zip(output.shape, factors, strict=True)]
    background = sep.Background(clean, mask=bad, bh=side[0], bw=side[1])
    above = clean - background.back()
    own = float(background.globalrms)
    height = max(DETECTION * own, SHALLOWEST * noise) if threshold is None else threshold * noise
    height = max(height, 1e-12 * float(np.ptp(clean)))
    area = max(3, round(factors[0] * factors[1] / 4))
    found, labels = _extract(above, height, bad, area)
    labels = expand_labels(labels, distance=max(factors))
    boxes = find_objects(labels, len(found))
    sources = [
        Source(float(y), float(x), float(flux), box or (slice(0, 0), slice(0, 0)))
        for y, x, flux, box in zip(found["y"], found["x"], found["flux"], boxes, strict=True)
    ]
    return Detected(sources, labels.astype(np.int32), np.where(bad, 0.0, above))


def _extract(above: Array, threshold: float, bad: NDArray[np.bool_], area: int) -> tuple[NDArray, NDArray]:
    """sep's detections and their map; above a higher threshold where its buffers do not hold all."""
    import sep

    sep.set_extract_pixstack(2_000_000)
    sep.set_sub_object_limit(8192)
    for _ in range(6):
        try:
            found, labels = sep.extract(
                above,
                threshold,
                mask=bad,
                minarea=area,
                deblend_cont=0.003,
                segmentation_map=True,
                filter_kernel=None,
            )
        except Exception:  # sep's own error of full buffers has no type
            threshold *= 2
            continue
        if len(found) <= _MOST:
            return found, labels
        threshold *= 2
    return np.zeros(0, [("y", float), ("x", float), ("flux", float)]), np.zeros(above.shape, np.int32)


class Judge:
    """Holds the sources of an output against the input.

    Parameters
    ----------
    detected : Detected
    data : ndarray, float64 ``[h, w]``
        The input, a density; NaN where bad.
    noise : Noise
    forward : Forward
    """

    def __init__(self, detected: Detected, data: Array, noise: Noise, forward: Forward) -> None:
        self.detected, self.data, self.noise, self.forward = detected, data, noise, forward
        self.distance = CLOSE * float(max(forward.factors))
        self.y, self.x, self.flux = (
            np.array([getattr(each, name) for each in detected.sources]) for name in ("y", "x", "flux")
        )
        self._profiles: dict[int, Array] = {}

    def support(self, number: int) -> float:
        """Sigmas with which the input shows source `number`, from 0; the less likely of it being there at all and of
        it being one of two."""
        source = self.detected.sources[number]
        patch = self.forward.patch(source.box)
        others = self._neighbours(number, patch)
        close = [k for k in others if self._apart(source, self.detected.sources[k]) < self.distance]
        brighter = [k for k in close if self.detected.sources[k].flux >= source.flux]
        # A fainter companion may be part of this source: the simplest explanation is without it.
        seen = [k for k in others if k not in close or k in brighter]
        wings = [patch.apply(each) for each in self._wings(source, patch)]
        shape = SHAPE * np.sum(np.abs(wings), axis=0) if wings else None
        found = self._fit(patch, [self._template(number, patch), *wings], seen, shape).support
        if brighter:
            found = min(found, self._split(number, brighter[0], patch, [k for k in seen if k != brighter[0]]))
        return found

    def _wings(self, source: Source, patch: Patch) -> list[Array]:
        """Far brighter sources nearby as if they were round: what a lump beside one must rise above."""
        reach = _WINGS * float(max(self.forward.factors))
        near = np.flatnonzero(
            (self.flux > BRIGHT * source.flux) & (np.hypot(self.y - source.y, self.x - source.x) < reach)
        )
        brightest = near[np.argsort(-self.flux[near], kind="stable")[:2]]
        y, x = np.mgrid[patch.fine[0], patch.fine[1]]
        found = []
        for k in brightest.tolist():
            radius = np.hypot(y - self.y[k], x - self.x[k])
            found.append(np.interp(radius, np.arange(math.ceil(reach) + 1), self._profile(k), right=0.0))
        return found

    def _profile(self, number: int) -> Array:
        """Median of the output around a source at 0, 1, 2, ... fine pixels from its centre."""
        if number not in self._profiles:
            reach = math.ceil(_WINGS * float(max(self.forward.factors)))
            centre = (round(float(self.y[number])), round(float(self.x[number])))
            cut = tuple(
                slice(max(0, at - reach - 1), min(n, at + reach + 2))
                for at, n in zip(centre, self.detected.above.shape, strict=True)
            )
            y, x = np.mgrid[cut[0], cut[1]]
            ring = np.rint(np.hypot(y - self.y[number], x - self.x[number])).astype(int).ravel()
            values = self.detected.above[cut].ravel()
            order = np.argsort(ring, kind="stable")
            pieces = np.split(values[order], np.searchsorted(ring[order], np.arange(1, reach + 1)))
            self._profiles[number] = np.array([np.median(p) if len(p) else 0.0 for p in pieces])
        return self._profiles[number]

    def _neighbours(self, number: int, patch: Patch) -> list[int]:
        """Other sources in the patch, those with most pixels in it, brightest first."""
        inside = self.detected.labels[patch.fine]
        counts = np.bincount(inside[inside > 0], minlength=1)
        most = [int(k) - 1 for k in np.argsort(-counts, kind="stable")[: _NEIGHBOURS + 1] if counts[k]]
        return sorted((k for k in most if k != number), key=lambda k: -self.detected.sources[k].flux)

    def _apart(self, a: Source, b: Source) -> float:
        return math.hypot(a.y - b.y, a.x - b.x)

    def _piece(self, number: int, patch: Patch) -> Array:
        return np.where(self.detected.labels[patch.fine] == number + 1, self.detected.above[patch.fine], 0.0)

    def _template(self, number: int, patch: Patch) -> Array:
        return patch.apply(self._piece(number, patch))

    def _fit(self, patch: Patch, first: list[Array], others: list[int], extra: Array | None = None) -> Fit:
        columns = [*first, *(self._template(k, patch) for k in others), *level_and_slope(patch.shape)]
        sigma = self.noise.on(patch)
        if extra is not None:
            sigma = np.hypot(sigma, extra)
        return fit(self.data[patch.coarse], sigma, columns, self.noise.correlation)

    def _split(self, number: int, other: int, patch: Patch, seen: list[int]) -> float:
        """Sigmas by which one source instead of two does not fit the input.

        The one has the brighter one's shape (what of it is the same on both sides of its centre), lies between the two,
        and is as wide as fits best; it may move, and become wider or narrower along any direction (its first and second
        derivatives are templates too).
        """
        from scipy.ndimage import gaussian_filter

        first, second = (self.detected.sources[k] for k in (other, number))
        shown = np.abs(patch.apply(self._piece(number, patch) + self._piece(other, patch)))
        here = shown > 0.05 * shown.max()
        core = self._between(other, second, patch)
        least = math.inf
        for width in _WIDER:
            one = gaussian_filter(core, width * self._apart(first, second))
            down, across = np.gradient(one)
            (yy, yx), (_, xx) = np.gradient(down), np.gradient(across)
            columns = [patch.apply(each) for each in (one, down, across, yy, yx, xx)]
            found = self._fit(patch, columns, seen, SHAPE * shown)
            count = max(int(here.sum()) * found.freedom / found.residual.size, 1.0)
            least = min(least, (float((found.residual[here] ** 2).sum()) - count) / math.sqrt(2 * count))
        return least

    def _between(self, number: int, second: Source, patch: Patch) -> Array:
        """The symmetric part of a source, moved to where its flux and that of a second one balance."""
        from scipy.ndimage import map_coordinates

        source = self.detected.sources[number]
        piece = np.maximum(self._piece(number, patch), 0.0)
        share = second.flux / max(source.flux + second.flux, 1e-300)
        y, x = np.mgrid[patch.fine[0], patch.fine[1]]
        down, across = (share * (b - a) for a, b in ((source.y, second.y), (source.x, second.x)))
        origin = patch.fine[0].start, patch.fine[1].start
        there = y - down - origin[0], x - across - origin[1]
        mirrored = 2 * (source.y - origin[0]) - there[0], 2 * (source.x - origin[1]) - there[1]
        one, other = (map_coordinates(piece, place, order=1, mode="constant") for place in (there, mirrored))
        return np.minimum(one, other)
