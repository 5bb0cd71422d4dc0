"""One pass over both images that gathers all that the checks of pixels need; sums and extremes, no images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.image import Image
from sciSR.verify.bands import Band, bands
from sciSR.verify.registering import Registering

ROUNDING = 2.0**-24
"""Half a unit in the last place of float32, relative."""
_QUARTER = 0.13
"""Of a step of integers: four times it, as everything that is compared may be off, is the half that rounding takes."""


@dataclass
class Worst:
    """The largest of some values, and where it stands."""

    value: float = 0.0
    where: str = ""

    def see(self, values: np.ndarray, usable: np.ndarray, band: Band) -> None:
        """Take values on the coarse rows of a band, `usable` where they count."""
        if not usable.any():
            return
        seen = np.where(usable, values, -np.inf)
        at = int(np.argmax(seen))
        row, column = np.unravel_index(at, seen.shape)
        if seen[row, column] > self.value:
            self.value = float(seen[row, column])
            self.where = place(band, int(row), int(column))


def place(band: Band, row: int, column: int) -> str:
    """``[12, 30]``: a pixel of the input in NumPy's order, from 0; all axes."""
    inside = iter((band.rows.start + row, column))
    return f"[{', '.join(str(next(inside) if isinstance(e, slice) else e) for e in band.index)}]"


@dataclass
class Extreme:
    """How far values reach on one side, and how many pixels stand exactly there."""

    sign: int
    value: float = -math.inf
    count: int = 0

    def see(self, values: np.ndarray) -> None:
        """Take finite values."""
        if not values.size:
            return
        # Not the sign times the values: unsigned ones have none.
        top = float(values.max()) if self.sign > 0 else -float(values.min())
        here = int(np.count_nonzero(values == self.sign * top))
        if top > self.value:
            self.value, self.count = top, here
        elif top == self.value:
            self.count += here

    @property
    def reached(self) -> float:
        """The value itself."""
        return self.sign * self.value


@dataclass
class Measured:
    """What the pass found; differences are those of ``A x - y`` over the good coarse pixels, in the input's unit.

    Attributes
    ----------
    n, n_bad : int
        Good and bad coarse pixels.
    largest, excess : Worst
        ``|A x - y|``, and what of it is more than rounding to float32 explains.
    rounding : float
        The most that this rounding explains anywhere.
    total, predicted : float
        Sums of y and of A x.
    weight : float
        Sum of ``|y - level|``: what a total is compared with.
    squares, chi2, n_chi2 : float, float, int
    told : bool
        Whether the noise of `chi2` is the input's own uncertainty.
    unseen : int
        Good coarse pixels whose fine ones are not all finite.
    cut : int
        Good coarse pixels of which a fine one stands at the end of its integers: nothing can be said of its mean.
    leaked, lost : int
        Fine pixels that are not finite and touch no bad coarse one; that are finite where the coarse one is not.
    mask_leaked, mask_lost : int
        The same of the masks.
    infinite : int
        Infinite fine pixels where the coarse one is not.
    sigma_low, sigma_high : float
        Standard deviations of fine pixels in units of those of the coarse ones under their centres, shares undone.
    sigma_mean_low : float
        The least mean of them over a coarse pixel, in the same unit.
    """

    n: int = 0
    n_bad: int = 0
    n_fine: int = 0
    largest: Worst = field(default_factory=Worst)
    excess: Worst = field(default_factory=Worst)
    rounding: float = 0.0
    total: float = 0.0
    predicted: float = 0.0
    weight: float = 0.0
    squares: float = 0.0
    chi2: float = 0.0
    n_chi2: int = 0
    told: bool = False
    deviation: Worst = field(default_factory=Worst)
    coarse_high: Extreme = field(default_factory=lambda: Extreme(1))
    coarse_low: Extreme = field(default_factory=lambda: Extreme(-1))
    fine_high: Extreme = field(default_factory=lambda: Extreme(1))
    fine_low: Extreme = field(default_factory=lambda: Extreme(-1))
    unseen: int = 0
    cut: int = 0
    leaked: int = 0
    leaked_at: str = ""
    lost: int = 0
    lost_at: str = ""
    mask_leaked: int = 0
    mask_lost: int = 0
    infinite: int = 0
    sigma_bad: int = 0
    sigma_seen: int = 0
    sigma_low: float = math.inf
    sigma_high: float = 0.0
    sigma_mean_low: float = math.inf
    differing: int = 0
    registering: Registering | None = None

    @property
    def range(self) -> float:
        """Highest minus lowest good input value; of a constant image its value, of an empty one 1."""
        if not self.n:
            return 1.0
        reach = self.coarse_high.reached - self.coarse_low.reached
        return reach or abs(self.coarse_high.reached) or 1.0


