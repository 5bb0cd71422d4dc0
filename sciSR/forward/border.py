"""What the operators on planes share: mirrored borders, and sizes that the factor divides."""

from __future__ import annotations

import torch
from torch import Tensor

from sciSR.errors import GeometryError


def mirrored(size: int, pad: int, device: torch.device | str | None = None) -> Tensor:
    """Indices ``[size + 2 pad]`` of a signal mirrored about its pixel edges ("symmetric"); any pad, any size >= 1."""
    index = torch.arange(-pad, size + pad, device=device) % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)


def fold(x: Tensor, size: int, pad: int) -> Tensor:
    """Transpose of the mirrored padding along the last axis: ``[..., size + 2 pad]`` -> ``[..., size]``."""
    out = torch.zeros(*x.shape[:-1], size, dtype=x.dtype, device=x.device)
    return out.index_add_(-1, mirrored(size, pad, x.device), x)


def require_multiple(shape: tuple[int, ...], scale: int, what: str) -> None:
    """Refuse planes whose last two axes `scale` does not divide.

    Raises
    ------
    GeometryError
        Names the operator (`what`), the size and the factor.
    """
    if shape[-1] % scale or shape[-2] % scale:
        raise GeometryError(
            f"{what}: the fine size {tuple(shape[-2:])} is no multiple of {scale}",
            remedy="crop the image first",
        )
