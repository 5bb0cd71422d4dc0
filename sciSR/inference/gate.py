"""The image checks the network before the network is trusted with the image.

A network is only as good as its training range: resampled mosaics, correlated noise or another sampling lie outside
it. So the image is degraded once more by the network's own forward model; where a classical method recovers the
image better than the network does, the classical method is used, and a message says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sciSR.image import Image
from sciSR.inference.choose import Choice
from sciSR.inference.selfcheck import LEAST_GAIN, gain_on_own_downsample
from sciSR.inference.spectrum import check_occupied
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows
from sciSR.models.spec import ModelSpec

WINDOW = 768
"""Pixels a side of the part of the image that is tried."""

_FULL = 0.5  # share of good pixels from which on a window is tried without looking further

RIVALS = ("cubic", "lanczos", "linear", "nearest", "fourier")
_INTERPOLATED = 0.85  # of Nyquist: an emptier spectrum is worth a message

Run = Callable[[np.ndarray, str], np.ndarray]
"""``run(plane, method)``: upscale a bare float64 plane by the network's scale, consistency included."""


def central_window(image: Image, size: int = WINDOW) -> np.ndarray:
    """The middle of the middle plane, float64, NaN where bad; shape at most (size, size).

    Where that is empty (a mosaic's corner, a blank channel) the fullest of some other places: nine in each of five
    planes.
    """
    planes = plane_indices(image)
    last = len(planes) - 1
    numbers = dict.fromkeys(round(last * share) for share in (0.5, 0.25, 0.75, 0.0, 1.0))
    sizes = [image.shape[axis] for axis in image.spatial_axes]
    places = [
        [slice(start, start + min(n, size)) for start in _starts(n, size)] for n in sizes
    ]  # the middle first
    best, most = None, -1.0
    for number in numbers:
        for rows in places[0]:
            values, mask = _rows(image, planes[number], rows)
            for columns in places[1]:
                bad = bad_pixels(values[:, columns], None if mask is None else mask[:, columns])
                window = np.where(bad, np.nan, values[:, columns].astype(np.float64))
                good = window[~bad]
                full = good.size / bad.size if good.size and good.min() < good.max() else 0.0
                if full > most:
                    best, most = window, full
                if most >= _FULL:
                    return window
    assert best is not None
    return best


def _starts(length: int, size: int) -> list[int]:
    """Where windows start along an axis: in the middle, at both ends."""
    free = max(0, length - size)
    return list(dict.fromkeys([free // 2, 0, free]))


def _rows(image: Image, plane: tuple[slice | int, ...], rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
    mask = None if image.mask is None else read_rows(image, plane, rows, "mask")
    return read_rows(image, plane, rows), mask


def check(image: Image, choice: Choice, spec: ModelSpec, run: Run) -> Choice:
    """Fall back where the network loses on the image's own degraded self.

    Parameters
    ----------
    image : Image
    choice : Choice
        Of `spec`, as often as it will be applied.
    spec : ModelSpec
    run : callable
        ``run(plane, method)`` at the whole factor.
    """
    if choice.forward == "detector":
        return _check_block_mean(image, choice, spec, run)
    notes = _spectrum_notes(image) if image.domain == "mr" else []
    return _check_operator(image, choice.noting(*notes), spec, run)


def _check_block_mean(image: Image, choice: Choice, spec: ModelSpec, run: Run) -> Choice:
    """For detectors: on the image's own block mean, judged in the stretch of its sky."""
    gain, best = gain_on_own_downsample(
        central_window(image),
        lambda plane: run(plane, spec.name),
        {name: (lambda plane, name=name: run(plane, name)) for name in RIVALS},
        spec.scale**choice.times,
    )
    if not math.isfinite(gain):
        note = "too small or too uniform to be checked against the network's training range"
        return choice.noting(note)
    if gain >= LEAST_GAIN:
        note = f"checked on the image's own block mean: {spec.name} {gain:+.2f} dB against {best}"
        return choice.noting(note)
    return _fall_back(choice, spec, gain, best, "block mean")


def _spectrum_notes(image: Image) -> list[str]:
    """What the image's own spectrum says against a resolution of one pixel."""
    occupied = check_occupied(image)
    if min(occupied) >= _INTERPOLATED:
        return []
    parts = [f"{name} to {o:.0%}" for name, o in zip(image.spatial, occupied, strict=True)]
    return [
        f"the spectrum is filled along {' and '.join(parts)} of Nyquist only: the image was interpolated before, "
        "its resolution is coarser than its pixels"
    ]


def _check_operator(image: Image, choice: Choice, spec: ModelSpec, run: Run) -> Choice:
    """For all others: on what the network's own forward model makes of the middle plane."""
    import torch

    factor = spec.scale**choice.times
    operator, operation = _operator(choice.forward, factor)
    window = central_window(image, 1 << 30)
    height, width = (n // factor * factor for n in window.shape)
    truth = window[:height, :width]
    is_large = min(truth.shape) >= max(32, 8 * factor) and np.nanstd(truth) > 0
    if not np.isfinite(truth).all() or not is_large:
        reason = "holds bad pixels" if is_large else "too small or too uniform"
        return choice.noting(f"{reason}: not checked against the network's training range")
    coarse = operator.apply(torch.from_numpy(np.ascontiguousarray(truth))).numpy()
    if choice.forward == "kspace" and truth.min() >= 0:
        coarse = np.abs(coarse)  # a scanner's magnitude image
    error = {
        name: float(np.sqrt(np.mean((run(coarse, name) - truth) ** 2)))
        for name in (spec.name, "fourier", "cubic")
    }
    network = error.pop(spec.name)
    best = min(error, key=error.__getitem__)
    gain = 20 * math.log10(max(error[best], 1e-300) / max(network, 1e-300))
    return choice if gain >= 0 else _fall_back(choice, spec, gain, best, operation)


def _operator(forward: str, factor: int) -> tuple[Any, str]:
    """A forward model on a plane of float64, and what it is called."""
    if forward == "kspace":
        from sciSR.forward.kspace import KSpaceCrop

        return KSpaceCrop(factor), "k-space crop"
    if forward == "gaussian":
        from sciSR.forward.gaussian import GaussianDecimation

        return GaussianDecimation(factor), "Gaussian blur"
    from sciSR.forward.bicubic import BicubicDecimation

    return BicubicDecimation(factor), "reduced copy"


def _fall_back(choice: Choice, spec: ModelSpec, gain: float, best: str, operation: str) -> Choice:
    note = (
        f"outside the training range of {spec.name} ({gain:+.2f} dB against {best} on the image's own {operation}): "
        f"{best} is used; name the model to insist"
    )
    return Choice(best, False, automatic=True, messages=(*choice.messages, note))
