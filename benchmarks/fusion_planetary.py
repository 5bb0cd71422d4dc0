"""Lucky imaging of a simulated planetary clip with known truth, side by side with others, in one run.

``python benchmarks/fusion_planetary.py [--frames 100] [--size 320] [--scale 2] [--methods ...] [--pss PROGRAM]``

The clip (sciSR.fusion.planetary.simulate) is written as SER. Each method runs in a process of its own, from the clip to
an image of the finer grid; time and memory are those of the whole process. ``--pss`` is the program of
PlanetarySystemStacker, where it is installed; it is given the same clip, the same share of frames and drizzle.
``pss`` makes its reference of the best 5 % of frames, as it does by itself, ``pss-reference`` of all that are kept.

Scores, on the disc and a little sky: PSNR against the scene behind the telescope integrated over fine pixels (peak: its
99.95th percentile), after the best shift, gain and offset, which no method can know. ``unwarped``: the same after a
smooth warp, too, is fitted between result and truth: what is left is blur and noise. ``geometry``: rms of that warp,
native pixels per axis.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter

from sciSR.fusion.planetary import MAP_SETTINGS, rank_quality, register_planetary
from sciSR.fusion.planetary.lattice import Lattice
from sciSR.fusion.planetary.local import Box, LocalAligner
from sciSR.fusion.planetary.simulate import Clip, simulate_clip
from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.solvers import solver
from sciSR.sequence import FrameSequence

HERE = Path(__file__).resolve().parent
METHODS = (
    "best-single",
    "global",
    "pss",
    "pss-reference",
    "ours-mean",
    "ours-drizzle",
    "ours-map",
    "ours-fuse",
)


def write_ser(path: Path, frames: np.ndarray, bits: int) -> None:
    """The frames as a 16-bit little-endian mono SER clip, shifted to the top of the range as cameras do."""
    count, rows, columns = frames.shape
    # The header's byte-order flag is 0 for what everybody writes: little-endian data.
    header = struct.pack(
        "<14s7i40s40s40s2q", b"LUCAM-RECORDER", 0, 0, 0, columns, rows, 16, count, *[b""] * 3, 0, 0
    )
    path.write_bytes(header + (frames << (16 - bits)).astype("<u2").tobytes())


def read_ser(path: Path) -> np.ndarray:
    """Memory-mapped frames of such a clip."""
    columns, rows, _, count = struct.unpack_from("<4i", path.read_bytes()[:178], 26)
    return np.memmap(path, dtype="<u2", mode="r", offset=178, shape=(count, rows, columns))


# -- the methods


def enlarged(frame: np.ndarray, scale: int, place: np.ndarray | None = None) -> np.ndarray:
    """A frame on the fine grid by its cubic spline, at native positions `place` (2, rows, columns)."""
    spline = spline_filter(frame.astype(np.float32), order=3, output=np.float32, mode="nearest")
    at = fine_grid(frame.shape, scale) if place is None else place
    return map_coordinates(spline, at, order=3, prefilter=False, mode="nearest", output=np.float32)


def fine_grid(shape: tuple[int, ...], scale: int) -> np.ndarray:
    axes = [(np.arange(n * scale) + 0.5) / scale - 0.5 for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def best_single(frames: np.ndarray, scale: int, keep: float) -> np.ndarray:
    quality = rank_quality(FrameSequence.from_arrays(frames))
    return enlarged(frames[int(np.argmax(quality))], scale)


def whole_shifts(frames: np.ndarray, scale: int, keep: float) -> np.ndarray:
    """Mean of the best frames, each shifted as a whole (scikit-image's upsampled phase correlation)."""
    from skimage.registration import phase_cross_correlation

    quality = rank_quality(FrameSequence.from_arrays(frames))
    order = np.argsort(-quality)[: int(np.ceil(keep * len(frames)))]
    reference = frames[order[0]].astype(float)
    grid, total = fine_grid(reference.shape, scale), 0.0
    for k in order:
        shift = phase_cross_correlation(reference, frames[k].astype(float), upsample_factor=20)[0]
        total = total + enlarged(frames[k], scale, grid - shift[:, None, None])
    return total / len(order)


class Prepared:
    """The kept frames for a solver, matched to the reference, one at a time."""

    def __init__(self, sequence: FrameSequence, keep: float) -> None:
        self.sequence = sequence
        self.registration = register_planetary(sequence, keep=keep)
        self.kept = [k for k, frame in enumerate(self.registration.frames) if frame is not None]

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[PreparedFrame]:
        for k in self.kept:
            pixels, place = self.sequence[k].read(), self.registration.frames[k]
            gain, offset = self.registration.levels[k]
            zero = self.registration.frames[self.registration.reference].background
            values = (pixels.values - offset) / gain - zero
            variance = self.registration.variance_multiplier(k) * (place.noise / gain) ** 2
            yield PreparedFrame(
                self.sequence[k].name, values, variance.astype(np.float32), pixels.bad, place.transform
            )


def local_mean(frames: np.ndarray, scale: int, keep: float) -> np.ndarray:
    """Weighted mean of the frames' splines at the warped positions of the fine grid."""
    prepared = Prepared(FrameSequence.from_arrays(frames), keep)
    grid = np.moveaxis(fine_grid(frames[0].shape, scale), 0, -1)
    total = weight = 0.0
    for frame in prepared:
        place = np.moveaxis(frame.transform(grid), -1, 0)
        own = map_coordinates(1 / frame.variance, place, order=1, mode="nearest")
        total = total + own * enlarged(frame.values, scale, place)
        weight = weight + own
    return total / weight


def solved(method: str, frames: np.ndarray, scale: int, keep: float) -> np.ndarray:
    prepared = Prepared(FrameSequence.from_arrays(frames), keep)
    target = Target(frames.shape[1:], (Fraction(scale), Fraction(scale)))
    settings = MAP_SETTINGS if method == "map" else {}
    return solver(method)(prepared, target, **settings).image


def run(method: str, clip: Path, scale: int, keep: float) -> np.ndarray:
    if method == "ours-fuse":
        import sciSR

        sequence = sciSR.read_sequence([clip])
        return np.asarray(sciSR.fuse(sequence, scale=scale, keep_best=keep).image)
    frames = read_ser(clip)
    simple = {"best-single": best_single, "global": whole_shifts, "ours-mean": local_mean}
    if method in simple:
        return simple[method](frames, scale, keep)
    return solved(method.removeprefix("ours-"), frames, scale, keep)


# -- the scores


def score(image: np.ndarray, clip: Clip, scale: int) -> dict[str, float]:
    """PSNR, PSNR without a smooth warp, geometry error; the best of both row orders."""
    truth = clip.truth(scale).astype(np.float64)
    disc = truth > 0.1 * truth.max()
    rows, columns = np.nonzero(disc)
    margin = 4 * scale
    box = Box(
        (int(rows.min()) - margin, int(columns.min()) - margin),
        (int(np.ptp(rows)) + 2 * margin, int(np.ptp(columns)) + 2 * margin),
    )
    finite = np.where(np.isfinite(image), image, 0)
    return max(
        (_score(way, truth, disc, box, scale) for way in (finite, finite[::-1])), key=lambda s: s["psnr"]
    )


def _score(image: np.ndarray, truth: np.ndarray, disc: np.ndarray, box: Box, scale: int) -> dict[str, float]:
    from scipy.optimize import minimize

    spline = spline_filter(image.astype(np.float64), order=3, mode="nearest")
    goal, grid = truth[box.slices], _grid_of(box)
    peak = float(np.percentile(truth, 99.95))

    def misfit(place: np.ndarray) -> float:
        seen = map_coordinates(spline, place, order=3, prefilter=False, mode="nearest")
        gain, offset = np.polyfit(seen.ravel(), goal.ravel(), 1)
        return float(np.mean((gain * seen + offset - goal) ** 2))

    bright = image > np.percentile(image, 50) + 0.3 * (image.max() - np.percentile(image, 50))
    start = np.mean(np.nonzero(bright), axis=1) - np.mean(np.nonzero(disc), axis=1)
    simplex = start + np.array([[0, 0], [2.0, 0], [0, 2.0]])
    found = minimize(
        lambda s: misfit(grid + s[:, None, None]),
        start,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-9, "maxiter": 300},
    )
    lattice = Lattice(box.shape, 16.0 * scale)
    noise, length = 0.01 * peak, 24.0 * scale
    aligner = LocalAligner(
        goal.astype(np.float32),
        disc[box.slices],
        box,
        lattice,
        noise=noise,
        amplitude=float(scale),
        length=length,
    )
    level = (image * (peak / np.percentile(image, 99.95))).astype(np.float32)
    fit = aligner(level, None, found.x, iterations=12)
    warp = aligner.equations.field(fit.coefficients)
    inside = disc[box.slices]
    left = warp[:, inside] - warp[:, inside].mean(axis=1, keepdims=True)
    return {
        "psnr": 10 * np.log10(peak**2 / found.fun),
        "unwarped": 10 * np.log10(peak**2 / misfit(grid + found.x[:, None, None] + warp)),
        "geometry": float(np.sqrt(np.mean(left**2))) / scale,
    }


