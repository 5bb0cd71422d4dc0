"""One draw of the forward model: from the ranges of a configuration to an operator on patches.

The formulas are those of `sciSR.forward`; here they are only put together. NumPy and torch are all that it needs.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.forward.apodisation import Apodisation
from sciSR.forward.bicubic import BicubicDecimation
from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.operator import Chain, LinearOperator
from sciSR.forward.partial_fourier import PartialFourier
from sciSR.forward.pixel import BlockMean
from sciSR.forward.psf_blur import PsfBlur
from sciSR.training.config import ForwardConfig, Range


@dataclass(frozen=True)
class Degradation:
    """A forward model with all its parameters fixed.

    Parameters
    ----------
    kind : {"kspace", "gaussian", "detector", "bicubic", "slice_profile"}
        The last one does nothing within a slice: slices are made thick when a patch is visited.
    scale : int
        Fine pixels for each coarse pixel and axis.
    fwhm : float
        Of the point spread function in *coarse* pixels; 0 if there is none.
    psf : str
        Family of the optical PSF; "" if there is none.
    beta, obscuration, ellipticity, angle : float
        Of the optical PSF, see `PsfBlur`.
    partial_fourier, apodisation : float
        Share of the phase-encoding lines (axis -2) that was acquired, the rest zero-filled; taper of the window.
    noise : str
        Kind of noise to be added after: "none", "gaussian", "poisson" or "rician".
    snr : float
        Signal to noise that goes with it; infinite if there is none.
    hot_pixels : float
        Share of hot and dead pixels to be added after.
    """

    kind: str
    scale: int
    fwhm: float = 0.0
    psf: str = ""
    beta: float = 3.5
    obscuration: float = 0.0
    ellipticity: float = 0.0
    angle: float = 0.0
    partial_fourier: float = 1.0
    apodisation: float = 0.0
    noise: str = "none"
    snr: float = math.inf
    hot_pixels: float = 0.0

    def __post_init__(self) -> None:
        known = ("kspace", "gaussian", "detector", "bicubic", "slice_profile")
        if self.kind not in known:
            raise UsageError(f"no forward model is called {self.kind!r}", remedy=f"use {', '.join(known)}")
        if self.scale < 1 or (self.kind == "slice_profile" and self.scale != 1):
            raise UsageError(f"a forward model with a scale of {self.scale}", remedy="give a whole number")
        for what, value, least, most in (
            ("an apodisation", self.apodisation, 0, 1),
            ("a share of phase-encoding lines", self.partial_fourier, 0.5, 1),
            ("a share of hot pixels", self.hot_pixels, 0, 1),
        ):
            if not least <= value <= most:
                raise UsageError(f"{what} of {value:g}", remedy=f"give {least:g} to {most:g}")
        if not self.snr > 0:
            raise UsageError(f"a signal to noise of {self.snr:g}", remedy="give a number above 0")
        self.operator  # noqa: B018  (the operators check their own parameters)

    @property
    def kspace(self) -> bool:
        """True where k-space is truncated, False where the image is blurred and sampled."""
        return self.kind == "kspace"

    @property
    def whole_plane(self) -> bool:
        """True if each coarse pixel depends on the whole plane, so that patches are cut after the degradation."""
        return self.kspace

    @property
    def margin(self) -> int:
        """Coarse pixels along the edge that the mirrored border reaches into; 0 for a whole plane."""
        if self.kind == "gaussian":
            return math.ceil(self._sampled().taps()[1] / self.scale)
        if self.kind == "detector":
            return math.ceil(self._blur().radius / self.scale)
        return 2 if self.kind == "bicubic" and self.scale > 1 else 0

    def apply(self, fine: Tensor) -> Tensor:
        """Noise-free coarse image of a fine one.

        Parameters
        ----------
        fine : Tensor, float32 or float64 ``[..., sH, sW]``
            The whole plane if `whole_plane`.

        Returns
        -------
        Tensor ``[..., H, W]``
            Same dtype. For k-space the magnitude.
        """
        coarse = self.operator.apply(fine)
        return coarse.abs() if self.kspace else coarse

    @property
    def operator(self) -> LinearOperator:
        """The linear part, with its adjoint: all of it, but for the magnitude that ends k-space."""
        if self.kind == "gaussian":
            return self._sampled()
        if self.kind == "detector":
            return Chain((self._blur(), BlockMean((self.scale, self.scale))))
        if self.kind == "bicubic":
            return BicubicDecimation(self.scale)
        if self.kind == "slice_profile":
            return BlockMean((1, 1))
        acquired = (KSpaceCrop(self.scale), Apodisation(self.apodisation))
        return Chain(
            (*acquired, PartialFourier(self.partial_fourier)) if self.partial_fourier < 1 else acquired
        )

    def as_dict(self) -> dict[str, Any]:
        """The parameters that matter to this kind, for provenance: plain numbers and words."""
        of_kind = {
            "kspace": ("partial_fourier", "apodisation"),
            "gaussian": ("fwhm",),
            "detector": (
                "fwhm",
                "psf",
                *_SHAPE.get(self.psf, ()),
                *(("ellipticity", "angle") if self.psf else ()),
            ),
            "bicubic": (),
            "slice_profile": (),
        }[self.kind]
        noise = ("noise", "snr") if self.noise != "none" else ("noise",)
        values = dataclasses.asdict(self)
        return {key: values[key] for key in ("kind", "scale", *of_kind, *noise, "hot_pixels")}

    def _sampled(self) -> GaussianDecimation:
        return GaussianDecimation(self.scale, self.fwhm * self.scale)

    def _blur(self) -> PsfBlur:
        return PsfBlur(
            self.fwhm * self.scale if self.psf else 0.0,
            self.psf or "gaussian",  # type: ignore[arg-type]
            self.beta,
            self.obscuration,
            self.ellipticity,
            self.angle,
        )


_SHAPE = {"moffat": ("beta",), "airy": ("obscuration",)}


def draw(config: ForwardConfig, scale: int, generator: np.random.Generator) -> Degradation:
    """Fix what a configuration leaves open.

    Parameters
    ----------
    config : ForwardConfig
        A number stands for itself, a pair for the ends between which it is drawn: uniformly, but `snr`
        logarithmically. Several kinds or PSF families are equally likely.
    scale : int
        Fine pixels for each coarse pixel and axis.
    generator : numpy.random.Generator
        The only source of randomness.
    """
    kind = str(generator.choice(np.array(config.kinds)))
    noise = {
        "noise": config.noise,
        "snr": math.inf if config.noise == "none" else math.exp(_between(_logarithms(config.snr), generator)),
        "hot_pixels": _between(config.hot_pixels, generator),
    }
    if kind == "kspace":
        return Degradation(
            kind,
            scale,
            partial_fourier=_between(config.partial_fourier, generator),
            apodisation=_between(config.apodisation, generator),
            **noise,
        )
    if kind == "gaussian":
        return Degradation(
            kind, scale, _between(1.0 if config.fwhm is None else config.fwhm, generator), **noise
        )
    if kind != "detector":
        return Degradation(kind, scale, **noise)
    fwhm = _between(0.0 if config.fwhm is None else config.fwhm, generator)
    return Degradation(
        kind,
        scale,
        fwhm,
        str(generator.choice(np.array(config.psf))) if fwhm > 0 else "",
        _between(config.beta, generator),
        _between(config.obscuration, generator),
        _between(config.ellipticity, generator),
        float(generator.uniform(0, math.pi)),
        **noise,
    )


def _between(range_: Range, generator: np.random.Generator) -> float:
    """A number of a range; one is drawn even from a fixed number, so that fixing it leaves the other draws alone."""
    share = generator.random()
    if isinstance(range_, int | float):
        return float(range_)
    low, high = range_
    return float(low + (high - low) * share)


def _logarithms(range_: Range) -> Range:
    if isinstance(range_, int | float):
        return math.log(range_)
    return math.log(range_[0]), math.log(range_[1])
