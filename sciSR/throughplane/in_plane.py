"""Before the step across the slices: pixels of each slice at the target's spacing."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from sciSR.forward.slice_sampling import SliceSampling, along
from sciSR.image import Image
from sciSR.inference.statistics import bad_pixels, plane_indices
from sciSR.inference.upscaling import Progress

Scratch = Callable[[tuple[int, ...]], np.ndarray]


def coarser(image: Image, factors: tuple[Fraction, Fraction], scratch: Scratch) -> Image:
    """Larger pixels: the mean of what they cover, by area; a pixel that covers a bad one is bad (NaN).

    Parameters
    ----------
    image : Image
    factors : pair of Fraction
        Along the two axes of a slice, 1 or below.
    scratch : callable
        ``scratch(shape)`` gives a float32 array.
    """
    first, second = image.spatial_axes
    every = tuple(
        factors[0] if axis == first else factors[1] if axis == second else Fraction(1)
        for axis in range(len(image.shape))
    )
    grid = image.grid.refine(every)
    out = scratch(tuple(grid.shape))
    means = [
        SliceSampling(int(image.shape[axis] * f), image.shape[axis], 1.0, "rect").matrix
        for axis, f in zip((first, second), factors, strict=True)
    ]
    for index in plane_indices(image):
        raw = np.asarray(image.data[index])
        bad = bad_pixels(raw, None if image.mask is None else np.asarray(image.mask[index]))
        values = torch.from_numpy(np.where(bad, 0.0, raw).astype(np.float64))
        plane = along(means[1], along(means[0], values, 0), 1).numpy()
        if bad.any():
            lost = torch.from_numpy(bad.astype(np.float64))
            plane = np.where(along(means[1], along(means[0], lost, 0), 1).numpy() > 1e-9, np.nan, plane)
        out[index] = plane
    return image.replace(data=out, grid=grid, mask=None, uncertainty=None)


def finer(
    image: Image, factors: tuple[Fraction, Fraction], scratch: Scratch, device: str, progress: Progress
) -> Image:
    """Smaller pixels, by :func:`sciSR.inference.plan_upscale` with its own choice of method."""
    from sciSR.inference import plan_upscale

    plan = plan_upscale(image, factors, "auto", device=device)
    out = scratch(plan.output.shape)

    def put(index: tuple[slice | int, ...], block: np.ndarray) -> None:
        out[index] = block

    return plan.run(put, progress).replace(data=out)
