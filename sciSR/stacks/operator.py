"""How a moving body becomes one stack of thick slices, and the transpose.

Each measured voxel is the integral of the volume, moved to where it was at that slice's time, over the slice profile
and the in-plane voxel. The integral is a convolution along the slice's normal: it is done in Fourier space, exactly,
once for all slices with about the same normal; the result is interpolated at the voxels' centres by cubic B-splines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sciSR.stacks.canvas import Canvas, profile_response, voxel_response
from sciSR.stacks.sampling import CHUNK, Sampling
from sciSR.stacks.stack import Stack

TOLERANCE = 2.0
"""Degrees within which slices share one direction of their profile: off by this, a 4 mm slice is blurred by 0.06 mm
(standard deviation) in its plane."""
_EDGE = 2
"""Voxels at the canvas's end that no spline may reach beyond."""


@dataclass(eq=False)
class Group:
    """Slices of about the same normal.

    Attributes
    ----------
    response : Tensor
        Of profile, in-plane voxel and spline, on the canvas's half spectrum.
    amplitude : Tensor
        Without the spline.
    sampling : Sampling
    rows : Tensor of int64
        Of the stack's measured voxels.
    """

    response: Tensor
    amplitude: Tensor
    sampling: Sampling
    rows: Tensor


class StackOperator:
    """Volume on the canvas -> the measured voxels of a stack that lie in it.

    Parameters
    ----------
    canvas : Canvas
    stack : Stack
    matrices : ndarray, ``[slices, 4, 4]``
        World to world, for each slice: from where the header puts it to where the body was.
    step : int
        Take every so many voxels along both axes of a slice.
    keep : bool
        Keep the interpolation matrix between calls.

    Attributes
    ----------
    index : ndarray of int64, ``[n]``
        Which voxels of ``stack.slices`` (flat) are measured, slice by slice.
    slice_of : ndarray of int64, ``[n]``
    """

    def __init__(
        self, canvas: Canvas, stack: Stack, matrices: np.ndarray, *, step: int = 1, keep: bool = True
    ) -> None:
        self.canvas, self.stack, self.keep = canvas, stack, keep
        self.matrices = np.array(matrices)
        slices, rows, columns = stack.slices.shape
        good = stack.good
        thin = np.zeros((rows, columns), dtype=bool)
        # Beginning within a step, not at it: both ends of the field are thinned alike.
        thin[(step - 1) // 2 :: step, (step - 1) // 2 :: step] = True
        self._to_canvas = np.linalg.inv(canvas.affine) @ self.matrices @ stack.slice_affine
        found, which = [], []
        for k in range(slices):
            flat = np.flatnonzero(good[k] & thin)
            inside = self._inside(self._points(k, flat))
            found.append(flat[inside] + k * rows * columns)
            which.append(np.full(int(inside.sum()), k))
        self.index, self.slice_of = np.concatenate(found), np.concatenate(which)
        self.groups = [self._group(members) for members in self._alike()]

    @property
    def measured(self) -> Tensor:
        """What the scanner delivered at `index`."""
        return torch.from_numpy(self.stack.slices.reshape(-1)[self.index]).to(self.canvas.device)

    def apply(self, spectrum: Tensor) -> Tensor:
        """Spectrum of the volume -> voxels ``[n]``."""
        out = torch.zeros(len(self.index), device=self.canvas.device)
        for group in self.groups:
            out[group.rows] = group.sampling.apply(self.canvas.back(group.response * spectrum))[0]
        return out

    def adjoint(self, values: Tensor) -> Tensor:
        """Voxels ``[n]`` -> spectrum of a volume; transposed of :meth:`apply` after the volume's own transform."""
        out = torch.zeros(self.canvas.half, dtype=torch.complex64, device=self.canvas.device)
        for group in self.groups:
            out += group.response.conj() * self.canvas.forward(group.sampling.adjoint(values[group.rows]))
        return out

    def density(self, values: Tensor) -> Tensor:
        """Weights of voxels ``[n]``, spread over what each of them sees of the canvas; their sum is kept."""
        out = torch.zeros(self.canvas.shape, device=self.canvas.device)
        for group in self.groups:
            spread = self.canvas.forward(group.sampling.adjoint(values[group.rows]))
            out += self.canvas.back(group.amplitude.conj() * spread)
        # Profiles with ripples, and the transform's rounding, leave a little below zero.
        return out.clamp_min(0)

    def values_and_slopes(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted voxels ``[n]``, and their derivatives ``[n, 3]`` per millimetre along the world's axes."""
        canvas = self.canvas
        value = torch.zeros(len(self.index), device=canvas.device)
        slope = torch.zeros(len(self.index), 3, device=canvas.device)
        for group in self.groups:
            seen = group.response * spectrum
            volumes = [canvas.back(seen)]
            volumes += [canvas.back(2j * torch.pi * canvas.along(axis) * seen) for axis in np.eye(3)]
            found = group.sampling.apply(*volumes)
            value[group.rows] = found[0]
            slope[group.rows] = torch.stack(found[1:], dim=-1)
        return value, slope

    def world(self) -> np.ndarray:
        """Where the measured voxels lie, with their motion: ``[n, 3]`` millimetres."""
        rows = self.stack.slices.shape[1] * self.stack.slices.shape[2]
        out = np.empty((len(self.index), 3))
        for k in range(len(self.matrices)):
            here = self.slice_of == k
            points = self._points(k, self.index[here] - k * rows).numpy()
            out[here] = points @ self.canvas.affine[:3, :3].T + self.canvas.affine[:3, 3]
        return out

    def _points(self, k: int, flat: np.ndarray) -> Tensor:
        """Canvas indices, float64 ``[n, 3]``, of voxels of slice `k`."""
        return _in_slice(self._to_canvas[k], k, self.stack.slices.shape[2], flat)

    def _inside(self, points: Tensor) -> np.ndarray:
        """True where all of a spline's support lies in the canvas."""
        top = torch.tensor(self.canvas.shape, dtype=torch.float64) - 1 - _EDGE
        return ((points >= _EDGE) & (points <= top)).all(dim=-1).numpy()

    def _alike(self) -> list[np.ndarray]:
        """Slices by their normal's direction, each group with those within the tolerance of its first."""
        normals = self.matrices[:, :3, :3] @ self.stack.normal
        left = np.arange(len(normals))
        groups = []
        while left.size:
            mean = normals[left].mean(0)
            # Begin with the most usual direction: that of the slice nearest to the mean of those left.
            near = normals[left] @ normals[left[np.argmax(normals[left] @ mean)]]
            chosen = near >= np.cos(np.radians(TOLERANCE))
            groups.append(left[chosen])
            left = left[~chosen]
        return groups

    def _group(self, members: np.ndarray) -> Group:
        canvas, stack = self.canvas, self.stack
        turns = self.matrices[members, :3, :3]
        normal = (turns @ stack.normal).mean(0)
        normal /= np.linalg.norm(normal)
        amplitude = profile_response(stack, canvas.along(normal)) * voxel_response(canvas, stack, turns[0])
        rows = np.flatnonzero(np.isin(self.slice_of, members))
        sampling = Sampling(canvas.shape, self._pieces(rows), canvas.device, self.keep)
        return Group(
            amplitude / canvas.spline(), amplitude, sampling, torch.from_numpy(rows).to(canvas.device)
        )

    def _pieces(self, rows: np.ndarray) -> list[tuple[int, Callable[[], Tensor]]]:
        """Points of the measured voxels, some at a time, computed when they are needed."""
        number = max(1, -(-len(rows) // CHUNK)) if len(rows) else 0
        number += number % 2 if number > 1 else 0
        parts: Sequence[np.ndarray] = np.array_split(rows, number) if number else []
        shape, device = self.stack.slices.shape, self.canvas.device
        # Nothing here may hold the operator itself: the circle would keep its matrices in memory.
        return [
            (
                len(part),
                functools.partial(
                    _positions, self._to_canvas, shape, self.index[part], self.slice_of[part], device
                ),
            )
            for part in parts
        ]


def _positions(
    to_canvas: np.ndarray, shape: Sequence[int], index: np.ndarray, which: np.ndarray, device: torch.device
) -> Tensor:
    """Canvas indices, float64 ``[n, 3]``, of voxels of several slices (flat indices of the stack)."""
    out = torch.empty((len(index), 3), dtype=torch.float64)
    for k in np.unique(which):
        here = which == k
        out[torch.from_numpy(here)] = _in_slice(
            to_canvas[k], int(k), shape[2], index[here] - int(k) * shape[1] * shape[2]
        )
    return out.to(device)


def _in_slice(matrix: np.ndarray, k: int, columns: int, flat: np.ndarray) -> Tensor:
    """Canvas indices of voxels of slice `k`, by their flat indices in it."""
    origin = matrix[:3, 0] * k + matrix[:3, 3]
    i, j = torch.from_numpy(flat // columns).double(), torch.from_numpy(flat % columns).double()
    return torch.stack([origin[a] + matrix[a, 1] * i + matrix[a, 2] * j for a in range(3)], dim=-1)
