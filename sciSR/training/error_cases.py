"""What error heads learn and are calibrated from: sharp images, what is seen of them, and what is known of the noise.

A truth has noise of its own unless it is simulated. What of that noise the measurement holds cancels in the error
(`Case.shared`), what it does not hold no method can know (`Case.unseen`): neither is the method's error, and both are
accounted for wherever errors are judged.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sciSR.evaluation.mr import foreground
from sciSR.evaluation.subject import Subject, cut, degrade
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.noise import rician
from sciSR.inference.noise import BLOCK, quiet_noise
from sciSR.inference.normalise import fit
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.training.planes import open_planes
from sciSR.training.scenes import simulate
from sciSR.training.sky import Variant, block_mean, simulated_sky

RIM = 8
"""Fine pixels along the border that are not judged."""
SIDE = 160
"""Coarse pixels a side of a sky."""
PLANES = 3
"""Slices of a volume in one case."""


@dataclass(frozen=True)
class Case:
    """A sharp image and its observation.

    Parameters
    ----------
    name : str
        File, or ``"seed N"``: what counts equally.
    domain, forward : str
    truth : ndarray, float64 ``[N, s h, s w]``
    coarse : ndarray, float64 ``[N, h, w]``
    uncertainty : ndarray or None
        Of `coarse`, where it is known; otherwise the engine estimates it.
    shared : float
        Standard deviation on the coarse grid of noise that truth and observation share; 0 for a noiseless truth.
    unseen : float
        Standard deviation on the fine grid of the truth's noise that the measurement does not hold.
    good : ndarray of bool ``[N, s h, s w]``
        Where errors are judged.
    """

    name: str
    domain: str
    forward: str
    truth: NDArray[np.float64]
    coarse: NDArray[np.float64]
    uncertainty: NDArray[np.float64] | None
    shared: float
    unseen: float
    good: NDArray[np.bool_]


def simulated(seed: int, scale: int, *, resampled: bool = False, size: int = SIDE) -> Case:
    """A simulated sky; the truth has no noise, but for that of a resampled mosaic.

    Parameters
    ----------
    seed : int
    scale : int
    resampled : bool
        A mosaic: its noise is correlated and part of the image, and nobody tells the engine how much there is.
    size : int
        Coarse pixels a side.
    """
    name = f"seed {seed}"
    if not resampled:
        scene = simulate(seed, size, scale)
        electrons = block_mean(scene.truth, scale)
        deviation = np.sqrt((electrons + scene.read_noise**2) / scene.frames)
        good = _inside(scene.truth[None])
        return Case(
            name,
            "astronomy",
            "detector",
            scene.truth[None],
            scene.observed[None],
            deviation[None],
            0.0,
            0.0,
            good,
        )
    sky = simulated_sky(seed, scale, 1.0)
    truth = sky.truth[None]
    return _of_truth(
        name, "astronomy", "detector", truth, sky.observed[None], block_mean(truth, scale), scale
    )


def sky(path: Path, name: str, scale: int, number: int) -> Case | None:
    """A piece of a real image, as it is, block-averaged first, blurred or resampled; None where it is too small."""
    g = np.random.default_rng([zlib.crc32(name.encode()), scale, number])
    planes = open_planes(path, "astronomy")
    group = planes.groups[int(g.integers(len(planes.groups)))]
    variant = Variant.draw(2, 0.35, g) if number else Variant()
    side = SIDE * scale * variant.reduce
    window = []
    for length in group.shape:
        first = int(g.integers(max(1, length - side + 1)))
        window.append(slice(first, min(length, first + side)))
    raw = group.read(int(g.integers(group.count)), *window)
    bad = ~np.isfinite(raw)
    if bad.mean() > 0.5:
        return None
    fine = variant.apply(np.where(bad, np.median(raw[~bad]), raw))
    if variant.reduce > 1:
        bad = block_mean(bad.astype(float), variant.reduce) > 0
    fine, bad = (x[: x.shape[0] // scale * scale, : x.shape[1] // scale * scale] for x in (fine, bad))
    if min(fine.shape) < 48 * scale:
        return None
    truth = np.where(bad, np.nan, fine)[None]
    coarse = degrade(truth, "detector", scale)
    return _of_truth(name, "astronomy", "detector", truth, coarse, coarse, scale)


def volume(path: Path, name: str, forward: str, scale: int, number: int, reduce: int = 1) -> Case | None:
    """A few slices of a volume, of any orientation where it is isotropic; some with another contrast or more noise.

    `reduce` pixels a side are averaged first: the same anatomy in larger voxels.
    """
    g = np.random.default_rng([zlib.crc32(name.encode()), scale, number, *([reduce] if reduce > 1 else [])])
    planes = open_planes(path, "mr")
    group = planes.groups[int(g.integers(len(planes.groups)))]
    middle = np.linspace(0.25, 0.75, 41) if group.count > 8 else np.linspace(0.05, 0.95, 11)
    first = int(g.choice(middle) * max(0, group.count - PLANES))
    raw = np.stack([group.read(k) for k in range(first, min(group.count, first + PLANES))])
    raw = np.nan_to_num(raw)
    if reduce > 1:
        height, width = (n // reduce * reduce for n in raw.shape[1:])
        raw = np.stack([block_mean(plane[:height, :width], reduce) for plane in raw.astype(np.float64)])
    height, width = (n // scale * scale for n in raw.shape[1:])
    if min(height, width) < 24 * scale or raw.max() <= raw.min():
        return None
    fine = raw[:, :height, :width]
    if number % 3 == 2 and fine.min() >= 0:
        top = float(np.quantile(fine, 0.995))
        fine = top * (fine / top) ** float(g.uniform(0.65, 1.5)) if top > 0 else fine
    coarse = clean = degrade(fine, forward, scale)
    if number % 4 == 3 and coarse.min() >= 0:
        coarse = rician(coarse, float(np.quantile(coarse, 0.995)) / 10 ** float(g.uniform(1.0, 1.9)), g)
    return _of_truth(name, "mr", forward, fine, coarse, clean, scale)


def checked(subject: Subject, forward: str, scale: int, planes: int = PLANES, side: int = 640) -> Case | None:
    """A file that nothing was trained or calibrated on: some of its planes, or the middle of a large one.

    Parameters
    ----------
    subject : Subject
        See `sciSR.evaluation.protocols.check_file`.
    forward : str
    scale : int
    planes : int
        At most so many, spread evenly.
    side : int
        Fine pixels a side at most, where the forward model is local.
    """
    chosen = subject.planes[:: max(1, -(-len(subject.planes) // planes))]
    if forward != "kspace":
        starts = [max(0, (n - side) // 2) for n in chosen.shape[1:]]
        chosen = chosen[:, starts[0] : starts[0] + side, starts[1] : starts[1] + side]
    truth = cut(chosen, scale, subject.name)
    if subject.domain == "mr":
        truth = np.nan_to_num(truth)
    coarse = degrade(truth, forward, scale)
    return _of_truth(subject.name, subject.domain, forward, truth, coarse, coarse, scale)


def _of_truth(
    name: str,
    domain: str,
    forward: str,
    truth: NDArray[np.float64],
    coarse: NDArray[np.float64],
    own: NDArray[np.float64],
    scale: int,
) -> Case | None:
    """A case with a noisy truth; `own` is what is measured of it without further noise."""
    good = _inside(truth)
    if domain == "mr":
        peak = float(np.quantile(truth, 0.999)) or 1.0
        good &= foreground(truth / peak, scale)
    if good.mean() < 0.02:
        return None
    return Case(
        name,
        domain,
        forward,
        truth,
        coarse,
        None,
        shared_noise(own, domain),
        unseen_noise(truth, forward, scale),
        good,
    )


def shared_noise(own: NDArray[np.float64], domain: str) -> float:
    """Noise of a truth's own observation ``[N, h, w]``, as the engine estimates it."""
    if domain == "astronomy":
        return float(np.median([sky_level_and_noise(plane)[1] for plane in own]))
    normaliser = fit(own.ravel(), "range")
    return float(np.median([quiet_noise(plane, normaliser, True) for plane in own]))


