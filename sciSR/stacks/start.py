"""A first guess of how a stack moved: correlation with the first stack, over rotations and all shifts at once.

Thick slices in two orientations look different: each is sharp where the other is not. Seen through the other's slice
profile as well, both are blurred alike, and can be compared.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from sciSR.stacks.canvas import Canvas, output_grid, profile_response
from sciSR.stacks.rigid import Rigid
from sciSR.stacks.stack import Stack

SHIFT = 20.0
"""Millimetres along each axis within which a shift is looked for."""
ANGLES = (-8.0, 0.0, 8.0)
"""Degrees about each axis of the world."""
FINER = (-4.0, 0.0, 4.0)
"""Around the best of those."""
_SPACING = 5.0
_OVERLAP = 0.3
_BETTER = 0.005
"""Correlation by which a rotation must be better than none: the header is believed otherwise."""


def first_guess(first: Stack, other: Stack) -> tuple[Rigid, float]:
    """How `other` moved against `first`, to about a degree and a millimetre or two.

    Returns
    -------
    Rigid
        World to world, about the centre of `other`.
    correlation : float
        From -1 to 1.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # transforms this small only wait for one another
    try:
        return _searched(first, other)
    finally:
        torch.set_num_threads(threads)


def _searched(first: Stack, other: Stack) -> tuple[Rigid, float]:
    extent = min(n * d for n, d in zip(first.data.shape, first.spacing, strict=True))
    canvas = Canvas.around(output_grid(first, min(_SPACING, extent / 8)), SHIFT, torch.device("cpu"))
    fixed, seen = _resampled(canvas, _Thinned(first, canvas), np.eye(4))
    fixed, seen = _through(canvas, other, fixed, seen)
    centre = other.centre
    moving = _Thinned(other, canvas)
    none = _best_shift(canvas, first, moving, fixed, seen, np.zeros(3))
    best = (none[0], np.zeros(3), none[1])
    for angles in (ANGLES, FINER):
        kept = best[1]
        for turn in itertools.product(angles, repeat=3):
            rotation = kept + np.array(turn)
            if not any(turn):
                continue
            score, shift = _best_shift(canvas, first, moving, fixed, seen, rotation)
            if score > best[0]:
                best = (score, rotation, shift)
    if best[0] < none[0] + _BETTER:
        best = (none[0], np.zeros(3), none[1])
    return Rigid.of(np.concatenate([best[1], best[2]]), centre), best[0]


class _Thinned:
    """A stack with about the canvas's voxels in its plane: averages of whole numbers of its own."""

    def __init__(self, stack: Stack, canvas: Canvas) -> None:
        self.centre = stack.centre
        good, values = stack.good, stack.slices
        weight, values = good.astype(np.float32), np.where(good, values, np.float32(0))
        self.affine = np.array(stack.slice_affine)
        for axis in (1, 2):
            step = max(1, round(float(canvas.spacing.mean() / np.linalg.norm(self.affine[:3, axis]))))
            step = min(step, values.shape[axis])
            values, weight = (_mean(v, axis, step) for v in (values, weight))
            self.affine[:3, 3] += self.affine[:3, axis] * (step - 1) / 2
            self.affine[:3, axis] *= step
        self.values, self.weight = values, weight


def _mean(values: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Of `step` neighbours each; a rest at the end is left out."""
    whole = values.shape[axis] // step
    cut = np.moveaxis(values, axis, -1)[..., : whole * step]
    return np.moveaxis(cut.reshape(*cut.shape[:-1], whole, step).mean(-1), -1, axis)


def _resampled(canvas: Canvas, stack: _Thinned, motion: np.ndarray) -> tuple[Tensor, Tensor]:
    """The stack on the canvas, moved, linearly interpolated; and where it has values (0 to 1)."""
    from scipy.ndimage import affine_transform

    back = np.linalg.inv(motion @ stack.affine) @ canvas.affine
    values, weight = (
        torch.from_numpy(affine_transform(v, back[:3, :3], back[:3, 3], output_shape=canvas.shape, order=1))
        for v in (stack.values, stack.weight)
    )
    return values, weight


def _through(canvas: Canvas, stack: Stack, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Blurred with another stack's profile, as far as there is something to blur."""
    response = profile_response(stack, canvas.along(stack.normal))
    blurred, weight = (canvas.back(response * canvas.forward(v)) for v in (values, seen))
    mask = weight > 0.5
    return torch.where(mask, blurred / weight.clamp_min(0.5), 0.0), mask.float()


def _best_shift(
    canvas: Canvas, first: Stack, other: _Thinned, fixed: Tensor, seen: Tensor, rotation: np.ndarray
) -> tuple[float, np.ndarray]:
    """Normalised correlation under masks for all shifts (Padfield, IEEE Trans. Image Process. 21, 2706, 2012)."""
    rigid = Rigid.of(np.concatenate([rotation, np.zeros(3)]), other.centre)
    moving, present = _through(canvas, first, *_resampled(canvas, other, rigid.matrix))
    spectra = [canvas.forward(v) for v in (seen, fixed * seen, fixed**2 * seen)]
    others = [canvas.forward(v).conj() for v in (present, moving * present, moving**2 * present)]

    def correlate(a: int, b: int) -> Tensor:
        return canvas.back(spectra[a] * others[b])

    count = correlate(0, 0).clamp_min(1.0)
    mean_f, mean_m = correlate(1, 0), correlate(0, 1)
    covariance = correlate(1, 1) - mean_f * mean_m / count
    power_f = (correlate(2, 0) - mean_f**2 / count).clamp_min(0)
    power_m = (correlate(0, 2) - mean_m**2 / count).clamp_min(0)
    floor = 1e-6 * float(power_f.max() * power_m.max()) ** 0.5 + 1e-30
    score = covariance / (power_f * power_m).sqrt().clamp_min(floor)
    allowed = count > _OVERLAP * float(count.max())
    for axis, (n, d) in enumerate(zip(canvas.shape, canvas.spacing, strict=True)):
        shift = torch.fft.fftfreq(n, 1 / n).abs() * float(d)
        shape = [1, 1, 1]
        shape[axis] = n
        allowed = allowed & (shift <= SHIFT).reshape(shape)
    score = torch.where(allowed, score, -1.0)
    place = np.unravel_index(int(score.argmax()), canvas.shape)
    index = np.array([p if p <= n // 2 else p - n for p, n in zip(place, canvas.shape, strict=True)], float)
    return float(score.max()), canvas.affine[:3, :3] @ index
