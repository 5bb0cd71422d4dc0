"""How much power a scene has at each frequency: the prior of a Wiener solution, from the data themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINS = 96
"""Rings of frequency, at most."""

_FLOOR = 1e-6
"""Least power, as a share of the noise: a prior of zero would admit nothing at all."""


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """Expected power of a scene, the same in all directions.

    Attributes
    ----------
    radius : ndarray, (bins,), float64
        Cycles per native pixel, ascending.
    power : ndarray, (bins,), float64
        Variance per fine pixel and unit of spectrum: white noise of variance v has the power v everywhere.
    """

    radius: np.ndarray
    power: np.ndarray

    def __call__(self, radius: Tensor) -> Tensor:
        """Power at any radii (cycles per native pixel): linear in its logarithm, constant beyond the ends."""
        logs = np.interp(radius.cpu().numpy(), self.radius, np.log(self.power))
        return torch.from_numpy(np.exp(logs)).to(radius.device)


def ring_means(
    values: Tensor, radius: Tensor, multiplicity: Tensor, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean radius and mean value in each ring of frequency that is not empty.

    Parameters
    ----------
    values, radius, multiplicity : Tensor
        Of each frequency; `multiplicity` is how often it counts. They broadcast.
    size : int
        Pixels along the image's shorter side: rings are at least 2.8 frequency steps wide.

    Returns
    -------
    (ndarray, ndarray)
        Ascending radii, values.
    """
    number = max(4, min(BINS, size // 4))
    values, radius, multiplicity = torch.broadcast_tensors(values, radius, multiplicity)
    index = (radius * (number / (float(radius.max()) * (1 + 1e-9)))).long().reshape(-1)
    m = multiplicity.reshape(-1).to(torch.float64)

    def total(x: Tensor) -> np.ndarray:
        out = torch.zeros(number, dtype=torch.float64, device=x.device)
        return out.index_add_(0, index, x * m).cpu().numpy()

    count = total(torch.ones_like(m))
    some = count > 0
    of_radius, of_values = (
        total(x.reshape(-1).to(torch.float64))[some] / count[some] for x in (radius, values)
    )
    return of_radius, of_values


def power_spectrum_prior(
    image: Tensor,
    variance: float,
    factors: tuple[float, float] = (1.0, 1.0),
    response: Tensor | None = None,
) -> PowerSpectrum:
    """Power spectrum of a scene from a noisy image of it.

    The ring means of the periodogram, less the noise, over the squared response. Where that is not clearly above the
    noise, or the response is weak, the logarithm goes on linearly (the optics' exponential fall), never upwards.

    Parameters
    ----------
    image : Tensor, (rows, columns)
        On the fine grid, without its background. Its borders are tapered here.
    variance : float
        Power of the noise in `image` (its variance per fine pixel, where it is white), in the band used.
    factors : (float, float)
        Fine pixels per native pixel.
    response : Tensor, (rows, columns // 2 + 1), optional
        Transfer function from the scene to the image, on the frequencies of ``rfft2``; 1 if not given.

    Returns
    -------
    PowerSpectrum
    """
    rows, columns = image.shape
    radius, multiplicity = radii((rows, columns), factors, image.device)
    taper = _tukey(rows, image)[:, None] * _tukey(columns, image)[None, :]
    image = image.to(torch.float64)
    spectrum = torch.fft.rfft2((image - image.mean()) * taper)
    periodogram = (spectrum.abs() ** 2) / float((taper**2).sum())
    squared = torch.ones_like(periodogram) if response is None else response.to(torch.float64).abs() ** 2
    where, power = ring_means(periodogram, radius, multiplicity, min(rows, columns))
    _, passed = ring_means(squared, radius, multiplicity, min(rows, columns))
    signal = power - variance
    trusted = (signal > 3 * variance) & (passed > 0.2)
    clear = len(trusted) if trusted.all() else int(np.argmin(trusted))
    floor = max(_FLOOR * variance, np.finfo(np.float64).tiny * 1e10)
    if clear < 4:
        level = max(float(np.mean(np.clip(signal[:4] / np.maximum(passed[:4], 0.2), 0, None))), floor)
        return PowerSpectrum(where, np.full_like(where, level))
    power = np.maximum(signal[:clear] / passed[:clear], floor)
    slope = np.polyfit(where[clear // 2 : clear], np.log(power[clear // 2 :]), 1)[0]
    beyond = np.exp(np.log(power[-1]) + min(slope, 0.0) * (where[clear:] - where[clear - 1]))
    return PowerSpectrum(where, np.maximum(np.concatenate([power, beyond]), floor))


def radii(
    shape: tuple[int, int], factors: tuple[float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Radius (cycles per native pixel) of ``rfft2``'s frequencies on a fine grid, and how often each counts."""
    r = torch.fft.fftfreq(shape[0], dtype=torch.float64, device=device)[:, None] * factors[0]
    c = torch.fft.rfftfreq(shape[1], dtype=torch.float64, device=device)[None, :] * factors[1]
    return torch.hypot(r, c), half_multiplicity(shape[1], device)


def half_multiplicity(columns: int, device: torch.device) -> Tensor:
    """2 for the columns of ``rfft2`` that stand for their mirror images too, else 1; (1, columns // 2 + 1)."""
    out = torch.full((1, columns // 2 + 1), 2.0, dtype=torch.float64, device=device)
    out[0, 0] = 1
    if columns % 2 == 0:
        out[0, -1] = 1
    return out


def _tukey(size: int, like: Tensor) -> Tensor:
    """A cosine taper over an eighth of the length on each side."""
    width = max(size // 8, 1)
    t = (torch.arange(size, dtype=torch.float64, device=like.device) + 0.5).clamp(max=float(width))
    rise = torch.sin(0.5 * torch.pi * t / width) ** 2
    return rise * rise.flip(0)
