"""Is an image like those that a network learned from? Noise, spectrum, sharpness against the ranges of its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Familiarity:
    """What was measured on the input, and what lies outside.

    Attributes
    ----------
    notes : tuple of str
        One line each: what lies outside the training range, with the found value and the range; empty where all is
        familiar.
    measured : mapping of str to float
    ranges : mapping of str to (float, float)
        Of the training images: from the card.
    """

    notes: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def is_familiar(self) -> bool:
        return not self.notes

    def record(self) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        return {
            "notes": list(self.notes),
            "measured": {k: float(f"{v:.4g}") for k, v in self.measured.items()},
        }
