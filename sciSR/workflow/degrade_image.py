"""Make a coarse image of a sharp one: the plan (what will be done) and its run (block by block)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import sciSR
from sciSR.errors import UnsupportedError, UsageError
from sciSR.grid import coarsened
from sciSR.image import Image
from sciSR.inference.statistics import MAX_SAMPLE, sample
from sciSR.inference.upscaling import Promise, out_of_float32
from sciSR.training.config import ForwardConfig
from sciSR.training.degradation import Degradation, draw
from sciSR.workflow.degrade_noise import Exposure, Noise
from sciSR.workflow.degrade_planes import Band, CoarsePlanes, Index, PlaneView

Put = Callable[[Index, np.ndarray], None]
Progress = Callable[[float], None]

BRIGHT = 0.995
"""Quantile of the noise-free image that a signal to noise refers to."""
_SURVEYED = 8  # planes that this quantile is taken from
_NEGATIVE = 0.02  # share of negative pixels above which an image is no magnitude


@dataclass
class DegradePlan:
    """What will be done to one image; made by :func:`plan_degrade`.

    Attributes
    ----------
    image : Image
    degradation : Degradation
    noise : Noise
        Its standard deviation or gain is fixed.
    seed, noise_seed : int
        As given, and what the random numbers of this image follow from.
    level : float
        The 99.5 % quantile of the noise-free image; NaN if nothing depends on it.
    messages : list of str
    """

    image: Image
    degradation: Degradation
    noise: Noise
    planes: CoarsePlanes
    seed: int
    noise_seed: int
    level: float
    n_bad: int
    messages: list[str] = field(default_factory=list)

    @cached_property
    def output(self) -> Image:
        """The result without its pixels: grid, shape, dtype, uncertainty and mask (as lazy views)."""
        image, spatial = self.image, self.image.spatial_axes
        scales = [self.degradation.scale if axis in spatial else 1 for axis in range(len(image.shape))]
        grid = coarsened(image.grid, scales)
        shape = tuple(grid.shape)
        return image.replace(
            data=Promise(shape, np.dtype(np.float32)),
            grid=grid,
            uncertainty=None
            if image.uncertainty is None
            else PlaneView(image, shape, np.float32, self._sigma),
            mask=None if image.mask is None else PlaneView(image, shape, bool, self._bad),
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
            :attr:`output` with its provenance completed.
        """
        first, _ = self.image.spatial_axes
        planes, spans = self.planes.indices, list(self.planes.spans())
        for number, index in enumerate(planes):
            expose = Exposure(self.noise, self.degradation.hot_pixels, (self.noise_seed, number))
            for part, rows in enumerate(spans):
                final = self._final(self.planes.band(index, rows), expose)
                put(tuple(rows if axis == first else entry for axis, entry in enumerate(index)), final)
                if progress is not None:
                    progress((number + (part + 1) / len(spans)) / len(planes))
        return self.output.replace(provenance=self.image.provenance.add(**self.record()))

    def record(self) -> dict[str, Any]:
        """The provenance step: every parameter and the seed."""
        drawn = self.degradation.as_dict()
        noise_of = {key: value for key, value in dataclasses.asdict(self.noise).items() if value is not None}
        if self.noise.kind != "poisson":
            noise_of.pop("read_noise")
        forward = {key: drawn[key] for key in drawn if key not in ("scale", "noise", "snr", "hot_pixels")}
        forward |= {
            "noise": noise_of.pop("kind"),
            **noise_of,
            "hot_pixels": drawn["hot_pixels"],
            "seed": self.seed,
        }
        if self.noise_seed != self.seed:
            forward["noise_seed"] = self.noise_seed
        if math.isfinite(self.level):
            forward["level"] = self.level
        rest = [n % self.degradation.scale for n in (self.image.shape[a] for a in self.image.spatial_axes)]
        return {
            "software": f"sciSR {sciSR.__version__}",
            "step": "degrade",
            "scale": f"1/{self.degradation.scale}" if self.degradation.scale > 1 else "1",
            "forward": forward,
            "quantity": self.image.quantity,
            "bad_pixels": self.n_bad,
            "cropped": rest,
        }

    def _final(self, band: Band, expose: Exposure) -> np.ndarray:
        values = expose(band.values)
        if band.bad is not None:
            assert band.raw is not None
            values = np.where(band.bad, band.raw, values)
        with np.errstate(over="ignore"):
            final = values.astype(np.float32)
        if np.isinf(final).any():
            raise out_of_float32(self.image, float(np.nanmax(np.abs(values))))
        return final

    def _sigma(self, index: Index, rows: slice) -> np.ndarray:
        band = self.planes.band(index, rows)
        variance = self.planes.variance(index, rows) + self.noise.variance(band.values)
        return np.sqrt(variance if band.bad is None else np.where(band.bad, np.nan, variance))

    def _bad(self, index: Index, rows: slice) -> np.ndarray:
        band = self.planes.band(index, rows)
        return np.zeros(band.values.shape, bool) if band.bad is None else band.bad


