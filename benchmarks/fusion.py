"""Fusion of simulated sequences with known truth, side by side with the tools in use today, in one run.

``python benchmarks/fusion.py [--scenes stars jwst extended] [--scale 2 3] [--methods ours-map drizzle-0.6 ...]``

Each method runs in a process of its own, from FITS frames to a fused image; time and memory are those of the whole
process, imports included. Prints one table a scene and scale (fusion_score.Score says what the columns are), the
differences to drizzle with pixfrac 0.6 in the same run, and whether the goals are met.

On the star field every method registers the frames itself. The scenes without stars are no place for astroalign:
there the peers (not ours, not Siril) are given the true transforms.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from fusion_peers import METHODS as PEERS
from fusion_scene import READ_NOISE, SKY, Simulation, simulate, write_frames
from fusion_score import Score, Truth, score

HERE = Path(__file__).resolve().parent
OURS = ("ours-map", "ours-spectral", "ours-drizzle", "ours-mean", "ours-median", "ours-ibp", "ours-pocs")
METHODS = (*PEERS, "siril", *OURS)
DEFAULT = (*PEERS, "siril", "ours-map")
BASE = "drizzle-0.6"
SIRIL_OFFSET = (0.5, -0.5)  # of its x2 grid, fine pixels (rows, columns): measured, 0.009 px left
SIRIL_LEVEL = 65535.0  # its 32-bit results are scaled to 0..1
SIRIL = """requires 1.0.0
setext fit
set32bits
cd frames
link frame -out=../work
cd ../work
register frame -drizzle
stack r_frame rej winsorized 3 3 -nonorm -out=../stacked
close
"""


@dataclass
class Row:
    """One method on one scene at one scale."""

    scene: str
    scale: int
    method: str
    failed: str = ""
    score: Score | None = None
    registration: float = math.nan  # rms over the field, per axis, native pixels
    cost: dict[str, float] = field(default_factory=dict)  # wall, cpu (seconds), mb


@dataclass(frozen=True)
class Goal:
    """A number that ours must reach; `of` picks it from a row, `than` the row's neighbours where it is relative."""

    name: str
    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def registration_error(transforms: np.ndarray, used: np.ndarray, simulation: Simulation) -> float:
    """Rms per axis, native pixels, over a lattice in the field and all frames used but the reference."""
    rows, columns = simulation.sky.native
    lattice = np.stack(
        np.meshgrid(np.linspace(0, rows - 1, 9), np.linspace(0, columns - 1, 9), indexing="ij"), -1
    )
    off = [
        lattice @ (a - b)[:, :2].T + (a - b)[:, 2]
        for a, b, u in zip(transforms[1:], simulation.transforms[1:], used[1:], strict=True)
        if u
    ]
    return float(np.sqrt(np.mean(np.square(off)))) if off else math.nan


