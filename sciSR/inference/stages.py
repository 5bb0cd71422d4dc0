"""Stages: one refinement of a plane each, by a trained network or a classical method.

A stage turns coarse float32 values (relative to the image's offset) into fine ones. Tiled stages work on any
region that comes with a halo of real or mirrored pixels; the Fourier stage needs the whole plane.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sciSR.classical import METHODS, axis_weights
from sciSR.classical.fourier import fourier_resample
from sciSR.inference.footprint import network_memory
from sciSR.inference.fused import fuse_activations
from sciSR.inference.normalise import Normaliser
from sciSR.inference.planes import Plane, Scratch
from sciSR.inference.subpixel import group_subpixels
from sciSR.inference.tiles import Span, split
from sciSR.models.layers import fold_batch_norm
from sciSR.models.reparameterised import merge
from sciSR.models.spec import ModelSpec

Factors = tuple[Fraction, Fraction]


class TiledStage(Protocol):
    """A stage that works region by region."""

    name: str
    factors: Factors
    halo: int
    multiple: int
    bytes_per_pixel: int

    def region(self, values: Tensor, coarse: tuple[Span, Span], fine: tuple[Span, Span]) -> Tensor:
        """Fine values over `fine` from coarse `values`, which cover `coarse` = what `fine` touches + halo."""
        ...


@dataclass(frozen=True)
class ClassicalStage:
    """Nearest, linear, cubic or Lanczos: two small matrices, one per axis, in float64."""

    name: str
    factors: Factors
    multiple: int = 1

    @property
    def halo(self) -> int:
        return METHODS[self.name].radius if self.name in METHODS else 0

    @property
    def bytes_per_pixel(self) -> int:
        return int(8 * (2 + self.factors[0] * (1 + self.factors[1])))

    def region(self, values: Tensor, coarse: tuple[Span, Span], fine: tuple[Span, Span]) -> Tensor:
        rows, columns = (
            torch.from_numpy(axis_weights(self.name, f, (o.start, o.stop), (i.start, i.stop))).to(
                values.device
            )
            for f, o, i in zip(self.factors, fine, coarse, strict=True)
        )
        if values.device.type == "mps":  # no float64 there
            rows, columns = rows.float(), columns.float()
        return (rows @ values.to(rows.dtype) @ columns.mT).float()


@dataclass(frozen=True)
class NetworkStage:
    """A trained network between the image's normalisation and its inverse.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, on the right device, channels_last.
    spec : ModelSpec
    sha256 : str
        Of the weights file.
    normaliser : Normaliser
        Fitted to the whole image, in the units of the plane (offset 0: it is subtracted already).
    bf16 : bool
        Run the convolutions in bfloat16; the skip path stays float32.
    condition : tuple of float
        What the network is told besides, in the order of `spec.conditions`.
    """

    model: nn.Module
    spec: ModelSpec
    sha256: str
    normaliser: Normaliser
    bf16: bool = False
    condition: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def factors(self) -> Factors:
        return Fraction(self.spec.scale), Fraction(self.spec.scale)

    @property
    def halo(self) -> int:
        return self.spec.receptive_field

    @property
    def multiple(self) -> int:
        return self.spec.multiple

    @cached_property
    def bytes_per_pixel(self) -> int:
        return network_memory(self.model, self.spec)

    def region(self, values: Tensor, coarse: tuple[Span, Span], fine: tuple[Span, Span]) -> Tensor:
        scale = self.spec.scale
        out = self._network(values[None])[0]
        top, left = (f.start - scale * c.start for f, c in zip(fine, coarse, strict=True))
        out = out[top : top + len(fine[0]), left : left + len(fine[1])]
        return self.normaliser.unstretch(out) * self.normaliser.scale

    def batch(self, values: Tensor) -> Tensor:
        """Equal regions side by side, nothing cut off: ``[B, h, w]`` -> ``[B, s h, s w]``, float32."""
        return self.normaliser.unstretch(self._network(values)) * self.normaliser.scale

    def _network(self, values: Tensor) -> Tensor:
        """The network's output in its own units, float32."""
        z = self.normaliser.stretch(values * self.normaliser.inverse_scale)
        x = z[:, None].contiguous(memory_format=torch.channels_last)
        told = [self._told(values.device).expand(len(x), -1)] if self.condition else []
        kind = values.device.type
        with (
            torch.inference_mode(),
            contextlib.nullcontext()
            if kind == "cpu"
            else _full_float32(),  # a global setting; tiles run in threads
            # A graph that is recorded must hold the weights' conversion too.
            torch.autocast(kind, torch.bfloat16, enabled=self.bf16, cache_enabled=kind == "cpu"),
        ):
            return self.model(x, *told).float()[:, 0]

    def _told(self, device: torch.device) -> Tensor:
        """The condition on a device, where it is put once: a graph can't be recorded with copies from the host."""
        if device not in self._conditions:
            self._conditions[device] = torch.tensor([self.condition], dtype=torch.float32, device=device)
        return self._conditions[device]

    @cached_property
    def _conditions(self) -> dict[torch.device, Tensor]:
        return {}


def _full_float32() -> AbstractContextManager[None]:
    """Convolutions of float32 with all its bits: by default CUDA rounds their inputs to ten (TF32)."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False
    )


@dataclass(frozen=True)
class ReadyStage:
    """A plane that a global stage has already refined, read back region by region (for the local steps after it)."""

    name: str
    factors: Factors
    plane: Scratch
    halo: int = 0
    multiple: int = 1
    bytes_per_pixel: int = 64

    def region(self, values: Tensor, coarse: tuple[Span, Span], fine: tuple[Span, Span]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.plane.region(*fine))).to(values.device)


@dataclass(frozen=True)
class FourierStage:
    """Zero-filled Fourier interpolation of the whole plane, one axis at a time, by strips."""

    factors: Factors
    name: str = "fourier"

    def plane(self, source: Plane, device: torch.device) -> Scratch:
        """The refined plane; memory is bounded by the strips, not by the plane."""
        (height, width), wide = source.shape, int(source.shape[1] * self.factors[1])
        high = int(height * self.factors[0])
        half = Scratch((height, wide), dtype=np.float64)
        step = max(1, (32 << 20) // (8 * wide))
        for rows in split(height, step):
            half.write(rows, self._resample(source.region(rows, Span(0, width)), wide, device))
        fine = half.map_columns(lambda columns: self._resample(columns, high, device), high)
        half.close()
        return fine

    @staticmethod
    def _resample(values: np.ndarray, size: int, device: torch.device) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(device)
        if device.type != "mps":
            tensor = tensor.double()
        return fourier_resample(tensor, size).cpu().numpy()


def to_network_memory(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to the device in the layout that its convolutions are fastest in, in evaluation mode."""
    if getattr(model, "as_it_is", False):
        return model.to(device).eval()
    model = fold_batch_norm(merge(model.eval())).to(device).to(memory_format=torch.channels_last)
    return group_subpixels(fuse_activations(model)) if device.type == "cpu" else model
