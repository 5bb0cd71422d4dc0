"""How far a network sees: intervals of pixels, followed from the output back to the input, exactly.

The receptive field in *input pixels* is what a tile's halo must be. Rounding a sum of fractions hides what strides do
(a fine pixel at the edge of its input pixel reaches into another), so the interval of pixels itself is followed.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from sciSR.errors import ModelError

Interval = tuple[int, int]

POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU, nn.Identity, nn.Sigmoid, nn.Tanh,
)  # fmt: skip


@runtime_checkable
class Reaching(Protocol):
    """A module that knows which of its input pixels an interval of its output pixels depends on."""

    scale: int

    def before(self, first: int, last: int) -> Interval: ...


def reach(*modules: nn.Module) -> int:
    """Radius of the receptive field of modules that follow each other, in input pixels of the first.

    Parameters
    ----------
    *modules : nn.Module
        In the order of the data. Known are convolutions, transposed convolutions, pixel shuffles, activations, batch
        normalisation (as in evaluation: fixed statistics), sequences of these, and modules with a method
        ``before(first, last)`` or ``receptive_field()`` (and a `scale`, if it isn't 1).

    Returns
    -------
    int
        The output pixels that lie in an input pixel depend on inputs at most this far from it.

    Raises
    ------
    ModelError
        A layer is unknown.
    """
    fine = magnification(*modules)
    first, last = 0, fine - 1
    for module in reversed(modules):
        first, last = before(module, first, last)
    return max(-first, last)


def magnification(*modules: nn.Module) -> int:
    """Output pixels for each input pixel and axis of modules that follow each other."""
    product = 1
    for module in modules:
        if isinstance(module, nn.Sequential):
            product *= magnification(*module)
        elif isinstance(module, nn.PixelShuffle):
            product *= module.upscale_factor
        elif isinstance(module, nn.ConvTranspose2d):
            product *= module.stride[0]
        else:
            product *= getattr(module, "scale", 1)
    return product


def before(module: nn.Module, first: int, last: int) -> Interval:
    """The input pixels that the output pixels `first` .. `last` of a module depend on, on the wider axis."""
    if isinstance(module, Reaching):
        return module.before(first, last)
    if isinstance(module, nn.Sequential):
        for layer in reversed(module):
            first, last = before(layer, first, last)
        return first, last
    if callable(own := getattr(module, "receptive_field", None)):  # a whole network as a part of another
        scale = magnification(module)
        return first // scale - own(), last // scale + own()
    if isinstance(module, nn.ConvTranspose2d):
        stride, padding = module.stride[0], module.padding[0]
        span = module.dilation[0] * (module.kernel_size[0] - 1)
        return -((span - padding - first) // stride), (last + padding) // stride
    if isinstance(module, nn.Conv2d) and module.stride == (1, 1):
        radius = max(d * (k // 2) for k, d in zip(module.kernel_size, module.dilation, strict=True))
        return first - radius, last + radius
    if isinstance(module, nn.PixelShuffle):
        return first // module.upscale_factor, last // module.upscale_factor
    if isinstance(module, (*POINTWISE, nn.BatchNorm2d)):
        return first, last
    raise ModelError(
        f"receptive field: layer {type(module).__name__} is unknown",
        remedy="give the model a method receptive_field()",
    )
