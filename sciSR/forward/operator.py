"""What a linear forward model offers, and several in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class LinearOperator(Protocol):
    """A linear map on images. `pinv`, the Moore-Penrose inverse, is there only where it makes sense."""

    def apply(self, x: Tensor) -> Tensor:
        """Sharp -> observed."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed map, observed -> sharp."""
        ...


@dataclass(frozen=True)
class Chain:
    """Operators one after another, the first one first.

    Parameters
    ----------
    operators : tuple of LinearOperator
    """

    operators: tuple[LinearOperator, ...]

    def apply(self, x: Tensor) -> Tensor:
        """Sharp -> observed."""
        for operator in self.operators:
            x = operator.apply(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed map, in the opposite order."""
        for operator in reversed(self.operators):
            y = operator.adjoint(y)
        return y
