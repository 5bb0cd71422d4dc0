"""An error head as the engine uses it: propagated noise and the method's own error together, calibrated."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sciSR.uncertainty.interface import Calibration


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A trained head with the calibration of one method; implements `sciSR.uncertainty.interface.ErrorModel`.

    Attributes
    ----------
    name, sha256, scale, halo, calibration
        See the protocol.
    normalisation : {"sky", "range"}
        Kind of the `sciSR.inference.normalise.Normaliser` that what it is given is relative to.
    network : sciSR.models.error_head.ErrorHead
    """

    name: str
    sha256: str
    scale: int
    halo: int
    calibration: Calibration
    normalisation: str
    network: nn.Module

    def total(self, coarse: Tensor, fine: Tensor, noise: Tensor) -> Tensor:
        """The head's standard deviation times the factor; float32 ``[s h, s w]``, positive.

        Parameters
        ----------
        coarse, fine, noise : Tensor
            See the protocol.
        """
        return (
            self.calibration.factor
            * self.network(*(x.float()[None, None] for x in (coarse, fine, noise)))[0, 0]
        )
