"""Real sequences, fused without options: does the result agree with its own frames, and is it finer than they are?

``python benchmarks/fusion_sequences.py [--data DIR] [--sequences NAME ...] [--json OUT] [--keep FOLDER]``

No truth is known here. What can be known: the stars of the frames, whose fluxes and positions the fused image must
keep within the frames' own errors; the scene that two halves of the frames share (Fourier ring correlation); and
empty sky, which must be as quiet as so many frames allow, without a pattern of the grid and without dark rings around
stars. Each sequence runs in a process of its own; its memory is that process's peak after the fusion.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from sequence_result import Result, table
from sequence_stars import (
    Plane,
    checkerboard,
    empty_sky,
    find,
    fine_matrix,
    fluxes,
    noise_of,
    positions,
    resampled,
    rings,
    widths,
)

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "astro" / "sequence"
SEQUENCES = {
    "decam_186p257": ("decam_186p257", ""),
    "decam_186p257 g": ("decam_186p257", "g"),
    "decam_186p257 r": ("decam_186p257", "r"),
    "decam_186p257 z": ("decam_186p257", "z"),
    "decam_i_obs04": ("decam_i_obs04", ""),
    "exotic_hatp32": ("exotic_hatp32", ""),
    "orion_microobs": ("orion_microobs", ""),
}
"""Folder and filter (its first letter; all, if empty) of each sequence."""

MOST = 400  # stars measured
BRIGHT = 15.0  # signal to noise of an aperture from which a star is measured
RADIUS = 1.75  # of apertures, in widths of the stars: the frames' seeing differs


def read(name: str, data: Path = DATA) -> Any:
    """The frames of a sequence, as :func:`sciSR.read_sequence` gives them."""
    import sciSR

    folder, band = SEQUENCES[name]
    sequence = sciSR.read_sequence(sorted((data / folder).iterdir()))
    if not band:
        return sequence
    return replace(sequence, frames=tuple(f for f in sequence if (f.filter or "").startswith(band)))


def fuse_both(
    sequence: Any, factor: int, tell: Callable[[float], None] | None = None
) -> tuple[Any, Any, list[np.ndarray]]:
    """The default fusion, drizzle of the very same frames (both with their half-sets), and each frame's bad pixels."""
    from sciSR.fusion import fuse

    drizzled: list[Any] = []
    bad: list[np.ndarray] = []

    class Both(fuse._Fusion):
        def _fused(self, prep: Any, placed: Any, solution: Any) -> Any:
            out = super()._fused(prep, placed, solution)
            self.method, used = "drizzle", self.method
            drizzled.append(
                super()._fused(prep, placed, self._solve("drizzle", prep.store, prep.target, placed))
            )
            self.method = used
            bad.extend(prep.store.get(e, "bad") | prep.store.get(e, "outlier") for e in prep.store.entries)
            return out

    whole, fuse._Fusion = fuse._Fusion, Both
    try:
        return fuse.fuse(sequence, scale=factor, half_sets=True, progress=tell), drizzled[0], bad
    finally:
        fuse._Fusion = whole


def planes_of(fused: Any, masks: Sequence[np.ndarray]) -> list[Plane]:
    """The frames used, each with its transform and gain from the frame table, and the pixels that did not count."""
    out = []
    used = [(f, r) for f, r in zip(fused.sequence, fused.records, strict=True) if r.used]
    for (frame, record), bad in zip(used, masks, strict=True):
        values = frame.read().values
        matrix = np.array(record.matrix).reshape(2, 3)
        out.append(Plane(values, bad, matrix, 1, record.gain, _sky_sigma(values, bad, 4)))
    return out


def _sky_sigma(values: np.ndarray, bad: np.ndarray, grow: int) -> float:
    sky = empty_sky(values, bad, grow)
    return noise_of(values, sky, 1)


def fused_plane(fused: Any, factor: int) -> Plane:
    """A fused image as a plane of measurements."""
    values = np.asarray(fused.image.data)
    bad = ~np.isfinite(values)
    plane = Plane(values, bad, fine_matrix(factor), factor)
    share = factor**2 if fused.image.quantity == "total" else 1
    return Plane(values * share, bad, plane.matrix, factor, 1.0, _sky_sigma(values * share, bad, 4 * factor))


