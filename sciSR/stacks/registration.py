"""Motion of stacks and of slices, each found against the volume that all the other stacks make.

A stack that took part in the volume that it is compared with would find itself there where it lies already; without it
the comparison is fair, and a few rounds suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.least_squares import solve
from sciSR.stacks.canvas import MARGIN, Canvas, output_grid
from sciSR.stacks.gauss_newton import Slopes, largest, slice_steps, slopes, stack_step
from sciSR.stacks.levels import coarser
from sciSR.stacks.likelihood import StackLikelihood, usual
from sciSR.stacks.operator import StackOperator
from sciSR.stacks.prior import PowerLaw, fitted
from sciSR.stacks.rigid import Rigid
from sciSR.stacks.robust import misfits, trusted
from sciSR.stacks.sampling import affordable
from sciSR.stacks.tracking import Track

ROUNDS = (6, 8, 2)
"""Over all stacks, at most: on levels before the last two, on the last but one, and on the last."""
STILL = 0.02
"""Of the level's spacing: largest step at which a stack counts as settled."""
CALM = 0.1
"""Of the level's spacing: largest step of a stack from which on single slices are looked at."""
LOOSE = np.array([2.0] * 3 + [2.0] * 3)
"""Degrees and millimetres: what slices may move against their stack (standard deviation)."""
EVIDENCE = 40.0
"""Fall of a slice's squared residual, in units of its variance, that a motion of its own needs."""
SHARE = 0.1
"""And of all its squared residual: what the model does not explain is no noise, and has chance motions of its own."""
_KNOWN = 0.5
_VARIANCE = 0.05
"""Of voxels, in squared units of the intensities' range: for the weak prior of the volumes compared with."""

Progress = Callable[[float], None]


class Level:
    """One resolution: a canvas, the stacks on it, and the volumes without each stack.

    Parameters
    ----------
    tracks : sequence of Track
    spacing : float
        Millimetres.
    device : torch.device
    """

    def __init__(self, tracks: Sequence[Track], spacing: float, device: torch.device) -> None:
        self.tracks, self.spacing = tracks, spacing
        reach = MARGIN * max(track.stack.thickness for track in tracks)
        self.canvas = Canvas.around(output_grid(tracks[0].stack, spacing), reach, device)
        self.stacks = [coarser(track.stack, spacing) for track in tracks]
        self.law = PowerLaw.of_variance(self.canvas, _VARIANCE)
        self._operators: list[StackOperator | None] = [None] * len(tracks)
        self._volumes: dict[int, Tensor] = {}
        self._keep = affordable(sum(stack.data.size for stack in self.stacks))
        self._known = False
        self.radius = 0.5 * float(np.linalg.norm(np.array(self.canvas.inner) * self.canvas.spacing))

    def begin_from(self, other: Level) -> None:
        """Take over another level's volumes to start from."""
        for index, volume in other._volumes.items():
            self._volumes[index] = other.canvas.resampled(volume, self.canvas)
        self.law = other.law

    def operator(self, index: int) -> StackOperator:
        """With the stack's present motion."""
        made = self._operators[index]
        if made is None or not np.array_equal(made.matrices, self.tracks[index].each):
            made = self.tracks[index].operator(self.canvas, self.stacks[index], keep=self._keep)
            self._operators[index] = made
        return made

    def without(self, index: int) -> tuple[Tensor, Tensor]:
        """Spectrum of the volume that the other stacks make, and where they say anything."""
        parts = [t.observed(self.operator(i)) for i, t in enumerate(self.tracks) if i != index]
        likelihood = StackLikelihood(self.canvas, parts)
        volume, _ = solve(
            likelihood,
            [self.law.penalty(self.canvas)],
            self._volumes.get(index),
            iterations=10,
            tolerance=3e-3,
        )
        self._volumes[index] = volume
        if not self._known:
            # From now on with the body's own spectrum: a volume of too much detail would make gains look small.
            self.law, self._known = fitted(likelihood, volume, self.law), True
        return self.canvas.forward(volume), likelihood.weight > _KNOWN * usual(likelihood.weight)

    def look(self, index: int, spectrum: Tensor, known: Tensor) -> Slopes:
        """One stack against a volume."""
        track = self.tracks[index]
        centre = track.whole[:3, :3] @ track.stack.centre + track.whole[:3, 3]
        gain = (track.gain, track.offset)
        return slopes(self.operator(index), spectrum, known, gain, centre, track.trust)

    def update(self, index: int, *, stack: bool, slices: bool, weights: bool) -> float:
        """Move one stack and its slices, and judge these; the largest motion in millimetres."""
        track, moved = self.tracks[index], 0.0
        spectrum, known = self.without(index)
        look = self.look(index, spectrum, known)
        spread = 0.0
        for _ in range(2 if stack else 0):
            step = stack_step(look)
            at = Rigid.of(step.motion, look.centre)
            track.move(at.matrix)
            track.change_intensities(float(step.gain[0]), float(step.gain[1]))
            moved, spread = max(moved, largest(step.motion, self.radius)), step.spread
            look = self.look(index, spectrum, known)
            if moved < STILL * self.spacing:
                break
        if slices:
            spread = spread or _spread(look)
            for _ in range(2):
                here = move_slices(track, look, spread)
                if here == 0:
                    break
                moved = max(moved, here)
                look = self.look(index, spectrum, known)
        if weights:
            track.trust = trusted(misfits(look, len(track.each)))
        track.history.append({"spacing": self.spacing, "step": moved, "spread": spread or _spread(look)})
        if index == 0:
            hold(self.tracks)
        return moved


