"""A frame's noise: from its header where that is true of these pixels, which a sample of them tells.

A header's gain and read noise describe the detector as it was read out. The pixels may have been converted, scaled,
combined or resampled since, their sky subtracted, or the "gain" may be a knob's position. So a model is only used
where it predicts the noise that the sky really has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from sciSR.image import Image, LazyArray
from sciSR.sequence import NoiseModel
from scisr_astronomy.exposure_keywords import Exposure
from scisr_astronomy.quantity import parse_unit

_BANDS, _ROWS = 16, 4
_AGREES = 1.35  # measured over predicted variance, either way
_AGREES_RAW = 1.08  # of whole numbers, which nobody resampled: some times the sample's own error
_MOST_READ_NOISE = 60.0  # electrons; more is no CCD's or CMOS's
_FULL_SCALES = frozenset({255, 1023, 4095, 16383, 32767, 65535, 65472, 65520, 65532})


@dataclass(frozen=True)
class Sky:
    """Attributes
    ----------
    level : float
        Mean of the darker three quarters of the good pixels; NaN where too few are good.
    noise : float
        One standard deviation from pixel to pixel, of the same.
    """

    level: float
    noise: float


def sample_sky(image: Image, *, step: int = 1) -> Sky:
    """Level and noise of a frame from some bands of rows.

    Differences of neighbours (`step` columns apart: 2 within a mosaic of colour filters) know nothing of the
    background's shape; those that stars touch are clipped, and the brightest quarter of pairs is left out, so that
    shot noise belongs to the level told. Rounded to whole numbers, sigma is still right, unlike a quantile.
    """
    rows, _ = image.shape
    starts = np.unique(np.linspace(0, max(rows - _ROWS, 0), _BANDS).astype(int))
    differences, means = [], []
    for start in starts:
        index = (slice(int(start), int(min(start + _ROWS, rows))), slice(None))
        values = np.asarray(image.data[index]).astype(np.float64)
        bad = ~np.isfinite(values)
        if image.mask is not None:
            bad |= np.asarray(image.mask[index], dtype=bool)
        values[bad] = np.nan
        differences.append((values[:, step:] - values[:, :-step]).ravel())
        means.append((values[:, step:] + values[:, :-step]).ravel() / 2)
    difference, mean = np.concatenate(differences), np.concatenate(means)
    good = np.isfinite(difference)
    if good.sum() < 64:
        return Sky(float("nan"), float("nan"))
    difference, mean = difference[good], mean[good]
    darker = mean <= np.quantile(mean, 0.75)
    level = float(np.mean(mean[darker]))
    dark = difference[darker]
    limit = 4 * max(1.4826 * float(np.median(np.abs(dark))), 0.5 * float(np.std(dark)) * 0.1)
    for _ in range(5):
        inside = dark[np.abs(dark) <= limit] if limit > 0 else dark
        sigma = float(np.std(inside)) if inside.size else 0.0
        if 4 * sigma >= limit:
            break
        limit = 4 * sigma
    # What clipping at four sigma takes away from a normal distribution's variance: 1 - 0.00107.
    return Sky(level, float(sigma / np.sqrt(2 * 0.99893)))


def noise_of(image: Image, exposure: Exposure, sky: Sky) -> tuple[NoiseModel | None, str | None]:
    """A noise model in the data's unit, and what to say about it.

    Returns
    -------
    model : NoiseModel or None
        None where the header tells none, or tells one that the pixels contradict.
    note : str or None
    """
    gain = _gain(image, exposure)
    if gain is None or not np.isfinite(sky.noise) or sky.noise <= 0:
        return None, None
    measured = sky.noise**2
    rounding = 1 / 12 if image.dtype.kind in "iu" else 0.0
    if exposure.read_noise is None:
        return _without_read_noise(gain, exposure, sky)
    read = exposure.read_noise
    pedestal = (exposure.pedestal or 0.0) if exposure.gain else 0.0
    model = NoiseModel(gain, read, pedestal)
    predicted = float(model.variance(sky.level)) + rounding
    if image.dtype.kind in "iu" and not pedestal and measured * _AGREES_RAW < predicted:
        # Light alone makes noise; what stands on the pixels beside it (the bias) raises the level only.
        level = float(sky.level - max(measured - rounding - (read / gain) ** 2, 0.0) * gain)
        note = "the level without light is not told; found from the sky's noise"
        return NoiseModel(gain, read, level), note
    if 1 / _AGREES <= measured / predicted <= _AGREES:
        return model, None
    return None, (
        "gain and read noise in the header do not fit the noise of the pixels (sky subtracted, scaled, combined or "
        "resampled?); noise is measured instead"
    )


def _without_read_noise(gain: float, exposure: Exposure, sky: Sky) -> tuple[NoiseModel | None, str | None]:
    shot = max(sky.level - (exposure.pedestal or 0.0), 0.0) / gain
    rest = sky.noise**2 - shot
    read = float(np.sqrt(max(rest, 0.0))) * gain
    if shot <= 0 or rest < -(1 - 1 / _AGREES) * shot or read > _MOST_READ_NOISE:
        return None, (
            "the gain in the header does not fit the noise of the pixels (sky subtracted, scaled, combined or "
            "resampled?); noise is measured instead"
        )
    model = NoiseModel(gain, read, exposure.pedestal or 0.0)
    return model, "the read noise is not told; found from the sky's noise"


def _gain(image: Image, exposure: Exposure) -> float | None:
    """Electrons per unit of the data; None where the unit is nothing that was counted."""
    kind = counted(image.unit)
    if kind is None:
        return None
    electrons, rate = kind
    gain = 1.0 if electrons else exposure.gain
    if gain is None:
        return None
    if rate:
        return None if exposure.seconds is None else gain * exposure.seconds
    return gain


def counted(unit: str | None) -> tuple[bool, bool] | None:
    """Whether a unit counts electrons (not ADU), and whether per second; None for anything else.

    Pixels without a unit are taken for ADU, which :func:`noise_of` then checks.
    """
    text = (unit or "").strip()
    if not text or re.fullmatch(r"none|unknown|n/?a", text, re.I):
        return False, False
    for parsed in parse_unit(text):
        names = {base.name: power for base, power in zip(parsed.bases, parsed.powers, strict=True)}
        rate = names.pop("s", 0) == -1
        names.pop("pix", None)
        names.pop("pixel", None)
        if set(names) <= {"electron", "ph", "photon"} and list(names.values()) == [1]:
            return True, rate
        if set(names) <= {"ct", "count", "adu", "DN", "dn", "chan"} and list(names.values()) == [1]:
            return False, rate
    return None


def saturation_of(image: Image, exposure: Exposure, sky: Sky) -> float | None:
    """The level at which pixels hold less than the truth, in the data's unit.

    The header's, unless the sky is above it; of whole numbers also the largest that the converter can write, where
    pixels do reach it.
    """
    told = exposure.saturation
    kind = counted(image.unit)
    if kind is None or kind[1] or (np.isfinite(sky.level) and told is not None and told <= sky.level):
        told = None
    if image.dtype.kind not in "iu":
        return told
    top = largest(image.data)
    if top in _FULL_SCALES and (told is None or top < told):
        return float(top)
    return told


def largest(data: LazyArray, *, rows: int = 256) -> int:
    """The largest pixel of an integer image, read by bands of rows."""
    bands = range(0, data.shape[0], rows)
    return max(int(np.max(data[start : start + rows, :])) for start in bands)