def measure(name: str, fused: Any, drizzled: Any, masks: Sequence[np.ndarray], factor: int = 2) -> Result:
    """All that is measured of one sequence; the cost is filled in by the caller."""
    frames = planes_of(fused, masks)
    ours, peer = fused_plane(fused, factor), fused_plane(drizzled, factor)
    out = Result(name, len(fused.sequence), len(frames), notes=fused.notes)
    guess = float(np.nanmedian([r.fwhm_px for r in fused.records if r.used]))
    guess = guess if np.isfinite(guess) else 3.0
    stars = isolated(peer, frames, guess)
    if len(stars) >= 3:
        _fluxes(out, stars, frames, ours, peer, guess)
        _positions(out, stars, frames, ours, guess, fused)
        each = widths([*frames, peer, ours], stars[:40], guess)
        out.width = {"frame": float(np.nanmedian(each[:-2])), "best frame": float(np.nanmin(each[:-2]))}
        out.width |= {"drizzle": each[-2], "map": each[-1]}
        out.ring = 100 * float(np.nanmedian(rings(ours, stars[:30], guess)))
        out.ring_drizzle = 100 * float(np.nanmedian(rings(peer, stars[:30], guess)))
    _noise(out, frames, ours, peer, fused, factor)
    _resolution(out, frames, fused, drizzled, factor)
    out.checkerboard = {
        "map": checkerboard(ours.values, ours.bad),
        "drizzle": checkerboard(peer.values, peer.bad),
    }
    return out


def isolated(image: Plane, frames: Sequence[Plane], width: float) -> np.ndarray:
    """Positions (reference) of bright single stars that no border, defect or saturation touches in most frames."""
    found = find(image.values, image.bad)
    found = found[np.argsort(-found["flux"])]
    places = image.back(np.column_stack([found["y"], found["x"]]))
    radius = RADIUS * width
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    ratio = found["flux"][None] / found["flux"][:, None]
    near = (apart < 2 * radius) & (ratio > 0.02) & ~np.eye(len(found), dtype=bool)
    area = np.pi * radius**2
    snr = (
        found["flux"] / (image.sky * image.factor * np.sqrt(area))
        if np.isfinite(image.sky)
        else found["flux"]
    )
    # Round and as wide as the rest: no galaxies, no pieces of a saturated star.
    round_ = (found["a"] < 1.6 * found["b"]) & (found["a"] < 1.5 * image.factor * width / 1.5)
    chosen = places[~near.any(axis=1) & (snr > BRIGHT) & round_][:MOST]
    if not len(chosen):
        return chosen
    clean = np.array([np.isfinite(fluxes(f, chosen, radius)[0]) for f in frames])
    return chosen[clean.sum(axis=0) >= max(2, math.ceil(len(frames) / 2))]


