"""What the provenance keeps of an upscaling: one step, JSON-ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sciSR
from sciSR.inference.candidates import is_adversarial
from sciSR.inference.choose import scale_text

if TYPE_CHECKING:
    from sciSR.inference.upscaling import UpscalePlan


def upscale_step(plan: UpscalePlan, agreement: Any, **measured: Any) -> dict[str, Any]:
    """The step of a plan that was run.

    Parameters
    ----------
    plan : UpscalePlan
    agreement : mapping or None
        Measured, with the input.
    **measured
        What else was found on the way, each under its own key; None is left out.
    """
    step: dict[str, Any] = {
        "software": f"sciSR {sciSR.__version__}",
        "step": "upscale",
        "scale": scale_text(plan.factors),
        "model": plan.choice.name if not plan.choice.trained else plan.models[0][1].name,
    }
    if plan.choice.trained:
        step |= _network(plan)
    step |= {
        "quantity": plan.image.quantity,
        "consistency": plan.consistency,
        "bad_pixels": plan.sample.n_bad,
    }
    if plan.consistency == "gaussian":
        step["psf_fwhm"] = 1.0 if plan.psf_fwhm is None else float(plan.psf_fwhm)
    if plan.familiarity is not None and plan.familiarity.measured:
        step["familiarity"] = plan.familiarity.record()
    if agreement is not None:
        step["agreement"] = dict(agreement)
    return step | {key: value for key, value in measured.items() if value is not None}


def _network(plan: UpscalePlan) -> dict[str, Any]:
    """Which weights, and in what state they saw the image."""
    _, spec, digest = plan.models[0]
    step: dict[str, Any] = {
        "weights_sha256": digest,
        "applied": plan.choice.times,
        "precision": "bf16" if plan.bf16 else "fp32",
        "normalisation": {
            "kind": plan.normaliser.kind,
            "offset": plan.normaliser.offset,
            "scale": plan.normaliser.scale,
        },
    }
    if spec.architecture.startswith("spandrel:"):
        step["architecture"] = spec.architecture  # what it undoes is not known
    else:
        step["forward_model"] = plan.choice.forward
    if plan.conditions:
        unit = plan.normaliser.scale
        step["conditions"] = {each.name: each.record(unit) for each in plan.conditions}
    if is_adversarial(spec):
        step["adversarial"] = True
    if not spec.exact_tiling:
        step["exact_tiling"] = False
    return step
