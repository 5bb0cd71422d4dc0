"""Sharp volumes seen as thick slices: what the uncertainty of isotropic volumes is calibrated and judged on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.evaluation.mr import foreground
from sciSR.forward.noise import rician
from sciSR.forward.slice_sampling import SliceSampling, along
from sciSR.training.planes import open_planes

RATIOS = (4, 2, 3, 6, 5)
"""Thin slices for each thick one, in turns."""
SIDE = 64
"""Voxels a side of a window, within the slices."""
ALONG = 96
"""Voxels across them, about."""
LEAST = 20
"""Voxels a side below which a window is not used."""
RIM = 4
"""Voxels along the border that are not judged."""


@dataclass(frozen=True)
class AcrossCase:
    """A sharp volume and its thick slices.

    Parameters
    ----------
    name : str
        File.
    ratio : int
    truth : ndarray, float64 ``[x, y, fine]``
    clean, thick : ndarray, float64 ``[x, y, coarse]``
        Slices as seen, and with further noise.
    unseen : float
        The truth's noise that they do not hold.
    good : ndarray of bool ``[x, y, fine]``
    """

    name: str
    ratio: int
    truth: NDArray[np.float64]
    clean: NDArray[np.float64]
    thick: NDArray[np.float64]
    unseen: float
    good: NDArray[np.bool_]


def case(path: Path, number: int) -> AcrossCase | None:
    """A window of a volume, seen as thick slices; every third with more noise. None where there is too little in it.

    Volumes with thick slices of their own are averaged within them first, to about half the slices' distance, and cut
    along an axis that lies in the slices.
    """
    g = np.random.default_rng([zlib.crc32(path.name.encode()), 17, number])
    values, cut = _volume(path)
    volume = np.moveaxis(values, int(g.integers(3 if cut else 2)), 2)
    ratio = RATIOS[number % len(RATIOS)]
    count = min(volume.shape[2], ALONG) // ratio
    window = []
    for length, side in zip(volume.shape, (SIDE, SIDE, count * ratio), strict=True):
        middle = g.uniform(0.2, 0.8) * length
        start = int(np.clip(middle - side / 2, 0, max(0, length - side)))
        window.append(slice(start, start + side))
    truth = volume[tuple(window)]
    if truth.max() <= truth.min() or count < 6 or min(truth.shape[:2]) < LEAST:
        return None
    operator = SliceSampling(count, count * ratio, 1.0, "gaussian")
    clean = thick = operator.apply(torch.from_numpy(truth), 2).numpy()
    if number % 3 == 2 and thick.min() >= 0:
        thick = rician(thick, float(np.quantile(thick, 0.995)) / 10 ** float(g.uniform(1.2, 1.9)), g)
    slices = np.moveaxis(truth, 2, 0)
    peak = float(np.quantile(truth, 0.999)) or 1.0
    good = np.moveaxis(foreground(slices / peak, 2), 0, 2)
    inner = np.zeros_like(good)
    inner[RIM:-RIM, RIM:-RIM, ratio:-ratio] = good[RIM:-RIM, RIM:-RIM, ratio:-ratio]
    if inner.mean() < 0.02:
        return None
    return AcrossCase(path.name, ratio, truth, clean, thick, unseen_across(truth, inner, ratio), inner)


def unseen_across(truth: NDArray[np.float64], good: NDArray[np.bool_], ratio: int) -> float:
    """Noise of a truth that thick slices do not hold and no method can know.

    Parameters
    ----------
    truth : ndarray ``[x, y, fine]``
    good : ndarray of bool ``[x, y, fine]``
        Where errors are judged.
    ratio : int

    Returns
    -------
    float
        Root mean square of what pairs of slices do not hold of it, in the quietest blocks of 8 x 8 x 4 judged voxels
        (the 5 % quantile), scaled to the share of white noise that slices of this ratio do not hold. Structure counts
        in it too: it is no less than the noise there.
    """
    count = truth.shape[2] // 4 * 2
    operator = SliceSampling(count, 2 * count, 1.0, "gaussian")
    fine = torch.from_numpy(np.ascontiguousarray(truth[..., : 2 * count]))
    rest = (fine - along(operator.smoothest, operator.apply(fine, 2), 2)).numpy()
    blocks, judged = (_blocks(each[..., : 2 * count]) for each in (rest, good))
    usable = judged.mean(1) > 0.9
    if usable.sum() < 10:
        usable = judged.mean(1) > 0.5
    rms = np.sqrt(np.mean(blocks[usable] ** 2, axis=1))
    rms = rms[rms > 0]
    return float(np.quantile(rms, 0.05)) * float(np.sqrt(2 * (1 - 1 / ratio))) if rms.size else 0.0


def _blocks(x: NDArray[Any]) -> NDArray[Any]:
    """Blocks of 8 x 8 x 4, ``[n, 256]``."""
    a, b, c = (n // side for n, side in zip(x.shape, (8, 8, 4), strict=True))
    cut = x[: 8 * a, : 8 * b, : 4 * c].reshape(a, 8, b, 8, c, 4)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 256)


def _volume(path: Path) -> tuple[NDArray[np.float64], bool]:
    """Voxels ``[x, y, z]`` of about the same size in all directions, and whether any axis may become the slices'."""
    planes = open_planes(path, "mr")
    group = planes.groups[0]
    slices = np.nan_to_num(np.stack([group.read(k) for k in range(group.count)], axis=2)).astype(np.float64)
    import nibabel

    first, second, third = sorted(map(float, nibabel.load(path).header.get_zooms()[:3]))
    if third < 1.5 * second:
        return slices, True
    block = max(1, round(third / (1.7 * first)))
    height, width = (n // block * block for n in slices.shape[:2])
    cut = slices[:height, :width].reshape(height // block, block, width // block, block, -1)
    return cut.mean((1, 3)), False
