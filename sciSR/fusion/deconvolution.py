"""Taking the optics out of a fused image, as far as the noise allows.

No data can give a point of light back as a point: beyond some frequency the optics pass nothing that stands above the
noise. So the unknown becomes the scene as a *narrower* point spread function would show it (Magain, Courbin and Sohy,
ApJ 494, 472, 1998): a Gaussian G that the fine pixels can hold. With P the spectrum of the measured point spread
function the data see this scene through

    R = P / G,

and the solver of :mod:`sciSR.fusion.map` needs only this factor in its forward model, and the spectrum of G as what
it expects of a scene. Where R is small the data say little, and the prior keeps only what stands above its noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciSR.errors import SciSRWarning
from sciSR.fusion.prepared import Solution, Target
from sciSR.fusion.star_profile import (
    centred_profile,
    find_stars,
    profile_from_stars,
    ring_depth,
    stacked_fwhm,
    width,
)

if TYPE_CHECKING:
    from torch import Tensor

    from sciSR.fusion.forward import Canvas

LEAST = 2.0
"""Width (FWHM) in fine pixels below which a star can't be sampled properly."""
SHARE = 0.5
"""Least width that is aimed at, in units of the measured one."""
BLIND = 0.005
"""Share of a bright star's light at a frequency below which it is lost in the noise."""
RING = 0.08
"""Most that the Gaussian's spectrum may be there: what is cut off sharply comes back as rings."""
WORTH = 1.1
"""Least ratio of widths, before and after, that is worth the noise."""
RINGS = 0.03
"""Depth of the dips around bright stars, in units of the peak, that is warned of."""
FLOOR = 1e-3
"""Where the Gaussian's spectrum is below this, nothing is asked of the result."""


