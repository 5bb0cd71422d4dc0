"""The noise that is added to a degraded image: its kind, how much of it, and its random numbers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.forward import noise


@dataclass(frozen=True)
class Noise:
    """What is added to the noise-free coarse image.

    Parameters
    ----------
    kind : {"none", "gaussian", "poisson", "rician"}
    snr : float, optional
        Signal to noise of a pixel at the 99.5 % quantile of the noise-free image.
    sigma : float, optional
        Standard deviation in the image's unit, instead of `snr` ("gaussian", "rician").
    gain : float, optional
        Electrons for each unit of the image's values, instead of `snr` ("poisson").
    read_noise : float
        Electrons ("poisson").
    """

    kind: str = "none"
    snr: float | None = None
    sigma: float | None = None
    gain: float | None = None
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("snr", "sigma", "gain"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"a {name} of {value:g}", remedy="give a number above 0")
        if not (math.isfinite(self.read_noise) and self.read_noise >= 0):
            raise UsageError(f"a read noise of {self.read_noise:g}", remedy="give 0 or more electrons")
        fits = {
            "poisson": ("gain", "snr"),
            "gaussian": ("sigma", "snr"),
            "rician": ("sigma", "snr"),
            "none": (),
        }
        if self.kind not in fits:
            raise UsageError(f"no noise is called {self.kind!r}", remedy=f"use {', '.join(fits)}")
        given = [name for name in ("sigma", "gain", "snr") if getattr(self, name) is not None]
        if self.read_noise:
            given.append("read_noise")
        allowed = (*fits[self.kind], "read_noise") if self.kind == "poisson" else fits[self.kind]
        if wrong := [name for name in given if name not in allowed]:
            raise UsageError(
                f"{wrong[0].replace('_', '-')} means nothing to noise of kind {self.kind}",
                remedy="leave it out",
            )
        levels = [name for name in given if name != "read_noise"]
        if self.kind != "none" and len(levels) != 1:
            raise UsageError(
                f"noise of kind {self.kind} needs one of {' and '.join(fits[self.kind])}, not "
                f"{' and '.join(levels) or 'none'}",
                remedy=f"give --{fits[self.kind][0]} or --snr",
            )

    def at(self, level: float) -> Noise:
        """The same noise with its standard deviation or gain fixed for an image whose bright pixels have this value."""
        if self.snr is None:
            return self
        if self.kind == "poisson":
            return dataclasses.replace(self, gain=noise.gain_for(self.snr, level, self.read_noise), snr=None)
        if not (math.isfinite(level) and level > 0):
            raise UsageError(
                f"a signal to noise means nothing to an image whose bright pixels are {level:g}",
                remedy="give --sigma",
            )
        return dataclasses.replace(self, sigma=level / self.snr, snr=None)

    def variance(self, values: np.ndarray) -> np.ndarray | float:
        """Variance added to noise-free `values`, in the image's unit squared ("rician": where the signal is strong)."""
        if self.kind == "none":
            return 0.0
        if self.kind == "poisson":
            assert self.gain is not None
            return noise.variance(values * self.gain, self.read_noise) / self.gain**2
        assert self.sigma is not None
        return self.sigma**2


class Exposure:
    """The noise of one plane, drawn row after row, so that it does not depend on the size of the pieces.

    Parameters
    ----------
    how : Noise
        Its standard deviation or gain is fixed.
    hot_pixels : float
        Share of hot and dead pixels.
    entropy : (int, int)
        Of the random numbers: of the image, and the number of the plane.
    """

    def __init__(self, how: Noise, hot_pixels: float, entropy: tuple[int, int]) -> None:
        self._how, self._hot_pixels = how, hot_pixels
        streams = np.random.SeedSequence(entropy).spawn(3)
        self._first, self._second, self._defects = (np.random.default_rng(stream) for stream in streams)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        how = self._how
        out = values
        if how.kind == "gaussian":
            out = noise.gaussian(values, how.sigma, self._first)  # type: ignore[arg-type]
        elif how.kind == "rician":
            out = noise.rician(values, how.sigma, self._first, self._second)  # type: ignore[arg-type]
        elif how.kind == "poisson":
            out = noise.expose(values * how.gain, how.read_noise, self._first, self._second) / how.gain
        if self._hot_pixels:
            out = noise.hot_and_dead(out, self._hot_pixels, self._unit(values), 0.0, self._defects)
        return out

    def _unit(self, values: np.ndarray) -> Any:
        return np.sqrt(self._how.variance(values))
