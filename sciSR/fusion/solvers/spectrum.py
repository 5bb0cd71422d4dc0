"""How much power a scene has at each frequency: the prior of a Wiener solution, from the data themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINS = 96
"""Rings of frequency, at most."""

BLOCK = 32
"""Native pixels along a block of :func:`quiet_power_prior`."""

STEEP = 6.0
"""Fall of the logarithm per cycle and native pixel, where there is nothing to measure it on: of a sharp telescope's."""

AxisResponse = Callable[[Tensor, float], Tensor]
"""Transfer along one axis: of the frequency in cycles per native pixel, and the fine pixels per native one."""


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """Expected power of a scene, the same in all directions.

    Attributes
    ----------
    radius : ndarray, (bins,), float64
        Cycles per native pixel, ascending.
    power : ndarray, (bins,), float64
        Positive. White noise of variance v per fine pixel has the power v everywhere.
    """

    radius: np.ndarray
    power: np.ndarray

    def __call__(self, radius: Tensor) -> Tensor:
        """Power at any radii (cycles per native pixel): linear in its logarithm, constant beyond the ends."""
        logs = np.interp(radius.cpu().numpy(), self.radius, np.log(self.power))
        return torch.from_numpy(np.exp(logs)).to(radius.device)

    def towards(self, other: PowerSpectrum, share: float, most: float = np.inf) -> PowerSpectrum:
        """The geometric mean ``self^(1 - share) other^share`` at `other`'s radii, with self at most `most` x other."""
        goal = np.log(other.power)
        own = np.interp(other.radius, self.radius, np.log(self.power))
        own = np.minimum(own, goal + np.log(most))
        return PowerSpectrum(other.radius, np.exp((1 - share) * own + share * goal))


def power_spectrum_prior(
    image: Tensor,
    variance: float,
    factors: tuple[float, float] = (1.0, 1.0),
    response: AxisResponse | None = None,
    noise_response: AxisResponse | None = None,
) -> PowerSpectrum:
    """Power spectrum of a scene from a noisy image of it.

    The ring means of the periodogram, less the noise, over the squared response. Where that is not clearly above the
    noise, or the response is weak, the logarithm goes on linearly (the optics' exponential fall), never upwards.

    Parameters
    ----------
    image : Tensor, (rows, columns)
        On the fine grid; finite. Its mean is taken off and its borders are tapered here.
    variance : float
        Power of the noise in `image`: its variance per fine pixel, were it white.
    factors : (float, float)
        Fine pixels per native pixel.
    response : callable, optional
        From the scene to the image.
    noise_response : callable, optional
        From white noise to the image's.

    Returns
    -------
    PowerSpectrum
        Never zero: at least 1e-9 of its largest value.
    """
    window = _tukey(image.shape[0], image)[:, None] * _tukey(image.shape[1], image)[None, :]
    tile = (image - image.mean()).to(torch.float64)[None]
    return _from_tiles(tile, window, variance, factors, response, noise_response)


def quiet_power_prior(
    image: Tensor,
    variance: float,
    factors: tuple[float, float] = (1.0, 1.0),
    response: AxisResponse | None = None,
    noise_response: AxisResponse | None = None,
) -> PowerSpectrum:
    """Power spectrum of most of a scene: the median over blocks, so that stars in some of them do not count.

    Parameters and result as for :func:`power_spectrum_prior`.
    """
    size = [min(max(round(BLOCK * f), 8), n) for f, n in zip(factors, image.shape, strict=True)]
    step = [max(n // 2, 1) for n in size]
    tiles = image.unfold(0, size[0], step[0]).unfold(1, size[1], step[1]).reshape(-1, *size)
    tiles = (tiles - tiles.mean(dim=(1, 2), keepdim=True)).to(torch.float64)
    hann = [
        torch.hann_window(n + 2, periodic=False, dtype=torch.float64, device=image.device)[1:-1] for n in size
    ]
    return _from_tiles(tiles, hann[0][:, None] * hann[1][None], variance, factors, response, noise_response)


def _from_tiles(
    tiles: Tensor,
    window: Tensor,
    variance: float,
    factors: tuple[float, float],
    response: AxisResponse | None,
    noise_response: AxisResponse | None,
) -> PowerSpectrum:
    """From the median of the tiles' periodograms."""
    shape = (int(tiles.shape[1]), int(tiles.shape[2]))
    radius, multiplicity = radii(shape, factors, tiles.device)
    size = min(shape)
    found = []
    for tile in tiles:
        periodogram = torch.fft.rfft2(tile * window).abs() ** 2 / float((window**2).sum())
        where, power = ring_means(periodogram, radius, multiplicity, size)
        found.append(power)
    passed, noise = (
        ring_means(_squared(r, shape, factors, tiles.device), radius, multiplicity, size)[1]
        for r in (response, noise_response)
    )
    return _fitted(where, np.median(found, axis=0), passed, variance * noise)


def _squared(
    response: AxisResponse | None, shape: tuple[int, int], factors: tuple[float, float], device: torch.device
) -> Tensor:
    if response is None:
        return torch.ones((), dtype=torch.float64, device=device)
    rows, columns = _frequencies(shape, factors, device)
    return (response(rows, factors[0]) * response(columns, factors[1])) ** 2


def _fitted(where: np.ndarray, power: np.ndarray, passed: np.ndarray, noise: np.ndarray) -> PowerSpectrum:
    """The scene's power where it stands clear of the noise, and its continuation."""
    signal = power - noise
    trusted = (signal > noise) & (signal > 0) & (passed > 0.2)
    clear = len(trusted) if trusted.all() else int(np.argmin(trusted))
    if clear < 3:
        # Hardly a scene to speak of: as much power as could hide in the noise of a few rings.
        level = max(float(np.max(np.abs(signal[:4]) / np.maximum(passed[:4], 0.2))), 1e-30)
        return PowerSpectrum(where, level * np.exp(-STEEP * where))
    scene = signal[:clear] / passed[:clear]
    last = max(clear - max(clear // 2, 3), 0)
    slope = np.polyfit(where[last:clear], np.log(scene[last:]), 1)[0]
    beyond = scene[-1] * np.exp(min(slope, 0.0) * (where[clear:] - where[clear - 1]))
    scene = np.concatenate([scene, beyond])
    return PowerSpectrum(where, np.maximum(scene, 1e-9 * scene.max()))


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


def _frequencies(
    shape: tuple[int, int], factors: tuple[float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cycles per native pixel of ``rfft2`` on a fine grid: (rows, 1) and (1, columns // 2 + 1)."""
    r = torch.fft.fftfreq(shape[0], dtype=torch.float64, device=device)[:, None] * factors[0]
    c = torch.fft.rfftfreq(shape[1], dtype=torch.float64, device=device)[None, :] * factors[1]
    return r, c


def radii(
    shape: tuple[int, int], factors: tuple[float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Radius (cycles per native pixel) of ``rfft2``'s frequencies on a fine grid, and how often each counts."""
    return torch.hypot(*_frequencies(shape, factors, device)), half_multiplicity(shape[1], device)


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