def unseen_noise(truth: NDArray[np.float64], forward: str, scale: int) -> float:
    """Noise of a truth that the measurement does not hold and no method can know.

    Parameters
    ----------
    truth : ndarray ``[N, s h, s w]``
        NaN where bad.
    forward : str
    scale : int

    Returns
    -------
    float
        What is left of ``t - A+ A t`` in the quietest blocks of 8 x 8 pixels (the 10 % quantile of their root mean
        squares, over what it is for white noise) after the best linear prediction from 5 x 5 measured pixels: noise
        is Gaussian there, so that no other prediction is better, and correlated noise, which methods do interpolate,
        does not count. Looked for with A of factor 2, where it is least mixed with structure, and scaled to the share
        of white noise that a measurement of this factor does not hold. Where noise varies over the image it is that
        of the quietest places. Blocks of one value again and again (masked-out air) are left out.
    """
    operator = {"kspace": KSpaceCrop(2), "gaussian": GaussianDecimation(2)}.get(forward)
    truth = cut(truth, 2)
    more = math.sqrt((1 - 1 / scale**2) / (1 - 1 / 2**2))
    found = []
    for plane in truth:
        bad = ~np.isfinite(plane)
        filled = np.where(bad, np.median(plane[~bad]), plane)
        if operator is None:
            coarse = block_mean(filled, 2)
            seen = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
        else:
            measured = operator.apply(torch.from_numpy(filled))
            coarse, seen = measured.numpy(), operator.pinv(measured).numpy()
        inner = (slice(RIM, -RIM), slice(RIM, -RIM))
        rest = unpredicted(filled - seen, coarse, 2)
        rest, held = (_blocks(np.where(bad, np.nan, x)[inner]) for x in (rest, plane))
        usable = np.isfinite(rest).all((1, 2)) & ((held == np.nanmin(plane)).mean((1, 2)) < 0.1)
        rms = np.sqrt(np.mean(rest[usable] ** 2, axis=(1, 2)))
        rms = rms[rms > 0]
        if rms.size:
            free = BLOCK**2 * (1 - 1 / 2**2)
            found.append(float(np.quantile(rms, 0.1)) / (1 - 1.2816 / math.sqrt(2 * free)))
    return more * float(np.median(found)) if found else 0.0