@dataclass(frozen=True)
class Scene:
    """What the pass is told of the coarse image: its level and noise, and how values are shared out.

    Attributes
    ----------
    share : float
        What a fine pixel holds of a coarse one: 1 for densities.
    level, noise : float
        A typical value, and one standard deviation where `uncertainty` does not tell; 0 if unknown.
    quantum : float
        Step in which fine values are stored.
    """

    share: float = 1.0
    level: float = 0.0
    noise: float = 0.0
    quantum: float = 0.0


def measure(coarse: Image, fine: Image, factors: Sequence[Fraction], scene: Scene) -> Measured:
    """Go through both images once.

    Parameters
    ----------
    coarse, fine : Image
    factors : sequence of Fraction
        Fine pixels per coarse one, 1 or more, for each axis of the data.
    scene : Scene
    """
    found = Measured()
    first, second = coarse.spatial_axes
    found.registering = Registering((coarse.shape[first], coarse.shape[second]), scene.level, scene.noise)
    for band in bands(coarse, fine, factors):
        found.n_bad += int(np.count_nonzero(band.bad[band.inner]))
        _footprints(band, found)
        if coarse.kind == "labels":
            _labels(band, found)
        elif coarse.dtype.kind != "c":
            _values(band, found, scene)
            _flux(band, found, scene)
            _sigmas(band, found, scene)
        else:
            found.n += int(np.count_nonzero(~band.bad[band.inner]))
    return found


def _flux(band: Band, found: Measured, scene: Scene) -> None:
    y = band.coarse.astype(np.float64)
    inner = y[band.inner]
    finite = np.isfinite(band.fine)
    fine = np.where(finite, band.fine, 0)
    predicted, size = band.means(fine) / scene.share, band.means(np.abs(fine)) / scene.share
    good = ~band.bad[band.inner]
    if band.bad.any() or not finite.all():
        # At fractional factors a bad pixel covers parts of its neighbours, which then have no whole mean.
        whole = band.means(~finite | band.touched()) == 0
        found.unseen += int(np.count_nonzero(good & ~whole))
        good &= whole
    found.coarse_high.see(inner[good])
    found.coarse_low.see(inner[good])
    if band.fine.dtype.kind in "iu":
        ends = np.iinfo(band.fine.dtype)
        cut = (band.means((band.fine == ends.min) | (band.fine == ends.max)) > 0) & good
        found.cut += int(np.count_nonzero(cut))
        good &= ~cut
    if not good.any():
        return
    with np.errstate(invalid="ignore", over="ignore"):
        difference = predicted - inner
        rounding = ROUNDING * size + _QUARTER * scene.quantum / scene.share
        apart = np.abs(difference)
    found.n += int(np.count_nonzero(good))
    found.largest.see(apart, good, band)
    found.excess.see(apart - 4 * rounding, good, band)
    found.rounding = max(found.rounding, float(rounding[good].max()))
    found.total += float(inner[good].sum())
    found.predicted += float(predicted[good].sum())
    found.weight += float(np.abs(inner[good] - scene.level).sum())
    found.squares += float(np.square(difference[good]).sum())
    _chi2(band, found, scene, difference, good)
    if found.registering is not None:
        found.registering.see(band, difference, good)


def _chi2(band: Band, found: Measured, scene: Scene, difference: np.ndarray, good: np.ndarray) -> None:
    """Against the input's own uncertainty where it has one, else against its noise."""
    if band.sigma is not None:
        sigma = band.sigma[band.inner].astype(np.float64)
        usable = good & np.isfinite(sigma) & (sigma > 0)
        found.told = True
    elif scene.noise > 0:
        sigma, usable = np.full(difference.shape, scene.noise), good
    else:
        return
    if usable.any():
        apart = np.zeros(difference.shape)
        apart[usable] = np.abs(difference[usable]) / sigma[usable]
        found.chi2 += float(np.square(apart[usable]).sum())
        found.n_chi2 += int(np.count_nonzero(usable))
        found.deviation.see(apart, usable, band)


