"""The noise of each input pixel: told by the file, by gain and read noise, or by the pixels themselves.

Every estimate follows the image exactly under ``x -> a x + b`` (a > 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.image import Image, LazyArray
from sciSR.inference.gate import central_window
from sciSR.inference.noise import noise_of
from sciSR.inference.normalise import fit
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.inference.statistics import Sample, bad_pixels
from sciSR.sequence import NoiseModel
from sciSR.uncertainty.interface import Uncertain
from sciSR.uncertainty.rician import deviation
from sciSR.views import full_index

_AGREES = 1.35
"""Measured over predicted variance, either way, within which a given gain and read noise are those of the pixels."""
_ROUGH = 20.0
"""Steps of whole numbers below which their quantiles tell the noise to no better than 3 %."""
_NEAR = 2
"""A magnitude's mean is taken over the pixels up to this many rows and columns away."""


@dataclass(frozen=True, eq=False)
class PixelNoise:
    """Standard deviation of the noise of every input pixel.

    Attributes
    ----------
    deviation : LazyArray
        Same shape and unit as the image; negative, NaN or infinite where it is not known.
    origin : {"uncertainty", "gain", "header", "estimated"}
        From the file's own error plane; from a given gain; from gain and read noise in the header; from the pixels.
    messages : tuple of str
        What was assumed.
    parameters : tuple of (str, float)
        JSON-ready: gain, read noise, pedestal, sigma.
    """

    deviation: LazyArray
    origin: str
    messages: tuple[str, ...] = ()
    parameters: tuple[tuple[str, float], ...] = ()


def pixel_noise(image: Image, statistics: Sample, settings: Uncertain) -> PixelNoise:
    """The best that is known of an image's noise.

    Parameters
    ----------
    image : Image
        Real-valued intensities.
    statistics : Sample
        Of its good pixels.
    settings : Uncertain
        With gain and read noise, where the user knows them.

    Raises
    ------
    UsageError
        A gain for an image that is no detector's, a read noise alone, or numbers that can't be.
    """
    _check(image, settings)
    if image.uncertainty is not None:
        ignored = ("gain and read noise are not used: the file tells the error of each pixel",)
        return PixelNoise(image.uncertainty, "uncertainty", ignored if settings.gain is not None else ())
    kind = "range" if image.domain in ("mr", "ct", "natural") else "sky"
    normaliser = fit(statistics.values, kind)
    if settings.gain is not None:
        return _given(image, settings.gain, settings.read_noise, normaliser)
    if image.noise is not None:
        model, note = image.noise(image)
        if model is not None:
            return _of_detector(image, model, "header", () if note is None else (note,))
        said = (note,) if note is not None else ()
    else:
        said = ()
    sigma = _sigma(image, normaliser)
    found = (("sigma", sigma),)
    if image.domain == "mr" and statistics.values.min(initial=0.0) >= 0:
        view: LazyArray = Magnitude(image, sigma)
        return PixelNoise(
            view, "estimated", (*said, f"noise: {sigma:.3g} in each part of a magnitude"), found
        )
    what = "the empty sky's" if kind == "sky" else "the quiet parts'"
    view = Formula(image, lambda values: np.full(values.shape, sigma))
    return PixelNoise(view, "estimated", (*said, f"noise: {sigma:.3g} for every pixel, {what}"), found)


def _sigma(image: Image, normaliser: Any) -> float:
    """The estimated noise; whole numbers are spread over their steps first, since few values have rough quantiles."""
    sigma, _ = noise_of(image, normaliser)
    if normaliser.kind != "sky" or image.dtype.kind not in "iu" or not 0 < sigma < _ROUGH:
        return sigma
    window = np.asarray(central_window(image), np.float64)
    spread = np.random.default_rng(0).uniform(-0.5, 0.5, window.shape)
    return math.sqrt(max(sky_level_and_noise(window + spread)[1] ** 2 - 1 / 12, 0.0))


def _check(image: Image, settings: Uncertain) -> None:
    for name, value in (("gain", settings.gain), ("read noise", settings.read_noise)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"a {name} of {value!r}", remedy="give a finite number that is not negative")
    if settings.gain == 0:
        raise UsageError("a gain of 0", remedy="give electrons per unit of the image")
    if settings.gain is None and settings.read_noise is not None:
        raise UsageError("a read noise without a gain", remedy="give --gain too, in electrons per unit")
    if settings.gain is not None and image.domain in ("mr", "ct"):
        raise UsageError(
            f"gain and read noise mean nothing to {image.domain.upper()}",
            where=image.where,
            remedy="leave them out: the noise is estimated",
        )


