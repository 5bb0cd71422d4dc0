"""What is compared: classical methods, trained networks, and oracles that know what no user knows.

Classical methods and networks run through the engine's public path (:func:`sciSR.inference.plan_upscale`), so that what
is measured is what a user gets: normalisation, halo, conditions, consistency and all.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciSR.image import Image
from sciSR.inference import fill
from sciSR.inference.normalise import fit
from sciSR.inference.plan import plan_upscale
from sciSR.models.files import load_model, load_spec
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
    domain : {"mr", "astronomy", "generic"}
        As an adapter would have set it.
    statistics : ndarray, 1-D, optional
        Values of the whole image, if `coarse` is only some of its planes: the normaliser is fitted to these.
    """

    coarse: NDArray[np.float64]
    domain: str = "generic"
    statistics: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Method:
    """A way to upscale.

    Attributes
    ----------
    name : str
        As shown in tables.
    kind : {"classical", "trained", "oracle"}
    run : callable
        ``run(sample, scale) -> ndarray [N, scale h, scale w]``, float64; NaN where the input was bad.
    spec : ModelSpec, optional
        Of a network.
    parameters : int
        Trainable numbers; 0 for the others.
    """

    name: str
    kind: Literal["classical", "trained", "oracle"]
    run: Callable[[Sample, int], NDArray[np.float64]]
    spec: ModelSpec | None = None
    parameters: int = 0

    def timed(self, sample: Sample, scale: int) -> tuple[NDArray[np.float64], float]:
        """The result, and seconds for each megapixel of it."""
        start = time.perf_counter()
        result = self.run(sample, scale)
        return result, (time.perf_counter() - start) / (result.size / 1e6)


def engine(sample: Sample, scale: int, model: str, consistency: str = "auto") -> NDArray[np.float64]:
    """Planes through the engine, exactly as :func:`sciSR.upscale` does it.

    Parameters
    ----------
    sample : Sample
    scale : int
    model : str
        Name of a classical method or a network, or the path of its weights.
    consistency : str
        As for :func:`sciSR.inference.plan_upscale`.

    Returns
    -------
    ndarray, float64 ``[N, scale h, scale w]``
    """
    image = Image.from_array(sample.coarse, domain=sample.domain)
    plan = plan_upscale(image, scale, model, consistency=consistency, device="cpu")  # type: ignore[arg-type]
    if sample.statistics is not None:
        plan = dataclasses.replace(plan, normaliser=fit(sample.statistics, plan.normaliser.kind))
    out = np.empty(plan.output.shape, np.float64)

    def put(index: tuple[slice | int, ...], block: NDArray[np.float32]) -> None:
        out[index] = block

    plan.run(put)
    return out


def quintic(sample: Sample, scale: int) -> NDArray[np.float64]:
    """Quintic spline interpolation, edge-aligned, borders mirrored (`scipy.ndimage.zoom`); in the sky with the block
    means set to the input, as the engine does for the other classical methods."""
    bad = ~np.isfinite(sample.coarse)
    coarse = sample.coarse
    if bad.any():
        level = float(np.median(coarse[~bad]))
        coarse = np.stack([fill.fill_bad(p, b, level) for p, b in zip(coarse, bad, strict=True)])
    out = ndimage.zoom(coarse, (1, scale, scale), order=5, mode="reflect", grid_mode=True)
    if sample.domain != "mr":
        n, height, width = coarse.shape
        blocks = out.reshape(n, height, scale, width, scale)
        out = (blocks + (coarse - blocks.mean((2, 4)))[:, :, None, :, None]).reshape(out.shape)
    if bad.any():
        out[np.repeat(np.repeat(bad, scale, 1), scale, 2)] = math.nan
    return out


def classical(name: str, consistency: str = "auto") -> Method:
    """One of `CLASSICAL`; with ``consistency="none"`` as other tools have it, without the engine's consistency step."""
    title = name if consistency == "auto" else f"{name} alone"
    if name != "quintic":
        return Method(title, "classical", lambda sample, scale: engine(sample, scale, name, consistency))
    if consistency == "auto":
        return Method(title, "classical", quintic)
    return Method(title, "classical", lambda s, scale: quintic(dataclasses.replace(s, domain="mr"), scale))


def trained(weights: str | Path, consistency: str = "auto") -> Method:
    """A network, by the path of its weights or the name of a shipped one.

    Raises
    ------
    ModelError
        No such model, or its file can't be read.
    """
    model, spec, _ = load_model(weights)
    parameters = sum(p.numel() for p in model.parameters())
    title = spec.name if consistency == "auto" else f"{spec.name}, consistency {consistency}"

    def run(sample: Sample, scale: int) -> NDArray[np.float64]:
        return engine(sample, scale, str(weights), consistency)

    return Method(title, "trained", run, spec, parameters)


def all_classical(*, alone: bool = False) -> list[Method]:
    """All of `CLASSICAL`, and once more without the consistency step if `alone`."""
    return [classical(name) for name in CLASSICAL] + (
        [classical(name, "none") for name in CLASSICAL] if alone else []
    )


def protocols_of(weights: str | Path) -> tuple[str, ...]:
    """The protocols that measure a network: those of its own domain and forward model."""
    spec = load_spec(weights)
    if spec.domain == "mr":
        return (f"mr-{spec.forward_model}",)
    return ("astro-simulated", "astro-real") if spec.domain == "astronomy" else ("set5", "set14")


def names_of(methods: Sequence[Method], kind: str) -> list[str]:
    """Names of the methods of one kind, in order."""
    return [method.name for method in methods if method.kind == kind]
