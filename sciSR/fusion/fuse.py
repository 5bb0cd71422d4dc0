"""Many frames of one field in, one sharper frame out: the whole way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from sciSR import __version__
from sciSR.errors import SciSRWarning, UnsupportedError, UsageError
from sciSR.fusion.assembling import at_fine, frame_records, measurements
from sciSR.fusion.diversity import nothing_to_gain
from sciSR.fusion.placing import Placed, place
from sciSR.fusion.prepared import Solution, Target
from sciSR.fusion.preparing import Preparation, fwhm_of, prepare
from sciSR.fusion.product import Fused
from sciSR.fusion.registration import Registration, refine
from sciSR.fusion.solvers import SOLVERS, solver
from sciSR.fusion.units import comfortable, in_own_unit
from sciSR.grid import exact_factors
from sciSR.sequence import FrameSequence

if TYPE_CHECKING:
    from sciSR.fusion.deconvolution import Blur

Progress = Callable[[float], None]

ROUNDS = 2
"""Times, at most, that a solution is used to refine transforms, levels and outliers before the last one is made."""
SETTLED = 0.01
"""Native pixels: no second round where the first one moved no frame by more."""


@dataclass(frozen=True)
class Settings:
    """What :func:`fuse` was asked for."""

    scale: tuple[Fraction, Fraction]
    method: str
    reference: str | int = "auto"
    register: str = "auto"
    model: str = "auto"
    background: str = "auto"
    keep_best: float | None = None
    device: str = "auto"
    strict: bool = False
    deconvolve: bool = False
    context: bool = False
    half_sets: bool = False
    panels: bool = False
    solver: Mapping[str, Any] = field(default_factory=dict)
    registration: Registration | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out = {k: getattr(self, k) for k in ("method", "reference", "register", "model", "background")}
        out |= {"keep_best": self.keep_best, "deconvolve": self.deconvolve}
        out["scale"] = [str(s) for s in self.scale] if self.scale[0] != self.scale[1] else str(self.scale[0])
        return {**out, **{k: v for k, v in self.solver.items() if isinstance(v, str | int | float | bool)}}


def fuse(
    sequence: FrameSequence,
    scale: Any = 2,
    method: str = "map",
    *,
    reference: str | int = "auto",
    register: str = "auto",
    model: str = "auto",
    background: str = "auto",
    keep_best: float | None = None,
    device: str = "auto",
    strict: bool = False,
    deconvolve: bool = False,
    psf: np.ndarray | None = None,
    context: bool = False,
    half_sets: bool = False,
    panels: bool = False,
    registration: Registration | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Fused:
    """Fuse a sequence of frames into one frame on finer pixels.

    Frames are registered, brought to the level of the reference, freed of outliers that the model itself can't
    explain, and solved for the scene as a camera with fine pixels and the same optics would see it.

    Parameters
    ----------
    sequence : FrameSequence
        From :func:`sciSR.read_sequence`, or ``FrameSequence.from_arrays(arrays)``.
    scale : number, str, or pair
        Fine pixels per native pixel: 2, 1.5, ``"3/2"``, or one per axis (rows, columns); 1 keeps the grid.
    method : {"map", "spectral", "drizzle", "mean", "median", "ibp", "pocs"}
    reference : int, str or "auto"
        Frame that gives grid and level: its number, its name, or a sharp one.
    register : {"auto", "wcs", "stars", "phase", "planetary"}
        Where the first guess of the transforms comes from; ``"planetary"`` adds smooth local warps.
    model : {"auto", "shift", "euclidean", "similarity", "affine", "wcs"}
    background : {"auto", "offset", "plane", "mesh", "none"}
        What may differ between the frames' backgrounds.
    keep_best : float or str, optional
        Share of the frames to keep, the sharpest.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
    strict : bool
        A frame that can't be used raises instead of being left out.
    deconvolve : bool
        Also take the optics' blur out, as far as the noise allows (method ``map``).
    psf : ndarray, optional
        The blur to take out, on the *fine* grid's pixels, centred; measured from the stars by default.
    context : bool
        Also say which frames contribute where.
    half_sets : bool
        Also fuse the two halves of the frames, and measure their Fourier ring correlation.
    panels : bool
        Also make the pictures for a contact sheet (a drizzled image among them).
    registration : Registration, optional
        Where the frames of this very sequence lie, as :func:`sciSR.fusion.registration.register` found it; `reference`,
        `register` and `model` are then only written into the record.
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    **settings
        Of the method, e.g. ``pixfrac=0.6`` for drizzle, ``prior="huber"`` for map.

    Returns
    -------
    Fused

    Raises
    ------
    UsageError
        Settings that make no sense, or a device that is not there.
    UnsupportedError
        No frame can be used; with `strict`, one can't.
    """
    from sciSR.inference.choose import parse_scale
    from sciSR.inference.device import choose_device

    if method not in SOLVERS:
        raise UsageError(
            f"no method of fusion is called {method!r}", remedy=f"use one of {', '.join(SOLVERS)}"
        )
    if deconvolve and method != "map":
        raise UsageError(
            "only the map method deconvolves", remedy="leave the method or the deconvolution out"
        )
    if not isinstance(sequence, FrameSequence):
        raise UsageError(
            f"frames are given as a FrameSequence, not {type(sequence).__name__}",
            remedy="use sciSR.read_sequence(paths) or FrameSequence.from_arrays(arrays)",
        )
    if psf is not None and not deconvolve:
        raise UsageError("a PSF is used to deconvolve only", remedy="give deconvolve=True too")
    if not len(sequence):
        raise UnsupportedError("there is no frame to fuse")
    if device != "auto":
        choose_device(device)  # refuses one that is not there, before any work
    asked = Settings(
        parse_scale(scale, native=True), method, reference, register, model, background, keep_best, device, strict,
        deconvolve, context, half_sets, panels, settings, registration,
    )  # fmt: skip
    numbers, factor = comfortable(sequence)
    if factor != 1:  # levels of the frames were found in their own unit
        asked = replace(asked, registration=None)
    work = _Fusion(numbers, asked, psf, progress or (lambda fraction: None))
    return in_own_unit(work.run(), sequence, factor)


class _Fusion:
    """One fusion, step by step."""

    def __init__(
        self, sequence: FrameSequence, asked: Settings, psf: np.ndarray | None, tell: Progress
    ) -> None:
        self.sequence, self.asked, self.psf, self.tell = sequence, asked, psf, tell
        self.notes: list[str] = []
        self.method = asked.method
        self.memory: dict[str, Any] = {}
        self.unlike = False
        self.blur: Blur | None = None

    def run(self) -> Fused:
        self._look()
        placed = place(self.sequence, self.asked, lambda f: self.tell(0.25 * f))
        self.notes += placed.notes
        self._complain(placed)
        reference = self.sequence[placed.registration.reference]
        target = Target(reference.shape, exact_factors(reference.shape, self.asked.scale))
        kept = lambda f: self.tell(0.25 + 0.15 * f)  # noqa: E731
        prep = prepare(
            self.sequence, placed.registration, target,
            background=self.asked.background, strict=self.asked.strict, progress=kept,
        )  # fmt: skip
        with prep.store:
            self._name(prep.left_out)
            if placed.multiplier is not None:
                for entry in prep.store.entries:
                    entry.multiplier = placed.multiplier(entry.index)  # type: ignore[assignment]
            self._fall_back(prep)
            self._improve(prep, placed)
            self.tell(0.8)
            solution = self._last(prep, placed)
            self.tell(0.9)
            return self._fused(prep, placed, solution)

    def _look(self) -> None:
        """Warn of what is mixed."""
        frames = self.sequence.frames
        filters = sorted({f.filter for f in frames if f.filter})
        if len(filters) > 1:
            self._warn(
                f"the frames were taken through {len(filters)} filters ({', '.join(filters)}): their colours mix"
            )
        times = sorted({round(f.exposure, 6) for f in frames if f.exposure})
        if len(times) > 1:
            self._warn(f"exposures from {times[0]:g} to {times[-1]:g} s: scaled to the reference's")
        shapes = sorted({f.shape for f in frames})
        if len(shapes) > 1:
            self.notes.append(f"frames of {len(shapes)} shapes: {', '.join(f'{a}x{b}' for a, b in shapes)}")

    def _warn(self, text: str) -> None:
        warnings.warn(text, SciSRWarning, stacklevel=4)
        self.notes.append(text)

    def _complain(self, placed: Placed) -> None:
        chosen = (
            set(getattr(placed.registration, "not_kept", ())) | placed.dropped
        )  # by --keep-best: no failure
        self._name([(k, reason) for k, reason in placed.registration.left_out if k not in chosen])

    def _name(self, left_out: Sequence[tuple[int, str]]) -> None:
        """Say which frames are not used, and why; with `strict`, refuse the first."""
        for k, reason in left_out:
            name = self.sequence[k].name
            why = reason.removeprefix(f"{name}: ")
            if self.asked.strict:
                raise UnsupportedError(why, where=name, remedy="take the frame out, or leave --strict away")
            warnings.warn(f"left out: {name}: {why}", SciSRWarning, stacklevel=5)

    def _fall_back(self, prep: Preparation) -> None:
        """One frame, or no two that sample the sky differently: finer pixels would be invented."""
        if self.method in ("map", "spectral", "ibp", "pocs"):
            reason = nothing_to_gain([e.registered.transform for e in prep.store.entries], prep.target)
            if reason and not self.asked.deconvolve:
                self.method = "mean"
                self._warn(
                    f"{reason}: there is no resolution to gain, so the frames are averaged (method mean)"
                )

    def _improve(self, prep: Preparation, placed: Placed) -> None:
        """Rounds of solving, refining the transforms, and finding outliers."""
        if len(prep.store) < 2:
            return
        prep.first_pass(reject=not placed.planetary)
        self.unlike = prep.unlike(median=True)
        if placed.planetary:
            return
        rounds = ROUNDS if len(prep.store) > 2 else 1
        for k in range(rounds):
            image = self._solve("map", prep.store, prep.target, placed, quick=True).image
            moved = self._refine(prep, image) if placed.refinable else 0.0
            # Frames that were in place from the beginning need no second round.
            last = k == rounds - 1 or moved < SETTLED
            prep.against(image, trails=last and len(prep.store) > 3, device=self.asked.device)
            self.unlike |= prep.unlike()
            self.tell(0.4 + 0.4 * (k + 1) / rounds)
            if last:
                break

    def _refine(self, prep: Preparation, image: np.ndarray) -> float:
        """Correct all transforms against a solution; the largest rms change of a frame, native pixels."""
        rows, columns = prep.target.native
        points = np.array(
            [[r, c] for r in (0.0, rows / 2, rows - 1.0) for c in (0.0, columns / 2, columns - 1.0)]
        )
        entries = prep.store.entries
        better = refine(prep.store, image, prep.target, [e.registered for e in entries])
        largest = 0.0
        for entry, new in zip(entries, better, strict=True):
            change = new.transform(points) - entry.registered.transform(points)
            largest = max(largest, float(np.sqrt(np.mean(np.sum(change**2, axis=-1)))))
            entry.registered = new
        return largest

    def _solve(
        self,
        method: str,
        frames: Any,
        target: Target,
        placed: Placed,
        *,
        quick: bool = False,
        whole: bool = True,
        blur: Blur | None = None,
    ) -> Solution:
        given = dict(self.asked.solver) if method == self.asked.method and not quick else {}
        if method == "map":
            if self.unlike:
                given.setdefault("fwhm", fwhm_of(placed.registration.frames))
            if placed.planetary:
                from sciSR.fusion.planetary import MAP_SETTINGS

                given = {**MAP_SETTINGS, **given}
            if blur is not None:  # another unknown: nothing learnt before is of use
                given["blur"] = blur
            elif whole:
                given["memory"] = self.memory
            if quick:
                given |= {"errors": False, "tolerance": 1e-3}
            elif self.asked.context:
                given["context"] = True
        elif method == "drizzle" and self.asked.context:
            given["context"] = True
        device = self.asked.device
        if method != "map" and device == "auto":
            from sciSR.fusion.map import resolve

            device = str(resolve(device))
        return solver(method)(frames, target, device=device, **given)

    def _last(self, prep: Preparation, placed: Placed) -> Solution:
        if not self.asked.deconvolve:
            return self._solve(self.method, prep.store, prep.target, placed)
        from sciSR.fusion.deconvolution import deconvolved

        plain = self._solve("map", prep.store, prep.target, placed, quick=True)
        solution, self.blur = deconvolved(
            plain,
            prep.target,
            self.psf,
            lambda blur: self._solve("map", prep.store, prep.target, placed, blur=blur),
            lost=prep.census.never_measured(),
        )
        if self.blur is None:
            self.notes.append(solution.notes[-1])
            return self._solve("map", prep.store, prep.target, placed)
        return solution

    # -- the product

    def _fused(self, prep: Preparation, placed: Placed, solution: Solution) -> Fused:
        reference = self.sequence[placed.registration.reference]
        share = (
            float(prep.target.factors[0] * prep.target.factors[1])
            if reference.image.quantity == "total"
            else 1.0
        )
        lost = prep.census.never_measured()
        bad = ~np.isfinite(solution.image) | lost
        level = at_fine(prep.background.evaluate(), prep.target)
        nan = np.float32(np.nan)
        image = np.where(bad, nan, (solution.image + level) / np.float32(share))
        std = np.where(bad, nan, solution.std / np.float32(share))
        if lost.any():
            self.notes.append(f"{int(lost.sum())} fine pixels are saturated in every frame: NaN")
        if prep.trails:
            self.notes.append(f"{prep.trails} trails masked")
        self.notes += [*prep.notes, *solution.notes]
        if share != 1:
            self.notes.append(f"the unit is per pixel: {share:g} fine pixels share a native pixel's value")
        records = frame_records(self.sequence, prep, placed)
        settings = {**self.asked.as_dict(), "method": self.method, "device": str(self.asked.device)}
        settings["deconvolve"] = self.blur is not None
        record = {"software": f"sciSR {__version__}", "step": "fuse", **settings}
        record |= {"frames": len(prep.store), "reference": reference.name, **dict(solution.extras)}
        out = reference.image.replace(
            data=image,
            uncertainty=std,
            mask=bad,
            grid=reference.image.grid.refine(prep.target.factors),
            provenance=reference.image.provenance.add(**record),
        )
        report = self._report(prep, placed, solution)
        panels = self._panels(prep, placed, solution) if self.asked.panels else {}
        self.tell(1.0)
        weight = solution.weight * np.float32(share**2)
        return Fused(
            out, weight, solution.coverage, solution.context, self.sequence, records, settings,
            tuple(dict.fromkeys(self.notes)), panels, report,
        )  # fmt: skip

    def _report(self, prep: Preparation, placed: Placed, solution: Solution) -> dict[str, Any]:
        out = measurements(prep, solution)
        if self.asked.half_sets and len(prep.store) >= 4:
            out["frc"] = self._ring_correlation(prep, placed)
        return out

    def _ring_correlation(self, prep: Preparation, placed: Placed) -> dict[str, Any]:
        from sciSR.metrics.resolution import frc_report

        n = len(prep.store)
        quick = self.method == "map"
        halves = [
            self._solve(self.method, prep.store.some(part), prep.target, placed, quick=quick, whole=False)
            for part in (list(range(0, n, 2)), list(range(1, n, 2)))
        ]
        good = np.isfinite(halves[0].image) & np.isfinite(halves[1].image)
        images = [np.where(good, h.image, 0.0) for h in halves]
        return frc_report(*images, factor=float(prep.target.factors[0]), mask=good)

    def _panels(self, prep: Preparation, placed: Placed, solution: Solution) -> dict[str, np.ndarray]:
        """Pictures for the contact sheet, all in the level of the result."""
        from sciSR.fusion.map import FramePredictor

        entry = prep.reference
        level = at_fine(prep.background.evaluate(), prep.target)
        raw = np.where(prep.store.get(entry, "bad"), np.float32(np.nan), prep.store.get(entry, "values"))
        drizzled = self._solve("drizzle", prep.store, prep.target, placed).image + level
        predicted, unknown = FramePredictor(np.nan_to_num(solution.image), prep.target, blur=self.blur)(
            prep.store.prepared(entry)
        )
        frame = prep.store.prepared(entry)
        left = np.where(
            frame.bad | unknown, np.float32(np.nan), (frame.values - predicted) / np.sqrt(frame.variance)
        )
        share = float(prep.target.factors[0] * prep.target.factors[1])
        if self.sequence[placed.registration.reference].image.quantity == "total":
            drizzled = drizzled / np.float32(share)
        return {"reference": raw, "drizzle": drizzled, "residual": left}
