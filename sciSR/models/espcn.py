"""ESPCN: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016. Four convolutions on the input grid and a sub-pixel shuffle, added
to a fixed interpolation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.models.layers import FAINT, carry_in, carry_on, carry_out, initialise
from sciSR.models.reach import reach


def lanczos_phases(scale: int, radius: int = 5) -> Tensor:
    """Edge-aligned Lanczos interpolation as a polyphase filter.

    Output pixel ``s i + p`` lies at input position ``i + (p + 0.5)/s - 0.5``.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel.
    radius : int
        Number of lobes a of the window ``sinc(t) sinc(t / a)``; also the reach in input pixels.

    Returns
    -------
    Tensor
        float64 ``[scale, 2 radius + 1]``; row p holds the taps at offsets -radius .. radius, normalised to
        sum 1.
    """
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    t = offset[None] - phase[:, None]
    taps = torch.where(t.abs() < radius, torch.sinc(t) * torch.sinc(t / radius), torch.zeros_like(t))
    return taps / taps.sum(1, keepdim=True)


def cubic_phases(scale: int) -> Tensor:
    """Keys' cubic interpolation (a = -0.5) as a polyphase filter, ``[scale, 5]``; see `lanczos_phases`."""
    from sciSR.forward.bicubic import keys

    offset = torch.arange(-2, 3, dtype=torch.float64)
    phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    return keys(offset[None] - phase[:, None])


class FixedInterpolation(nn.Module):
    """Interpolation without parameters, float32 also under autocast; ``[B, C, h, w]`` -> ``[B, C, s h, s w]``.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis.
    radius : int
        Lobes of the Lanczos kernel; the cubic one always reaches 2 pixels.
    kernel : {"lanczos", "cubic"}
        "cubic" (Keys, a = -0.5) repeats the last pixels beyond the border, where the networks that see its result are
        harmed by a drop to zero; "lanczos" pads with zeros, as the shipped networks were trained.
    """

    def __init__(self, scale: int, radius: int = 5, kernel: str = "lanczos") -> None:
        super().__init__()
        if kernel not in ("lanczos", "cubic"):
            raise ValueError(f"FixedInterpolation: kernel must be 'lanczos' or 'cubic', not {kernel!r}")
        taps = lanczos_phases(scale, radius) if kernel == "lanczos" else cubic_phases(scale)
        self.scale, self.radius, self.repeat = scale, taps.shape[1] // 2, kernel == "cubic"
        self.register_buffer(
            "kernel", torch.einsum("ai,bj->abij", taps, taps).flatten(0, 1)[:, None].float(), persistent=False
        )

    def phases(self, x: Tensor) -> Tensor:
        """The output of one channel before its pixels are put in order: ``[B, 1, h, w]`` -> ``[B, s s, h, w]``."""
        with torch.autocast(x.device.type, enabled=False):
            if self.repeat:
                x = F.pad(x.float(), (self.radius,) * 4, mode="replicate")
                return F.conv2d(x, self.kernel)
            return F.conv2d(x.float(), self.kernel, padding=self.radius)

    def join(self, x: Tensor, features: Tensor) -> Tensor:
        """The interpolation of one channel plus what a network says of each phase: one shuffle for both.

        ``[B, 1, h, w]`` and ``[B, s s, h, w]`` -> float32 ``[B, 1, s h, s w]``.
        """
        return F.pixel_shuffle(self.phases(x) + features.float(), self.scale)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return F.pixel_shuffle(self.phases(x), self.scale)
        return torch.cat([self(channel) for channel in x.split(1, 1)], 1)

    def before(self, first: int, last: int) -> tuple[int, int]:
        """Input pixels that the output pixels `first` .. `last` depend on."""
        used = self.kernel[:: self.scale + 1, 0].abs().amax(1) > 0  # the diagonal phases: taps of either axis
        reaches = []
        for position in range(first, last + 1):
            pixel, phase = divmod(position, self.scale)
            taps = used[phase].nonzero()[:, 0] - self.radius
            reaches.append((pixel + int(taps[0]), pixel + int(taps[-1])))
        return min(r[0] for r in reaches), max(r[1] for r in reaches)


