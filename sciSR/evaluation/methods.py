"""What is compared: classical methods, trained networks, and oracles that know what no user knows.

Classical methods and networks run through the engine's public path (:func:`sciSR.inference.plan_upscale`), so that what
is measured is what a user gets: normalisation, halo, conditions, consistency and all.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from sciSR.errors import SciSRWarning
from sciSR.evaluation.table import MethodInfo
from sciSR.image import Image
from sciSR.inference import fill
from sciSR.inference.normalise import fit
from sciSR.inference.plan import plan_upscale
from sciSR.models.files import load_model, load_spec
from sciSR.models.reparameterised import merge
from sciSR.models.spec import ModelSpec

CLASSICAL = ("nearest", "linear", "cubic", "quintic", "lanczos", "fourier")
"""All that a network is held against; its gain is over the best of them in each file."""


@dataclass(frozen=True)
class Sample:
    """What every method is given.

    Parameters
    ----------
    coarse : ndarray, float64 ``[N, h, w]``
        Planes of one image; NaN where bad.
    domain : str
        As an adapter sets it: "mr", "astronomy", "generic", ...
    forward : str
        How `coarse` came to be: "kspace", "gaussian", "detector" or "bicubic".
    statistics : ndarray, 1-D, optional
        Values of the whole image, if `coarse` is only some of its planes: the normaliser is fitted to these.
    """

    coarse: NDArray[np.float64]
    domain: str = "generic"
    forward: str = "detector"
    statistics: NDArray[np.float64] | None = None


Run = Callable[[Sample, int], tuple[NDArray[np.float64], float]]


@dataclass(frozen=True)
class Method:
    """A way to upscale.

    Attributes
    ----------
    name : str
        As shown in tables.
    kind : {"classical", "trained", "oracle", "reference"}
        Gains are over the classical ones; references are shown only.
    run : callable
        ``run(sample, scale) -> (planes, seconds)``: ``[N, scale h, scale w]``, float64, NaN where the input was bad;
        the time without that of reading weights.
    spec : ModelSpec, optional
        Of a network.
    parameters : int
        Trainable numbers; 0 for the others.
    """

    name: str
    kind: Literal["classical", "trained", "oracle", "reference"]
    run: Run
    spec: ModelSpec | None = None
    parameters: int = 0

    @property
    def info(self) -> MethodInfo:
        """What tables show of it."""
        architecture = self.spec.architecture if self.spec else ""
        return MethodInfo(self.kind, architecture, self.parameters)


def engine(
    sample: Sample, scale: int, model: str, *, consistency: str = "auto", device: str = "cpu"
) -> tuple[NDArray[np.float64], float]:
    """Planes through the engine, exactly as :func:`sciSR.upscale` does it.

    Parameters
    ----------
    sample : Sample
    scale : int
    model : str
        Name of a classical method or a network, or the path of its weights.
    consistency, device : str
        As for :func:`sciSR.inference.plan_upscale`.

    Returns
    -------
    planes : ndarray, float64 ``[N, scale h, scale w]``
        As rounded to float32 by the engine.
    seconds : float
        For the planes alone, without reading weights.
    """
    image = Image.from_array(sample.coarse, domain=sample.domain)
    settings = {"consistency": consistency, "device": device, "forward": _told(sample, model)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)  # for users; a table says the same in numbers
        plan = plan_upscale(image, scale, model, **settings)  # type: ignore[arg-type]
    if sample.statistics is not None:
        plan = dataclasses.replace(plan, normaliser=fit(sample.statistics, plan.normaliser.kind))
    out = np.empty(plan.output.shape, np.float64)

    def put(index: tuple[slice | int, ...], block: NDArray[np.float32]) -> None:
        out[index] = block

    start = time.perf_counter()
    plan.run(put)
    return out, time.perf_counter() - start


def _told(sample: Sample, model: str) -> str:
    """What `--forward` a user who knows the image would give to a network that can undo several."""
    if model in (*CLASSICAL, "auto"):
        return "auto"
    known = load_spec(model).forward_models
    return sample.forward if len(known) > 1 and sample.forward in known else "auto"


def spline(planes: NDArray[np.float64], scale: int, order: int) -> NDArray[np.float64]:
    """Planes ``[N, h, w]`` enlarged by a spline, edge-aligned, borders mirrored; one by one, which is quicker."""
    zoomed = [ndimage.zoom(plane, scale, order=order, mode="reflect", grid_mode=True) for plane in planes]
    return np.stack(zoomed)


def quintic(sample: Sample, scale: int) -> NDArray[np.float64]:
    """Quintic spline interpolation, edge-aligned, borders mirrored (`scipy.ndimage.zoom`); but for MR and CT with the
    block means set to the input, as the engine does for the other classical methods."""
    bad = ~np.isfinite(sample.coarse)
    coarse = sample.coarse
    if bad.any():
        level = float(np.median(coarse[~bad]))
        coarse = np.stack([fill.fill_bad(p, b, level) for p, b in zip(coarse, bad, strict=True)])
    out = spline(coarse, scale, 5)
    if sample.domain not in ("mr", "ct"):
        n, height, width = coarse.shape
        blocks = out.reshape(n, height, scale, width, scale)
        out = (blocks + (coarse - blocks.mean((2, 4)))[:, :, None, :, None]).reshape(out.shape)
    if bad.any():
        out[np.repeat(np.repeat(bad, scale, 1), scale, 2)] = math.nan
    return out


def timed(function: Callable[[Sample, int], NDArray[np.float64]]) -> Run:
    """The same function with the seconds that it took."""

    def run(sample: Sample, scale: int) -> tuple[NDArray[np.float64], float]:
        start = time.perf_counter()
        result = function(sample, scale)
        return result, time.perf_counter() - start

    return run


def classical(name: str) -> Method:
    """One of `CLASSICAL`."""
    if name == "quintic":
        return Method(name, "classical", timed(quintic))
    return Method(name, "classical", lambda sample, scale: engine(sample, scale, name))


def alone(name: str) -> Method:
    """One of `CLASSICAL` as other tools have it, without the engine's consistency step: a reference."""
    if name == "quintic":
        run = timed(lambda sample, scale: quintic(dataclasses.replace(sample, domain="mr"), scale))
    else:

        def run(sample: Sample, scale: int) -> tuple[NDArray[np.float64], float]:
            return engine(sample, scale, name, consistency="none")

    return Method(f"{name} alone", "reference", run)