def _spread(look: Slopes) -> float:
    total = float(look.weights.sum())
    return float(np.sqrt((look.weights @ look.residual**2) / max(total, 1.0)))


def move_slices(track: Track, look: Slopes, spread: float) -> float:
    """Slices with evidence of their own motion get it; how far the farthest went, millimetres."""
    deviations = track.deviations()
    found = slice_steps(look, deviations, LOOSE, max(spread, 1e-12))
    chosen = (found.evidence > EVIDENCE) & (found.share > SHARE)
    moved = 0.0
    for k in np.flatnonzero(chosen):
        step = Rigid.of(found.steps[k], found.centres[k])
        track.each[k] = step.matrix @ track.each[k]
        track.own[k] = True
        extent = np.array(track.stack.slices.shape[1:]) * track.stack.spacing[list(track.stack.in_plane)]
        moved = max(moved, largest(found.steps[k], 0.5 * float(np.linalg.norm(extent))))
    return moved


def hold(tracks: Sequence[Track]) -> None:
    """Keep the frame and the intensities of the first stack: what it moved against the others, they move against it.

    Where its slices moved, most of them did not: the frame is theirs.
    """
    first = tracks[0]
    usual = np.median([Rigid.of_matrix(m, first.stack.centre).parameters for m in first.each], axis=0)
    if np.abs(usual).max() > 0:
        back = np.linalg.inv(Rigid.of(usual, first.stack.centre).matrix)
        for track in tracks:
            track.move(back)
        first.whole = np.eye(4)
        first.each[~first.own] = np.eye(4)
    gain, offset = first.gain, first.offset
    for track in tracks:
        track.gain /= gain
        track.offset -= track.gain * offset
    first.gain, first.offset = 1.0, 0.0


def align(
    tracks: Sequence[Track],
    spacings: Sequence[float],
    device: torch.device,
    *,
    stacks: bool,
    slices: bool,
    progress: Progress | None = None,
) -> bool:
    """Find the motion of all stacks and slices, level by level.

    Parameters
    ----------
    tracks : sequence of Track
        Changed in place.
    spacings : sequence of float
        Of the levels, millimetres, coarse to fine.
    device : torch.device
    stacks, slices : bool
        What may move; slices are judged in any case.
    progress : callable, optional
        Called with the share done.

    Returns
    -------
    bool
        True if the last steps were small.
    """
    settled, previous = True, None
    for number, spacing in enumerate(spacings):
        level = Level(tracks, spacing, device)
        if previous is not None:
            level.begin_from(previous)
        # Slices are followed and judged where that costs little; the finest level is for the stacks' last step.
        judging = len(spacings) == 1 or number == len(spacings) - 2
        place = max(0, number - len(spacings) + len(ROUNDS)) if len(spacings) > 1 else 1
        most = ROUNDS[place] if stacks or slices else 1
        if not stacks and not judging:
            continue
        calm = not stacks  # slices are compared only with stacks that lie about right
        for turn in range(most):
            looking = judging and (calm or turn == most - 1)
            moved = 0.0
            # The first one last: what the others have in common against it is then a single step.
            for index in [*range(1, len(tracks)), 0]:
                here = level.update(index, stack=stacks, slices=slices and looking, weights=looking)
                moved = max(moved, here)
            if progress is not None:
                progress((number + (turn + 1) / most) / len(spacings))
            calm, settled = calm or moved < CALM * spacing, moved < 5 * STILL * spacing
            # The finest level costs most, and begins where the one before ended.
            if moved < STILL * spacing * (1 if judging else 3) and (looking or not judging):
                break
        previous = level
    return settled