def _given(image: Image, gain: float, read_noise: float | None, normaliser: Any) -> PixelNoise:
    """Photons counted with a known gain; what the read-out adds is the sky's noise where it is not told."""
    sigma = _sigma(image, normaliser)
    level = normaliser.offset
    if read_noise is not None:
        return _of_detector(image, *_checked(image, NoiseModel(gain, read_noise), level, sigma))

    def formula(values: np.ndarray) -> np.ndarray:
        return np.sqrt(sigma**2 + np.maximum(values - level, 0) / gain)

    said = f"noise: {sigma:.3g} of the sky, and photons above it"
    return PixelNoise(Formula(image, formula), "gain", (said,), (("gain", gain), ("sigma", sigma)))


def _checked(
    image: Image, model: NoiseModel, level: float, sigma: float
) -> tuple[NoiseModel, str, tuple[str, ...]]:
    """A given model against the sky's noise: raw numbers get the level without light that explains it, as a bias does.

    What else does not fit is only said: the user may know better.
    """
    read = (model.read_noise / model.gain) ** 2
    predicted = max(level, 0.0) / model.gain + read
    if sigma <= 0 or 1 / _AGREES <= sigma**2 / max(predicted, sigma**2 * 1e-9) <= _AGREES:
        return model, "gain", ()
    if image.dtype.kind in "iu" and read <= sigma**2 < predicted:
        note = "the level without light is not told; found from the sky's noise"
        return (
            NoiseModel(model.gain, model.read_noise, level - (sigma**2 - read) * model.gain),
            "gain",
            (note,),
        )
    note = (
        f"gain and read noise tell {predicted**0.5:.3g} in the empty sky, the pixels show {sigma:.3g} (a bias or sky "
        "subtracted or left, scaled, combined?)"
    )
    return model, "gain", (note,)


def _of_detector(image: Image, model: NoiseModel, origin: str, notes: tuple[str, ...]) -> PixelNoise:
    told = {"gain": model.gain, "read_noise": model.read_noise, "pedestal": model.pedestal}

    def formula(values: np.ndarray) -> np.ndarray:
        return np.sqrt(
            np.maximum(values - model.pedestal, 0) / model.gain + (model.read_noise / model.gain) ** 2
        )

    said = f"noise: gain {model.gain:.4g}, read noise {model.read_noise:.4g} electrons"
    return PixelNoise(Formula(image, formula), origin, (said, *notes), tuple(told.items()))


class Formula:
    """A function of each pixel's value; nothing is read until indexed."""

    dtype = np.dtype(np.float64)

    def __init__(self, image: Image, formula: Callable[[np.ndarray], np.ndarray]) -> None:
        self.image, self.formula, self.shape = image, formula, image.shape

    def __getitem__(self, index: Any) -> np.ndarray:
        values = np.asarray(self.image.data[index]).astype(np.float64)
        return self.formula(np.where(np.isfinite(values), values, 0.0))


class Magnitude:
    """Standard deviation of MR magnitudes, from the mean of the good pixels around each.

    Parameters
    ----------
    image : Image
    sigma : float
        Of the real and imaginary part.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, image: Image, sigma: float) -> None:
        self.image, self.sigma, self.shape = image, sigma, image.shape

    def __getitem__(self, index: Any) -> np.ndarray:
        index = full_index(index, len(self.shape))
        wide, inner = list(index), [slice(None) for entry in index if isinstance(entry, slice)]
        places = [sum(isinstance(entry, slice) for entry in index[:axis]) for axis in self.image.spatial_axes]
        for axis, place in zip(self.image.spatial_axes, places, strict=True):
            start, stop, _ = index[axis].indices(self.shape[axis])
            low, high = max(0, start - _NEAR), min(self.shape[axis], stop + _NEAR)
            wide[axis] = slice(low, high)
            inner[place] = slice(start - low, stop - low)
        values = np.asarray(self.image.data[tuple(wide)]).astype(np.float64)
        mask = self.image.mask
        good = ~bad_pixels(values, None if mask is None else np.asarray(mask[tuple(wide)]))
        total, count = (_box(np.where(good, each, 0.0), places) for each in (values, np.ones_like(values)))
        # Fewer pixels at the edges.
        return deviation((total / np.maximum(count, 1))[tuple(inner)], self.sigma)


def _box(values: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Sums over ``2 _NEAR + 1`` pixels along some axes, the same to the bit wherever the block begins."""
    for axis in axes:
        padding = [(0, 0)] * values.ndim
        padding[axis] = (_NEAR, _NEAR)
        padded, size = np.pad(values, padding), values.shape[axis]
        steps = range(2 * _NEAR + 1)
        values = sum((np.take(padded, range(k, k + size), axis) for k in steps), np.zeros_like(values))
    return values
