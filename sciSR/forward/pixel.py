"""Pixel integration: a detector's pixel sees the mean of the fine pixels it covers.

For an integer factor this is the block mean. For a rational one each fine pixel is shared between the coarse
pixels it overlaps, in proportion to the overlap. Both axes are independent, so every operator here is a small
matrix per axis; the geometry is that of :mod:`sciSR.grid` (edges of the field coincide).
"""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import GeometryError


def overlap_matrix(start: int, stop: int, factor: Fraction) -> tuple[np.ndarray, int]:
    """Weights with which coarse pixels ``start..stop-1`` average the fine pixels they cover.

    Parameters
    ----------
    start, stop : int
        Range of coarse pixels (may reach outside the image: the pattern is the same everywhere).
    factor : Fraction
        Fine pixels per coarse pixel.

    Returns
    -------
    matrix : ndarray, shape (stop - start, n_fine), float64
        Rows sum to 1.
    first : int
        Index of the first fine pixel, the matrix's column 0.
    """
    p, q = factor.numerator, factor.denominator
    first = (start * p) // q
    last = -((-stop * p) // q)
    # In units of 1/q fine pixel everything is an integer: coarse c spans [c p, (c+1) p], fine o spans [o q, (o+1) q].
    coarse = np.arange(start, stop, dtype=np.int64)[:, None]
    fine = np.arange(first, last, dtype=np.int64)[None, :]
    overlap = np.minimum((coarse + 1) * p, (fine + 1) * q) - np.maximum(coarse * p, fine * q)
    return np.clip(overlap, 0, None) / p, first


@functools.lru_cache(maxsize=256)
def _axis(size: int, factor: Fraction) -> Tensor:
    return torch.from_numpy(overlap_matrix(0, size, factor)[0])


class BlockMean:
    """The linear map A from fine pixels to the mean over each coarse pixel.

    Parameters
    ----------
    factors : pair of Fraction or int
        Fine pixels per coarse pixel along (rows, columns).

    Notes
    -----
    All methods take and return tensors ``(..., rows, columns)``; coarse sizes times factors must be whole.
    ``apply(pinv(y)) == y``: `pinv` is the Moore-Penrose inverse (replication for integer factors), so
    ``x + pinv(y - apply(x))`` is the image nearest to x that reproduces y.
    """

    def __init__(self, factors: tuple[Fraction | int, Fraction | int]) -> None:
        self.factors = (Fraction(factors[0]), Fraction(factors[1]))

    @property
    def is_integer(self) -> bool:
        return all(f.denominator == 1 for f in self.factors)

    def _matrices(self, coarse: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(_axis(n, f).to(like) for n, f in zip(coarse, self.factors, strict=True))  # type: ignore[return-value]

    def _coarse(self, fine: torch.Size) -> tuple[int, int]:
        sizes = [Fraction(n) / f for n, f in zip(fine[-2:], self.factors, strict=True)]
        if any(s.denominator != 1 for s in sizes):
            raise GeometryError(
                f"pixel integration: the fine size {tuple(fine[-2:])} is no multiple of "
                f"{' and '.join(map(str, self.factors))}",
                remedy="crop the image first",
            )
        return int(sizes[0]), int(sizes[1])

    def apply(self, fine: Tensor) -> Tensor:
        """Coarse pixels as the means of the fine ones they cover."""
        rows, columns = self._coarse(fine.shape)
        if self.is_integer:
            p, q = (int(f) for f in self.factors)
            return fine.unflatten(-1, (columns, q)).unflatten(-3, (rows, p)).mean(dim=(-3, -1))
        a, b = self._matrices((rows, columns), fine)
        return a @ fine @ b.mT

    def adjoint(self, coarse: Tensor) -> Tensor:
        """The transpose of :meth:`apply`."""
        if self.is_integer:
            p, q = (int(f) for f in self.factors)
            return self._replicate(coarse) / (p * q)
        a, b = self._matrices(tuple(coarse.shape[-2:]), coarse)  # type: ignore[arg-type]
        return a.mT @ coarse @ b

    def pinv(self, coarse: Tensor) -> Tensor:
        """The smallest fine image whose coarse pixels are `coarse`."""
        if self.is_integer:
            return self._replicate(coarse)
        a, b = self._matrices(tuple(coarse.shape[-2:]), coarse.double())  # type: ignore[arg-type]
        solved = torch.linalg.solve(a @ a.mT, coarse.double())
        solved = torch.linalg.solve(b @ b.mT, solved.mT).mT
        return (a.mT @ solved @ b).to(coarse.dtype)

    def _replicate(self, coarse: Tensor) -> Tensor:
        p, q = (int(f) for f in self.factors)
        rows, columns = coarse.shape[-2:]
        wide = coarse[..., :, None, :, None].expand(*coarse.shape[:-2], rows, p, columns, q)
        return wide.reshape(*coarse.shape[:-2], rows * p, columns * q)
