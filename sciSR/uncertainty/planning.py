"""From the user's wish to what a plan will do about uncertainty."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sciSR.errors import UnsupportedError, UsageError
from sciSR.image import Image
from sciSR.inference.candidates import PREFERRED
from sciSR.uncertainty.interface import ErrorModel, Uncertain
from sciSR.uncertainty.loading import load_error_model
from sciSR.uncertainty.noise import pixel_noise
from sciSR.uncertainty.propagation import Propagation

if TYPE_CHECKING:
    from sciSR.inference.upscaling import UpscalePlan

LABELS = "labels have no uncertainty: none is written"

NONE_FOR = {
    "probability": "the uncertainty of probabilities is not known: none is written",
    "phase": "the uncertainty of a phase depends on its magnitude, which is not here: none is written",
}


def add_uncertainty(plan: UpscalePlan, wanted: bool | Uncertain) -> UpscalePlan:
    """Let a plan find its uncertainty; with True the model of the network's own error is looked up.

    Raises
    ------
    UsageError
        Settings that can't be.
    """
    if plan.image.kind == "labels":
        plan.messages.append(LABELS)
        return plan
    settings = wanted if isinstance(wanted, Uncertain) else Uncertain(model="auto")
    if settings.model == "auto":
        settings = dataclasses.replace(settings, model=error_model_of(plan))
    if settings.probes < 1:
        raise UsageError(f"{settings.probes} probes tell no uncertainty", remedy="give 1 or more")
    noise = pixel_noise(plan.image, plan.sample, settings)
    plan.uncertain = Propagation(settings, noise)
    if settings.model is not None and plan.uncertain.normaliser(plan, settings.model).scale <= 0:
        # All its values are relative to a spread that is not there.
        settings = dataclasses.replace(settings, model=None)
        plan.uncertain = Propagation(settings, noise)
    plan.messages.extend(noise.messages)
    if settings.model is None:
        plan.messages.append(
            "uncertainty: the noise alone; how far the method itself errs is not known for this"
        )
    elif not settings.model.calibration.is_calibrated:
        plan.messages.append(f"uncertainty: {settings.model.name} is not calibrated for {_method(plan)}")
    return plan


def error_model_of(plan: UpscalePlan) -> ErrorModel | None:
    """The error model of a plan's task, or None where there is none."""
    first, second = plan.factors
    if first != second or first.denominator != 1:
        return None
    forward = plan.choice.forward or PREFERRED.get(plan.image.domain, "")
    return load_error_model(plan.image.domain, forward, int(first), _method(plan))


def _method(plan: UpscalePlan) -> str:
    """What an error model is calibrated for: a network's name or a classical method."""
    return str(plan.models[0][1].name if plan.choice.trained else plan.choice.name)


def plan_with_uncertainty(image: Image, make_plan: Callable[[Image], Any], wanted: bool | Uncertain) -> Any:
    """The plan of an image of any kind, which finds its uncertainty where that means something.

    Parameters
    ----------
    image : Image
    make_plan : callable
        :func:`sciSR.inference.plan_upscale` with all settings but these.
    wanted : bool or Uncertain

    Raises
    ------
    UnsupportedError
        Colours of a network.
    """
    from sciSR.inference.colour import ColourPlan
    from sciSR.inference.kinds import PairPlan
    from sciSR.inference.upscaling import UpscalePlan

    plan = make_plan(image)
    if isinstance(plan, UpscalePlan):
        return add_uncertainty(plan, wanted)
    if isinstance(plan, ColourPlan):
        raise UnsupportedError(
            "the uncertainty of colours that a network made through their luminance is not known",
            where=image.where,
            remedy="give --model cubic, which treats each channel by itself, or leave out --uncertainty",
        )
    if isinstance(plan, PairPlan) and plan.turn is None:
        # Error models have learned from magnitudes.
        settings = dataclasses.replace(wanted if isinstance(wanted, Uncertain) else Uncertain(), model=None)
        for part in (plan.first, plan.second):
            add_uncertainty(part, settings)
            plan.messages.extend(said for said in part.messages if said not in plan.messages)
        return plan
    plan.messages.append(NONE_FOR.get(image.kind, LABELS))
    return plan
