"""A discriminator beside the network: both sides' losses, and one step of each.

A network trained so invents texture. What it makes looks real and need not be; that is no measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.errors import UsageError
from sciSR.training.config import AdversarialConfig


def _real(logits: Tensor) -> Tensor:
    """Minus the mean logarithm of the probability of being real, from logits."""
    return F.softplus(-logits).mean()


def _fake(logits: Tensor) -> Tensor:
    return F.softplus(logits).mean()


def discriminator_loss(real: Tensor, fake: Tensor, relativistic: bool = False) -> Tensor:
    """What the discriminator makes small, from its logits of real and of generated images (any shapes).

    Standard (Goodfellow et al. 2014, as in SRGAN): ``-log D(real) - log(1 - D(fake))``. Relativistic average
    (Jolicoeur-Martineau, ICLR 2019, as in ESRGAN): D is the probability that an image is more real than the other kind
    is on average. Float32 scalar; the mean over images, the sum of the two parts.
    """
    real, fake = real.float(), fake.float()
    if relativistic:
        return _real(real - fake.mean()) + _fake(fake - real.mean())
    return _real(real) + _fake(fake)


def generator_loss(real: Tensor, fake: Tensor, relativistic: bool = False) -> Tensor:
    """What the network makes small, from the same logits.

    Standard: ``-log D(fake)``, whose gradient doesn't vanish while the discriminator is sure. Relativistic: the
    discriminator's loss with the roles exchanged.
    """
    real, fake = real.float(), fake.float()
    if relativistic:
        return _fake(real - fake.mean()) + _real(fake - real.mean())
    return _real(fake)


class Adversary:
    """A discriminator and its optimiser.

    Parameters
    ----------
    config : AdversarialConfig
    device : torch.device
    precision : {"fp32", "bf16", "fp16"}
        Of the run; the discriminator's convolutions are bfloat16 for "bf16" and float32 otherwise (float16 would need
        a scaling of its own). Losses are float32.
    reduce : callable, optional
        Mean of a tensor over all processes, for training on several devices.
    """

    def __init__(
        self,
        config: AdversarialConfig,
        device: torch.device | str,
        precision: str = "fp32",
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        from sciSR.models.discriminators import DISCRIMINATORS

        if config.discriminator not in DISCRIMINATORS:
            raise UsageError(
                f"there is no discriminator {config.discriminator!r}",
                remedy=f"use one of {', '.join(DISCRIMINATORS)}",
            )
        self.config, self.device, self.reduce = config, torch.device(device), reduce
        self.half = precision == "bf16"
        self.discriminator = DISCRIMINATORS[config.discriminator]().to(
            self.device, memory_format=torch.channels_last
        )
        # momentum as in the papers: DCGAN found 0.9 unstable
        first = 0.5 if config.discriminator == "dcgan" else 0.9
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), config.lr, betas=(first, 0.999))

    def active(self, step: int) -> bool:
        """Whether it counts at a step."""
        return step >= self.config.start

    def term(self, fake: Tensor, real: Tensor) -> Tensor:
        """The weighted term of the network's loss; the gradient goes to `fake` alone.

        Parameters
        ----------
        fake, real : Tensor, float32 ``[B, 1, H, W]``
            From `sciSR.training.losses.Loss.judged`.
        """
        self.discriminator.requires_grad_(False)
        try:
            logits = self._logits(fake)
            with torch.no_grad():
                true = self._logits(real) if self.config.relativistic else logits
            return self.config.weight * generator_loss(true, logits, self.config.relativistic)
        finally:
            self.discriminator.requires_grad_(True)

    def step(self, fake: Tensor, real: Tensor) -> Tensor:
        """One step of the discriminator; its loss, detached. `fake` is taken as it is: no gradient flows back."""
        loss = discriminator_loss(self._logits(real), self._logits(fake.detach()), self.config.relativistic)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.reduce is not None:
            for parameter in self.discriminator.parameters():
                parameter.grad = self.reduce(parameter.grad)
        self.optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _logits(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 64 and self.config.discriminator == "dcgan":
            raise UsageError(
                f"the dcgan discriminator needs 64 pixels, a patch's inner part has {min(x.shape[-2:])}",
                remedy="use larger patches, or loss.adversarial.discriminator: srgan",
            )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.discriminator(x).float()
