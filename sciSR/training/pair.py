"""The noun that data, augmentation, loop and losses share: pairs of input and truth, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """One patch.

    Parameters
    ----------
    input : ndarray, float32 ``[P, P]``
        Noise-free input in normalised units (what the network sees, stretch included).
    truth : ndarray, float32 ``[s P, s P]``
        The sharp patch with the same normaliser: that of the whole *input* image.
    noise : ndarray, float32 ``[3]``
        (v0, v1, zero): an input pixel of normalised *linear* value u has the noise variance ``v0 + v1 u``, to be drawn
        at every visit; `zero` is the normalised linear value of the physical zero (for Rician magnitudes).
    condition : ndarray, float32 ``[C]``
        Values of the config's ``model.conditions``; empty if it has none. "noise" is filled in when noise is drawn.
    """

    input: NDArray[np.float32]
    truth: NDArray[np.float32]
    noise: NDArray[np.float32]
    condition: NDArray[np.float32]


@dataclass
class Batch:
    """Several pairs as tensors.

    Parameters
    ----------
    input : Tensor, float32 ``[B, 1, P, P]``
    truth : Tensor, float32 ``[B, 1, s P, s P]``
    noise : Tensor, float32 ``[B, 3]``
    condition : Tensor, float32 ``[B, C]``
    """

    input: Tensor
    truth: Tensor
    noise: Tensor
    condition: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, images channels_last."""
        moved = {item.name: getattr(self, item.name).to(device, non_blocking=True) for item in fields(self)}
        for key in ("input", "truth"):
            moved[key] = moved[key].contiguous(memory_format=torch.channels_last)
        return Batch(**moved)

    def share(self, rank: int, of: int) -> Batch:
        """Every `of`-th pair from number `rank` on: what one of several processes takes."""
        return Batch(**{item.name: getattr(self, item.name)[rank::of] for item in fields(self)})


class Patches(Protocol):
    """Where batches come from: a prepared file, or files read as they are needed.

    A batch is a function of (seed, step) alone, so that a run can be stopped and gone on with at any step.
    """

    def batches(self, first_step: int, size: int, seed: int) -> object:
        """Iterator over the `Batch` of step `first_step`, `first_step` + 1, ...: noise-free, not yet augmented."""
        ...

    def validation(self) -> Batch:
        """The held-out pairs, always the same; noise drawn once and for all."""
        ...
