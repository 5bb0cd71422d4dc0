"""Frames in numbers that single precision holds: a unit may make every variance vanish, or overflow.

Pixels in W/m2 are 1e-20 and their variances 1e-40: below float32's smallest number. Such frames are multiplied by a
power of two, which changes no digit, and the result is divided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sciSR.errors import SciSRError
from sciSR.fusion.product import FrameRecord, Fused
from sciSR.image import LazyArray
from sciSR.sequence import Frame, FrameSequence, NoiseModel

COMFORTABLE = (1e-6, 1e6)
"""Noise in this range is left alone: squares of variances, and sums of them, stay far from float32's limits."""


class _Multiplied:
    """Another array times a number, in the double precision that a float32 of its own may lack."""

    def __init__(self, source: LazyArray, factor: float) -> None:
        self.source, self.factor = source, factor
        self.shape, self.dtype = tuple(source.shape), np.dtype(np.float64)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self.source[index], dtype=np.float64) * self.factor


def comfortable(sequence: FrameSequence) -> tuple[FrameSequence, float]:
    """The frames in a unit that makes their noise neither tiny nor huge, and the factor they were multiplied by.

    Parameters
    ----------
    sequence : FrameSequence

    Returns
    -------
    sequence : FrameSequence
        The one given, where its unit is fine.
    factor : float
        A power of two; 1 where nothing was changed.
    """
    spread = _spread(sequence)
    if spread == 0 or COMFORTABLE[0] <= spread <= COMFORTABLE[1]:
        return sequence, 1.0
    factor = float(2.0 ** np.clip(-np.round(np.log2(spread)), -1000, 1000))
    return replace(sequence, frames=tuple(multiplied(f, factor) for f in sequence)), factor


def _spread(sequence: FrameSequence) -> float:
    """Typical difference of neighbours in the first frame that has any; 0 where none has."""
    for frame in sequence:
        try:
            values = np.asarray(frame.image.data[:, :], dtype=np.float64)
        except SciSRError:
            continue  # named when the frames are read
        steps = np.abs(np.diff(values, axis=1))
        steps = steps[np.isfinite(steps) & (steps > 0)]
        if steps.size:
            return float(np.median(steps))
    return 0.0


def multiplied(frame: Frame, factor: float) -> Frame:
    """A frame whose pixels, errors, noise model and saturation are in a unit `factor` times smaller."""
    image = frame.image.replace(data=_Multiplied(frame.image.data, factor))
    if image.uncertainty is not None:
        image = image.replace(uncertainty=_Multiplied(image.uncertainty, factor))
    noise = frame.noise
    if noise is not None:
        noise = NoiseModel(noise.gain / factor, noise.read_noise, noise.pedestal * factor)
    top = None if frame.saturation is None else frame.saturation * factor
    return frame.replace(image=image, noise=noise, saturation=top)


def in_own_unit(fused: Fused, sequence: FrameSequence, factor: float) -> Fused:
    """A result of :func:`comfortable` frames in the unit of the frames as they were given."""
    if factor == 1:
        return fused
    image = fused.image
    image = image.replace(
        data=_divided(image.data, factor),
        uncertainty=None if image.uncertainty is None else _divided(image.uncertainty, factor),
    )
    # In double precision: 1/variance leaves float32 where the variance does.
    weight = np.asarray(fused.weight, dtype=np.float64) * factor**2
    return replace(
        fused,
        image=image,
        weight=weight,
        sequence=sequence,
        records=tuple(_record(r, factor) for r in fused.records),
        panels=_panels(fused.panels, factor),
    )


def _divided(array: LazyArray, factor: float) -> np.ndarray:
    return (np.asarray(array[:, :], dtype=np.float64) / factor).astype(np.float32)


def _record(record: FrameRecord, factor: float) -> FrameRecord:
    return replace(record, background=record.background / factor, noise=record.noise / factor)


def _panels(panels: Mapping[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    """The residual is in units of its noise."""
    return {k: v if k == "residual" else _divided(v, factor) for k, v in panels.items()}
