"""Hallucination check: is each source or edge of the output backed by the data?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Feature:
    """Something that stands out in the output.

    Attributes
    ----------
    kind : {"source", "edge"}
    index : tuple of float
        Its centre in output pixels, one per axis of the data.
    strength : float
        Its flux, or the height of its step, in the image's unit.
    support : float
        How many sigma of the input's noise speak for it: the matched filter of what it would look like in the input.
    is_supported : bool
        Whether that is at least the limit.
    """

    kind: Literal["source", "edge"]
    index: tuple[float, ...]
    strength: float
    support: float
    is_supported: bool


@dataclass(frozen=True)
class Support:
    """All features of one output.

    Attributes
    ----------
    features : tuple of Feature
    limit : float
        Sigma.
    noise : float
        One standard deviation of the input's noise, in its unit (the median where it differs from pixel to pixel).
    """

    features: tuple[Feature, ...]
    limit: float
    noise: float

    @property
    def unsupported(self) -> tuple[Feature, ...]:
        return tuple(feature for feature in self.features if not feature.is_supported)

    def record(self) -> dict[str, Any]:
        """JSON-ready, for the provenance and the report."""
        return {
            "features": len(self.features),
            "unsupported": len(self.unsupported),
            "limit_sigma": self.limit,
        }
