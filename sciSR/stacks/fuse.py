"""From stacks to one isotropic volume: register, match intensities, judge slices, solve, and say how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciSR.errors import GeometryError, UsageError
from sciSR.stacks.canvas import MARGIN, Canvas, finest, output_grid
from sciSR.stacks.likelihood import Observed, StackLikelihood, usual
from sciSR.stacks.posterior import standard_deviation
from sciSR.stacks.prior import PRIORS, PowerLaw, Solved, fitted, solve_with
from sciSR.stacks.registration import align
from sciSR.stacks.rigid import Rigid
from sciSR.stacks.robust import voxel_weights
from sciSR.stacks.sampling import affordable
from sciSR.stacks.stack import FusedVolume, SliceMotion, Stack, StackMotion, check
from sciSR.stacks.start import first_guess
from sciSR.stacks.tracking import Track, match_intensities

Progress = Callable[[str, float], None]

OVERLAP = 0.01
"""Share of a stack's voxels that must lie in the first stack's field."""
TOLERANCE = 3e-4
_VARIANCE = 0.05
"""Of voxels, in squared units of the range: the prior before the data's own spectrum is known."""
_KNOWN = 0.02
"""Of the usual weight, below which nothing is known of a voxel."""
_LEAST = 20
"""Voxels that a coarser level must have along each axis at least."""


@dataclass(frozen=True)
class _Unit:
    """Intensities in units of the first stack's range: nothing depends on what the scanner calls one."""

    low: float
    size: float

    @classmethod
    def of(cls, stack: Stack) -> _Unit:
        values = stack.slices[stack.good]
        low, high = (float(v) for v in np.quantile(values, [0.01, 0.999]))
        size = high - low if high > low else float(values.max()) - float(values.min())
        return cls(low, size)

    def apply(self, stack: Stack) -> Stack:
        data = (stack.data.astype(np.float64) - self.low) / self.size
        return replace(stack, data=data.astype(np.float32), bad=~np.isfinite(stack.data) | _bad(stack))

    def gain(self, track: Track) -> tuple[float, float]:
        """Of the stack's own intensities against the first's."""
        return track.gain, self.low * (1 - track.gain) + self.size * track.offset


def _bad(stack: Stack) -> np.ndarray:
    return np.zeros(stack.data.shape, dtype=bool) if stack.bad is None else np.asarray(stack.bad, dtype=bool)