@dataclass(frozen=True, eq=False)
class Blur:
    """From the scene seen through a narrow Gaussian to the image of the optics.

    Attributes
    ----------
    profile : ndarray, (2n + 1, 2m + 1)
        Point spread function on fine pixels (their own width included), centred, of sum 1.
    fwhm : (float, float)
        Of the Gaussian, fine pixels, rows and columns; the fine pixel included.
    """

    profile: np.ndarray
    fwhm: tuple[float, float]

    @property
    def reach(self) -> int:
        """Fine pixels by which light is spread; far wings may wrap around, or memory would grow with their image."""
        return min(max(self.profile.shape) // 2, 64)

    def gaussian(self, canvas: Canvas) -> Tensor:
        """Spectrum of the Gaussian: half plane, 1 at zero frequency."""
        import torch

        rows, columns = canvas.frequencies()
        sigma = [f / np.sqrt(8 * np.log(2)) for f in self.fwhm]
        return torch.exp(-2 * torch.pi**2 * ((sigma[0] * rows) ** 2 + (sigma[1] * columns) ** 2))

    def amplitude(self, canvas: Canvas) -> Tensor:
        """What may be expected of a scene at each frequency: the Gaussian's spectrum, never zero."""
        from sciSR.fusion.optics import FLOOR as least

        return self.gaussian(canvas).clamp_min(least)

    def response(self, canvas: Canvas) -> Tensor:
        """R, complex, half plane; its modulus is at most 1."""
        import torch

        rows, columns = self.profile.shape
        # A canvas smaller than the profile is periodic: what leaves on one side comes in on the other.
        where = np.ix_(
            (np.arange(rows) - rows // 2) % canvas.shape[0],
            (np.arange(columns) - columns // 2) % canvas.shape[1],
        )
        plane = np.zeros(canvas.shape)
        np.add.at(plane, where, self.profile)
        optics = torch.fft.rfft2(torch.from_numpy(plane)).to(torch.complex64).to(canvas.device)
        ratio = optics / self.gaussian(canvas).clamp_min(FLOOR)
        return ratio / ratio.abs().clamp_min(1.0)


def blur_of(profile: np.ndarray, target: Target) -> Blur:
    """The blur to take out, for a point spread function on fine pixels, centred and of sum 1.

    The Gaussian that is aimed at has half the width of the stars, and at least :data:`LEAST` fine pixels. It is wider
    where the optics and the native pixel pass too little: its spectrum has fallen to :data:`RING` where what they pass
    has fallen to :data:`BLIND`.
    """
    factors = np.array([float(f) for f in target.factors])
    native = width(profile) / np.sqrt(factors.prod())
    # Spectrum of the Gaussian: exp(-(pi w k)^2 / (4 ln 2)).
    reach = np.sqrt(-4 * np.log(2) * np.log(RING)) / np.pi
    wanted = max(reach / (_blind(profile, axis, factors[axis]) * factors[axis]) for axis in (0, 1))
    aim = np.maximum(LEAST, max(SHARE * native, wanted) * factors)
    return Blur(profile, (float(aim[0]), float(aim[1])))


def _blind(profile: np.ndarray, axis: int, factor: float) -> float:
    """Cycles per fine pixel along an axis from which on optics and native pixel pass less than :data:`BLIND`."""
    k = np.linspace(0, 0.5, 501)
    line = profile.sum(axis=1 - axis)
    place = np.arange(len(line)) - len(line) // 2
    optics = np.abs(np.exp(-2j * np.pi * k[:, None] * place) @ line)
    passed = optics * np.abs(np.sinc(factor * k) / np.sinc(k))
    low = np.flatnonzero(passed < BLIND)
    return float(k[low[0]]) if low.size else 0.5


def deconvolved(
    plain: Solution,
    target: Target,
    psf: np.ndarray | None,
    again: Callable[[Blur], Solution],
    *,
    lost: np.ndarray | None = None,
) -> tuple[Solution, Blur | None]:
    """A fused image with the blur of the optics reduced.

    Parameters
    ----------
    plain : Solution
        Without deconvolution: stars are measured on it.
    target : Target
    psf : ndarray, optional
        Image of a star on fine pixels, not necessarily centred or normalised; measured by default.
    again : callable
        Solves the same frames for the scene before a blur: ``map.solve(frames, target, blur=...)``.
    lost : ndarray of bool, ``target.shape``, optional
        Fine pixels not to be trusted (saturated).

    Returns
    -------
    solution : Solution
        Notes say what was done; extras hold the widths, in fine pixels.
    blur : Blur or None
        None where stars are already as narrow as fine pixels can hold: `solution` is then `plain`.

    Raises
    ------
    UnsupportedError
        Too few stars that a point spread function could be measured from.
    UsageError
        A given point spread function that has no single centre.
    """
    if psf is None:
        profile, stars = profile_from_stars(plain, lost)
        source = f"measured from {len(stars)} stars"
    else:
        profile, source = centred_profile(psf), "as given"
        stars = find_stars(plain, lost)[0]
    before = width(profile)
    blur = blur_of(profile, target)
    aim = float(np.sqrt(blur.fwhm[0] * blur.fwhm[1]))
    if before < WORTH * aim:
        text = (
            f"not deconvolved: stars are {before:.2f} fine pixels wide (FWHM), which finer pixels alone could narrow; "
            "a larger scale leaves room"
        )
        warnings.warn(text, SciSRWarning, stacklevel=4)
        return _with(plain, text, {}), None
    solution = again(blur)
    after = stacked_fwhm(solution.image, stars)
    note = (
        f"deconvolved: point spread function {source}, FWHM {before:.2f} fine pixels; aim: a Gaussian of {aim:.2f}"
        + ("" if after is None else f"; bright stars are now {after:.2f} wide")
        + "; faint ones stay wider"
    )
    extras: dict[str, Any] = {"psf": source, "fwhm_before": round(before, 3), "fwhm_aim": round(aim, 3)}
    if after is not None:
        extras["fwhm_after"] = round(after, 3)
        extras["rings"] = depth = round(ring_depth(solution.image, stars), 4)
        note += f"; rings around bright ones are {100 * depth:.1f} % of the peak deep"
        if depth > RINGS:
            warnings.warn(
                f"deconvolution left rings of {100 * depth:.0f} % around bright stars: the point spread function "
                "differs over the field or between stars; trust what is beside them only without --deconvolve",
                SciSRWarning,
                stacklevel=4,
            )
    return _with(solution, note, extras), blur


def _with(solution: Solution, note: str, extras: dict[str, Any]) -> Solution:
    return Solution(
        solution.image,
        solution.std,
        solution.weight,
        solution.coverage,
        solution.context,
        (*solution.notes, note),
        {**solution.extras, **extras},
    )