def _fluxes(
    out: Result, stars: np.ndarray, frames: Sequence[Plane], ours: Plane, peer: Plane, width: float
) -> None:
    each = [fluxes(f, stars, RADIUS * width) for f in frames]
    light, error = (np.array(v) for v in zip(*each, strict=True))
    mean, sigma = weighted_mean(light, error)
    for plane, ours_too in ((ours, True), (peer, False)):
        measured, _ = fluxes(plane, stars, RADIUS * width)
        # Made of the same frames, the fused flux shares the mean's error: only the mean's is counted.
        good = np.isfinite(measured) & np.isfinite(mean) & (mean > 0)
        z = ((measured - mean) / sigma)[good]
        ratio = (measured / mean)[good] - 1
        if not good.any():
            continue
        spread = float(np.median(np.abs(z - np.median(z))) * 1.4826)
        if not ours_too:
            out.drizzle_ratio, out.drizzle_z = float(np.median(ratio)), spread
            continue
        out.stars = int(good.sum())
        out.flux_ratio, out.flux_z, out.flux_pull = float(np.median(ratio)), spread, float(np.median(z))
        out.flux_beyond = float(np.mean(np.abs(z) > 3))
        fifth = max(1, good.sum() // 5)
        by_flux = ratio[np.argsort(-mean[good])]
        out.flux_trend = float(np.median(by_flux[:fifth]) - np.median(by_flux[-fifth:]))


def weighted_mean(values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis, NaN left out; the error is scaled up where the values disagree by more than theirs."""
    weight = np.where(np.isfinite(values), 1 / errors**2, 0.0)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(np.where(weight > 0, values, 0) * weight, axis=0) / total
        number = (weight > 0).sum(axis=0)
        chi = np.nansum(weight * (np.nan_to_num(values) - mean) ** 2, axis=0) / np.maximum(number - 1, 1)
    return mean, np.sqrt(np.maximum(chi, 1) / total)


def _positions(
    out: Result, stars: np.ndarray, frames: Sequence[Plane], ours: Plane, width: float, fused: Any
) -> None:
    each = np.array([positions(f, stars, width) for f in frames])
    fine = positions(ours, stars, width)
    number = np.isfinite(each[..., 0]).sum(axis=0)
    good = (number >= 2) & np.isfinite(fine[:, 0])
    if not good.any():
        return
    off = fine[good] - np.nanmean(each[:, good], axis=0)
    middle = np.median(off, axis=0)
    out.offset_px = float(middle[np.argmax(np.abs(middle))])
    out.scatter_px = float(1.4826 * np.median(np.abs(off - middle)))
    out.frames_px = float(
        np.median(np.nanstd(each[:, good], axis=0, ddof=1) / np.sqrt(number[good])[:, None])
    )
    home = next(k for k, r in enumerate([r for r in fused.records if r.used]) if r.reference)
    reference = next(f for f, r in zip(fused.sequence, fused.records, strict=True) if r.reference)
    both = good & np.isfinite(each[home, :, 0])
    if type(reference.image.grid).__name__ != "PixelGrid" and both.any():
        a = fused.image.grid.world(ours.at(fine[both]))
        b = reference.image.grid.world(each[home][both])
        step = np.linalg.norm(reference.image.grid.world(each[home][both] + np.array([1.0, 0])) - b, axis=1)
        turn = np.array([1.0, np.cos(np.radians(np.median(b[:, 1])))])[::-1]
        out.world_px = float(np.median(np.linalg.norm(np.median((a - b) * turn, axis=0)) / step))


def _noise(out: Result, frames: Sequence[Plane], ours: Plane, peer: Plane, fused: Any, factor: int) -> None:
    sky = empty_sky(peer.values, peer.bad, 5 * factor)
    full = np.asarray(fused.coverage) >= 0.9 * len(frames)
    sky &= full & ~ours.bad
    ideal = 1 / math.sqrt(sum((f.gain / f.sky) ** 2 for f in frames))
    for label, plane in (("drizzle", peer), ("map", ours)):
        out.noise[label] = noise_of(plane.values, sky, factor) / ideal
        out.noise[f"{label} 5x5"] = 5 * noise_of(plane.values, sky, 5 * factor) / ideal
    share = factor**2 if fused.image.quantity == "total" else 1
    claimed = float(np.median(np.asarray(fused.image.uncertainty)[sky])) * share if sky.any() else math.nan
    out.error_ratio = noise_of(ours.values, sky, 1) / claimed


def _resolution(out: Result, frames: Sequence[Plane], fused: Any, drizzled: Any, factor: int) -> None:
    from sciSR.metrics.resolution import frc_report

    def keep(label: str, report: Any) -> None:
        found = report["resolution"]["1/7"]
        out.resolution[label] = found["period_px"]
        out.ends[label] = "end" if found["reached_end"] else "turn" if found["rises_again"] else ""

    for label, result in (("map", fused), ("drizzle", drizzled)):
        if "frc" in result.report:
            keep(label, result.report["frc"])
    shape = np.asarray(fused.image.data).shape
    periods = []
    for a, b in itertools.pairwise(frames):
        (va, bad_a), (vb, bad_b) = (resampled(f, factor, shape) for f in (a, b))
        good = ~bad_a & ~bad_b
        if good.mean() > 0.3:
            report = frc_report(np.where(good, va, 0), np.where(good, vb, 0), factor=float(factor), mask=good)
            periods.append(report["resolution"]["1/7"]["period_px"])
    periods = [p for p in periods if p is not None]
    out.resolution["frame"] = float(np.median(periods)) if periods else None


def run(name: str, data: Path, keep: Path | None, factor: int = 2) -> Result:
    """Read, fuse, and measure one sequence in this process."""
    import torch

    torch.set_num_threads(min(2, torch.get_num_threads()))
    cost: dict[str, float] = {}
    begin = time.perf_counter()

    def tell(fraction: float) -> None:
        if fraction >= 0.9 and not cost:  # solved: what follows is only there to be measured
            cost["seconds"] = time.perf_counter() - begin
            cost["mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused, drizzled, bad = fuse_both(read(name, data), factor, tell)
        out = measure(name, fused, drizzled, bad, factor)
        out.seconds, out.mb = cost["seconds"], cost["mb"]
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for label, result in (("map", fused), ("drizzle", drizzled)):
                result.write(keep / f"{name.replace(' ', '_')}_{label}.fits", overwrite=True)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sequences, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sequences", nargs="+", default=list(SEQUENCES), choices=list(SEQUENCES))
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--keep", type=Path, help="write the fused images into this folder")
    parser.add_argument("--one", action="store_true", help="one sequence, here, as JSON on standard output")
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(asdict(run(given.sequences[0], given.data, given.keep))))
        return 0
    results = []
    for name in given.sequences:
        command = [sys.executable, __file__, "--one", "--data", str(given.data), "--sequences", name]
        command += ["--keep", str(given.keep)] if given.keep else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(
                f"{name}: failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}", file=sys.stderr
            )
            continue
        results.append(Result(**json.loads(done.stdout.splitlines()[-1])))
        print(table(results[-1:]), flush=True)
    print("\n" + table(results))
    if given.json:
        given.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0 if len(results) == len(given.sequences) else 1


if __name__ == "__main__":
    sys.exit(main())
