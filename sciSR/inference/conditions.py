"""What a conditional network is told besides the image: given by the user, or found in the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sciSR.image import Image
from sciSR.inference.choose import Choice, Wish
from sciSR.inference.noise import noise_of
from sciSR.inference.normalise import Normaliser
from sciSR.models.spec import ModelSpec


@dataclass(frozen=True)
class Condition:
    """One number that a network is told.

    Attributes
    ----------
    name : {"noise", "fwhm", "kspace"}
    value : float
        In the network's units: noise in normalised linear units, fwhm in input pixels, kspace 1 or 0.
    origin : str
        "given", "uncertainty", "estimated", "forward model", or "default".
    """

    name: str
    value: float
    origin: str

    def record(self, unit: float) -> Mapping[str, Any]:
        """For the provenance; noise in the image's `unit` (the normaliser's scale)."""
        value = self.value * unit if self.name == "noise" else self.value
        return {"value": float(f"{value:.6g}"), "from": self.origin}


def conditions_of(
    image: Image, spec: ModelSpec, choice: Choice, wish: Wish, normaliser: Normaliser
) -> tuple[Condition, ...]:
    """What `spec.conditions` ask for, in their order.

    Parameters
    ----------
    image : Image
    spec : ModelSpec
    choice : Choice
        Its forward model is what "kspace" says.
    wish : Wish
        What the user gave, in the image's unit and in input pixels.
    normaliser : Normaliser
        Fitted to the image: noise is told in units of its scale, so that the image's unit does not matter.
    """
    return tuple(_condition(name, image, choice, wish, normaliser) for name in spec.conditions)


def _condition(name: str, image: Image, choice: Choice, wish: Wish, normaliser: Normaliser) -> Condition:
    if name == "noise":
        sigma, origin = (wish.noise, "given") if wish.noise is not None else noise_of(image, normaliser)
        return Condition(name, sigma * normaliser.inverse_scale, origin)
    if name == "kspace":
        return Condition(name, float(choice.forward == "kspace"), "forward model")
    if wish.psf_fwhm is not None:
        return Condition(name, wish.psf_fwhm, "given")
    # As in training: a truncated k-space has no width of its own, a voxel's Gaussian that of one voxel.
    return Condition(name, 1.0 if choice.forward == "gaussian" else 0.0, "default")