def _footprints(band: Band, found: Measured) -> None:
    """Bad pixels of the output against those of the input; fine planes that lie in two coarse ones are left out."""
    own = band.own
    touched, bad = band.touched()[own], band.nearest(band.bad)[own]
    missing = ~np.isfinite(band.coarse) if band.coarse.dtype.kind in "fc" else np.zeros(band.bad.shape, bool)
    missing, masked = band.nearest(missing)[own], band.nearest(band.bad)[own]
    infinite = np.isinf(band.coarse) if band.coarse.dtype.kind in "fc" else np.zeros(band.bad.shape, bool)
    infinite = band.nearest(infinite)[own]
    whole = band.weights >= band.weights.max() * (1 - 1e-9)
    for plane in np.flatnonzero(whole):
        values = band.fine[plane][own]
        found.n_fine += values.size
        if values.dtype.kind in "fc":
            empty = ~np.isfinite(values)
            leaked, lost = empty & ~touched, ~empty & missing
            found.infinite += int(np.count_nonzero(np.isinf(values) & ~infinite & ~missing))
            found.leaked_at = found.leaked_at or _first(leaked, band, own)
            found.lost_at = found.lost_at or _first(lost, band, own)
            found.leaked += int(np.count_nonzero(leaked))
            found.lost += int(np.count_nonzero(lost))
        elif missing.any():  # integers have no NaN: a mask must tell
            found.lost += int(np.count_nonzero(missing))
            found.lost_at = found.lost_at or _first(missing, band, own)
        if band.fine_mask is not None:
            flags = band.fine_mask[plane][own]
            found.mask_leaked += int(np.count_nonzero(flags & ~touched))
            found.mask_lost += int(np.count_nonzero(~flags & masked & bad & ~missing))


def _first(flags: np.ndarray, band: Band, own: slice) -> str:
    """Where the first of some fine pixels of a band stands, in fine pixels."""
    if not flags.any():
        return ""
    row, column = (int(n) for n in np.unravel_index(int(np.argmax(flags)), flags.shape))
    inside = iter((band.fine_rows.start + own.start + row, column))
    return f"[{', '.join(str(next(inside) if isinstance(e, slice) else e) for e in band.index)}]"


def _values(band: Band, found: Measured, scene: Scene) -> None:
    finite = band.fine[:, band.own]
    touched = band.touched()[band.own]
    usable = ~touched[None] & np.isfinite(finite)
    values = finite[usable]
    found.fine_high.see(values)
    found.fine_low.see(values)


def _labels(band: Band, found: Measured) -> None:
    """Fine labels that are not among those of the coarse pixels around them."""
    found.n += int(np.count_nonzero(~band.bad[band.inner]))
    own = band.own
    near = band.nearest(band.coarse)[own]
    for plane in band.fine:
        odd = plane[own] != near
        if odd.any():
            known = np.unique(band.coarse)
            found.differing += int(np.count_nonzero(~np.isin(plane[own][odd], known)))


def _sigmas(band: Band, found: Measured, scene: Scene) -> None:
    """Standard deviations of the output: positive where the data are, and how they compare with the input's."""
    if band.fine_sigma is None:
        return
    own = band.own
    good = ~band.touched()[own]
    if band.sigma is not None:
        told = band.nearest(band.sigma)[own].astype(np.float64)
        good &= np.isfinite(told) & (told > 0)
    sigma = band.fine_sigma[:, own].astype(np.float64)
    usable = good[None] & np.isfinite(band.fine[:, own])
    found.sigma_seen += int(np.count_nonzero(usable))
    found.sigma_bad += int(np.count_nonzero(usable & ~(np.isfinite(sigma) & (sigma > 0))))
    if band.sigma is None:
        return
    with np.errstate(all="ignore"):
        ratios = (sigma / (scene.share * told))[usable & np.isfinite(sigma)]
        mean: Any = band.means(band.fine_sigma) / scene.share / band.sigma[band.inner].astype(np.float64)
    if ratios.size:
        found.sigma_low = min(found.sigma_low, float(ratios.min()))
        found.sigma_high = max(found.sigma_high, float(ratios.max()))
    mean = mean[~band.bad[band.inner] & np.isfinite(mean)]
    if mean.size:
        found.sigma_mean_low = min(found.sigma_mean_low, float(mean.min()))
