"""One-dimensional blur and decimation with one symmetric kernel, and its transpose: what separable profiles share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sciSR.forward.border import fold, mirrored


def down(x: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Correlate along the last axis and keep every `scale`-th sample, ``[..., s n]`` -> ``[..., n]``.

    Parameters
    ----------
    x : Tensor
        Float; mirrored about its pixel edges beyond the border.
    kernel : Tensor, 1-D
        ``scale + 2 before`` taps; the first lies `before` fine pixels ahead of the coarse pixel's first one.
    scale : int
        Fine pixels for each coarse one.
    """
    before = _before(kernel, scale)
    flat = x.reshape(-1, 1, x.shape[-1])[..., mirrored(x.shape[-1], before, x.device)]
    out = F.conv1d(flat, kernel.to(x)[None, None], stride=scale)
    return out.reshape(*x.shape[:-1], x.shape[-1] // scale)


def up(y: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Transpose of :func:`down`, ``[..., n]`` -> ``[..., s n]``."""
    size = y.shape[-1] * scale
    spread = F.conv_transpose1d(y.reshape(-1, 1, y.shape[-1]), kernel.to(y)[None, None], stride=scale)
    return fold(spread, size, _before(kernel, scale)).reshape(*y.shape[:-1], size)


def _before(kernel: Tensor, scale: int) -> int:
    return (len(kernel) - scale) // 2