def automatic() -> Method:
    """What ``--model auto`` makes of the image, the image's own check of the network included: a reference."""
    return Method("auto", "reference", lambda sample, scale: engine(sample, scale, "auto"))


def all_classical() -> list[Method]:
    """All of `CLASSICAL`."""
    return [classical(name) for name in CLASSICAL]


def count(model: nn.Module) -> int:
    """Trainable numbers of a network as it runs: linear branches that are one convolution count as that."""
    return sum(p.numel() for p in merge(copy.deepcopy(model)).parameters())


def trained(
    weights: str | Path, scale: int | None = None, *, consistency: str = "auto", device: str = "cpu"
) -> Method:
    """A network.

    Parameters
    ----------
    weights : str or Path
        Name of a shipped network, or path of its weights.
    scale : int, optional
        Which of its factors, if the weights serve several.
    consistency, device : str
        As for :func:`sciSR.inference.plan_upscale`.

    Raises
    ------
    ModelError
        No such model, or its file can't be read.
    """
    model, spec, _ = load_model(weights, scale=scale)
    parameters = count(model)
    title = spec.name if consistency == "auto" else f"{spec.name}, consistency {consistency}"

    def run(sample: Sample, factor: int) -> tuple[NDArray[np.float64], float]:
        return engine(sample, factor, str(weights), consistency=consistency, device=device)

    return Method(title, "trained", run, spec, parameters)