def _grid_of(box: Box) -> np.ndarray:
    axes = [np.arange(n, dtype=np.float64) + a for a, n in zip(box.start, box.shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


# -- one run


def measured(command: list[str], log: Path) -> dict[str, float]:
    """Cost of a command in a process of its own (fusion_run.py)."""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, str(HERE / "fusion_run.py"), str(log), *command],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout)


def peer_command(method: str, program: str, clip: Path, scale: int, keep: float) -> list[str]:
    share = str(round(100 * keep))
    reference = share if method == "pss-reference" else "5"
    drizzle = {1: "Off", 2: "2x", 3: "3x"}[scale]
    return [
        program,
        str(clip),
        "-m",
        "Planet",
        "-s",
        share,
        "--rf_percent",
        reference,
        "--drizzle",
        drizzle,
        "--out_format",
        "fits",
    ]


def peer_result(folder: Path) -> np.ndarray:
    from astropy.io import fits

    image = np.asarray(fits.getdata(next(folder.glob("*.fits"))), dtype=np.float64)
    return image if image.ndim == 2 else image.mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--warp", type=float, default=1.5)
    parser.add_argument("--bits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--pss", help="the program of PlanetarySystemStacker")
    parser.add_argument("--run", nargs=2, metavar=("METHOD", "CLIP"), help=argparse.SUPPRESS)
    parser.add_argument("--save", help="write each result to this folder as .npy")
    args = parser.parse_args()
    if args.run:
        np.save(
            Path(args.run[1]).with_name("result.npy"),
            run(args.run[0], Path(args.run[1]), args.scale, args.keep),
        )
        return
    clip = simulate_clip(
        size=args.size,
        radius=0.36 * args.size,
        frames=args.frames,
        warp=args.warp,
        bits=args.bits,
        jitter=4.0,
        full_well=4000.0,
        read_noise=10.0,
        blur=1.9,
        oversampling=2 * args.scale,
        seed=args.seed,
    )
    print(f"{'method':14}{'PSNR':>8}{'unwarped':>10}{'geometry px':>13}{'wall s':>8}{'CPU s':>8}{'MB':>7}")
    for method in args.methods:
        if method.startswith("pss") and not args.pss:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            _one(method, clip, Path(temporary), args)


def _one(method: str, clip: Clip, folder: Path, args: argparse.Namespace) -> None:
    path, log = folder / "clip.ser", folder / "log.txt"
    write_ser(path, clip.frames, clip.settings.bits)
    if method.startswith("pss"):
        command = peer_command(method, args.pss, path, args.scale, args.keep)
    else:
        command = [sys.executable, __file__, "--run", method, str(path)]
        command += ["--scale", str(args.scale), "--keep", str(args.keep)]
    cost = measured(command, log)
    if cost["code"]:
        print(f"{method:14}failed: {(log.read_text().strip().splitlines() or ['?'])[-1][:90]}")
        return
    image = peer_result(folder) if method.startswith("pss") else np.load(folder / "result.npy")
    if args.save:
        Path(args.save).mkdir(parents=True, exist_ok=True)
        np.save(Path(args.save) / f"{method}.npy", image)
        np.save(Path(args.save) / "truth.npy", clip.truth(args.scale))
    s = score(image, clip, args.scale)
    print(
        f"{method:14}{s['psnr']:8.2f}{s['unwarped']:10.2f}{s['geometry']:13.3f}"
        f"{cost['wall']:8.1f}{cost['cpu']:8.1f}{cost['mb']:7.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