def limit_undershoot(z: Tensor, x: Tensor, scale: int, margin: float = 1.0) -> Tensor:
    """Leave no hole beside a star when the flux of every input pixel is restored.

    The consistency step adds the same correction to all output pixels of an input pixel, in linear units ``sinh(z)``;
    beside a sharp peak that can push the fainter ones far below the sky. Where it would push one more than `margin`
    below the darkest of the 3 x 3 input pixels around, the pattern within the input pixel is damped about its mean
    until it doesn't (the limiter of Barth and Jespersen 1989, doi:10.2514/6.1989-366, for the lower bound) and the
    mean is set to the input; elsewhere the output is untouched.

    Parameters
    ----------
    z : Tensor, float32 ``[B, 1, s h, s w]``
        Output, stretched.
    x : Tensor, float32 ``[B, 1, h, w]``
        Input, stretched.
    scale : int
        s.
    margin : float
        In units of the stretch (two sigma of the sky).

    Returns
    -------
    Tensor, float32 ``[B, 1, s h, s w]``
    """
    with torch.autocast(x.device.type, enabled=False):
        y = x[:, 0].float().clamp(-40, 40).sinh()  # [B, h, w]
        z = z[:, 0].float()
        u = z.clamp(-40, 40).sinh()
        mean = _over_blocks(torch.add, u, scale) / scale**2
        depth = (mean - _over_blocks(torch.minimum, u, scale)).clamp_min(1e-20)
        damp = (y - _darkest_neighbour(y) + margin) / depth
        limited = damp < 1
        if torch.compiler.is_exporting() or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            chosen = []
            for i, j in itertools.product(range(scale), repeat=2):
                damped = (y + damp * (u[:, i::scale, j::scale] - mean)).asinh()
                chosen.append(torch.where(limited, damped, z[:, i::scale, j::scale]))
            return F.pixel_shuffle(torch.stack(chosen, 1), scale)
        # Few blocks are concerned, so only they are computed; a recorded graph has no such short cut.
        b, i, j = limited.nonzero(as_tuple=True)
        level, damp, mean = (t[b, i, j][:, None, None] for t in (y, damp, mean))
        blocks = _blocks(u, scale)[b, i, :, j]
        out = z.clone(memory_format=torch.contiguous_format)
        _blocks(out, scale)[b, i, :, j] = (level + damp * (blocks - mean)).asinh()
        return out[:, None]


def _over_blocks(operation: Callable[[Tensor, Tensor], Tensor], fine: Tensor, scale: int) -> Tensor:
    """Reduce ``[B, s h, s w]`` over its blocks, rows first: whole rows are neighbours in memory."""
    rows = functools.reduce(operation, [fine[:, i::scale] for i in range(scale)])
    return functools.reduce(operation, [rows[:, :, j::scale] for j in range(scale)])


def _blocks(fine: Tensor, scale: int) -> Tensor:
    """``[B, s h, s w]`` as ``[B, h, s, w, s]``, without a copy."""
    return fine.unflatten(2, (-1, scale)).unflatten(1, (-1, scale))


