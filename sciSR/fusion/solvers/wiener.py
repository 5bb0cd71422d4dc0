"""The Wiener solution, frequency by frequency: all aliases of one frequency at once, with their posterior variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 17
"""Matrix entries solved at once: they stay in the cache."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """In alias layout, for Fourier series coefficients.

    Attributes
    ----------
    mean : Tensor, complex128
    variance : Tensor, float64
        Posterior variance: the propagated noise, and what the prior has to stand in for.
    noise : Tensor, float64
        The propagated noise alone.
    """

    mean: Tensor
    variance: Tensor
    noise: Tensor


def wiener(data: Tensor, gram: Tensor, response: Tensor, power: Tensor) -> Posterior:
    """Minimise ``sum_k w_k |y_k - H_k x|^2 + |x|^2 / power`` for every frequency.

    With ``D = response sqrt(power)`` the matrix is ``1 + D G D``, whose eigenvalues are at least 1, and
    ``x = sqrt(power) (1 + D G D)^-1 D b``.

    Parameters
    ----------
    data : Tensor, complex128, (aliases, n)
        b: the frames' spectra brought to each alias (without the response), weighted with ``w_k`` and summed.
    gram : Tensor, complex128, (aliases, aliases)
        G: Gram matrix of the phases, likewise weighted and summed.
    response, power : Tensor, float64, (aliases, n)
        Transfer function, and the prior variance of each coefficient; 0 for aliases that do not exist.
    """
    count, n = data.shape
    root = power.sqrt()
    scale = response * root
    mean = torch.empty_like(data)
    variance, noise = torch.empty_like(power), torch.empty_like(power)
    one = torch.eye(count, dtype=data.dtype, device=data.device)
    step = max(CHUNK // count**2, 1)
    for start in range(0, n, step):
        part = slice(start, start + step)
        d = scale[:, part].T
        inverse = torch.linalg.inv(one + gram * (d[:, :, None] * d[:, None, :]))
        solved = (inverse @ (d * data[:, part].T)[:, :, None])[:, :, 0]
        mean[:, part] = root[:, part] * solved.T
        diagonal = torch.diagonal(inverse, dim1=1, dim2=2).real
        variance[:, part] = power[:, part] * diagonal.T
        # N^-1 (N - 1) N^-1 is what the noise makes of it.
        reached = diagonal - (inverse.real**2 + inverse.imag**2).sum(2)
        noise[:, part] = power[:, part] * reached.clamp(min=0).T
    return Posterior(mean, variance, noise)
