"""The Wiener solution, frequency by frequency: all aliases of one frequency at once, with their posterior variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 17
"""Matrix entries solved at once: they stay in the cache."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """For Fourier series coefficients.

    Attributes
    ----------
    mean : Tensor, complex128, (right sides, aliases, n)
    pull : Tensor, complex128, (aliases, n)
        By how much the prior shrinks the first `mean`: an estimate of its bias.
    variance : Tensor, float64, (aliases, n)
        Posterior variance: the propagated noise, and what the prior has to stand in for.
    noise : Tensor, float64, (aliases, n)
        The propagated noise alone.
    """

    mean: Tensor
    pull: Tensor
    variance: Tensor
    noise: Tensor


def wiener(data: Tensor, gram: Tensor, response: Tensor, power: Tensor, *, errors: bool = True) -> Posterior:
    """Minimise ``sum_k w_k |y_k - H_k x|^2 + |x|^2 / power`` for every frequency.

    With ``D = response sqrt(power)`` the matrix is ``N = 1 + D G D``, whose eigenvalues are at least 1, and
    ``x = sqrt(power) N^-1 D b``; the posterior covariance is ``sqrt(power) N^-1 sqrt(power)``.

    Parameters
    ----------
    data : Tensor, complex128, (right sides, aliases, n)
        b: the frames' spectra brought to each alias (without the response), weighted with ``w_k`` and summed.
    gram : Tensor, complex128, (aliases, aliases)
        G: Gram matrix of the phases, likewise weighted and summed.
    response, power : Tensor, float64, (aliases, n)
        Transfer function, and the prior variance of each coefficient; 0 for aliases that do not exist.
    errors : bool
        Whether `variance` and `noise` are wanted; they are empty otherwise.
    """
    count, n = power.shape
    root = power.sqrt()
    scale = response * root
    mean, pull = torch.empty_like(data), torch.zeros_like(data[0])
    variance, noise = (torch.empty_like(power if errors else power[:, :0]) for _ in range(2))
    one = torch.eye(count, dtype=data.dtype, device=data.device)
    step = max(CHUNK // count**2, 1)
    for start in range(0, n, step):
        part = slice(start, start + step)
        d = scale[:, part].T
        inverse = torch.linalg.inv(one + gram * (d[:, :, None] * d[:, None, :]))
        solved = inverse @ (d[:, :, None] * data[:, :, part].permute(2, 1, 0))
        mean[:, :, part] = root[:, part] * solved.permute(2, 1, 0)
        pull[:, part] = root[:, part] * (inverse @ solved[:, :, :1])[:, :, 0].T
        if not errors:
            continue
        diagonal = torch.diagonal(inverse, dim1=1, dim2=2).real
        variance[:, part] = power[:, part] * diagonal.T
        # N^-1 (N - 1) N^-1 is what the noise makes of it.
        reached = diagonal - (inverse.real**2 + inverse.imag**2).sum(2)
        noise[:, part] = power[:, part] * reached.clamp(min=0).T
    return Posterior(mean, pull, variance, noise)


def noise_data(gram: Tensor, n: int, seed: int) -> Tensor:
    """A draw of `data` from frames of pure noise: complex Gaussian with the covariance `gram`; (aliases, n)."""
    values, vectors = torch.linalg.eigh(gram)
    random = torch.Generator().manual_seed(seed)
    white = torch.randn((len(gram), n), generator=random, dtype=torch.complex128).to(gram.device)
    return (vectors * values.clamp(min=0).sqrt()) @ white
