"""ECBSR: Zhang, Zeng, Zhang, "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM
2021 (doi:10.1145/3474085.3475291). A chain of plain 3x3 convolutions that trains with several linear branches; our
default, with the identity branch of RepVGG (Ding et al., CVPR 2021, arXiv:2101.03697)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sciSR.models.espcn import FixedInterpolation, limit_undershoot
from sciSR.models.reparameterised import RepConv3

BRANCHES = ("identity", "edges", "chain")
_SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
_LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class EdgeConv3(RepConv3):
    """A 3x3 convolution whose kernel is the sum of a free one and of linear branches; ``[B, C, h, w]`` in and out.

    Parameters
    ----------
    c_in, c_out : int
    branches : sequence of {"identity", "edges", "chain"}
        "identity" (the input itself, which replaces the skip of a residual block), "edges" (1x1 convolutions followed
        by Sobel filters in x and y and a Laplacian), "chain" (1x1, 3x3, 1x1, see `RepConv3`).
    """

    def __init__(self, c_in: int, c_out: int, branches: Sequence[str] = ()) -> None:
        super().__init__(c_in, c_out, gain=2 if "chain" in branches else 0)
        self.branches = tuple(branches)
        if "identity" in branches:
            unit = torch.zeros(c_out, c_in, 3, 3)
            unit[range(c_out), range(c_in), 1, 1] = 1
            self.register_buffer("unit", unit, persistent=False)
            with torch.no_grad():  # the sum of both must not grow from layer to layer
                self.weight.mul_(0.5)
        if "edges" in branches:
            sobel = torch.tensor(_SOBEL)
            self.register_buffer(
                "filters", torch.stack([sobel, sobel.T, torch.tensor(_LAPLACE)]), persistent=False
            )
            self.mix = nn.Parameter(torch.randn(3, c_out, c_in) * 0.1 * (3 * c_in) ** -0.5)

    def kernel(self) -> Tensor:
        kernel = super().kernel()
        if "identity" in self.branches:
            kernel = kernel + self.unit
        if "edges" in self.branches:
            kernel = kernel + torch.einsum("koc,kij->ocij", self.mix, self.filters)
        return kernel


class ECBSR(nn.Module):
    """Plain convolutions on the input grid, a pixel shuffle, and a fixed interpolation as the only other path.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis.
    features, blocks : int
        Channels, and number of convolutions between the first and the last. The paper's largest network, M16C64, is
        ``features=64, blocks=16, activation="prelu", middle=False``.
    branches : sequence of str
        Linear branches of those convolutions, see `EdgeConv3`; all are one plain convolution when it runs.
    activation : {"relu", "prelu"}
        "relu" is computed by the same kernel as the convolution.
    middle : bool
        One more convolution after the chain, and the first one's output added to it, as EDSR has.
    finish : {"none", "detector"}
        "detector": `sciSR.models.espcn.limit_undershoot` after the sum, for networks in the sky stretch.

    Notes
    -----
    ``forward``: float32 ``[B, 1, h, w]`` -> ``[B, 1, s h, s w]``. M16C64 has 594,884 parameters at ×2 (the paper's
    table says 596.0 thousand); the paper adds the nearest interpolation instead of Lanczos.
    """

    def __init__(
        self,
        scale: int = 2,
        features: int = 48,
        blocks: int = 14,
        branches: Sequence[str] = ("identity",),
        activation: str = "relu",
        middle: bool = True,
        finish: str = "none",
    ) -> None:
        super().__init__()
        unknown = sorted(set(branches) - set(BRANCHES))
        if unknown:
            raise ValueError(f"ECBSR: branch {unknown[0]!r} is unknown; there are {', '.join(BRANCHES)}")
        if activation not in ("relu", "prelu"):
            raise ValueError(f"ECBSR: activation must be 'relu' or 'prelu', not {activation!r}")
        if finish not in ("none", "detector"):
            raise ValueError(f"ECBSR: finish must be 'none' or 'detector', not {finish!r}")
        self.scale, self.finish = scale, finish
        self.skip = FixedInterpolation(scale)
        edges = tuple(branch for branch in branches if branch != "identity")

        def act() -> nn.Module:
            return nn.ReLU() if activation == "relu" else nn.PReLU(features)

        # A chain in one Sequential lets the engine join each convolution with the activation after it.
        first = [EdgeConv3(1, features, edges), *([] if activation == "relu" else [act()])]
        self.head = nn.Sequential(*first)
        layers: list[nn.Module] = []
        for _ in range(blocks):
            layers += [EdgeConv3(features, features, branches), act()]
        self.body = nn.Sequential(*layers)
        self.middle = EdgeConv3(features, features, edges) if middle else None
        self.tail = EdgeConv3(features, scale * scale, edges)
        with torch.no_grad():  # start near the interpolation itself
            self.tail.weight.mul_(0.3)

    last_convolution = "tail"

    def chain(self, h: Tensor, condition: Tensor | None) -> Tensor:
        """All convolutions between the first and the last; a condition changes nothing here."""
        return self.body(h)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        shallow = self.head(x)
        h = self.chain(shallow, condition)
        if self.middle is not None:
            h = self.middle(h) + shallow
        out = self.skip.join(x, self.tail(h))
        return limit_undershoot(out, x, self.scale) if self.finish == "detector" else out

    def receptive_field(self) -> int:
        """Radius in input pixels: every convolution reaches one further."""
        convolutions = sum(isinstance(layer, EdgeConv3 | nn.Conv2d) for layer in self.modules())
        return max(self.skip.radius, convolutions)


class ConditionalECBSR(ECBSR):
    """ECBSR that is told how its input was degraded: noise level, width of the PSF, truncated k-space or a blur.

    The condition scales and shifts the features before every second convolution (FiLM: Perez et al., AAAI 2018,
    arXiv:1709.07871); it is one vector for the whole image, so tiles stay exact.

    Parameters
    ----------
    conditions : int
        Length C of the condition ``[B, C]``, see `sciSR.models.spec.ModelSpec`.
    hidden : int
        Width of the layer that all scales and shifts come from.
    scale, features, blocks, and others
        As for `ECBSR`; the activation is "relu".
    """

    def __init__(
        self,
        scale: int = 2,
        conditions: int = 2,
        hidden: int = 32,
        features: int = 48,
        blocks: int = 14,
        branches: Sequence[str] = ("identity",),
        finish: str = "none",
    ) -> None:
        super().__init__(scale, features, blocks, branches, finish=finish)
        self.conditions, self.features, self.places = conditions, features, -(-blocks // 2)
        self.embed = nn.Sequential(
            nn.Linear(2 * conditions, hidden), nn.SiLU(), nn.Linear(hidden, self.places * 2 * features)
        )
        nn.init.zeros_(self.embed[2].weight)
        nn.init.zeros_(self.embed[2].bias)

    def chain(self, h: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise ValueError(
                f"ConditionalECBSR: forward needs a condition of {self.conditions} values for each image"
            )
        # Noise levels span decades: a compressed copy lets small ones count too.
        told = torch.cat([condition, torch.log1p(20 * condition.clamp_min(0))], 1)
        film = self.embed(told).unflatten(1, (self.places, 2, self.features))[..., None, None]
        for place in range(self.places):  # pairs of (convolution, activation)
            scale, shift = film[:, place].unbind(1)
            h = self.body[4 * place : 4 * place + 4](h * (1 + scale) + shift)
        return h
