"""How uncertain an isotropic volume is: the slices' noise carried through, and the spread of the network's views.

What is linear (the matrix across the slices, and the agreement with them) carries noise by its squared weights. What
the network adds is uncertain where its views of the volume, from different sides, differ: by how much is calibrated on
volumes (:mod:`sciSR.throughplane.spread`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciSR.forward.slice_sampling import along
from sciSR.image import Image, LazyArray
from sciSR.throughplane.apply import Tile, enlarged
from sciSR.throughplane.spread import NAME, REACH, SpreadModel, load_spread, smoothed
from sciSR.uncertainty.interface import Calibration, Uncertain
from sciSR.uncertainty.noise import PixelNoise, pixel_noise
from sciSR.uncertainty.propagation import StoredDeviation
from sciSR.views import NearestView

if TYPE_CHECKING:
    from sciSR.inference.statistics import Sample
    from sciSR.throughplane.method import Method
    from sciSR.throughplane.plan import IsotropicPlan
    from sciSR.throughplane.running import Volume


@dataclass(frozen=True, eq=False)
class ThroughPlaneUncertainty:
    """What a plan does to find its uncertainty.

    Attributes
    ----------
    settings : Uncertain
    noise : PixelNoise
        Of the thick slices.
    model : SpreadModel or None
        What the views' spread is worth; None where nothing was found for the task.
    """

    settings: Uncertain
    noise: PixelNoise
    model: SpreadModel | None = None

    @property
    def calibration(self) -> Calibration:
        """That of a normal distribution where there is no model."""
        return Calibration() if self.model is None else self.model.calibration

    def record(self, **measured: Any) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        found = {"from": self.noise.origin, **dict(self.noise.parameters)}
        told = {
            "factor": self.calibration.factor,
            "interval_95": self.calibration.interval_95,
            "calibrated": self.calibration.is_calibrated,
        }
        known = {} if self.model is None else {"model": NAME}
        return {"noise": found, **known, **told, **measured}


def plan_uncertainty(
    image: Image, statistics: Sample, wanted: bool | Uncertain, ratio: float, method: Method
) -> ThroughPlaneUncertainty | None:
    """None where it is not asked for.

    Parameters
    ----------
    ratio : float
        Thin slices for each thick one.
    method : Method
    """
    if wanted is False or wanted is None:
        return None
    settings = wanted if isinstance(wanted, Uncertain) else Uncertain(model="auto")
    model = load_spread(image.domain, ratio, method) if settings.model == "auto" else None
    return ThroughPlaneUncertainty(settings, pixel_noise(image, statistics, settings), model)


def told(uncertain: ThroughPlaneUncertainty, method: Method) -> list[str]:
    """For the plan's messages."""
    said = [*uncertain.noise.messages]
    if not uncertain.calibration.is_calibrated:
        views = " and the spread of the network's views" if method.network else ""
        said.append(f"uncertainty: the slices' noise{views}, not calibrated")
    return said


