"""The spectrum that the optics leave to a scene: what a prior may expect at each spatial frequency.

Points of light have a flat spectrum, so what remains of it behind the telescope falls like the optical transfer
function, and so does the spectrum of any scene made of light sources. Where the data stand above their noise the
fall is measured; beyond, it is continued as ``exp(-(k/k0)^p)``, between an exponential (long wings) and a Gaussian.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.forward import Canvas
from sciSR.fusion.least_squares import Likelihood

FLOOR = 1e-4
"""Least relative amplitude: no frequency is thought impossible."""


def moffat_amplitude(canvas: Canvas, fwhm: float, beta: float = 3.5) -> Tensor:
    """Amplitude spectrum of a Moffat profile seen with fine pixels, 1 at zero frequency.

    Parameters
    ----------
    canvas : Canvas
    fwhm : float
        Of the optics without the pixel, in native pixels of the reference.
    beta : float
        Moffat (A&A 3, 455, 1969); 2.5 to 4.5 for seeing (Trujillo et al., MNRAS 328, 977, 2001).
    """
    rows, columns = (
        torch.fft.fftfreq(n, 1 / n, device=canvas.device) for n in canvas.shape
    )  # signed distances in fine pixels
    core = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    square = (rows[:, None] / canvas.factors[0]) ** 2 + (columns[None, :] / canvas.factors[1]) ** 2
    transform = torch.fft.rfft2((1 + square / core**2) ** -beta).real
    rows_k, columns_k = canvas.frequencies()
    pixel = torch.sinc(rows_k) * torch.sinc(columns_k)
    return ((transform / transform[0, 0]) * pixel).clamp_min(FLOOR)


def measured_amplitude(
    canvas: Canvas, image: Tensor, likelihood: Likelihood, start: Tensor, strength: float
) -> Tensor:
    """Amplitude spectrum of a scene, from a first solution of it.

    Parameters
    ----------
    canvas : Canvas
    image : Tensor, (rows, columns)
        The solution for the prior ``strength / start**2``.
    likelihood : Likelihood
    start : Tensor
        Amplitude spectrum assumed for it.
    strength : float

    Returns
    -------
    Tensor
        Half plane, 1 at zero frequency, isotropic in cycles per native pixel; `start` where nothing is seen.
    """
    hessian = likelihood.spectrum + strength / start**2
    noise = (likelihood.spectrum / hessian**2).double()
    seen = (
        torch.fft.rfft2(image * _taper(canvas)).abs().square().double()
        / image.numel()
        / _taper(canvas).square().mean()
    )
    # What the first prior took away is put back: the solution is the scene times spectrum/hessian.
    kept = (likelihood.spectrum / hessian).double()
    rows, columns = canvas.frequencies()
    k = torch.sqrt(
        (rows * canvas.factors[0]) ** 2 + (columns * canvas.factors[1]) ** 2
    )  # cycles per native pixel
    step = 1.0 / max(canvas.shape) * max(canvas.factors) * 4
    ring = (k / step).long().reshape(-1)
    count = torch.zeros(int(ring.max()) + 1, dtype=torch.float64, device=k.device)
    power, level = count.clone(), count.clone()
    trusted = (kept.reshape(-1) > 0.3).double()
    pixel = (torch.sinc(rows) * torch.sinc(columns)).double()
    count.index_add_(0, ring, trusted)
    power.index_add_(0, ring, trusted * (seen / kept**2 / pixel**2).reshape(-1))
    level.index_add_(0, ring, trusted * (noise / kept**2 / pixel**2).reshape(-1))
    centre = (torch.arange(len(count), dtype=torch.float64) + 0.5) * step
    fit = _fit(centre.cpu().numpy(), power.cpu().numpy(), level.cpu().numpy(), count.cpu().numpy())
    if fit is None:
        return start
    k0, exponent = fit
    return (torch.exp(-((k / k0) ** exponent)) * pixel.float()).clamp_min(FLOOR)


def _fit(
    k: np.ndarray, power: np.ndarray, noise: np.ndarray, count: np.ndarray
) -> tuple[float, float] | None:
    """Scale and exponent of ``exp(-(k/k0)^p)`` that fit the amplitude where it stands above the noise."""
    from scipy.optimize import least_squares

    some = count > 8
    signal = np.where(some, (power - noise) / np.maximum(count, 1), 0.0)
    error = np.where(some, power / np.maximum(count, 1) / np.sqrt(np.maximum(count, 1)), np.inf)
    good = some & (signal > 5 * error) & (power > 1.5 * noise) & (k > 0.04)
    # Up to the first gap only: rings beyond it are chance.
    gap = np.flatnonzero(~good & (k > 0.04) & some)
    if gap.size:
        good &= k < k[gap[0]]
    if good.sum() < 6:
        return None
    log, where = 0.5 * np.log(signal[good]), k[good]
    weight = 1 / np.hypot(0.5 * error[good] / signal[good], 0.05)

    def residual(p: np.ndarray) -> np.ndarray:
        return (p[0] - (where / np.exp(p[1])) ** p[2] - log) * weight

    start = np.array([log[0], np.log(0.4), 1.5])
    best = least_squares(
        residual, start, bounds=([-np.inf, np.log(0.02), 1.0], [np.inf, np.log(5.0), 2.2]), loss="soft_l1"
    )
    return float(np.exp(best.x[1])), float(best.x[2])


def _taper(canvas: Canvas) -> Tensor:
    """A separable Tukey window over the outer eighth: the canvas's ends do not meet smoothly."""
    parts = []
    for n in canvas.shape:
        edge = n // 8
        t = torch.ones(n, device=canvas.device)
        ramp = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(edge, device=canvas.device) + 0.5) / edge)
        t[:edge], t[n - edge :] = ramp, ramp.flip(0)
        parts.append(t)
    return parts[0][:, None] * parts[1][None, :]
