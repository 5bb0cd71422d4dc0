"""Sparse coding: Yang, Wright, Huang and Ma, "Image Super-Resolution via Sparse Representation", IEEE Transactions on
Image Processing 19, 2010 (doi:10.1109/TIP.2010.2050625). The reference of the time before deep networks: a small patch
is a sparse sum of the atoms of a dictionary, and the sharp patch is the same sum of the sharp atoms."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation, limit_undershoot

CHUNK = 8192
"""Patches that are coded at a time: bounds the memory, whatever the size of the image."""


class SparseCoding(nn.Module):
    """Sparse codes of coarse patches, added up with sharp atoms and to an interpolation.

    Around every pixel of the coarse image, the gradients and second derivatives of its interpolation make a feature
    (Yang et al., section III-C; reduced to its principal components after Zeyde, Elad and Protter 2010,
    doi:10.1007/978-3-642-27413-8_47). Its code is ``argmin |y - D a|^2 / 2 + sparsity |a|_1`` for the feature y
    normalised to length 1, by a fixed number of accelerated thresholding steps (FISTA: Beck and Teboulle 2009,
    doi:10.1137/080716542). The sharp atoms give what the interpolation lacks; where patches overlap, their mean is
    taken.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis.
    atoms : int
        Size of the dictionary.
    patch : int
        Coarse pixels a side, odd.
    components : int
        Length of a feature.
    iterations : int
        Thresholding steps.
    sparsity : float
        Weight of the code's absolute sum; the larger, the fewer atoms.
    kernel : {"cubic", "lanczos"}
        Of the interpolation.
    finish : {"none", "detector"}
        "detector": `sciSR.models.espcn.limit_undershoot` after the sum, for images in the sky stretch.

    Notes
    -----
    ``forward``: float32 ``[B, 1, h, w]`` -> ``[B, 1, s h, s w]``. The patches lie on every coarse pixel, wherever a
    tile begins, and the codes are a continuous function of the image, so tiles equal the whole. Features know no level,
    and codes grow with the feature's length (but for `floor`).
    The weights are learned by `sciSR.training.dictionary`, not by gradients:

    ``analysis [components, 1, k, k]``
        Interpolation, derivatives and principal components as one convolution of the coarse image.
    ``low [atoms, components]``
        Atoms of length 1.
    ``high [atoms, (s patch)^2]``
        The sharp atoms, rows first.
    ``floor``
        Length of a feature below which its code fades away: flat patches are left to the interpolation.
    """

    def __init__(
        self,
        scale: int = 2,
        atoms: int = 512,
        patch: int = 3,
        components: int = 30,
        iterations: int = 15,
        sparsity: float = 0.1,
        kernel: str = "cubic",
        finish: str = "none",
    ) -> None:
        super().__init__()
        if patch % 2 == 0 or min(scale, atoms, patch, components, iterations) < 1:
            raise ValueError("SparseCoding: patch must be odd, and all numbers at least 1")
        if not sparsity > 0:
            raise ValueError(f"SparseCoding: sparsity must be positive, not {sparsity!r}")
        if finish not in ("none", "detector"):
            raise ValueError(f"SparseCoding: finish must be 'none' or 'detector', not {finish!r}")
        self.scale, self.patch, self.iterations, self.sparsity = scale, patch, iterations, sparsity
        self.finish = finish
        self.skip = FixedInterpolation(scale, kernel=kernel)
        side = 2 * self.features_radius() + 1
        self.analysis = nn.Parameter(torch.zeros(components, 1, side, side))
        self.low = nn.Parameter(F.normalize(torch.randn(atoms, components), dim=1))
        self.high = nn.Parameter(torch.zeros(atoms, (scale * patch) ** 2))
        self.floor = nn.Parameter(torch.tensor(1e-2))

    def features_radius(self) -> int:
        """How far a feature sees: half a patch, the second derivative's two fine pixels, the interpolation."""
        return self.patch // 2 + math.ceil(2 / self.scale) + self.skip.radius

    def receptive_field(self) -> int:
        """Radius in input pixels: all patches that overlap in an output pixel, each with its own reach."""
        return self.patch // 2 + self.features_radius()

    def bytes_per_pixel(self) -> int:
        """Memory for each input pixel, besides that of the codes of one chunk."""
        return 4 * (2 * len(self.analysis) + 3 * self.high.shape[1] + 6 * self.scale**2)

    def features(self, x: Tensor) -> Tensor:
        """Features of the patches around all pixels, ``[B, 1, h, w]`` -> ``[B, h w, components]``."""
        padded = F.pad(x, (self.features_radius(),) * 4, mode="replicate")
        return F.conv2d(padded, self.analysis).flatten(2).mT

    def codes(self, features: Tensor) -> Tensor:
        """Sparse codes ``[..., components]`` -> ``[..., atoms]``, as long as their features."""
        length = features.norm(dim=-1, keepdim=True)
        length = length + self.floor
        low = self.low
        # The largest eigenvalue of D' D is that of the small matrix D D'. A little more keeps every step a contraction.
        step = 1 / (1.001 * torch.linalg.eigvalsh(low.mT @ low)[-1].detach().clamp_min(1e-12))
        threshold = float(self.sparsity * step)
        start = step * (features / length) @ low.mT
        code = ahead = F.softshrink(start, threshold)
        pace = 1.0
        for _ in range(self.iterations - 1):
            following = F.softshrink(ahead - step * (ahead @ low) @ low.mT + start, threshold)
            faster = (1 + math.sqrt(1 + 4 * pace * pace)) / 2
            ahead = following + (pace - 1) / faster * (following - code)
            code, pace = following, faster
        return code * length

    def detail(self, x: Tensor) -> Tensor:
        """What the dictionary adds to the interpolation, ``[B, 1, s h, s w]``."""
        features = self.features(x)
        patches = [self.codes(part) @ self.high for part in features.flatten(0, 1).split(CHUNK)]
        blocks = torch.cat(patches).unflatten(0, features.shape[:2]).mT
        size, wide = tuple(self.scale * n for n in x.shape[-2:]), self.scale * self.patch
        total = F.fold(blocks, size, wide, padding=self.scale * (self.patch // 2), stride=self.scale)
        rows, columns = (self._overlaps(n, x) for n in x.shape[-2:])
        return total / (rows[:, None] * columns)

    def _overlaps(self, size: int, x: Tensor) -> Tensor:
        """How many patches cover each fine pixel along an axis: fewer at the image's edge, where none lie outside."""
        at = torch.arange(size, device=x.device)
        reach = self.patch // 2
        count = (at + reach).clamp_max(size - 1) - (at - reach).clamp_min(0) + 1
        return count.repeat_interleave(self.scale).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            out = self.skip(x) + self.detail(x)
        return limit_undershoot(out, x, self.scale) if self.finish == "detector" else out
