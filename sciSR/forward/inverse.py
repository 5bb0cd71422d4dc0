"""The least-norm inverse of any operator that has an adjoint."""

from __future__ import annotations

import torch
from torch import Tensor

from sciSR.forward.operator import LinearOperator


def least_norm(
    operator: LinearOperator,
    y: Tensor,
    ridge: float = 0.0,
    iterations: int = 40,
    axes: tuple[int, ...] = (-2, -1),
) -> Tensor:
    """``A^T (A A^T + ridge)^-1 y`` by conjugate gradients (Hestenes and Stiefel, J. Res. NBS 49, 409, 1952).

    Parameters
    ----------
    operator : LinearOperator
    y : Tensor, float
        What was measured; each index of the axes that are not in `axes` is a system of its own.
    ridge : float
        Above 0 it limits how much noise is amplified; the result then no longer reproduces `y` exactly.
    iterations : int
        At most; it stops at float rounding.
    axes : tuple of int
        Those that the operator acts on.

    Returns
    -------
    Tensor
        The smallest image that `operator` turns into `y` (for ``ridge = 0``), dtype of `y`.
    """
    least = torch.finfo(y.dtype).tiny
    z = torch.zeros_like(y)
    residual = y.clone()
    direction = residual
    rho = (residual * residual).sum(axes, keepdim=True)
    start, tiny = rho, (16 * torch.finfo(y.dtype).eps) ** 2
    for _ in range(iterations):
        image = operator.apply(operator.adjoint(direction)) + ridge * direction
        step = rho / (direction * image).sum(axes, keepdim=True).clamp_min(least)
        z = z + step * direction
        residual = residual - step * image
        fresh = (residual * residual).sum(axes, keepdim=True)
        if bool((fresh <= tiny * start).all()):
            break
        direction = residual + fresh / rho.clamp_min(least) * direction
        rho = fresh
    return operator.adjoint(z)
