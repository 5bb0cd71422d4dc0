"""Losses on the activations of a frozen network: VGG-19 for photographs, a network of the domain's own elsewhere.

VGG-19 was trained to name things in photographs. A galaxy or a brain slice means nothing to it, so for those
`sciSR.training.features` trains a small network on the patches themselves.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.errors import ModelError, UsageError

Term = Callable[[Tensor, Tensor], Tensor]  # as in sciSR.training.losses

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of VGG-19's five blocks, a maximum over 2 x 2 pixels after each (Simonyan and Zisserman,
ICLR 2015, configuration E)."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, which torchvision's weights expect to be taken out."""

RANGES = {"range": (0.0, 1.0), "unit": (0.0, 1.0), "sky": (-1.0, 7.0)}
"""Network values that become black and white; of a sky (asinh) from 2 sigma below it to 1,000 above."""

REMEDY = "get torchvision's vgg19-dcbb9e9d.pth yourself and give its path; nothing is downloaded"


class Vgg19(nn.Module):
    """The convolutional part of VGG-19, as far as the deepest layer that is wanted; frozen.

    Parameters
    ----------
    layers : tuple of str
        "conv5_4" is the fourth convolution of the fifth block before its activation (ESRGAN), "relu5_4" after it
        (SRGAN).

    Notes
    -----
    ``forward``: float32 ``[B, 3, H, W]`` with ImageNet's mean and deviation taken out -> one Tensor for each layer.
    """

    def __init__(self, layers: tuple[str, ...] = ("conv5_4",)) -> None:
        super().__init__()
        index = _indices()
        unknown = sorted(set(layers) - set(index))
        if unknown or not layers:
            raise UsageError(
                f"VGG-19 has no layer {', '.join(unknown) or '(none given)'}", remedy="use conv1_1 to relu5_4"
            )
        self.wanted = tuple(index[name] for name in layers)
        modules: list[nn.Module] = []
        before = 3
        for channels, count in BLOCKS:
            for _ in range(count):
                modules += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            modules.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*modules[: max(self.wanted) + 1])
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for at, module in enumerate(self.features):
            x = module(x)
            if at in self.wanted:
                found[at] = x
        return [found[at] for at in self.wanted]


def _indices() -> dict[str, int]:
    """Place of each layer in torchvision's ``features``."""
    places, at = {}, 0
    for block, (_, count) in enumerate(BLOCKS, 1):
        for number in range(1, count + 1):
            places[f"conv{block}_{number}"], places[f"relu{block}_{number}"] = at, at + 1
            at += 2
        at += 1
    return places


def load_vgg(file: str | Path, layers: tuple[str, ...], device: torch.device | str = "cpu") -> Vgg19:
    """VGG-19 with torchvision's weights.

    Parameters
    ----------
    file : path
        A state dictionary with keys ``features.N.weight`` and ``.bias`` (``.pth``), or the same as safetensors.
    layers : tuple of str
        See `Vgg19`.

    Raises
    ------
    ModelError
        No such file, not this network's weights, or a pickle that holds more than tensors: it isn't run.
    """
    network = Vgg19(layers)
    state = _tensors(Path(file))
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        raise ModelError(
            f"these are no weights of VGG-19: {(missing + wrong)[0]} is {'missing' if missing else 'of another shape'}",
            where=str(file),
            remedy=REMEDY,
        )
    network.load_state_dict({key: state[key] for key in wanted})
    return network.to(device)


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError("there is no such file", where=str(path), remedy=REMEDY) from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            "it is no plain dictionary of tensors, and nothing else is unpickled",
            where=str(path),
            remedy=REMEDY,
        ) from error
    except Exception as error:  # torch and safetensors raise all kinds for damaged files
        raise ModelError(f"it can't be read ({error})", where=str(path), remedy=REMEDY) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError("it is no dictionary of tensors", where=str(path), remedy=REMEDY)
    return state


CRITERIA = {"l1": F.l1_loss, "mse": F.mse_loss}


def vgg(
    file: str,
    device: torch.device | str = "cpu",
    normalisation: str = "unit",
    layers: str | list[str] | dict[str, float] = "conv5_4",
    criterion: str = "l1",
    low: float | None = None,
    high: float | None = None,
) -> Term:
    """Distance of VGG-19's activations.

    SRGAN (Ledig et al., CVPR 2017): ``layers: relu5_4, criterion: mse``, its weight divided by 12.75 squared. ESRGAN
    (Wang et al., ECCVW 2018): conv5_4 with L1, before the activation, where features are dense and levels are kept.

    Parameters
    ----------
    file : str
        torchvision's weights, see `load_vgg`.
    device, normalisation
        Of the run.
    layers : str, list of str or dict of str to float
        Layers, with their weights if not 1.
    criterion : {"l1", "mse"}
    low, high : float, optional
        Network values that become 0 and 1; see `RANGES`. Not clipped: what lies outside counts too.

    Returns
    -------
    Term
        One channel is repeated to three.
    """
    weights = {layers: 1.0} if isinstance(layers, str) else layers
    weights = weights if isinstance(weights, Mapping) else dict.fromkeys(weights, 1.0)
    distance = _criterion(criterion)
    black, white = RANGES[normalisation]
    black, white = black if low is None else low, white if high is None else high
    if white <= black:
        raise UsageError(f"loss vgg: high is {white}, must be above low, {black}")
    network = load_vgg(file, tuple(weights), device)
    mean, deviation = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, DEVIATION))
    deepest = max(int(name[4]) for name in weights)

    def activations(x: Tensor) -> list[Tensor]:
        if min(x.shape[-2:]) < 2 ** (deepest - 1):
            raise UsageError(
                f"loss vgg: {tuple(x.shape[-2:])} pixels are too few", remedy="use larger patches"
            )
        colours = ((x - black) / (white - black)).expand(-1, 3, -1, -1)
        return network((colours - mean) / deviation)

    def term(x: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            truth = activations(t)
        pairs = zip(weights.values(), activations(x), truth, strict=True)
        return sum(weight * distance(a, b) for weight, a, b in pairs)

    return term


def features(
    file: str,
    device: torch.device | str = "cpu",
    normalisation: str = "range",
    layers: Sequence[int] | Mapping[int, float] = (2, 3),
) -> Term:
    """Mean absolute distance of the features of `sciSR.training.features`.

    Parameters
    ----------
    file : str
        Made by ``python -m sciSR.training.features`` from patches of the same normalisation.
    device, normalisation
        Of the run.
    layers : list of int or dict of int to float
        Stages, from 1, with their weights if not 1. The first is hardly more than a pixel loss.

    Returns
    -------
    Term
        The channels of a stage count alike, and in each stage missing detail costs what it costs in the L1 of the
        pixels: with `weight` 1 and two stages, twice that.
    """
    from sciSR.training.features import load_features

    network = load_features(file, normalisation, device)
    weights = {
        int(k): v
        for k, v in (layers.items() if isinstance(layers, Mapping) else dict.fromkeys(layers, 1.0).items())
    }
    wrong = [stage for stage in weights if not 1 <= stage <= len(network.widths)]
    if wrong or not weights:
        raise UsageError(
            f"loss features: there is no stage {wrong}", remedy=f"use 1 to {len(network.widths)}"
        )

    def term(x: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            truth = network(t)
        mine = network(x)
        return sum(weight * F.l1_loss(mine[at - 1], truth[at - 1]) for at, weight in weights.items())

    return term


def _criterion(name: str) -> Term:
    if name not in CRITERIA:
        raise UsageError(f"there is no criterion {name!r}", remedy=f"use one of {', '.join(CRITERIA)}")
    return CRITERIA[name]
