"""Cubic B-spline interpolation at many points of a volume, as a sparse matrix, with its exact transpose."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.threads import in_threads

CHUNK = 300_000
"""Points for each piece of the matrix: 64 weights and indices each."""

KEPT = 6e9
"""Bytes of all matrices together up to which they are kept between calls; beyond, each call computes its own."""
_BYTES = 64 * 8

Points = Callable[[], Tensor]


@dataclass(eq=False)
class Sampling:
    """Rows: points; columns: spline coefficients of the volume.

    Parameters
    ----------
    shape : tuple of int
        Of the volume.
    pieces : sequence of (count, callable)
        Each callable gives the points of one piece, float64 ``[count, 3]``, in voxels; at least two voxels inside.
    keep : bool
        Keep the matrix (0.5 kB a point), or compute its pieces each time.
    """

    shape: tuple[int, ...]
    pieces: Sequence[tuple[int, Points]]
    device: torch.device
    keep: bool = True

    def __post_init__(self) -> None:
        self._made: dict[int, Any] = {}

    @property
    def rows(self) -> int:
        """Number of points."""
        return sum(count for count, _ in self.pieces)

    def apply(self, *coefficients: Tensor) -> list[Tensor]:
        """Values at the points, for each of several volumes of coefficients."""
        flat = [c.reshape(-1) for c in coefficients]

        def work(index: int) -> list[Tensor]:
            matrix = self._matrix(index)
            return [matrix.apply(c) for c in flat]

        parts = in_threads(work, range(len(self.pieces)), self.device)
        if not parts:
            return [torch.zeros(0, device=self.device) for _ in flat]
        return [torch.cat([part[i] for part in parts]) for i in range(len(flat))]

    def adjoint(self, values: Tensor) -> Tensor:
        """Transposed: values at the points -> a volume of coefficients."""
        edges = np.cumsum([0, *(count for count, _ in self.pieces)])

        def work(index: int) -> Tensor:
            return self._matrix(index).adjoint(values[edges[index] : edges[index + 1]])

        out = torch.zeros(self.shape, device=self.device).reshape(-1)
        # Two at a time, added in order: the sum does not depend on the number of threads.
        for begin in range(0, len(self.pieces), 2):
            for part in in_threads(work, range(begin, min(begin + 2, len(self.pieces))), self.device):
                out += part
        return out.reshape(self.shape)

    def _matrix(self, index: int) -> Any:
        if index in self._made:
            return self._made[index]
        made = _Host if self.device.type == "cpu" else _Device
        matrix = made(*taps(self.pieces[index][1](), self.shape), int(np.prod(self.shape)))
        if self.keep:
            self._made[index] = matrix
        return matrix


def affordable(points: int) -> bool:
    """True if the matrices of so many points may be kept."""
    return points * _BYTES <= KEPT


def taps(points: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Indices (int32) and weights (float32), ``[n, 64]`` each, of the cubic B-spline at points ``[n, 3]``."""
    floor = points.floor()
    base = floor.int() - 1
    weights = spline_weights((points - floor).float())
    _, columns, last = shape
    first = (base[:, 0] * columns + base[:, 1]) * last + base[:, 2]
    steps = torch.arange(4, device=points.device, dtype=torch.int32)
    offsets = ((steps[:, None, None] * columns + steps[:, None]) * last + steps).reshape(-1)
    plane = (weights[:, 0, :, None] * weights[:, 1, None, :]).reshape(-1, 16, 1)
    return first[:, None] + offsets, (plane * weights[:, 2, None, :]).reshape(-1, 64)


def spline_weights(t: Tensor) -> Tensor:
    """Cubic B-spline at ``t + 1, t, 1 - t, 2 - t`` for 0 <= t < 1; the four weights are the last axis, of sum 1."""
    s = 1 - t
    return torch.stack(
        [s**3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (4 - 6 * s**2 + 3 * s**3) / 6, t**3 / 6], dim=-1
    )


class _Host:
    """On a CPU: SciPy's compressed rows, whose transpose costs no copy."""

    def __init__(self, indices: Tensor, weights: Tensor, columns: int) -> None:
        from scipy.sparse import csr_matrix

        n = len(indices)
        start = np.arange(n + 1, dtype=np.int32) * 64
        self.matrix = csr_matrix((n, columns), dtype=np.float32)
        # Set directly: the constructor would look all indices over once more.
        self.matrix.data, self.matrix.indices = weights.reshape(-1).numpy(), indices.reshape(-1).numpy()
        self.matrix.indptr = start
        self.transposed = self.matrix.T

    def apply(self, coefficients: Tensor) -> Tensor:
        return torch.from_numpy(self.matrix @ coefficients.numpy())

    def adjoint(self, values: Tensor) -> Tensor:
        return torch.from_numpy(self.transposed @ values.numpy())


class _Device:
    """On an accelerator: compressed rows and, for sums in a fixed order, the transpose's."""

    def __init__(self, indices: Tensor, weights: Tensor, columns: int) -> None:
        n = len(indices)
        rows = torch.arange(n, device=indices.device).repeat_interleave(64)
        flat, weight = indices.reshape(-1).long(), weights.reshape(-1)
        start = torch.arange(n + 1, device=indices.device) * 64
        self.matrix = _compressed(start, flat, weight, (n, columns))
        order = torch.argsort(flat, stable=True)
        starts = torch.zeros(columns + 1, dtype=torch.int64, device=indices.device)
        starts[1:] = torch.cumsum(torch.bincount(flat, minlength=columns), 0)
        self.transposed = _compressed(starts, rows[order], weight[order], (columns, n))

    def apply(self, coefficients: Tensor) -> Tensor:
        return self.matrix @ coefficients

    def adjoint(self, values: Tensor) -> Tensor:
        return self.transposed @ values


def _compressed(start: Tensor, index: Tensor, weight: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # compressed rows are "in beta"
        return torch.sparse_csr_tensor(start, index, weight, shape, check_invariants=False)