def plan_degrade(
    image: Image,
    scale: int = 2,
    forward: ForwardConfig | Degradation | str = "auto",
    *,
    seed: int = 0,
    sigma: float | None = None,
    gain: float | None = None,
    read_noise: float = 0.0,
) -> DegradePlan:
    """Decide how an image will be degraded; reads it once for its statistics.

    Parameters
    ----------
    image : Image
    scale : int
        Fine pixels for each coarse pixel and spatial axis; 1 for blur and noise alone.
    forward : ForwardConfig, Degradation or str
        The model, with ranges from which its parameters are drawn; or with all of them fixed (its own scale counts); or
        the name of its kind. "auto": a detector's pixels for astronomy, truncated k-space for MR, else a Gaussian
        profile.
    seed : int
        Of what is drawn, noise included. Images that were read for a batch (their provenance holds the file's checksum)
        get parameters and noise of their own for the same seed.
    sigma : float, optional
        Standard deviation of Gaussian or Rician noise in the image's unit, instead of the signal to noise of `forward`.
    gain : float, optional
        Electrons for each unit of the image's values, for Poisson noise, instead of the signal to noise of `forward`.
    read_noise : float
        Standard deviation of the read-out in electrons, for Poisson noise.

    Raises
    ------
    SciSRError
        Labels, pixels that no forward model can take, parameters that make no sense.
    """
    if image.kind in ("labels", "phase"):
        what = "labels" if image.kind == "labels" else "a phase"
        raise UnsupportedError(f"holds {what}, and no forward model acts on {what}", where=image.where)
    if not isinstance(seed, int) or seed < 0:
        raise UsageError(f"a seed of {seed!r}", remedy="give a whole number, 0 or more")
    messages: list[str] = []
    degradation = _degradation(image, scale, forward, seed, messages)
    snr = degradation.snr if sigma is None and gain is None and degradation.noise != "none" else None
    how = Noise(degradation.noise, snr, sigma, gain, read_noise)
    statistics = sample(image)
    _check_magnitude(image, degradation, how, statistics.values, messages)
    middle = float(np.median(statistics.values)) if statistics.n_bad and statistics.values.size else 0.0
    planes = CoarsePlanes(image, degradation, middle, statistics.n_bad > 0)
    level = math.nan
    if how.snr is not None:
        level = _bright(planes)
        how = how.at(level)
    if degradation.hot_pixels and how.kind == "none":
        raise UsageError(
            "hot pixels stand out of the noise, and there is none",
            where=image.where,
            remedy="give --noise too",
        )
    noise_seed = _own_seed(image, seed, image.part)
    plan = DegradePlan(image, degradation, how, planes, seed, noise_seed, level, statistics.n_bad, messages)
    _say_cropped(image, degradation.scale, messages)
    plan.output  # noqa: B018  (refuses scales that leave no pixel)
    return plan


def degrade(
    image: Image,
    scale: int = 2,
    forward: ForwardConfig | Degradation | str = "auto",
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Image:
    """Degrade an image in memory; see :func:`plan_degrade`.

    Returns
    -------
    Image
        float32, on the coarser grid, with the provenance of what was done.
    """
    plan = plan_degrade(image, scale, forward, **options)
    data = np.empty(plan.output.shape, dtype=np.float32)

    def put(index: Index, block: np.ndarray) -> None:
        data[index] = block

    return plan.run(put, progress).replace(data=data)


def kind_for(image: Image) -> str:
    """The forward model that fits an image's domain."""
    return {"astronomy": "detector", "mr": "kspace"}.get(image.domain, "gaussian")


def _degradation(
    image: Image, scale: int, forward: ForwardConfig | Degradation | str, seed: int, messages: list[str]
) -> Degradation:
    if isinstance(forward, Degradation):
        return forward
    if isinstance(forward, str):
        kind = forward
        if forward == "auto":
            kind = kind_for(image)
            messages.append(f"forward model {kind}: what fits images of domain {image.domain}")
        forward = ForwardConfig(kind=kind)  # type: ignore[arg-type]
    if isinstance(scale, bool) or not isinstance(scale, int) or not 1 <= scale <= 64:
        raise UsageError(f"a scale of {scale!r}", remedy="give a whole number from 1 to 64")
    return draw(forward, scale, np.random.default_rng(_own_seed(image, seed, "")))


def _check_magnitude(
    image: Image, degradation: Degradation, how: Noise, values: np.ndarray, messages: list[str]
) -> None:
    """k-space and Rician noise give magnitudes, which can't be negative."""
    what = "k-space" if degradation.kspace else "Rician noise" if how.kind == "rician" else ""
    negative = float((values < 0).mean()) if values.size else 0.0
    if not what or negative == 0:
        return
    if negative > _NEGATIVE:
        raise UsageError(
            f"{what} gives magnitudes, and {100 * negative:.0f} % of the pixels are negative",
            where=image.where,
            remedy="choose another forward model or noise, e.g. --forward gaussian",
        )
    messages.append(f"{what} gives magnitudes: a few negative values became positive")


def _bright(planes: CoarsePlanes) -> float:
    """The 99.5 % quantile of the noise-free coarse image's good pixels, from planes spread over it."""
    indices = planes.indices
    chosen = [indices[k] for k in np.unique(np.linspace(0, len(indices) - 1, _SURVEYED).round().astype(int))]
    height, width = planes.size
    stride = max(1, math.ceil(math.sqrt(len(chosen) * height * width / MAX_SAMPLE)))
    kept = []
    for index in chosen:
        for rows in planes.spans():
            band = planes.band(index, rows)
            phase = -rows.start % stride
            values = band.values[phase::stride, ::stride]
            kept.append(values.ravel() if band.bad is None else values[~band.bad[phase::stride, ::stride]])
    good = np.concatenate(kept)
    return float(np.quantile(good, BRIGHT)) if good.size else math.nan


def _own_seed(image: Image, seed: int, part: str) -> int:
    """The seed itself; mixed with the file's checksum and the part's name where the checksum is known."""
    digests = [step["input_sha256"] for step in image.provenance.steps if "input_sha256" in step]
    if not digests:
        return seed
    text = json.dumps([seed, digests[-1], part])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _say_cropped(image: Image, scale: int, messages: list[str]) -> None:
    for axis, name in zip(image.spatial_axes, image.spatial, strict=True):
        rest = image.shape[axis] % scale
        if rest:
            messages.append(
                f"{rest} of {image.shape[axis]} pixels at the far end of {name} fill no coarse pixel and are left out"
            )