def _darkest_neighbour(y: Tensor) -> Tensor:
    """Minimum over the 3 x 3 pixels around each, those outside left out; ``[B, h, w]``."""
    rows = F.pad(y[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    rows = torch.minimum(torch.minimum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return torch.minimum(torch.minimum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


class ESPCN(nn.Module):
    """Efficient sub-pixel convolutional network.

    As it is used here: ``out = shuffle(skip(x) + conv3(relu(conv3(relu(conv3(relu(conv5(x))))))))``, 58,212 parameters
    at scale 2. As published: ``out = shuffle(conv3(tanh(conv3(tanh(conv5(x))))))``, 64 and 32 channels, 21,284
    parameters at scale 2, 22,729 at 3 and 24,752 at 4.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel and axis.
    skip : {"lanczos"}
        The parameter-free interpolation of the skip path (Lanczos, five lobes, edge-aligned).
    finish : {"none", "detector"}
        "detector": `limit_undershoot` after the sum, for networks in the sky stretch.
    variant : {"four", "tanh", "relu"}
        "four" convolutions and the skip path; or the paper's three without one, with the activation that it prefers
        for small training sets ("tanh") or for ImageNet ("relu").

    Notes
    -----
    ``forward``: float32 ``[B, 1, h, w]`` -> ``[B, 1, s h, s w]``. The padding is zero; an output pixel depends on
    inputs at most `receptive_field` pixels away (5, as published 4), so whoever gives a halo of real or mirrored
    pixels and crops never meets the padding. All start as an interpolation: "four" as that of its skip path, "relu" as
    linear, and "tanh" nearly so for values of 0 to 1, of which a tenth goes through the activations.
    """

    def __init__(
        self, scale: int = 2, skip: str = "lanczos", finish: str = "none", variant: str = "four"
    ) -> None:
        super().__init__()
        if skip != "lanczos":
            raise ValueError(f"ESPCN: skip must be 'lanczos', not {skip!r}")
        if finish not in ("none", "detector"):
            raise ValueError(f"ESPCN: finish must be 'none' or 'detector', not {finish!r}")
        if variant not in ("four", "tanh", "relu"):
            raise ValueError(f"ESPCN: variant must be 'four', 'tanh' or 'relu', not {variant!r}")
        self.scale, self.finish, self.variant = scale, finish, variant
        widths = (1, 64, 64, 32, scale * scale) if variant == "four" else (1, 64, 32, scale * scale)
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(itertools.pairwise(widths)):
            size = 5 if number == 0 else 3
            layers += [nn.Conv2d(a, b, size, padding=size // 2), _activation(variant)]
        self.body = nn.Sequential(*layers[:-1], nn.PixelShuffle(scale))
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        initialise(convolutions, 1.0 if variant == "tanh" else 0.0)
        if variant == "four":
            self.skip = FixedInterpolation(scale)
            with torch.no_grad():  # start as the interpolation itself
                convolutions[-1].weight.mul_(FAINT)
        else:
            _start_as_linear(convolutions, scale, pairs=variant == "relu")

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == "four":
            out = self.skip.join(x, self.body[:-1](x))
        else:
            features = self.body[:-2](x)
            with torch.autocast(x.device.type, enabled=False):  # sums up the image itself
                out = self.body[-2:](features.float())
        return limit_undershoot(out, x, self.scale) if self.finish == "detector" else out

    @property
    def last_convolution(self) -> str | None:
        """Where the convolution is that `FixedInterpolation.join` adds."""
        return f"body.{len(self.body) - 2}" if self.variant == "four" else None

    def receptive_field(self) -> int:
        """Radius in input pixels: the larger of the two branches."""
        radius = reach(self.body)
        return max(self.skip.radius, radius) if self.variant == "four" else radius


def _activation(variant: str) -> nn.Module:
    return nn.Tanh() if variant == "tanh" else nn.ReLU(inplace=True)


@torch.no_grad()
def _start_as_linear(convolutions: list[nn.Conv2d], scale: int, pairs: bool) -> None:
    """Carry the image through the paper's three layers; without `pairs` (tanh) a tenth of it."""
    first, second, last = convolutions
    carry_in(first, 1, pairs=pairs)
    carry_on(second, 1, pairs=pairs)
    carry_out(last, 1, pairs=pairs, scale=scale)
    if not pairs:
        first.weight[0] *= 0.1
        last.weight[:, 0] *= 10
