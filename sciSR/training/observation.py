"""Observations: a piece of a file, varied, degraded and normalised, from which a few patches are cut."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.forward.bicubic import imresize
from sciSR.inference.normalise import Normaliser, fit
from sciSR.training.config import Range, TrainConfig
from sciSR.training.degradation import Degradation, draw
from sciSR.training.pair import Pair
from sciSR.training.planes import OpenPlanes, PlaneGroup
from sciSR.training.sky import SimulatedSky, Variant

SIDE = 256
"""Coarse pixels a side of the region that is read where the degradation is local; more if a patch needs it."""

FOREGROUND = 0.1
"""Share of the range above which a pixel counts as foreground."""

_SAMPLE = 1 << 18
_PIECES = 16
_BAD = 1e-3


@dataclass(frozen=True)
class Observation:
    """A degraded piece of an image.

    Parameters
    ----------
    fine : ndarray, float32 ``[s H, s W]``
    coarse : ndarray, float32 ``[H, W]``
        Normalised (stretch included), noise-free.
    scale : int
    corners : ndarray, int64 ``[M, 2]``
        Coarse pixels at which a patch may begin.
    noise, condition : ndarray, float32
        As in `sciSR.training.pair.Pair`.
    normaliser : Normaliser
    """

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    scale: int
    corners: NDArray[np.int64]
    noise: NDArray[np.float32]
    condition: NDArray[np.float32]
    normaliser: Normaliser

    def pair(self, patch: int, generator: np.random.Generator) -> Pair:
        """A patch of `patch` coarse pixels a side at a random place."""
        y, x = self.corners[int(generator.integers(len(self.corners)))]
        s = self.scale
        return Pair(
            self.coarse[y : y + patch, x : x + patch].copy(),
            self.fine[s * y : s * (y + patch), s * x : s * (x + patch)].copy(),
            self.noise,
            self.condition,
        )


@dataclass(frozen=True)
class _Change:
    """What happens to sharp pixels before they are degraded."""

    variant: Variant
    rescale: float
    gamma: float

    @property
    def reduction(self) -> float:
        return self.variant.reduce / self.rescale

    def apply(self, raw: NDArray[np.float64], scale: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Fine pixels, a multiple of `scale` in both axes, and how much of each came from bad ones (None: nothing)."""
        bad = np.isnan(raw)
        if not bad.any():
            return self._linear(raw, scale), None
        filled = np.where(bad, np.nanmedian(raw) if not bad.all() else 0.0, raw)
        return self._linear(filled, scale), self._linear(bad.astype(np.float64), scale).abs()

    def _linear(self, raw: NDArray[np.float64], scale: int) -> torch.Tensor:
        fine = torch.from_numpy(np.ascontiguousarray(self.variant.apply(raw)))
        if self.rescale != 1.0:
            fine = imresize(fine, self.rescale)
        rows, columns = (n // scale * scale for n in fine.shape)
        return fine[:rows, :columns].contiguous()


def observe_file(
    planes: OpenPlanes, config: TrainConfig, scale: int, patch: int, generator: np.random.Generator
) -> Observation | None:
    """An observation of a random plane of a file; None if no patch fits there.

    Parameters
    ----------
    planes : OpenPlanes
    config : TrainConfig
    scale : int
    patch : int
        Coarse pixels a side.
    generator : numpy.random.Generator
        Draws plane, region, variant and degradation.
    """
    degradation = draw(config.forward, scale, generator)
    variant = Variant.draw(scale, config.data.resampled, generator)
    change = _Change(
        variant if config.domain == "astronomy" else Variant(),
        float(generator.choice(np.array(config.augment.rescale, np.float64))),
        # where patches are degraded at each visit, so is the contrast changed there
        1.0 if config.forward.across else _between(config.augment.gamma, generator),
    )
    least = math.ceil(change.reduction * scale * patch)
    picked = planes.pick(generator, least)
    if picked is None:
        return None
    index, number = picked
    group = planes.groups[index]
    cut, inner = _region(group, degradation, change, patch, generator)
    raw = group.read(number, *cut)
    if np.isnan(raw).all():
        return None
    fine, tainted = change.apply(raw, scale)
    whole = group.count == 1 and raw.shape == group.shape
    if config.normalisation == "sky":
        coarse = degradation.apply(fine)
        bad = _tainted(tainted, degradation)
        good = coarse if bad is None else coarse[~bad]
        sample = good.numpy().ravel() if whole else _sample(group, planes, index, change, degradation)
        normaliser = fit(sample, "sky")
    else:
        normaliser = _reference(group, planes, index, config, degradation)
        fine = _gamma(fine, change.gamma, normaliser)
        coarse = degradation.apply(fine)
        bad = _tainted(tainted, degradation)
    if normaliser.scale == 0:
        return None
    noise = _noise(degradation, normaliser, config.domain)
    return _finish(fine, coarse, bad, inner, normaliser, degradation, noise, config, patch)


def observe_sky(
    sky: SimulatedSky, config: TrainConfig, scale: int, patch: int, generator: np.random.Generator
) -> Observation | None:
    """An observation of a simulated sky, whose optics and noise are its own."""
    degradation = draw(config.forward, scale, generator)
    if degradation.kind == "detector":
        degradation = Degradation("detector", scale, noise=degradation.noise)
    fine = torch.from_numpy(sky.truth)
    normaliser = fit(sky.observed.ravel(), config.normalisation)
    if normaliser.scale == 0:
        return None
    v1 = 1 / (normaliser.scale * sky.frames)
    v0 = (normaliser.offset + sky.read_noise**2) / (normaliser.scale**2 * sky.frames)
    noise = (0.0, 0.0) if degradation.noise == "none" else (v0, v1)
    coarse = degradation.apply(fine)
    return _finish(
        fine, coarse, None, (slice(None), slice(None)), normaliser, degradation, noise, config, patch
    )


def _finish(
    fine: torch.Tensor,
    coarse: torch.Tensor,
    bad: torch.Tensor | None,
    inner: tuple[slice, slice],
    normaliser: Normaliser,
    degradation: Degradation,
    noise: tuple[float, float],
    config: TrainConfig,
    patch: int,
) -> Observation | None:
    """Normalise, and list the places where a patch may be cut."""
    given, truth = normaliser.forward(coarse).numpy(), normaliser.forward(fine).numpy()
    allowed = np.zeros(given.shape, bool)
    allowed[inner] = True
    if bad is not None:
        allowed &= ~bad.numpy()
    ok = _box(allowed, patch) > patch**2 - 0.5
    if config.normalisation == "range" and config.data.foreground > 0 and ok.size:
        ok &= _box(given > FOREGROUND, patch) >= config.data.foreground * patch**2
    corners = np.argwhere(ok)
    if not len(corners):
        return None
    told = {"noise": 0.0, "fwhm": degradation.fwhm, "kspace": float(degradation.kspace)}
    return Observation(
        truth,
        given,
        degradation.scale,
        corners,
        np.array([*noise, -normaliser.offset * normaliser.inverse_scale], np.float32),
        np.array([told[name] for name in config.model.conditions], np.float32),
        normaliser,
    )


def _region(
    group: PlaneGroup, degradation: Degradation, change: _Change, patch: int, generator: np.random.Generator
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The raw pixels to read, and the coarse pixels of them that do not see a border that is none of the image's."""
    margin = degradation.margin + (2 if change != _Change(Variant(), 1.0, change.gamma) else 0)
    coarse_side = max(SIDE, 2 * patch + 2 * margin)
    side = math.ceil(coarse_side * degradation.scale * change.reduction)
    cuts, inners = [], []
    for size in group.shape:
        place = generator.random()
        if degradation.whole_plane or size <= 1.5 * side:
            cuts.append(slice(0, size))
            inners.append(slice(None))
            continue
        first = int(place * (size - side + 1))
        cuts.append(slice(first, first + side))
        inners.append(slice(margin if first else 0, coarse_side - margin))
    return (cuts[0], cuts[1]), (inners[0], inners[1])


def _tainted(tainted: torch.Tensor | None, degradation: Degradation) -> torch.Tensor | None:
    """Coarse pixels that bad fine ones reach."""
    if tainted is None:
        return None
    reached = torch.nn.functional.max_pool2d(tainted[None], degradation.scale)[0] > _BAD
    return reached if degradation.whole_plane else reached | (degradation.apply(tainted).abs() > _BAD)


def _sample(
    group: PlaneGroup, planes: OpenPlanes, index: int, change: _Change, degradation: Degradation
) -> NDArray[np.float64]:
    """Good coarse pixels of pieces that are spread over the whole image, each changed and degraded like the patch."""
    pieces = planes.once(
        ("pieces", index, degradation.whole_plane),
        lambda: group.spread(_SAMPLE, _PIECES, whole=degradation.whole_plane),
    )
    values = []
    for raw in pieces:
        if np.isnan(raw).all() or min(raw.shape) < 8 * change.reduction * degradation.scale:
            continue
        fine, tainted = change.apply(raw, degradation.scale)
        coarse, bad = degradation.apply(fine), _tainted(tainted, degradation)
        values.append((coarse if bad is None else coarse[~bad]).numpy().ravel())
    return np.concatenate(values) if values else np.empty(0)


def _reference(
    group: PlaneGroup, planes: OpenPlanes, index: int, config: TrainConfig, degradation: Degradation
) -> Normaliser:
    """The normaliser of the whole degraded image; for the quantiles of a range one typical degradation will do."""

    def make() -> Normaliser:
        forward = dataclasses.replace(config.forward, kind=degradation.kind)
        typical = draw(forward, degradation.scale, np.random.default_rng(0))
        pieces = group.spread(16 * _SAMPLE, _PIECES, whole=typical.whole_plane)
        values = []
        for raw in pieces:
            if np.isnan(raw).all() or min(raw.shape) < degradation.scale:
                continue
            fine, tainted = _Change(Variant(), 1.0, 1.0).apply(raw, degradation.scale)
            coarse, bad = typical.apply(fine), _tainted(tainted, typical)
            values.append((coarse if bad is None else coarse[~bad]).numpy().ravel())
        return fit(np.concatenate(values) if values else np.empty(0), config.normalisation)

    return planes.once(("normaliser", index, degradation.kind, degradation.scale), make)


def _gamma(fine: torch.Tensor, gamma: float, normaliser: Normaliser) -> torch.Tensor:
    """``sign(u) |u|^gamma`` of the values relative to the range: 0 and 1 stay."""
    if gamma == 1.0 or normaliser.scale == 0:
        return fine
    u = (fine - normaliser.offset) / normaliser.scale
    return u.sign() * u.abs() ** gamma * normaliser.scale + normaliser.offset


def _noise(degradation: Degradation, normaliser: Normaliser, domain: str) -> tuple[float, float]:
    """(v0, v1) in normalised units; the noise of real sky images is their own."""
    if degradation.noise == "none" or domain == "astronomy":
        return 0.0, 0.0
    zero = min(0.0, -normaliser.offset * normaliser.inverse_scale)
    signal = (
        1.0 - zero
    )  # the 99.5 % quantile ("range") or the greatest value ("unit") above the physical zero
    if degradation.noise == "poisson":
        v1 = signal / degradation.snr**2
        return -zero * v1, v1
    return (signal / degradation.snr) ** 2, 0.0


def _box(flags: NDArray[np.bool_], side: int) -> NDArray[np.int64]:
    """Number of True in each window of `side` pixels, ``[H - side + 1, W - side + 1]``."""
    if min(flags.shape) < side:
        return np.zeros((0, 0), np.int64)
    total = np.zeros((flags.shape[0] + 1, flags.shape[1] + 1), np.int64)
    total[1:, 1:] = flags.cumsum(0, dtype=np.int64).cumsum(1)
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]


def _between(range_: Range, generator: np.random.Generator) -> float:
    share = generator.random()
    if isinstance(range_, int | float):
        return float(range_)
    return float(range_[0] + (range_[1] - range_[0]) * share)
