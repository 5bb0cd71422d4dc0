"""The image checks the network before the network is trusted with the image.

A network is only as good as its training range: resampled mosaics, correlated noise or another sampling lie outside
it. So the image is degraded once more by the network's own forward model; where a classical method recovers the
image better than the network does, the classical method is used, and a message says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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


def check_detector(image: Image, choice: Choice, spec: ModelSpec, run: Run) -> Choice:
    """Fall back where the network loses on the image's own block mean."""
    window = central_window(image)
    gain, best = gain_on_own_downsample(
        window,
        lambda plane: run(plane, spec.name),
        {name: (lambda plane, name=name: run(plane, name)) for name in RIVALS},
        spec.scale,
    )
    if not math.isfinite(gain):
        note = "too small or too uniform to be checked against the network's training range"
        return choice.noting(note)
    if gain >= LEAST_GAIN:
        note = f"checked on the image's own block mean: {spec.name} {gain:+.2f} dB against {best}"
        return choice.noting(note)
    return _fall_back(choice, spec, gain, best, "block mean")


def check_kspace(image: Image, choice: Choice, spec: ModelSpec, run: Run) -> Choice:
    """The same for MR, with the crop of k-space; and a look at the image's own spectrum."""
    import torch

    from sciSR.forward.kspace import KSpaceCrop

    notes = []
    occupied = check_occupied(image)
    if min(occupied) < _INTERPOLATED:
        parts = [f"{name} to {o:.0%}" for name, o in zip(image.spatial, occupied, strict=True)]
        notes.append(
            f"the spectrum is filled along {' and '.join(parts)} of Nyquist only: the image was interpolated before, "
            "its resolution is coarser than its pixels"
        )
    window = central_window(image, 1 << 30)
    height, width = (n // spec.scale * spec.scale for n in window.shape)
    truth = window[:height, :width]
    if not np.isfinite(truth).all() or min(truth.shape) < 32 or truth.std() == 0:
        reason = (
            "holds bad pixels" if min(truth.shape) >= 32 and truth.std() != 0 else "too small or too uniform"
        )
        notes.append(f"{reason}: not checked against the network's training range")
        return choice.noting(*notes)
    coarse = KSpaceCrop(spec.scale).apply(torch.from_numpy(np.ascontiguousarray(truth))).numpy()
    if truth.min() >= 0:
        coarse = np.abs(coarse)  # a scanner's magnitude image
    error = {
        name: float(np.sqrt(np.mean((run(coarse, name) - truth) ** 2)))
        for name in (spec.name, "fourier", "cubic")
    }
    network = error.pop(spec.name)
    best = min(error, key=error.__getitem__)
    gain = 20 * math.log10(max(error[best], 1e-300) / max(network, 1e-300))
    kept = choice.noting(*notes)
    return kept if gain >= 0 else _fall_back(kept, spec, gain, best, "k-space crop")


def _fall_back(choice: Choice, spec: ModelSpec, gain: float, best: str, operation: str) -> Choice:
    note = (
        f"outside the training range of {spec.name} ({gain:+.2f} dB against {best} on the image's own {operation}): "
        f"{best} is used; name the model to insist"
    )
    return Choice(best, False, automatic=True, messages=(*choice.messages, note))
