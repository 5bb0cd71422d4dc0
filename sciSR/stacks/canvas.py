"""The volume to solve for: the output grid with a margin around it, and its frequencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward.slice_profile import REACH, profile_density
from sciSR.grid import AffineGrid
from sciSR.stacks.stack import Stack

MARGIN = 1.2
"""Of the thickest slice, around the output: what lies outside the field is seen by its outermost slices."""
_LEAST = 4


@dataclass(frozen=True, eq=False)
class Canvas:
    """A periodic box of voxels around the output.

    Attributes
    ----------
    shape : tuple of int
        Voxels, with the margin; lengths that Fourier transforms like.
    start : tuple of int
        Where the output begins in it.
    inner : tuple of int
        Shape of the output.
    affine : ndarray, 4x4
        Index of the canvas to world.
    device : torch.device
    """

    shape: tuple[int, ...]
    start: tuple[int, ...]
    inner: tuple[int, ...]
    affine: np.ndarray
    device: torch.device

    @classmethod
    def around(cls, grid: AffineGrid, reach: float, device: torch.device) -> Canvas:
        """With a margin of `reach` millimetres on each side."""
        from scipy.fft import next_fast_len

        margin = [math.ceil(reach / d) + _LEAST for d in grid.spacing]
        shape = tuple(next_fast_len(n + 2 * m, real=True) for n, m in zip(grid.shape, margin, strict=True))
        start = tuple((full - n) // 2 for full, n in zip(shape, grid.shape, strict=True))
        affine = np.array(grid.affine)
        affine[:3, 3] -= affine[:3, :3] @ np.array(start)
        return cls(shape, start, tuple(grid.shape), affine, device)

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size, millimetres."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(0))

    @property
    def inside(self) -> tuple[slice, ...]:
        """The output's part of the canvas."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.inner, strict=True))

    @property
    def half(self) -> tuple[int, ...]:
        """Shape of a spectrum."""
        return (*self.shape[:-1], self.shape[-1] // 2 + 1)

    def frequencies(self) -> tuple[Tensor, ...]:
        """Cycles per voxel along each axis, to be broadcast."""
        rows, columns, last = self.shape
        return (
            torch.fft.fftfreq(rows, device=self.device)[:, None, None],
            torch.fft.fftfreq(columns, device=self.device)[None, :, None],
            torch.fft.rfftfreq(last, device=self.device)[None, None, :],
        )

    def along(self, direction: np.ndarray) -> Tensor:
        """Frequency along a unit vector of the world, cycles per millimetre."""
        part = np.linalg.inv(self.affine[:3, :3]) @ direction
        return sum(float(p) * f for p, f in zip(part, self.frequencies(), strict=True))  # type: ignore[return-value]

    def radius(self) -> Tensor:
        """Length of the frequency, cycles per millimetre."""
        return sum(self.along(axis) ** 2 for axis in np.eye(3)).sqrt()  # type: ignore[union-attr]

    def spline(self) -> Tensor:
        """Spectrum of the cubic B-spline at the voxels: what its coefficients are multiplied with."""
        first, second, third = ((2 + torch.cos(2 * torch.pi * f)) / 3 for f in self.frequencies())
        return first * second * third

    def forward(self, volume: Tensor) -> Tensor:
        """Spectrum of a volume."""
        return torch.fft.rfftn(volume)

    def back(self, spectrum: Tensor) -> Tensor:
        """Volume of a spectrum."""
        return torch.fft.irfftn(spectrum, s=self.shape)

    def resampled(self, volume: Tensor, other: Canvas) -> Tensor:
        """A volume on this canvas, linearly interpolated on another along the same axes; continued beyond the end."""
        matrix = np.linalg.inv(self.affine) @ other.affine
        out = volume
        for axis, (n, m) in enumerate(zip(self.shape, other.shape, strict=True)):
            at = (torch.arange(m, device=self.device) * matrix[axis, axis] + matrix[axis, 3]).clamp(0, n - 1)
            lower = at.floor().long().clamp_max(n - 2)
            shape = [1, 1, 1]
            shape[axis] = m
            share = (at - lower).float().reshape(shape)
            out = torch.lerp(out.index_select(axis, lower), out.index_select(axis, lower + 1), share)
        return out


def output_grid(first: Stack, spacing: float) -> AffineGrid:
    """Isotropic, edge to edge over the field of the first stack: ``round(N d / spacing)`` voxels along each axis.

    Raises
    ------
    UsageError
        A spacing that is no length.
    """
    if not (math.isfinite(spacing) and spacing > 0):
        raise UsageError(f"a spacing of {spacing:g} mm", remedy="give a length above 0")
    shape = first.data.shape
    fine = [max(1, math.floor(n * d / spacing + 0.5)) for n, d in zip(shape, first.spacing, strict=True)]
    return AffineGrid(shape, first.affine).refine([Fraction(m, n) for m, n in zip(fine, shape, strict=True)])


def finest(stacks: Sequence[Stack]) -> float:
    """The smallest distance of voxels within a slice, millimetres."""
    return min(float(stack.spacing[axis]) for stack in stacks for axis in stack.in_plane)


_SAMPLES = 256


def profile_response(stack: Stack, frequency: Tensor) -> Tensor:
    """Fourier transform of a stack's slice profile; 1 at zero frequency.

    Parameters
    ----------
    stack : Stack
    frequency : Tensor
        Across the slice, cycles per millimetre.

    Returns
    -------
    Tensor
        Real for profiles that are even, complex otherwise.
    """
    reach = stack.thickness * (
        REACH[stack.profile]
        if isinstance(stack.profile, str)
        else max(abs(stack.profile[0][0]), abs(stack.profile[0][-1]))
    )
    at = ((torch.arange(_SAMPLES, dtype=torch.float64) + 0.5) / _SAMPLES * 2 - 1) * reach
    weight = profile_density(stack.profile, at, stack.thickness)
    weight = weight / weight.sum()
    # A table over frequency: far fewer values than the spectrum has.
    top = float(frequency.abs().max()) + 1e-9
    n = max(64, math.ceil(64 * top * reach))
    grid = torch.linspace(0, top, n + 1, dtype=torch.float64)
    phase = 2 * torch.pi * grid[:, None] * at
    even = (torch.cos(phase) @ weight).float().to(frequency.device)
    odd = (torch.sin(phase) @ weight).float().to(frequency.device)
    place = frequency.abs() * (n / top)
    lower = place.floor().clamp_max(n - 1)
    share, lower = place - lower, lower.long()
    real = torch.lerp(even[lower], even[lower + 1], share)
    if float(odd.abs().max()) < 1e-6:
        return real
    imaginary = torch.lerp(odd[lower], odd[lower + 1], share) * torch.sign(frequency)
    return torch.complex(real, imaginary)


def voxel_response(canvas: Canvas, stack: Stack, turn: np.ndarray) -> Tensor:
    """What a stack's in-plane voxel adds to the canvas's own: boxes whose second moments make up the difference."""
    out = torch.ones((), device=canvas.device)
    for axis in stack.in_plane:
        size = float(stack.spacing[axis])
        direction = turn @ (stack.affine[:3, axis] / size)
        own = float(np.linalg.norm(direction @ (canvas.affine[:3, :3] / canvas.spacing) * canvas.spacing))
        if size > 1.02 * own:
            out = out * torch.sinc((size**2 - own**2) ** 0.5 * canvas.along(direction))
    return out
