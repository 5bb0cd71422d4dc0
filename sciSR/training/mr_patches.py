"""MR patches: whole slices through the forward model, then cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.inference.normalise import Normaliser, fit


def load_slices(
    path: Path, isotropic_ratio: float = 1.2, all_axes: bool = False
) -> tuple[np.ndarray, list[int]]:
    """A volume in the canonical (RAS) order and the axes across which it may be sliced.

    Returns
    -------
    volume : ndarray, float32 ``[X, Y, Z]``
    axes : list of int
        The coarsest axis (the last of equals); with `all_axes` all three if the voxels are isotropic to
        `isotropic_ratio`.
    """
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(path))
    volume = np.asarray(image.dataobj, dtype=np.float32)
    volume = volume if volume.ndim == 3 else volume[..., 0]
    zooms = np.asarray(image.header.get_zooms()[:3], float)
    coarsest = int(np.flatnonzero(zooms >= zooms.max() * 0.999)[-1])
    if all_axes and zooms.max() < isotropic_ratio * zooms.min():
        return volume, [0, 1, 2]
    return volume, [coarsest]


def degrade(slices: torch.Tensor, forward_model: str, scale: int) -> torch.Tensor:
    """Fine slices ``[..., sH, sW]`` -> what the scanner would have stored ``[..., H, W]`` (magnitude for
    k-space)."""
    if forward_model == "kspace":
        return KSpaceCrop(scale).apply(slices).abs()
    return GaussianDecimation(scale).apply(slices)


def even(plane: np.ndarray, scale: int) -> np.ndarray:
    """Crop the last two axes to multiples of the scale."""
    height, width = plane.shape[-2] // scale * scale, plane.shape[-1] // scale * scale
    return plane[..., :height, :width]


def mr_pairs(
    files: list[Path], forward_model: str, scale: int, patch: int, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (input ``[patch, patch]``, truth ``[s patch, s patch]``) in normalised units, as many from each
    file."""
    generator = np.random.default_rng(seed)
    share = -(-count // len(files))
    for path in files:
        volume, axes = load_slices(path, all_axes=True)
        made = 0
        planes = [(axis, index) for axis in axes for index in range(volume.shape[axis])]
        generator.shuffle(planes)
        normaliser: dict[int, Normaliser] = {}
        per_plane = max(2, -(-2 * share // len(planes)))
        while made < share:
            axis, index = (
                planes.pop() if planes else (axes[0], int(generator.integers(volume.shape[axes[0]])))
            )
            if axis not in normaliser:
                whole = even(np.moveaxis(volume, axis, 0)[:: max(1, volume.shape[axis] // 40)], scale)
                coarse = degrade(torch.from_numpy(np.ascontiguousarray(whole)), forward_model, scale)
                normaliser[axis] = fit(coarse.double().numpy().ravel(), "range")
            fine = np.ascontiguousarray(even(np.take(volume, index, axis), scale))
            coarse = degrade(torch.from_numpy(fine), forward_model, scale).numpy()
            if min(coarse.shape) < patch:
                continue
            truth, given = normaliser[axis].forward(fine), normaliser[axis].forward(coarse)
            for _ in range(per_plane):
                y, x = (int(generator.integers(side - patch + 1)) for side in given.shape)
                lr = given[y : y + patch, x : x + patch]
                if (lr > 0.1).mean() < 0.3 or made >= share:
                    continue
                hr = truth[scale * y : scale * (y + patch), scale * x : scale * (x + patch)]
                made += 1
                yield lr, hr
