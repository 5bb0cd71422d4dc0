"""The loss across the slices: away from a patch's ends, where the network sees less than inside a volume."""

from __future__ import annotations

import torch
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.throughplane.learning import rim
from sciSR.training.config import TrainConfig
from sciSR.training.losses import Loss
from sciSR.training.pair import Batch


class SliceLoss(Loss):
    """As `Loss`, but for what isn't judged: the thin slices of about one thick one, and a few columns, at each end.

    Raises
    ------
    UsageError
        An unknown kind or option, or ``within``: the network's output agrees with the input as it is.
    """

    def __init__(self, config: TrainConfig, halo: int, device: torch.device | str) -> None:
        super().__init__(config, halo, device)
        if any(item.within for item in self.terms):
            raise UsageError("loss: 'within' means nothing across the slices", remedy="leave it out")

    def _inner(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Batch, int]:
        fine, columns = x.shape[2:]
        cut, side = rim(batch.input.shape[2], fine, columns)
        inside = (..., slice(cut, fine - cut), slice(side, columns - side))
        return x[inside], batch.truth[inside], x[inside], batch, 0
