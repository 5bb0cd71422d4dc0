"""Centroids by fitting a pixel-integrated star, all stars at once.

A windowed centroid of an undersampled star follows the pixel's phase; a fit of the star integrated over the pixel
does not. The width is one for all stars of a frame: it comes from the bright ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGMA_PER_FWHM = 1 / 2.354820045
BRIGHT = 80
"""Stars that the width is taken from."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Of `n` stars: centroids (row, column), errors per axis, fluxes, which are stars; the frame's FWHM."""

    points: np.ndarray
    errors: np.ndarray
    flux: np.ndarray
    good: np.ndarray
    fwhm: float


def measure(
    signal: np.ndarray,
    bad: np.ndarray,
    guess: np.ndarray,
    size: np.ndarray,
    gain: float | None,
) -> Measured:
    """Fit every star.

    Parameters
    ----------
    signal : ndarray, (rows, columns)
        Without its background, in units of its noise.
    bad : ndarray of bool
    guess : ndarray, (n, 2)
        Positions to about a pixel, brightest first.
    size : ndarray, (n,)
        FWHM guesses, pixels.
    gain : float or None
        Electrons per unit of `signal`.
    """
    fwhm = float(np.clip(np.median(size[: max(20, len(size) // 4)]), 1.2, 20))
    # The bright ones give the width, which gives the size of the stamps for all.
    few = guess[:BRIGHT]
    for _ in range(2):
        stamps = _cut(signal, bad, few, _half(fwhm))
        widths = _fit(stamps, _weights(stamps, gain), _widths(fwhm, few), free_width=True)
        fwhm, sigma = _common(widths, fwhm)
    half = _half(fwhm)
    stamps = _cut(signal, bad, guess, half)
    weight = _weights(stamps, gain)
    own = _fit(stamps, weight, np.tile(sigma, (len(guess), 1)), free_width=True)
    fwhm, sigma = _common(own, fwhm)
    fit = _fit(stamps, weight, np.tile(sigma, (len(guess), 1)), free_width=False)
    points = stamps.corner + half + fit.centre
    wide = np.sqrt(own.sigma[:, 0] * own.sigma[:, 1]) / np.sqrt(sigma[0] * sigma[1])
    round_ = own.sigma.max(axis=1) / np.maximum(own.sigma.min(axis=1), 1e-3)
    good = (
        fit.sane
        & (fit.amplitude > 4)
        & (np.abs(fit.centre).max(axis=1) < max(1.5, 0.6 * fwhm))
        & (wide > 0.5)
        & (wide < 3.0)
        & (round_ < 4.0)
        & (_as_one_pixel(stamps, weight) > fit.chi2)
        & (fit.errors < 0.5 * max(fwhm, 1.5))
    )
    flux = fit.amplitude
    order = np.argsort(-np.where(good, flux, -np.inf), kind="stable")
    errors = np.clip(fit.errors, 1e-4, None)
    pixel_wide = float(np.sqrt(sigma[0] * sigma[1] + 1 / 12) / SIGMA_PER_FWHM)
    return Measured(points[order], errors[order], flux[order], good[order], pixel_wide)


def _half(fwhm: float) -> int:
    return int(np.clip(np.ceil(1.2 * fwhm), 2, 15))


def _widths(fwhm: float, guess: np.ndarray) -> np.ndarray:
    return np.full((len(guess), 2), fwhm * SIGMA_PER_FWHM)


def _common(fit: _Fitted, fwhm: float) -> tuple[float, np.ndarray]:
    """The frame's FWHM and its widths (sigma) along rows and columns: medians of the stars that stand out."""
    sane = fit.sane & (fit.amplitude > 20) & (np.abs(fit.centre).max(axis=1) < 1.5)
    if sane.sum() < 3:
        sane = fit.sane
    if not sane.any():
        return fwhm, np.full(2, fwhm * SIGMA_PER_FWHM)
    sigma = np.median(fit.sigma[sane], axis=0)
    return float(np.clip(np.sqrt(sigma[0] * sigma[1]) / SIGMA_PER_FWHM, 0.8, 25)), np.clip(sigma, 0.3, 12)


@dataclass(frozen=True, eq=False)
class _Stamps:
    values: np.ndarray  # (n, k, k), zero where bad
    ok: np.ndarray  # (n, k, k)
    corner: np.ndarray  # (n, 2)


def _cut(signal: np.ndarray, bad: np.ndarray, guess: np.ndarray, half: int) -> _Stamps:
    """Squares of ``2 half + 1`` pixels around the guesses; what lies outside the frame is bad."""
    corner = np.rint(guess).astype(int) - half
    span = np.arange(2 * half + 1)
    r = corner[:, 0, None, None] + span[None, :, None]
    c = corner[:, 1, None, None] + span[None, None, :]
    inside = (r >= 0) & (r < signal.shape[0]) & (c >= 0) & (c < signal.shape[1])
    r, c = np.clip(r, 0, signal.shape[0] - 1), np.clip(c, 0, signal.shape[1] - 1)
    ok = inside & ~bad[r, c]
    return _Stamps(np.where(ok, signal[r, c], 0).astype(np.float64), ok, corner)


def _weights(stamps: _Stamps, gain: float | None) -> np.ndarray:
    """Inverse variances: sky, photons, and three per cent of the signal, since no model of a star is exact."""
    signal = np.maximum(stamps.values, 0)
    variance = 1 + np.square(0.03 * signal)
    if gain is not None and np.isfinite(gain) and gain > 0:
        variance = variance + signal / gain
    return stamps.ok / variance


def _as_one_pixel(stamps: _Stamps, weight: np.ndarray) -> np.ndarray:
    """Chi square of the best explanation by one bright pixel and nothing else."""
    total = (weight * np.square(stamps.values)).sum(axis=(1, 2))
    return total - (weight * np.square(stamps.values)).max(axis=(1, 2))


@dataclass(frozen=True, eq=False)
class _Fitted:
    amplitude: np.ndarray  # total flux
    centre: np.ndarray  # (n, 2), from the stamp's middle
    sigma: np.ndarray  # (n, 2)
    errors: np.ndarray  # (n,), per axis
    chi2: np.ndarray
    sane: np.ndarray


def _profile(centre: np.ndarray, sigma: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian of unit sum integrated over pixels along one axis, and its derivatives by centre and sigma."""
    from scipy.special import erf

    edges = np.arange(-half, half + 2)[None, :] - 0.5 - centre[:, None]
    scaled = edges / sigma[:, None]
    cumulative = 0.5 * erf(scaled / np.sqrt(2))
    density = np.exp(-0.5 * np.square(scaled)) / (np.sqrt(2 * np.pi) * sigma[:, None])
    return (
        np.diff(cumulative, axis=1),
        -np.diff(density, axis=1),
        -np.diff(density * scaled, axis=1),
    )


def _fit(stamps: _Stamps, weight: np.ndarray, sigma: np.ndarray, *, free_width: bool) -> _Fitted:
    """Levenberg-Marquardt for flux, sky, centre (and the two widths) of every stamp."""
    n, k, _ = stamps.values.shape
    half = k // 2
    sigma = sigma.copy()
    centre = np.zeros((n, 2))
    count = 6 if free_width else 4
    damping = np.full(n, 1e-2)
    linear = np.zeros((n, 2))
    best = np.full(n, np.inf)
    kept = (centre.copy(), sigma.copy(), linear.copy())
    normal = np.tile(np.eye(count), (n, 1, 1))
    step = np.zeros((n, count))
    for turn in range(12):
        shape, columns = _columns(centre, sigma, half, free_width)
        trial = _linear(stamps.values, weight, shape)
        residual = stamps.values - trial[:, 0, None, None] * shape - trial[:, 1, None, None]
        chi2 = (weight * np.square(residual)).sum(axis=(1, 2))
        better = chi2 < best
        damping = np.where(better, damping / 5, np.minimum(damping * 8, 1e6))
        for new, old in zip((centre, sigma, trial), kept, strict=True):
            old[better] = new[better]
        best = np.where(better, chi2, best)
        jacobian = np.concatenate(
            [shape[..., None], np.ones_like(shape)[..., None], trial[:, 0, None, None, None] * columns],
            axis=-1,
        )
        fresh = np.einsum("nij,nijk,nijl->nkl", weight, jacobian, jacobian, optimize=True)
        gradient = np.einsum("nij,nij,nijk->nk", weight, residual, jacobian, optimize=True)
        normal[better] = fresh[better]
        step[better] = gradient[better]
        if turn == 11:
            break
        scale = np.einsum("nkk->nk", normal)
        damped = normal + (damping[:, None] * scale + 1e-12 * scale.max(axis=1, keepdims=True) + 1e-30)[
            ..., None
        ] * np.eye(count)
        move = np.linalg.solve(damped, step[..., None])[..., 0]
        centre = np.clip(kept[0] + np.clip(move[:, 2:4], -0.7, 0.7), -half, half)
        if free_width:
            sigma = np.clip(kept[1] + np.clip(move[:, 4:6], -0.4, 0.4), 0.3, 2.0 * k)
    centre, sigma, linear = kept
    covariance = np.linalg.pinv(normal, hermitian=True)
    freedom = np.maximum(stamps.ok.sum(axis=(1, 2)) - count, 1)
    errors = np.sqrt(
        np.maximum((covariance[:, 2, 2] + covariance[:, 3, 3]) / 2, 0) * np.maximum(best / freedom, 1)
    )
    sane = (linear[:, 0] > 0) & np.isfinite(errors) & (errors > 0) & (stamps.ok.sum(axis=(1, 2)) > count + 2)
    return _Fitted(linear[:, 0], centre, sigma, errors, best, sane)


def _columns(
    centre: np.ndarray, sigma: np.ndarray, half: int, free_width: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The star of unit flux on the stamp, and its derivatives by row, column (and the two widths)."""
    row, row_d, row_s = _profile(centre[:, 0], sigma[:, 0], half)
    column, column_d, column_s = _profile(centre[:, 1], sigma[:, 1], half)
    shape = row[:, :, None] * column[:, None, :]
    parts = [row_d[:, :, None] * column[:, None, :], row[:, :, None] * column_d[:, None, :]]
    if free_width:
        parts += [row_s[:, :, None] * column[:, None, :], row[:, :, None] * column_s[:, None, :]]
    return shape, np.stack(parts, axis=-1)


def _linear(values: np.ndarray, weight: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Flux and sky (n, 2) that fit best for these shapes."""
    ss = (weight * shape * shape).sum(axis=(1, 2))
    s1 = (weight * shape).sum(axis=(1, 2))
    s0 = weight.sum(axis=(1, 2))
    vs = (weight * values * shape).sum(axis=(1, 2))
    v1 = (weight * values).sum(axis=(1, 2))
    determinant = np.maximum(ss * s0 - s1 * s1, 1e-30)
    return np.stack([(vs * s0 - v1 * s1) / determinant, (ss * v1 - s1 * vs) / determinant], axis=1)
