"""Optimisers from the configuration; Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sciSR.errors import UsageError
from sciSR.training.config import OptimizerConfig

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: steepest at zero among those that bring singular values into about 0.7 to 1.2."""
MUON_RATE = 10.0
"""Muon's learning rate relative to that of AdamW: a step has the spectral norm 1, whatever the gradient."""
NARROW_INPUT, NARROW_OUTPUT = 9, 4
"""First and last layers: a kernel with no more inputs or outputs has hardly a spectrum to make even."""


def orthogonalise(gradient: Tensor, steps: int = 5) -> Tensor:
    """Nearly the closest (semi-)orthogonal matrix, by Newton-Schulz steps of odd polynomials.

    Parameters
    ----------
    gradient : Tensor, float32 ``[..., rows, columns]``
    steps : int

    Returns
    -------
    Tensor, float32 ``[..., rows, columns]``
        ``U S' V^T`` for ``gradient = U S V^T``, with the singular values S' between about 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = gradient.shape[-2] > gradient.shape[-1]
    x = gradient.mT if tall else gradient
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """Muon for groups marked ``orthogonal``, AdamW for the others; one object, so that a gradient scaler sees one.

    ``m <- 0.95 m + 0.05 g``; ``U = orthogonalise(0.05 g + 0.95 m)`` (Nesterov's momentum);
    ``w <- (1 - lr d) w - lr max(1, rows/columns)^(1/2) U`` with the weight decay d.
    A kernel ``[o, i, k, k]`` is the matrix ``[o, i k k]``; one of a transposed convolution ``[i, o, k, k]`` likewise
    after the exchange of its first two axes.

    Parameters
    ----------
    groups : list of dict
        Parameter groups; ``orthogonal`` (bool) says which are Muon's.
    lr, betas, weight_decay
        As `torch.optim.AdamW`; weight decay is decoupled for both.
    momentum : float
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float = 0.95, **given: Any) -> None:
        super().__init__(groups, **given)
        self.defaults["momentum"] = momentum
        for group in self.param_groups:
            group.setdefault("momentum", momentum)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        every = self.param_groups
        self.param_groups = [group for group in every if not group.get("orthogonal")]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = every
        for group in every:
            if group.get("orthogonal"):
                self._orthogonal_step(group)
        return loss

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        """Matrices of one shape are made orthogonal together: few large products instead of many small ones."""
        same: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        swap, keep = group.get("transposed", False), group["momentum"]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["step"] = torch.zeros(())  # AdamW wants a count in every state that it loads
                state["momentum_buffer"] = torch.zeros_like(weight)
            state["step"] += 1
            momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - keep)
            ahead = weight.grad.lerp(momentum, keep)
            matrix = (ahead.transpose(0, 1) if swap else ahead).flatten(1)
            same[matrix.shape].append((weight, matrix))
        for (rows, columns), entries in same.items():
            size = group["lr"] * max(1.0, rows / columns) ** 0.5
            updates = orthogonalise(torch.stack([matrix for _, matrix in entries]))
            for (weight, _), update in zip(entries, updates, strict=True):
                if group["weight_decay"]:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                shape = (weight.transpose(0, 1) if swap else weight).shape
                update = update.reshape(shape)
                weight.add_(update.transpose(0, 1) if swap else update, alpha=-size)


def muon_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of `Muon`: kernels, kernels of transposed convolutions, and the rest for AdamW."""
    transposed = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.modules.conv._ConvTransposeNd)
    }
    kernels: dict[bool, list[Tensor]] = {False: [], True: []}
    rest = []
    for weight in model.parameters():
        if not weight.requires_grad:
            continue
        swap = id(weight) in transposed
        rows = weight.shape[1 if swap else 0] if weight.ndim >= 2 else 0
        if rows > NARROW_OUTPUT and weight.numel() // rows > NARROW_INPUT:
            kernels[swap].append(weight)
        else:
            rest.append(weight)
    groups: list[dict[str, Any]] = [
        {"params": weights, "orthogonal": True, "transposed": swap, "relative": MUON_RATE}
        for swap, weights in kernels.items()
        if weights
    ]
    return [*groups, {"params": rest, "orthogonal": False, "relative": 1.0}] if rest else groups


def build(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a network; `set_rate` sets the learning rate at every step."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise UsageError("the network has no weights to train", remedy="name another model.architecture")
    given = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.kind == "muon":
        return Muon(muon_groups(model), betas=config.betas, **given)
    if config.kind == "sgd":
        return torch.optim.SGD(weights, momentum=config.betas[0], **given)
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(weights, betas=config.betas, **given)


def set_rate(optimizer: Any, lr: float) -> None:
    """Set the learning rate of every group, each relative to `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("relative", 1.0)