class Deviations:
    """Collects the standard deviation, tile by tile.

    Parameters
    ----------
    plan : IsotropicPlan
        With `uncertain`.
    matrix : Tensor, ``[fine, coarse]``
        Across the slices.
    """

    def __init__(self, plan: IsotropicPlan, matrix: Tensor) -> None:
        assert plan.uncertain is not None
        self.plan, self.stored = plan, StoredDeviation(plan.output.shape)
        self.model, self.ratio = plan.uncertain.model, float(plan.target.across)
        self.views = StoredDeviation(plan.output.shape) if self.model is not None else None
        self.noise = _on_target(plan)
        self.squared = _settled(plan, matrix).square()
        self._sample: list[np.ndarray] = []

    def take(self, place: tuple[Any, ...], order: Any, spread: Tensor | None, bad: np.ndarray | None) -> None:
        """One tile.

        Parameters
        ----------
        place : tuple
            Index of the tile, all slices, of the data.
        order : Volume
            Which turns blocks as they lie in the data to ``[X, Y, slices]`` and back.
        spread : Tensor or None
            Variance that the network's views tell, ``[x, y, fine]``, in the image's unit squared.
        bad : ndarray of bool, ``[x, y, fine]``, or None
            Where nothing is known.
        """
        sigma = order.ordered(np.asarray(self.noise[place])).astype(np.float64)
        unknown = ~(np.isfinite(sigma) & (sigma >= 0))
        variance = along(self.squared, torch.from_numpy(np.where(unknown, 0.0, sigma) ** 2), 2)
        if spread is not None and self.views is None:
            variance += spread.to(variance)
        block = variance.sqrt().float().numpy()
        if unknown.any():
            block[along(self.squared, torch.from_numpy(unknown.astype(np.float64)), 2).numpy() > 1e-6] = (
                np.nan
            )
        if bad is not None:
            block[bad] = np.nan
        self.stored.put(place, order.restored(block))
        if self.views is None:
            self._look(block)
        else:
            views = torch.zeros_like(variance) if spread is None else spread.sqrt()
            self.views.put(place, order.restored(views.float().numpy()))

    def settle(self, order: Volume, parts: list[Tile]) -> None:
        """Noise and spread together, once all tiles of a volume are known: the spread is averaged beyond each."""
        for core in parts:
            if self.model is not None and self.views is not None:
                self._settle(order, core, self.model, self.views)

    def _settle(self, order: Volume, core: Tile, model: SpreadModel, views: StoredDeviation) -> None:
        around, place = enlarged(core, order.shape, REACH), order.place(core)
        spread = np.square(order.ordered(views[order.place(around)]).astype(np.float64))
        inner = tuple(
            slice(a - outer[0], b - outer[0])
            for (a, b), outer in zip((core.rows, core.columns), (around.rows, around.columns), strict=True)
        )
        noise = order.ordered(self.stored[place]).astype(np.float64)
        block = model.total(noise, smoothed(spread, self.ratio)[inner], self.ratio).astype(np.float32)
        self._look(block)
        self.stored.put(place, order.restored(block))

    def close(self) -> None:
        """Free what was only kept on the way."""
        if self.views is not None:
            self.views.close()

    def _look(self, block: np.ndarray) -> None:
        good = block[::4, ::4, ::2]
        self._sample.append(good[np.isfinite(good)])

    def record(self) -> dict[str, Any]:
        """For the provenance."""
        assert self.plan.uncertain is not None
        values = np.concatenate(self._sample) if self._sample else np.empty(0)
        return self.plan.uncertain.record(
            **({"median": float(f"{np.median(values):.4g}")} if values.size else {})
        )


def _settled(plan: IsotropicPlan, matrix: Tensor) -> Tensor:
    """From thick to thin slices ``[fine, coarse]``, with the agreement that is enforced."""
    one = torch.eye(matrix.shape[1], dtype=torch.float64)[:, None, :]
    thin = along(matrix.to(one), one, 2)
    if plan.enforced:
        thin = plan.operator.project(thin, one, 2)
    return thin[:, 0, :].T


def _on_target(plan: IsotropicPlan) -> LazyArray:
    """The slices' noise at the pixels that the step across them begins with.

    Finer pixels in the plane share a measured one's noise; the mean of n pixels has 1/sqrt(n) of it.
    """
    assert plan.uncertain is not None
    image, deviation = plan.image, plan.uncertain.noise.deviation
    if all(f == 1 for f in plan.target.in_plane):
        return deviation
    first, second = image.spatial_axes
    every = tuple(
        plan.target.in_plane[0] if axis == first else plan.target.in_plane[1] if axis == second else 1
        for axis in range(len(image.shape))
    )
    averaged = float(np.prod([min(1.0, float(f)) for f in plan.target.in_plane])) ** 0.5
    return NearestView(deviation, every, scale=averaged)
