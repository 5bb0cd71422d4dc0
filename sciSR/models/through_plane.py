"""A network for the axis across the slices: planes that are sharp along the columns, thick along the rows.

Convolutions on the measured slices, so that what they cost does not depend on how many thin slices are asked for; then
one head for every ratio: a few feature planes are mixed into each thin slice with weights that a small network derives
from where that slice lies between the measured ones (the idea of Meta-SR, Hu et al., CVPR 2019, arXiv:1903.00875, along
one axis). The network proposes detail only: `sciSR.throughplane.detail` takes what the measured slices can't see of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.models.ecbsr import EdgeConv3


class ThroughPlane(nn.Module):
    """Detail between thick slices.

    Parameters
    ----------
    features, blocks : int
        Channels, and number of convolutions between the first and the last.
    planes : int
        Feature planes that thin slices are mixed from.
    hidden : int
        Width of the network that derives the mixture.

    Notes
    -----
    ``forward(x, fine, thickness)``: float32 ``[B, 1, n, w]`` (slices, columns) -> ``[B, 1, fine, w]``, for any
    ``fine >= 1``; `thickness` is the slices' width over their spacing.
    """

    def __init__(self, features: int = 48, blocks: int = 12, planes: int = 16, hidden: int = 48) -> None:
        super().__init__()
        self.planes, self.blocks = planes, blocks
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.chain = nn.ModuleList(EdgeConv3(features, features, ("identity",)) for _ in range(blocks))
        self.middle = nn.Conv2d(features, features, 3, padding=1)
        self.last = nn.Conv2d(features, planes, 3, padding=1)
        self.mixture = nn.Sequential(
            nn.Linear(5, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 3 * planes),
        )
        with torch.no_grad():
            self.mixture[-1].weight.mul_(0.3)

    def forward(self, x: Tensor, fine: int, thickness: float = 1.0) -> Tensor:
        n = x.shape[-2]
        ratio = fine / n
        told = [x.new_full(x.shape, math.log2(ratio) / 3), x.new_full(x.shape, thickness - 1)]
        first = F.relu(self.first(torch.cat([x, *told], 1)))
        y = first
        for layer in self.chain:
            y = F.relu(layer(y))
        y = self.last(F.relu(self.middle(y) + first))
        weights = self.weights(n, fine, thickness).to(y.dtype)
        return torch.einsum("fmn,bmnw->bfw", weights, y)[:, None].float()

    def weights(self, n: int, fine: int, thickness: float) -> Tensor:
        """How thin slices are mixed, ``[fine, planes, n]``: from the slice they lie in and its two neighbours."""
        device = self.first.weight.device
        centre = (torch.arange(fine, device=device, dtype=torch.float64) + 0.5) * (n / fine) - 0.5
        nearest = torch.floor(centre + 0.5).clamp(0, n - 1).long()
        phase = (centre - nearest).float()
        told = [phase, torch.sin(math.pi * phase), torch.cos(2 * math.pi * phase)]
        told += [torch.full_like(phase, n / fine), torch.full_like(phase, thickness)]
        with torch.autocast(device.type, enabled=False):
            mixed = self.mixture(torch.stack(told, -1)).view(fine, self.planes, 3)
        out = mixed.new_zeros(fine, self.planes, n)
        for k, step in enumerate((-1, 0, 1)):
            at = (nearest + step).clamp(0, n - 1)
            out = out.scatter_add(2, at[:, None, None].expand(fine, self.planes, 1), mixed[..., k : k + 1])
        return out

    def receptive_field(self) -> int:
        """Radius in slices and columns."""
        return self.blocks + 4
