"""What is decided once for a whole image and handed to every worker: small, JSON-ready, and enough to plan again.

Statistics of the whole image (offset, scale, how many pixels are bad), the choice of the method and what the network
is told come from one reading of all pixels; a block alone would find others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import numpy as np

from sciSR.errors import UnsupportedError
from sciSR.image import Image
from sciSR.inference.choose import Choice
from sciSR.inference.conditions import Condition
from sciSR.inference.device import choose_device
from sciSR.inference.normalise import Normaliser
from sciSR.inference.stages import FourierStage, to_network_memory
from sciSR.inference.statistics import Sample
from sciSR.inference.upscaling import WHOLE_PLANE, UpscalePlan
from sciSR.inference.workers import Workers, how_many
from sciSR.workflow.cluster.blocks import Shape, StageShape


def shape_of(plan: Any) -> Shape:
    """How the planes of a plan may be cut.

    Raises
    ------
    UnsupportedError
        Colours, label votes, probabilities, phases, complex pixels, and uncertainties, which are not for blocks.
    """
    if not isinstance(plan, UpscalePlan) or plan.bounds is not None:
        raise UnsupportedError(
            "only intensities and label maps by nearest neighbour are computed by blocks",
            where=getattr(plan, "output", plan).where,
            remedy="run it without blocks",
        )
    if plan.uncertain is not None:
        raise UnsupportedError(
            "an uncertainty is not computed by blocks",
            where=plan.image.where,
            remedy="leave one of the two out",
        )
    first, second = plan.image.spatial_axes
    size = plan.image.shape[first], plan.image.shape[second]
    if plan.is_replication:
        stages = (StageShape(plan.factors, 0),)
        return Shape(size, plan.factors, stages, 1, False, False)
    stages_of = plan.stages()
    whole = ""
    if plan.consistency in WHOLE_PLANE:
        whole = f"the {WHOLE_PLANE[plan.consistency]} needs the whole plane"
    elif any(isinstance(stage, FourierStage) for stage in stages_of):
        whole = "the Fourier method needs the whole plane"
    runner = plan.runner()
    stages = tuple(
        StageShape(stage.factors, getattr(stage, "halo", 0), getattr(stage, "multiple", 1))
        for stage in stages_of
    )
    inside = runner.block_mean and any(f.denominator != 1 for f in plan.factors)
    runner.workers = Workers(how_many(plan.device, 1 << 30))  # memory is shared out as on one machine
    tile = 0 if whole else runner.start_tile(stages_of[-1])  # type: ignore[arg-type]
    return Shape(size, plan.factors, stages, tile, inside, plan.sample.n_bad > 0, whole)


def state_of(plan: UpscalePlan, tile: int) -> dict[str, Any]:
    """Everything of a plan but its image and its weights.

    Parameters
    ----------
    plan : UpscalePlan
    tile : int
        The size of tiles that all workers use: with another the last bits of a network's result may differ.
    """
    return {
        "choice": asdict(plan.choice),
        "factors": [str(f) for f in plan.factors],
        "consistency": plan.consistency,
        "device": str(plan.device),
        "bf16": plan.bf16,
        "tile": tile or None,
        "bad": plan.sample.n_bad,
        "pixels": plan.sample.n_pixels,
        "normaliser": asdict(plan.normaliser),
        "conditions": [asdict(condition) for condition in plan.conditions],
        "psf_fwhm": plan.psf_fwhm,
        "weights_sha256": plan.models[0][2] if plan.models else None,
        "messages": list(plan.messages),
    }


def plan_from(state: Mapping[str, Any], image: Image, *, models: list[Any] | None = None) -> UpscalePlan:
    """The plan again, on the same image or a part of one plane of it.

    Parameters
    ----------
    state : mapping
        Of :func:`state_of`.
    image : Image
    models : list, optional
        Of :func:`models_from`; without it the plan says what comes out, but can't be run.
    """
    choice = dict(state["choice"])
    choice["messages"] = tuple(choice["messages"])
    first, second = (Fraction(text) for text in state["factors"])
    return UpscalePlan(
        image,
        Choice(**choice),
        (first, second),
        state["consistency"],
        choose_device(state["device"]),
        state["bf16"],
        state["tile"],
        Sample(np.empty(0), state["bad"], state["pixels"]),
        Normaliser(**state["normaliser"]),
        models or [],
        list(state["messages"]),
        tuple(Condition(**each) for each in state["conditions"]),
        state["psf_fwhm"],
    )


def models_from(state: Mapping[str, Any], domain: str) -> list[Any]:
    """The network of a state, ready to run here.

    Raises
    ------
    UnsupportedError
        The weights found here are others than those the run was planned with.
    """
    if not state["choice"]["trained"]:
        return []
    from sciSR.models.community import fitted
    from sciSR.models.files import load_model

    model, spec, digest = load_model(state["choice"]["name"], scale=state["choice"]["step"])
    if digest != state["weights_sha256"]:
        raise UnsupportedError(
            f"the weights of {spec.name} are others here than where the run was planned (sha256 {digest[:8]})",
            remedy="install the same version of sciSR everywhere",
        )
    model, spec = fitted(model, spec, domain)
    return [(to_network_memory(model, choose_device(state["device"])), spec, digest)]


class Window:
    """Some rows and columns of one plane of an array, read when asked for."""

    def __init__(self, source: Any, plane: tuple[slice | int, ...], window: tuple[slice, slice]) -> None:
        self.source, self.plane, self.window = source, plane, window
        self.dtype = np.dtype(source.dtype)
        self.shape = tuple(w.stop - w.start for w in window)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, *(slice(None),) * (2 - len(index)))
        inside = []
        for entry, window, size in zip(index, self.window, self.shape, strict=True):
            start, stop, _ = entry.indices(size)
            inside.append(slice(window.start + start, window.start + max(start, stop)))
        spatial = iter(inside)
        return np.asarray(
            self.source[tuple(next(spatial) if isinstance(e, slice) else e for e in self.plane)]
        )


def window_of(image: Image, plane: tuple[slice | int, ...], rows: slice, columns: slice) -> Image:
    """A part of one plane as an image of its own, on a bare grid."""
    cut = (rows, columns)
    return replace(
        image,
        data=Window(image.data, plane, cut),
        axes=image.spatial,
        grid=None,
        uncertainty=None,
        mask=None if image.mask is None else Window(image.mask, plane, cut),
        metadata=None,
        noise=None,
    )
