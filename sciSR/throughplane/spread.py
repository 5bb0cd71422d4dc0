"""How far a through-plane network errs, told by how its views of the volume differ; calibrated on volumes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sciSR.uncertainty.interface import Calibration

if TYPE_CHECKING:
    from sciSR.throughplane.method import Method

NAME = "error-mr-across"
"""Of the shipped card; it has no weights."""
REACH = 1
"""Pixels within a slice on either side over which the spread is averaged."""


@dataclass(frozen=True)
class SpreadModel:
    """Variance of a result: that of the slices' noise, and a multiple of the local mean of the views' variance.

    Attributes
    ----------
    weight, power : float
        The multiple is ``weight * ratio ** power``: the views differ less than they err, and the more lies between two
        slices the more so.
    calibration : Calibration
    """

    weight: float
    power: float
    calibration: Calibration

    def multiple(self, ratio: float) -> float:
        """For `ratio` thin slices of each thick one."""
        return self.weight * ratio**self.power

    def total(self, noise: NDArray[np.floating], spread: NDArray[np.floating], ratio: float) -> NDArray[Any]:
        """Calibrated standard deviation.

        Parameters
        ----------
        noise : ndarray ``[x, y, fine]``
            Standard deviation that the slices' noise has in the result.
        spread : ndarray ``[x, y, fine]``
            Variance of the mean of the views, smoothed (`smoothed`), in the same unit squared.
        ratio : float
        """
        return self.calibration.factor * np.sqrt(np.square(noise) + self.multiple(ratio) * spread)


def smoothed(spread: NDArray[np.floating], ratio: float) -> NDArray[Any]:
    """Mean of a spread over 3 x 3 pixels and two thick slices; two views alone say little of one voxel.

    Parameters
    ----------
    spread : ndarray ``[x, y, fine]``
        The border is replicated.
    ratio : float
        Thin slices for each thick one.
    """
    from scipy.ndimage import uniform_filter

    side = 2 * REACH + 1
    size = (side, side, 2 * round(ratio) + 1)
    return uniform_filter(spread, size, mode="nearest")


def load_spread(domain: str, ratio: float, method: Method) -> SpreadModel | None:
    """The shipped model for a network, at the self-training that it was calibrated with.

    Parameters
    ----------
    domain : str
        Of the image.
    ratio : float
        Thin slices for each thick one.
    method : Method

    Returns
    -------
    SpreadModel or None
        None for another network, domain or self-training, and beyond the ratios it was calibrated on.
    """
    card = read_card()
    network = card.get("network") or {}
    if card.get("domain") != domain or not method.network or method.digest != network.get("sha256"):
        return None
    low, high = card["spread"]["ratios"]
    row = card["calibration"]["methods"].get(entry(method.name, method.self_training))
    if row is None or not low <= ratio <= high:
        return None
    found = Calibration(float(row["factor"]), float(row["interval_95"]), int(row["files"]), True)
    return SpreadModel(float(card["spread"]["weight"]), float(card["spread"]["power"]), found)


def entry(network: str, self_training: str) -> str:
    """How a card calls a network that learned from the volume itself: ``"throughplane-mr fast"``."""
    return network if self_training == "0" else f"{network} {self_training}"


@functools.lru_cache(maxsize=1)
def read_card() -> Mapping[str, Any]:
    """The shipped card; empty where there is none."""
    from ruamel.yaml import YAML

    from sciSR.models.files import WEIGHTS

    path = WEIGHTS / f"{NAME}.yaml"
    if not path.is_file():
        return {}
    return dict(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {})
