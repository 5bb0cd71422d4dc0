"""What the engine asks of an error model: from the input, the output and the noise to one standard deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """What split conformal prediction found on files kept apart.

    Attributes
    ----------
    factor : float
        What the model's own standard deviation is multiplied with, so that plus and minus one cover 68.27 %.
    interval_95 : float
        How many of the calibrated standard deviations cover 95.45 %; 2 for a normal distribution.
    files : int
        How many files it was found on.
    is_calibrated : bool
        False where no file of this kind was at hand: both numbers are then those of a normal distribution.
    """

    factor: float = 1.0
    interval_95: float = 2.0
    files: int = 0
    is_calibrated: bool = False


class ErrorModel(Protocol):
    """The network's own error; one for each domain, forward model and scale, whatever method made the image.

    Works on regions with a halo like any stage: the result does not depend on the tiling.

    Attributes
    ----------
    name : str
        Of its weights, ``"error-astro-x2"``.
    sha256 : str
    scale : int
    halo : int
        Coarse pixels that it sees beyond its own.
    normalisation : {"sky", "range"}
        Kind of the `Normaliser` that its values are relative to.
    calibration : Calibration
        For the method it was loaded for.
    """

    name: str
    sha256: str
    scale: int
    halo: int
    normalisation: str
    calibration: Calibration

    def total(self, coarse: Tensor, fine: Tensor, noise: Tensor) -> Tensor:
        """Calibrated standard deviation of the output: propagated noise and the network's own error together.

        Parameters
        ----------
        coarse : Tensor, float32 ``[h, w]``
            The input, offset subtracted, divided by the image's robust scale (the `Normaliser`'s).
        fine : Tensor, float32 ``[s h, s w]``
            The output, likewise.
        noise : Tensor, float32 ``[s h, s w]``
            Propagated standard deviation, divided by the scale.

        Returns
        -------
        Tensor, float32 ``[s h, s w]``
            Divided by the scale; positive.
        """
        ...


@dataclass(frozen=True)
class Uncertain:
    """How a plan will find the uncertainty: its settings, and what they came from.

    Attributes
    ----------
    probes : int
        Noise realisations that are carried through the network.
    seed : int
    gain, read_noise : float, optional
        Electrons per unit, electrons: for shot noise where the file has no error plane.
    model : ErrorModel, None or "auto"
        None where there is none for the task: the noise alone is then propagated, and the record says so. "auto" looks
        it up once the method is known.
    """

    probes: int = 4
    seed: int = 0
    gain: float | None = None
    read_noise: float | None = None
    model: ErrorModel | Literal["auto"] | None = None

    def record(self, **measured: Any) -> Mapping[str, Any]:
        """JSON-ready, for the provenance: what stands under ``"uncertainty"`` in an upscale step."""
        model = None if self.model == "auto" else self.model
        found = None if model is None else model.calibration
        known = {} if model is None else {"model": model.name, "sha256": model.sha256}
        if found is not None:
            known |= {
                "factor": found.factor,
                "interval_95": found.interval_95,
                "calibrated": found.is_calibrated,
            }
        return {"probes": self.probes, "seed": self.seed, "calibrated": False, **known, **measured}