def fuse_stacks(
    stacks: Sequence[Stack],
    *,
    spacing: float | None = None,
    slice_motion: bool = True,
    register: bool = True,
    prior: str = "auto",
    iterations: int = 30,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> FusedVolume:
    """One isotropic volume from stacks of thick slices in different orientations.

    Parameters
    ----------
    stacks : sequence of Stack
        Two or more, in one world. The first is the frame: its axes, its field, its intensities.
    spacing : float, optional
        Millimetres; by default the finest in-plane spacing. Each axis gets ``round(N d / spacing)`` voxels.
    slice_motion : bool
        Let slices that have evidence for it move by themselves.
    register : bool
        False believes the headers.
    prior : {"auto", "tikhonov", "huber", "none"}
        See :func:`sciSR.stacks.prior.solve_with`.
    iterations : int
        Of conjugate gradients, at most.
    seed : int
        Of the draws that the standard deviation comes from; nothing else is drawn.
    device : str
        "cpu", "cuda" or "auto".
    progress : callable, optional
        Called with the name of the step and the share of the whole that is done.

    Returns
    -------
    FusedVolume

    Raises
    ------
    UsageError
        Fewer than two stacks, an unknown prior, a stack without contrast.
    GeometryError
        Stacks that do not overlap.
    """
    check(stacks)
    if prior not in PRIORS:
        raise UsageError(f"no prior is called {prior!r}", remedy=f"use one of {', '.join(PRIORS)}")
    if iterations < 1:
        raise UsageError(f"{iterations} iterations", remedy="give one or more")
    target = finest(stacks) if spacing is None else float(spacing)
    grid = output_grid(stacks[0], target)
    overlapping(stacks)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    tell = progress or (lambda _name, _share: None)
    unit = _Unit.of(stacks[0])
    tracks = [Track.of(unit.apply(stack)) for stack in stacks]
    match_intensities(tracks)
    report: dict[str, Any] = {"spacing": target, "prior": prior, "seed": seed}
    if register:
        for number, track in enumerate(tracks[1:], 1):
            tell("first guess", 0.1 * number / len(tracks))
            guess, correlation = first_guess(tracks[0].stack, track.stack)
            track.move(guess.matrix)
            track.history.append({"correlation": correlation})
    settled = align(
        tracks,
        levels(target, grid.shape),
        where,
        stacks=register,
        slices=register and slice_motion,
        progress=lambda share: tell("registration", 0.1 + 0.5 * share),
    )
    reach = MARGIN * max(stack.thickness for stack in stacks)
    canvas = Canvas.around(grid, reach, where)
    tell("reconstruction", 0.6)
    likelihood, solved, used = _solve(canvas, tracks, prior, iterations, tell)
    tell("uncertainty", 0.85)
    std = standard_deviation(likelihood, solved.penalties, seed=seed, iterations=iterations // 2 + 1)
    tell("done", 1.0)
    report |= {"settled": settled, **_account(tracks, stacks, solved, unit, used)}
    return _product(canvas, likelihood, solved.volume, std, tracks, stacks, unit, grid.affine, report)


def overlapping(stacks: Sequence[Stack]) -> None:
    """Refuse a stack that lies outside the first one's field.

    Raises
    ------
    GeometryError
    """
    first = stacks[0]
    back = np.linalg.inv(first.affine)
    for other in stacks[1:]:
        axes = [np.linspace(0, n - 1, min(n, 24)) for n in other.data.shape]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        matrix = back @ other.affine
        at = index @ matrix[:3, :3].T + matrix[:3, 3]
        inside = ((at >= -0.5) & (at <= np.array(first.data.shape) - 0.5)).all(1)
        if inside.mean() < OVERLAP:
            raise GeometryError(
                f"{first.name} and {other.name} do not overlap: their centres lie "
                f"{float(np.linalg.norm(first.centre - other.centre)):.0f} mm apart",
                remedy="give stacks of the same part of the same body, or leave one out",
            )


def levels(target: float, shape: Sequence[int]) -> list[float]:
    """Spacings to register at: four times the target and twice, if enough voxels are left, and the target."""
    return [*(n * target for n in (4, 2) if min(shape) >= n * _LEAST), target]


def _solve(
    canvas: Canvas, tracks: Sequence[Track], prior: str, iterations: int, tell: Progress
) -> tuple[StackLikelihood, Solved, dict[str, list[float]]]:
    """Fit the prior to the data's own spectrum, then solve, weigh the voxels by what they miss, and solve again."""
    keep = affordable(sum(track.stack.data.size for track in tracks))
    operators = [track.operator(canvas, keep=keep) for track in tracks]
    parts = [t.observed(o) for t, o in zip(tracks, operators, strict=True)]
    likelihood = StackLikelihood(canvas, parts)
    law = PowerLaw.of_variance(canvas, _VARIANCE)
    first = solve_with("tikhonov", likelihood, law, None, iterations=iterations // 2 + 1, tolerance=5e-3)
    law = fitted(likelihood, first.volume, law)
    tell("reconstruction", 0.7)
    spectrum = canvas.forward(first.volume)
    weighted, spreads = [], []
    for track, operator, part in zip(tracks, operators, parts, strict=True):
        missed = part.values - operator.apply(spectrum)
        trust = torch.from_numpy(track.trust[operator.slice_of]).to(missed.device)
        weights, spread = voxel_weights(missed, track.noise / abs(track.gain), trust)
        weighted.append(Observed(operator, part.values, part.weights * weights))
        spreads.append(spread)
    likelihood = StackLikelihood(canvas, weighted)
    solved = solve_with(prior, likelihood, law, first.volume, iterations=iterations, tolerance=TOLERANCE)
    return likelihood, solved, {"residuals": spreads}


def _account(
    tracks: Sequence[Track],
    stacks: Sequence[Stack],
    solved: Solved,
    unit: _Unit,
    used: dict[str, list[float]],
) -> dict[str, Any]:
    """What was done, JSON-ready."""
    entries = []
    for track, stack, residual in zip(tracks, stacks, used["residuals"], strict=True):
        left_out = [int(k) for k in np.flatnonzero(track.trust == 0)]
        entries.append(
            {
                "name": stack.name,
                "noise": track.noise * unit.size,
                "residual": residual * unit.size,
                "rotation_deg": list(track.rigid.rotation),
                "translation_mm": list(track.rigid.translation),
                "gain": unit.gain(track)[0],
                "offset": unit.gain(track)[1],
                "slices": len(track.each),
                "slices_moved": [int(k) for k in np.flatnonzero(track.own)],
                "slices_left_out": [
                    {"slice": k, "why": "what it shows is not what the other stacks show there"}
                    for k in left_out
                ],
                "slices_of_less_weight": [
                    int(k) for k in np.flatnonzero((track.trust > 0) & (track.trust < 1))
                ],
                "steps": track.history,
            }
        )
    return {
        "iterations": solved.done.iterations,
        "residual": solved.done.residual,
        "exponent": solved.law.exponent,
        "stacks": entries,
    }


def _product(
    canvas: Canvas,
    likelihood: StackLikelihood,
    volume: Tensor,
    std: Tensor,
    tracks: Sequence[Track],
    stacks: Sequence[Stack],
    unit: _Unit,
    affine: np.ndarray,
    report: dict[str, Any],
) -> FusedVolume:
    """In the first stack's intensities, on the output's own grid."""
    inside = canvas.inside
    # Voxels for each voxel, weighted by trust: the noise's own weight taken out.
    weight = torch.zeros(canvas.shape, device=canvas.device)
    for track, part in zip(tracks, likelihood.parts, strict=True):
        weight += part.operator.density(part.weights * (track.noise / track.gain) ** 2)
    unknown = weight <= _KNOWN * usual(weight)
    volume = (volume.double() * unit.size + unit.low).float()
    std = std * unit.size
    volume[unknown], std[unknown] = torch.nan, torch.nan
    motions = tuple(
        StackMotion(
            stack.name,
            track.rigid,
            tuple(
                SliceMotion(k, Rigid.of_matrix(track.each[k], track.slice_centre(k)), bool(track.own[k]))
                for k in range(len(track.each))
            ),
        )
        for track, stack in zip(tracks, stacks, strict=True)
    )
    return FusedVolume(
        volume[inside].cpu().numpy(),
        std[inside].cpu().numpy(),
        weight[inside].clamp_min(0).cpu().numpy(),
        affine,
        motions,
        tuple(unit.gain(track) for track in tracks),
        tuple(track.trust.copy() for track in tracks),
        report,
    )