def measured(command: list[str], log: Path, threads: int, folder: Path) -> dict[str, float]:
    """Cost of a command; see fusion_run."""
    environment = os.environ | dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)
    )
    done = subprocess.run(
        [sys.executable, str(HERE / "fusion_run.py"), str(log), *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=folder,
    )
    return json.loads(done.stdout)


def command_for(
    method: str, scale: int, frames: list[Path], folder: Path, known: Path | None, settings: str
) -> list[str]:
    """What a user would type."""
    if method == "siril":
        script = folder / "fuse.ssf"
        script.write_text(SIRIL)
        return ["siril-cli", "-d", str(folder), "-s", str(script)]
    ours = method.startswith("ours-")
    script = HERE / ("fusion_ours.py" if ours else "fusion_peers.py")
    command = [sys.executable, str(script), method.removeprefix("ours-"), str(folder / "out.npz")]
    command += [*map(str, frames), "--scale", str(scale)]
    if ours and settings:
        command += ["--settings", settings]
    if known and not ours:
        command += ["--transforms", str(known)]
    return command


def result(method: str, folder: Path) -> dict[str, np.ndarray]:
    """What the process left behind."""
    if method == "siril":
        from astropy.io import fits

        return {"image": fits.getdata(folder / "stacked.fit").astype(np.float64) * SIRIL_LEVEL}
    with np.load(folder / "out.npz") as f:
        return dict(f)


def run_method(
    method: str, scale: int, simulation: Simulation, truth: Truth, folder: Path, options: argparse.Namespace
) -> Row:
    """One process, measured and scored."""
    row = Row(simulation.settings["scene"], scale, method)
    if method == "siril" and scale != 2:
        row.failed = "it knows x2 only"
        return row
    known = None
    if row.scene != "stars":
        known = folder / "known.npy"
        np.save(known, simulation.transforms)
    frames = sorted((folder / "frames").glob("*.fits"))
    command = command_for(method, scale, frames, folder, known, options.settings)
    log = folder / f"{method}.log"
    try:
        row.cost = measured(command, log, options.threads, folder)
    except (OSError, subprocess.CalledProcessError) as error:
        row.failed = str(error)
        return row
    lines = log.read_text(errors="replace").strip().splitlines() or [""]
    if row.cost.pop("code"):
        row.failed = lines[-1][:160]
        return row
    try:
        out = result(method, folder)
    except OSError as error:
        row.failed = f"{error}: {lines[-1][:160]}"
        return row
    if method == "siril":
        truth = Truth.of(simulation.sky, scale, truth.variance, truth.frames, SIRIL_OFFSET)
    row.score = score(out["image"], truth, out.get("std"))
    if "transforms" in out and not (known and not method.startswith("ours-")):
        used = out.get("used", np.ones(len(out["transforms"]), dtype=bool))
        row.registration = registration_error(out["transforms"], used, simulation)
    if options.keep:
        np.savez(options.keep / f"{row.scene}_x{scale}_{method}.npz", truth=truth.image, **out)
    return row


COLUMNS = (
    ("reg px", lambda r: f"{r.registration:.4f}"),
    ("lin dB", lambda r: f"{r.score.psnr:.2f}"),
    ("asinh dB", lambda r: f"{r.score.psnr_asinh:.2f}"),
    ("SSIM", lambda r: f"{r.score.ssim:.3f}"),
    ("bias %", lambda r: f"{r.score.bias:+.2f}"),
    ("scatter %", lambda r: f"{r.score.scatter:.2f}"),
    ("centroid px", lambda r: f"{r.score.centroid:.4f}"),
    ("size px", lambda r: f"{r.score.size:.3f}"),
    ("bad", lambda r: f"{r.score.bad:.1f}"),
    ("specks", lambda r: f"{r.score.specks:.1f}"),
    ("in 1σ %", lambda r: f"{r.score.within:.1f}"),
    ("wall s", lambda r: f"{r.cost['wall']:.1f}"),
    ("CPU s", lambda r: f"{r.cost['cpu']:.1f}"),
    ("MB", lambda r: f"{r.cost['mb']:.0f}"),
)


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = next((r.score for r in rows if r.score), None)
    lines = [
        "| method | " + " | ".join(name for name, _ in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in rows:
        if row.failed:
            lines.append(f"| {row.method} | failed: {row.failed} |" + " |" * (len(COLUMNS) - 1))
        else:
            cells = [cell(row).replace("nan", "–") for _, cell in COLUMNS]
            lines.append(f"| {row.method} | " + " | ".join(cells) + " |")
    if head and head.stars:
        lines.append(
            f"\n{head.stars} isolated stars; half-light diameter of the truth {head.size_truth:.3f} px."
        )
    return "\n".join(lines)


def comparison(rows: list[Row]) -> str:
    """Each method against drizzle in the same run."""
    base = next((r for r in rows if r.method == BASE and not r.failed), None)
    if base is None:
        return ""
    lines = [f"Against {BASE} in this run:"]
    for row in rows:
        if row.failed or row is base:
            continue
        lines.append(
            f"  {row.method:20s} {row.score.psnr - base.score.psnr:+6.2f} dB, "
            f"asinh {row.score.psnr_asinh - base.score.psnr_asinh:+6.2f} dB, "
            f"wall x {row.cost['wall'] / base.cost['wall']:.2f}, CPU x {row.cost['cpu'] / base.cost['cpu']:.2f}, "
            f"memory x {row.cost['mb'] / base.cost['mb']:.2f}"
        )
    return "\n".join(lines)


def goals(ours: Row, rows: list[Row]) -> list[tuple[Goal, float]]:
    """The project's goals for this scene and scale, with what was reached."""
    s = ours.score
    base = next((r for r in rows if r.method == BASE and not r.failed), None)
    peers = [r for r in rows if r.score and not r.method.startswith("ours-")]
    calibrated = [(Goal("within one sigma, %: off 68.3 by", 3.0, False), abs(s.within - 68.3))]
    if ours.scene == "jwst":
        if not peers:
            return calibrated
        return [
            (Goal("dB above the best peer", 1.0, True), s.psnr - max(r.score.psnr for r in peers)),
            (
                Goal("asinh dB above the best peer", 2.0, True),
                s.psnr_asinh - max(r.score.psnr_asinh for r in peers),
            ),
            *calibrated,
        ]
    if ours.scene == "extended":
        return [(Goal("registration px", 0.02, False), ours.registration), *calibrated]
    lin, asinh = {2: (57.0, 43.0), 3: (56.0, 41.0)}.get(ours.scale, (-math.inf, -math.inf))
    out = [(Goal("lin dB", lin, True), s.psnr), (Goal("asinh dB", asinh, True), s.psnr_asinh)]
    if ours.scale == 2:
        out += [
            (Goal("registration px", 0.005, False), ours.registration),
            (Goal("|bias| %", 0.3, False), abs(s.bias)),
            (Goal("scatter %", 0.25, False), s.scatter),
            (Goal("centroid px", 0.005, False), s.centroid),
            (Goal("bad per 10^4", 10.0, False), s.bad),
            (Goal("specks per 10^4", 10.0, False), s.specks),
            (Goal("MB", 700.0, False), ours.cost["mb"]),
        ]
        if base:
            out.append((Goal("wall, x drizzle", 2.0, False), ours.cost["wall"] / base.cost["wall"]))
    return out + calibrated


def judged(rows: list[Row]) -> str:
    """Goals met or not, for the default method."""
    lines = []
    for ours in (r for r in rows if r.method == "ours-map" and not r.failed):
        for goal, value in goals(ours, rows):
            sign = ">=" if goal.at_least else "<="
            verdict = "met" if goal.met(value) else "NOT MET"
            lines.append(f"  {verdict:7s} {goal.name} {value:.4g} ({sign} {goal.limit:g})")
    return "\n".join(["Goals:", *lines]) if lines else ""


def available(method: str) -> str:
    """Why a method can't run here; empty if it can."""
    if method.startswith("ours-"):
        import sciSR

        return (
            "" if hasattr(sciSR, "fuse") and hasattr(sciSR, "read_sequence") else "this sciSR does not fuse"
        )
    if method == "siril":
        from shutil import which

        return "" if which("siril-cli") else "siril-cli is not installed"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", nargs="+", choices=("stars", "jwst", "extended"), default=["stars"])
    parser.add_argument("--scale", nargs="+", type=int, default=[2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(DEFAULT))
    parser.add_argument("--settings", default="", help="further arguments of sciSR.fuse, JSON")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument(
        "--data", type=Path, default=HERE.parents[1] / "shared/data", help="real images (jwst)"
    )
    parser.add_argument("--keep", type=Path, help="folder for the fused images")
    parser.add_argument("--json", type=Path, help="write all rows here")
    options = parser.parse_args()
    if options.keep:
        options.keep = options.keep.resolve()
        options.keep.mkdir(parents=True, exist_ok=True)
    methods = []
    for method in options.methods:
        if why := available(method):
            print(f"skipped: {method}: {why}")
        else:
            methods.append(method)
    rows = [row for scene in options.scenes for row in run_scene(scene, methods, options)]
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def run_scene(scene: str, methods: list[str], options: argparse.Namespace) -> list[Row]:
    """All scales of one scene; prints as it goes."""
    simulation = simulate(
        scene, frames=options.frames, size=options.size, seed=options.seed, data=options.data
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="fusion_") as name:
        folder = Path(name)
        write_frames(simulation, folder / "frames")
        for scale in options.scale:
            truth = Truth.of(simulation.sky, scale, SKY + READ_NOISE**2, len(simulation.frames))
            some = [run_method(m, scale, simulation, truth, folder, options) for m in methods]
            shape = "x".join(map(str, simulation.sky.native))
            print(f"\n## {scene}, x{scale}: {len(simulation.frames)} frames of {shape}\n")
            for part in (table(some), comparison(some), judged(some)):
                print(part, end="\n\n", flush=True)
            rows += some
    return rows


if __name__ == "__main__":
    main()
