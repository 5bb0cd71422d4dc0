"""Isotropic volumes from thick slices: the plan (what will be done) and its run (tile by tile)."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

import sciSR
from sciSR.errors import UsageError
from sciSR.forward.slice_sampling import ProfileTable, SliceSampling
from sciSR.image import Image
from sciSR.inference.device import choose_device, tune_allocator
from sciSR.inference.normalise import Normaliser, fit
from sciSR.inference.statistics import sample
from sciSR.inference.upscaling import Progress, Promise, Put
from sciSR.throughplane.apply import VIEWS
from sciSR.throughplane.method import Method, choose_method
from sciSR.throughplane.profile import resolve_profile
from sciSR.throughplane.target import (
    Target,
    all_factors,
    check_overlap,
    relative_thickness,
    target_of,
    warn_of_overlap,
)
from sciSR.throughplane.uncertainty import ThroughPlaneUncertainty, plan_uncertainty, told
from sciSR.uncertainty.interface import Uncertain
from sciSR.uncertainty.planning import LABELS, NONE_FOR
from sciSR.views import NearestView


def plan_isotropic(
    image: Image,
    *,
    spacing: float | None = None,
    model: str = "auto",
    self_training: str = "fast",
    profile: str | ProfileTable = "gaussian",
    thickness: float | None = None,
    consistency: str = "auto",
    label_method: str = "nearest",
    uncertainty: bool | Uncertain = False,
    device: str = "auto",
    precision: str = "fp32",
    tile: int | None = None,
    seed: int = 0,
) -> Any:
    """Decide how a volume of thick slices becomes isotropic.

    Parameters
    ----------
    image : Image
        With an `AffineGrid` and an axis across its slices; further axes (time, diffusion) are gone through one by one.
    spacing : float, optional
        Of the result along all three axes, in mm; the finest of the three by default. The field is kept exactly, so
        the spacing that results may differ by less than half a voxel over the field; it is reported.
    model : str
        ``"auto"``: the pre-trained network for MR. ``"scratch"``: a network that learns from this volume alone.
        ``"smoothest"``: no network, the smoothest volume that agrees with the slices. ``"nearest"``, ``"linear"``,
        ``"cubic"``, ``"lanczos"``. Or a through-plane network's name or weights file.
    self_training : {"fast", "0", "full"}
        How long the network learns from this very volume first.
    profile : {"gaussian", "rect", "sinc", "estimate"}, path, or ProfileTable
        Shape of the slice profile: see `sciSR.throughplane.profile`.
    thickness : float, optional
        Full width at half maximum of the profile in mm; the image's `slice_thickness` by default, or the spacing of its
        slices.
    consistency : {"auto", "none"}
        ``"auto"``: the result, seen through the slice profile, is the measured slices.
    label_method : {"nearest", "argmax"}
        For label maps.
    uncertainty : bool or Uncertain
        Find the standard deviation of each voxel: see :mod:`sciSR.throughplane.uncertainty`.
    device, precision, tile
        As for :func:`sciSR.inference.plan_upscale`; a tile holds all slices.
    seed : int
        Of everything that is random.

    Returns
    -------
    IsotropicPlan, or the plan of another kind of voxels

    Raises
    ------
    NothingToDo
        The volume is isotropic.
    GeometryError
        No volume, or a single slice.
    UsageError
        Settings that can't be.
    """
    settings = {
        "model": model,
        "self_training": self_training,
        "profile": profile,
        "thickness": thickness,
        "consistency": consistency,
        "uncertainty": uncertainty,
        "device": device,
        "precision": precision,
        "tile": tile,
        "seed": seed,
    }
    _check(consistency, self_training, precision, label_method)
    target = target_of(image, spacing)
    if image.kind != "intensity" or image.dtype.kind == "c":
        return _other_kind(image, target, spacing, label_method, settings)
    across = image.shape[image.slice_axis or 0]
    fine = int(across * target.across)
    messages = [target.message()]
    if target.across == 1:
        operator = SliceSampling(across, across, 1.0, "rect")
        method = Method("smoothest")
    else:
        known, note = relative_thickness(image, target.before[2], thickness)
        shape, width, said = resolve_profile(profile, image, target, known)
        if width == known:  # a profile may bring a width of its own
            messages.append(note)
        messages += said
        check_overlap(image, width)
        operator = SliceSampling(across, fine, width, shape)
        if not operator.exact:
            warn_of_overlap(image, width)
        side = min(int(image.shape[a] * f) for a, f in zip(image.spatial_axes, target.in_plane, strict=True))
        method = choose_method(image, operator, model, self_training, side)
        messages += method.messages
    statistics = sample(image)
    uncertain = plan_uncertainty(image, statistics, uncertainty, float(target.across), method)
    if uncertain is not None:
        messages += told(uncertain, method)
    return IsotropicPlan(
        image=image,
        target=target,
        operator=operator,
        method=method,
        normaliser=fit(statistics.values, "range"),
        has_bad=statistics.n_bad > 0,
        n_bad=statistics.n_bad,
        device=choose_device(device),
        bf16=precision == "bf16",
        tile=tile,
        seed=seed,
        enforced=consistency == "auto",
        uncertain=uncertain,
        messages=messages,
    )


def _check(consistency: str, self_training: str, precision: str, label_method: str) -> None:
    for what, value, known in (
        ("consistency", consistency, ("auto", "none")),
        ("self-training", self_training, ("0", "fast", "full")),
        ("precision", precision, ("fp32", "bf16")),
        ("label method", label_method, ("nearest", "argmax")),
    ):
        if value not in known:
            raise UsageError(f"no {what} {value!r} for isotropic volumes", remedy=f"use {', '.join(known)}")


def _other_kind(
    image: Image, target: Target, spacing: float | None, label_method: str, settings: dict[str, Any]
) -> Any:
    """Labels are not mixed; probabilities, phases and complex voxels go through as intensities."""
    from sciSR.inference.kinds import plan_kind, resample_labels

    if image.kind == "labels":
        factors = all_factors(image, target.in_plane, target.across)
        plan = resample_labels(image, factors, label_method)
        plan.messages.insert(0, target.message())
        if settings["uncertainty"]:
            plan.messages.append(LABELS)
        return plan
    if settings["model"] == "auto":  # the network learned from magnitudes
        settings = settings | {"model": "smoothest"}
    if image.kind in NONE_FOR and settings["uncertainty"]:
        plan = _other_kind(image, target, spacing, label_method, settings | {"uncertainty": False})
        plan.messages.append(NONE_FOR[image.kind])
        return plan
    return plan_kind(image, functools.partial(plan_isotropic, spacing=spacing, **settings))


@dataclass
class IsotropicPlan:
    """What will be done to one volume; made by :func:`plan_isotropic`.

    Attributes
    ----------
    image : Image
    target : Target
    operator : SliceSampling
        What the scanner made of the thin slices.
    method : Method
        A network, or a matrix across the slices.
    normaliser : Normaliser
    bounds : (float, float), optional
        That good voxels keep within: they agree with the slices as far as this allows.
    uncertain : ThroughPlaneUncertainty, optional
        How the standard deviation of each voxel is found, where it is asked for.
    messages : list of str
        What was decided and why.
    """

    image: Image
    target: Target
    operator: SliceSampling
    method: Method
    normaliser: Normaliser
    has_bad: bool
    n_bad: int
    device: torch.device
    bf16: bool = False
    tile: int | None = None
    seed: int = 0
    enforced: bool = True
    bounds: tuple[float, float] | None = None
    uncertain: ThroughPlaneUncertainty | None = None
    messages: list[str] = field(default_factory=list)

    @cached_property
    def factors(self) -> tuple[Any, ...]:
        """One per axis of the data."""
        return all_factors(self.image, self.target.in_plane, self.target.across)

    @cached_property
    def output(self) -> Image:
        """The result without its pixels."""
        image = self.image
        grid = image.grid.refine(self.factors)
        error: Any = image.uncertainty
        if error is not None:
            error = NearestView(error, self.factors)
        if self.uncertain is not None:
            error = Promise(tuple(grid.shape), np.dtype(np.float32))
        thin = image.slice_thickness
        if thin is not None and self.target.across != 1:
            thin = self._new_spacing()
        return image.replace(
            data=Promise(tuple(grid.shape), np.dtype(np.float32)),
            grid=grid,
            uncertainty=error,
            mask=None if image.mask is None else NearestView(image.mask, self.factors),
            slice_thickness=thin,
        )

    def _new_spacing(self) -> float:
        """Distance of thin slices in the grid's unit."""
        spacing = self.image.grid.spacing[self.image.slice_axis]  # type: ignore[attr-defined]
        return float(spacing) / float(self.target.across)

    @property
    def reach(self) -> int:
        """Thick slices on either side that a thin one may depend on."""
        model = self.method.model
        network = 0 if not self.method.network else 16 if model is None else model.receptive_field()
        return int(min(self.operator.coarse, network + math.ceil(2 * self.operator.thickness)))

    @property
    def views(self) -> Any:
        """From which sides the network looks at the volume."""
        return VIEWS["many" if self.method.self_training == "full" else "few"]

    def run(self, put: Put, progress: Progress | None = None) -> Image:
        """Learn from the volume, then go through it tile by tile.

        Parameters
        ----------
        put : callable
            ``put(index, block)`` with one int or slice per axis of the output.
        progress : callable, optional
            Called with the fraction done, 0 to 1.

        Returns
        -------
        Image
            :attr:`output` with its provenance completed by the measured agreement with the slices.
        """
        from sciSR.throughplane.running import run

        if self.device.type == "cpu":
            tune_allocator()
        return run(self, put, progress or _silent)

    def record(self, **measured: Any) -> dict[str, Any]:
        """The step for the provenance."""
        step: dict[str, Any] = {
            "software": f"sciSR {sciSR.__version__}",
            "step": "isotropic",
            "scale": "x".join(f"{float(f):.9g}" for f in (*self.target.in_plane, self.target.across)),
            "spacing_mm": [round(d, 9) for d in self.target.after],
            "model": self.method.name,
        }
        if self.target.across != 1:
            shape = self.operator.profile
            step["slice_profile"] = shape if isinstance(shape, str) else "table"
            if not isinstance(shape, str):
                step["slice_profile_sha256"] = hashlib.sha256(repr(shape).encode()).hexdigest()
            step["slice_reach"] = self.reach
            step["slice_thickness_mm"] = round(self.operator.thickness * self.target.before[2], 6)
            step["slice_spacing_mm"] = round(self.target.before[2], 9)
        if self.method.network:
            step["weights_sha256"] = self.method.digest
            step["self_training"] = {"steps": self.method.steps, "seed": self.seed}
            step["views"] = len(self.views)
            step["precision"] = "bf16" if self.bf16 else "fp32"
            step["normalisation"] = {
                "kind": self.normaliser.kind,
                "offset": self.normaliser.offset,
                "scale": self.normaliser.scale,
            }
        step |= {
            "quantity": self.image.quantity,
            "consistency": "slice profile" if self.enforced else "none",
            "bad_pixels": self.n_bad,
        }
        return step | {key: value for key, value in measured.items() if value is not None}


def _silent(_: float) -> None:
    """No progress is shown."""


def isotropic(image: Image, *, progress: Progress | None = None, **options: Any) -> Image:
    """An isotropic volume in memory.

    Parameters
    ----------
    image : Image
        From :func:`sciSR.read`.
    progress : callable, optional
        Called with the fraction done.
    **options
        See :func:`plan_isotropic`.

    Returns
    -------
    Image
        float32 (labels keep their dtype), with the provenance of what was done.
    """
    plan = plan_isotropic(image, **options)
    data = np.empty(plan.output.shape, dtype=plan.output.dtype)

    def put(index: Any, block: np.ndarray) -> None:
        data[index] = block

    run: Callable[..., Image] = plan.run
    return run(put, progress).replace(data=data)
