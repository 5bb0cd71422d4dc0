"""The network of a configuration, at one scale or at several that share their weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sciSR.errors import UsageError
from sciSR.models.files import at_scale, build, load_model
from sciSR.models.spec import ModelSpec, receptive_field
from sciSR.training.config import TrainConfig
from sciSR.training.thick_slices import thin


class Networks(nn.Module):
    """A network at each of its scales, with the same `torch.nn.Parameter` objects in all.

    Parameters
    ----------
    config : TrainConfig
        Of which ``model`` is used.

    Attributes
    ----------
    main : torch.nn.Module
        The one at ``model.scale``, which is validated and kept.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        model = config.model
        self.main = _construct(config, model.scale)
        if model.start:
            _begin_from(self.main, model.start)
        self.others = nn.ModuleDict(
            {str(scale): _construct(config, scale) for scale in model.scales if scale != model.scale}
        )
        for other in self.others.values():
            _share(self.main, other)
        self.scale, self.conditions = model.scale, model.conditions

    def forward(self, x: Tensor, condition: Tensor, scale: int, levels: bool = False) -> Any:
        """Fine images ``[B, 1, s h, s w]`` of coarse ones ``[B, 1, h, w]``; a list from coarse to fine of a network
        with `levels` if these are wanted. Scale 1: thin slices of thick ones."""
        network = self.main if scale == self.scale else self.others[str(scale)]
        if scale == 1:
            return thin(network, x, condition)
        if levels and hasattr(network, "levels"):
            return network.levels(x)
        return network(x, condition) if self.conditions else network(x)


class Average:
    """Exponential moving average of a network's weights and floating-point buffers, in float32.

    Parameters
    ----------
    network : torch.nn.Module
    decay : float
        Of the steady state; the average of the first steps is a plain one. 0 keeps the last weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        pairs = [
            (own, online)
            for own, online in zip(_tensors(self.network), _tensors(network), strict=True)
            if own is not None
        ]
        self.floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self.others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` (from 0)."""
        decay = min(self.decay, (step + 1) / (step + 10)) if self.decay else 0.0
        own, online = ([pair[i] for pair in self.floats] for i in (0, 1))
        torch._foreach_lerp_(own, [tensor.detach() for tensor in online], 1 - decay)
        for integer, last in self.others:
            integer.copy_(last)


def spec_of(config: TrainConfig, network: nn.Module | None = None) -> ModelSpec:
    """What the engine must know about a configuration's network; its reach is 0 without one."""
    model = config.model
    return ModelSpec(
        config.name,
        model.architecture,
        dict(model.arguments),
        model.scale,
        0 if network is None else receptive_field(network),
        multiple=int(getattr(network, "multiple", 1)),
        forward_model=config.forward.kinds[0],
        domain=config.domain,
        normalisation=config.normalisation,
        consistency=config.consistency,
        scales=model.scales,
        conditions=model.conditions,
        adversarial=config.loss.adversarial is not None,
    )


def _construct(config: TrainConfig, scale: int) -> nn.Module:
    try:
        return build(at_scale(spec_of(config), scale))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{config.model.architecture} refuses scale {scale} and {config.model.arguments} ({error})",
            remedy="correct model.arguments",
        ) from error


def _begin_from(network: nn.Module, start: str) -> None:
    """Take over another network's weights; a layer of another shape (the last one, at another scale) begins anew."""
    weights, _, _ = load_model(start)
    own = network.state_dict()
    fitting = {
        key: value
        for key, value in weights.state_dict().items()
        if key in own and own[key].shape == value.shape
    }
    if 2 * sum(value.numel() for value in fitting.values()) < sum(value.numel() for value in own.values()):
        raise UsageError(
            "its weights don't fit the network: fewer than half have the same name and shape",
            where=start,
            remedy="model.start must have the same architecture and arguments",
        )
    network.load_state_dict(own | fitting)


def _share(source: nn.Module, other: nn.Module) -> None:
    """Give `other` the parameters of `source`, and its running statistics, which belong to the weights."""
    target = dict(other.named_modules())
    if {name for name, _ in source.named_parameters()} != {name for name, _ in other.named_parameters()}:
        raise UsageError(
            f"{type(source).__name__} has other weights at each scale", remedy="leave model.scales empty"
        )
    for name, module in source.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None and target[name]._parameters[key].shape != parameter.shape:
                raise UsageError(
                    f"{type(source).__name__} has weights {name}.{key} of another shape at each scale",
                    remedy="leave model.scales empty",
                )
            target[name]._parameters[key] = parameter
        if isinstance(module, nn.modules.batchnorm._NormBase):
            target[name]._buffers.update(module._buffers)


def _tensors(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict(keep_vars=True).values())
