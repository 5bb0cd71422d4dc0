"""Volumes with structure in all directions, and what a scanner makes of them."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from sciSR.forward.slice_sampling import SliceSampling
from sciSR.grid import AffineGrid
from sciSR.image import Image


def texture(shape: tuple[int, ...] = (40, 44, 48), seed: int = 0) -> np.ndarray:
    """Blobs with sharp edges at several scales, 0 to 1, float64."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape)
    for sigma in (3.0, 5.0):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
        out += (noise > 0.3 * noise.std()) * 0.5
    return ndimage.gaussian_filter(out, 0.5)


def thick(volume: np.ndarray, operator: SliceSampling) -> np.ndarray:
    """Thick slices along the last axis."""
    return operator.apply(torch.from_numpy(volume), 2).numpy()


def stack(data: np.ndarray, spacing: tuple[float, float, float], **fields: object) -> Image:
    """An image of slices along its last (third) axis, on an oblique grid."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix() * np.array(spacing)
    affine[:3, 3] = (-10, 20, 5)
    axes = ("x", "y", "z", "t")[: data.ndim]
    given = {"domain": "mr"} | fields
    return Image(data=data, axes=axes, spatial=("x", "y"), grid=AffineGrid(data.shape, affine), **given)