def unpredicted(detail: NDArray[np.float64], coarse: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """A detail minus its best linear prediction from 5 x 5 coarse pixels, fitted where the detail is faint.

    Parameters
    ----------
    detail : ndarray ``[s h, s w]``
    coarse : ndarray ``[h, w]``
    """
    height, width = coarse.shape
    padded = np.pad(coarse, 2, mode="symmetric")
    near = np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).reshape(height * width, 25)
    near = near - near.mean(1, keepdims=True)
    parts = detail.reshape(height, scale, width, scale).transpose(0, 2, 1, 3).reshape(height * width, -1)
    power = gaussian_filter(np.square(parts).mean(1).reshape(height, width), 2.0).ravel()
    weight = 1 / (power + 0.1 * float(np.median(power)) + np.finfo(float).tiny)
    normal = (near * weight[:, None]).T @ near
    normal += 1e-6 * np.trace(normal) / 25 * np.eye(25) + np.finfo(float).tiny * np.eye(25)
    known = near @ np.linalg.solve(normal, (near * weight[:, None]).T @ parts)
    return (parts - known).reshape(height, width, scale, scale).transpose(0, 2, 1, 3).reshape(detail.shape)


def _blocks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = (n // BLOCK * BLOCK for n in x.shape)
    cut = x[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return cut.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


def _inside(truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """All but the rim, and what lies near bad pixels."""
    good = np.isfinite(truth)
    if not good.all():
        from scipy.ndimage import binary_dilation

        good = np.stack([~binary_dilation(~plane, iterations=2 * RIM) for plane in good])
    good[:, :RIM], good[:, -RIM:], good[:, :, :RIM], good[:, :, -RIM:] = False, False, False, False
    return good
