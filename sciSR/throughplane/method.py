"""Which way thin slices are made: the pre-trained network, one of the volume's own, or a matrix across the slices."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciSR.classical.kernels import METHODS, axis_weights
from sciSR.errors import ModelError, UsageError
from sciSR.forward.slice_sampling import SliceSampling
from sciSR.image import Image
from sciSR.throughplane.sharp import LEAST_SIDE

DEFAULT = "throughplane-mr"
"""The pre-trained network."""
CLASSICAL = ("smoothest", "nearest", *METHODS)
STEPS = {"0": 0, "fast": 200, "full": 1500}
"""Of training on the volume itself, from the pre-trained network on."""
SCRATCH_STEPS = {"fast": 400, "full": 4000}
"""The same from nothing."""
RATES = {"0": 0.0, "fast": 3e-4, "full": 3e-4}
"""Peak learning rate from the pre-trained network on."""
SCRATCH_RATE = 1e-3
LEAST_RATIO = 1.5
"""Below this there is hardly anything between the slices."""
LARGEST_RATIO = 9.0
"""Thin slices for each thick one up to which the pre-trained network was trained."""


@dataclass(frozen=True)
class Method:
    """What was chosen.

    Attributes
    ----------
    name : str
    network : bool
        Whether a network adds detail; otherwise the method is a matrix.
    self_training : {"0", "fast", "full"}
    steps : int
        Of training on the volume.
    lr : float
        Its peak learning rate.
    digest : str or None
        SHA-256 of the weights that it begins with.
    model : torch.nn.Module or None
        In evaluation mode, without gradients; None where it begins from nothing.
    """

    name: str
    network: bool = False
    self_training: str = "0"
    steps: int = 0
    lr: float = 0.0
    digest: str | None = None
    model: Any = None
    messages: tuple[str, ...] = field(default=())


def choose_method(image: Image, operator: SliceSampling, model: str, self_training: str, side: int) -> Method:
    """The method for a volume.

    Parameters
    ----------
    image : Image
    operator : SliceSampling
    model, self_training : str
        See :func:`sciSR.throughplane.plan_isotropic`.
    side : int
        The shorter side of a slice, in pixels.

    Raises
    ------
    UsageError
        A combination that makes no sense.
    ModelError
        No such network, or one that does not work across slices.
    """
    ratio = operator.fine / operator.coarse
    if model in CLASSICAL:
        return Method(model)
    if model == "fourier":
        raise UsageError("slices are not samples of k-space", remedy="use smoothest, cubic or a network")
    if ratio < LEAST_RATIO and model == "auto":
        said = f"only {ratio:.3g} thin slices for each: no network is needed"
        return Method("smoothest", messages=(said,))
    if side < LEAST_SIDE and self_training != "0" and model != "scratch":
        chosen = choose_method(image, operator, model, "0", side)
        said = f"slices of {side} pixels are too small to learn from"
        return replace(chosen, messages=(*chosen.messages, said))
    if model == "scratch":
        if side < LEAST_SIDE:
            raise UsageError(
                f"slices of {side} pixels are too small to learn from",
                where=image.where,
                remedy="leave --model out",
            )
        if self_training == "0":
            raise UsageError("a network from nothing must learn", remedy="give --self-training fast or full")
        steps = SCRATCH_STEPS[self_training]
        said = f"a network learns from this volume alone: {steps} steps"
        return Method("scratch", True, self_training, steps, SCRATCH_RATE, messages=(said,))
    if model == "auto" and image.domain not in ("mr", "ct"):
        said = f"no network for domain {image.domain!r}: the smoothest volume that agrees with the slices"
        return Method("smoothest", messages=(said,))
    if model == "auto" and image.domain == "ct" and self_training == "0":
        return Method(
            "smoothest", messages=("the pre-trained network saw no CT: it would have to learn first",)
        )
    return _trained(DEFAULT if model == "auto" else model, ratio, self_training)


def _trained(name: str, ratio: float, self_training: str) -> Method:
    from sciSR.models.files import load_model

    network, spec, digest = load_model(name)
    if spec.architecture != "ThroughPlane":
        raise ModelError(
            f"model {spec.name} refines within the plane",
            remedy=f"use {DEFAULT}, scratch, {', '.join(CLASSICAL)}",
        )
    steps = STEPS[self_training]
    said = [f"model {spec.name}" + (f", which learns from this volume for {steps} steps" if steps else "")]
    if ratio > LARGEST_RATIO:
        said.append(f"{ratio:.3g} thin slices for each thick one is more than the network was trained for")
    return Method(spec.name, True, self_training, steps, RATES[self_training], digest, network, tuple(said))


def matrix_of(method: Method, operator: SliceSampling) -> Tensor:
    """The linear part of a method, ``[fine, coarse]``, float64: all of it if there is no network."""
    if method.network or method.name == "smoothest":
        return operator.smoothest
    return _interpolation(method.name, operator.coarse, operator.fine)


@functools.lru_cache(maxsize=8)
def _interpolation(name: str, coarse: int, fine: int) -> Tensor:
    """Mirrored about the outer faces of the first and the last slice."""
    reach = METHODS[name].radius if name in METHODS else 1
    padded = axis_weights(name, Fraction(fine, coarse), (0, fine), (-reach, coarse + reach))
    at = np.arange(-reach, coarse + reach) % (2 * coarse)
    at = np.where(at < coarse, at, 2 * coarse - 1 - at)
    matrix = np.zeros((fine, coarse))
    np.add.at(matrix, (slice(None), at), padded)
    return torch.from_numpy(matrix)
