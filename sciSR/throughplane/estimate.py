"""The width of the slice profile, estimated from the volume's own spectra.

If structure has no preferred direction, an axis of the slice that is made thick with the right profile looks like the
axis across the slices. The idea is ESPRESO's (Han et al., Magn. Reson. Imaging 98, 155, 2023,
doi:10.1016/j.mri.2023.01.012), which learns the profile with a generative network; here power spectra are compared, for
a Gaussian of each width:

- lines across the slices, of the volume made thick along one axis of the slices (and sharp along the other);
- lines along an axis of the slices, of the volume made thick and coarse along it (thick across, sharp along the other).

Both have seen the profile twice, once along the line and once across it, and carry the same noise. Where anatomy has a
direction of its own (a spine along the slices' axis) the estimate is off; widths below about 0.8 of the spacing can not
be told from each other, since coarse slices alias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sciSR.errors import UsageError
from sciSR.forward.slice_profile import SliceProfile
from sciSR.forward.slice_sampling import SliceSampling, along

if TYPE_CHECKING:
    from sciSR.image import Image
    from sciSR.throughplane.target import Target

WIDTHS = np.round(np.geomspace(0.4, 2.5, 23), 4)
"""Of the profile, over the spacing of slices."""
BAND = (0.12, 0.42)
"""Cycles a slice: lower ones say nothing of the profile, higher ones are aliased and noisy."""
_LEAST_SLICES = 10
_PARTS = 6
"""Of the volume, each left out once for the error."""
_MOST_PIXELS = 192
"""Of the middle of a slice that is looked at, along each axis."""


@dataclass(frozen=True)
class Width:
    """What was found.

    Attributes
    ----------
    width : float
        Full width at half maximum over the spacing of slices.
    error : float
        Standard error, from leaving parts of the volume out.
    spacing : float
        Of slices, mm.
    """

    width: float
    error: float
    spacing: float

    @property
    def reliable(self) -> bool:
        """Whether it lies inside the range that was searched, and parts of the volume agree on it."""
        inside = WIDTHS[1] < self.width < WIDTHS[-2]
        return bool(inside and self.error < 0.2 * self.width)

    def message(self) -> str:
        """In a line."""
        mm, error = self.width * self.spacing, self.error * self.spacing
        return f"slice profile estimated: Gaussian of {mm:.3g} mm (± {error:.2g}), slices {self.spacing:.3g} mm apart"


def estimate_width(image: Image, target: Target) -> Width:
    """Width of a Gaussian slice profile.

    Parameters
    ----------
    image : Image
        Its first volume is looked at.
    target : Target
        Spacings.

    Raises
    ------
    UsageError
        Too few slices, or too small ones, or nothing in them.
    """
    volume = _middle(image)
    ratio = target.before[2] / np.array(target.before[:2])
    if volume.shape[2] < _LEAST_SLICES or min(volume.shape[:2]) < 2 * _LEAST_SLICES * max(
        1.0, ratio.max() / 4
    ):
        raise UsageError(
            f"{'x'.join(map(str, volume.shape))} voxels are too few to estimate the slice profile from",
            where=image.where,
            remedy="give --slice-thickness",
        )
    if not volume.std() > 0:
        raise UsageError("is constant: no slice profile can be estimated", where=image.where)
    found = width_of(volume, (float(ratio[0]), float(ratio[1])))
    return Width(found[0], found[1], target.before[2])


def _middle(image: Image) -> np.ndarray:
    """The middle of the first volume, ``[X, Y, slices]``, float32; bad voxels are the level of the others."""
    first, second = image.spatial_axes
    axis = image.slice_axis
    cut: list[slice | int] = [0] * len(image.shape)
    for each in (first, second):
        size = min(image.shape[each], _MOST_PIXELS)
        start = (image.shape[each] - size) // 2
        cut[each] = slice(start, start + size)
    assert axis is not None
    cut[axis] = slice(None)
    block = np.asarray(image.data[tuple(cut)], np.float64)
    order = sorted((first, second, axis))
    block = block.transpose([order.index(a) for a in (first, second, axis)])
    good = np.isfinite(block)
    return np.where(good, block, np.median(block[good]) if good.any() else 0.0).astype(np.float32)


def width_of(volume: np.ndarray, ratio: tuple[float, float]) -> tuple[float, float]:
    """Width over spacing and its standard error.

    Parameters
    ----------
    volume : ndarray ``[X, Y, slices]``
    ratio : pair of float
        Spacing of slices over that of pixels, along X and Y.
    """
    v = torch.from_numpy(volume - volume.mean())
    curves = np.stack([_curves(v, ratio, float(width)) for width in WIDTHS])  # [widths, parts, band]
    whole = _best(curves.mean(1))
    left_out = [_best(np.delete(curves, k, 1).mean(1)) for k in range(curves.shape[1])]
    n = len(left_out)
    error = float(np.sqrt((n - 1) / n * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)))
    return whole, max(error, 0.01)


def _curves(v: torch.Tensor, ratio: tuple[float, float], width: float) -> np.ndarray:
    """Logarithm of the ratio of the two spectra for one width, ``[parts, band]``."""
    out = []
    for axis in (0, 1):
        other = 1 - axis
        across = _thick(v, other, ratio[other] * width)
        coarse = max(4, int(v.shape[axis] / ratio[axis]))
        fine = min(v.shape[axis], round(coarse * ratio[axis]))
        inside = along(SliceSampling(coarse, fine, width, "gaussian").matrix, v.narrow(axis, 0, fine), axis)
        a = _spectra(across.movedim(axis, 0), 2)
        b = _spectra(inside.movedim(other, 0), 2 if axis == 1 else 1)
        out.append(np.log(a) - np.log(b))
    return np.mean(out, axis=0)


def _thick(v: torch.Tensor, axis: int, width: float) -> torch.Tensor:
    """Blurred along an axis by a Gaussian `width` pixels wide."""
    return SliceProfile(1, max(width, 1e-3), "gaussian", axis).apply(v)


_BINS = 12


def _spectra(v: torch.Tensor, axis: int) -> np.ndarray:
    """Power along one axis in bins of `BAND`, for each part of the first axis, ``[parts, bins]``."""
    v = v.movedim(axis, -1)
    n = v.shape[-1]
    window = torch.hann_window(n, periodic=False, dtype=v.dtype)
    power = torch.fft.rfft((v - v.mean(-1, keepdim=True)) * window, dim=-1).abs().double() ** 2
    power = power / float((window**2).sum())
    frequency = np.arange(power.shape[-1]) / n
    edges = np.linspace(*BAND, _BINS + 1)
    lines = torch.stack([part.flatten(0, -2).mean(0) for part in power.tensor_split(_PARTS, 0) if len(part)])
    centres = (edges[:-1] + edges[1:]) / 2
    return np.stack([np.exp(np.interp(centres, frequency[1:], np.log(p[1:]))) for p in lines.numpy() + 1e-30])


def _best(curves: np.ndarray) -> float:
    """Width whose two spectra have the same shape: least spread of the ratio over the band, between grid points."""
    misfit = curves.var(axis=1) + 0.25 * curves.mean(axis=1) ** 2
    k = int(np.clip(np.argmin(misfit), 1, len(WIDTHS) - 2))
    x, y = np.log(WIDTHS[k - 1 : k + 2]), misfit[k - 1 : k + 2]
    bend = y[0] - 2 * y[1] + y[2]
    step = 0.5 * (y[0] - y[2]) / bend if bend > 0 else 0.0
    return float(np.exp(x[1] + np.clip(step, -1, 1) * (x[2] - x[1])))
