"""From file to file, against the network alone on the same tiles, in one run.

``python benchmarks/end_to_end.py [--size 10000] [--volumes 20] [--precision fp32 bf16] [--rounds 3]``

A FITS frame is upscaled to a FITS frame as users do it: statistics, flux kept, bad pixels searched, input hashed, WCS,
checksums, provenance, fsync and rename. So is a four-dimensional NIfTI series (``--volumes``, each of 24 planes of
64 x 64), whose k-space is kept. The network alone runs on tensors of the very tiles, halo included, that the engine
gives it, side by side as the engine does, and its results are thrown away. Prints the best of several rounds of both,
taken in turns, and their ratio; CPU seconds too, which a busy machine spoils less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from memory import ASTRO, MR, write_frame, write_series

from sciSR.api import read_all
from sciSR.inference import plan_upscale
from sciSR.inference.device import tune_allocator
from sciSR.inference.statistics import plane_indices
from sciSR.inference.workers import Workers, how_many
from sciSR.workflow.run import upscale_file


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and of all cores together."""

    wall: float
    cpu: float


def cost_of(run: Callable[[], object]) -> Cost:
    """What one call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def best(costs: list[Cost]) -> Cost:
    """The least of each."""
    return Cost(min(c.wall for c in costs), min(c.cpu for c in costs))


def network_alone(path: str, settings: dict[str, Any]) -> Callable[[], None]:
    """What runs the network over every tile of a file's image and nothing else."""
    [image] = read_all(path)
    plan = plan_upscale(image, 2, **settings)
    runner = plan.runner()
    [stage] = plan.stages()
    workers = how_many(plan.device, 1 << 30)
    runner.workers = Workers(workers)
    planes = plane_indices(image)
    source = plan.source_plane(planes[0])
    shapes = []
    for rows, columns, _ in runner.tiles(stage, _Shape(source.shape)):
        sides = zip((rows, columns), plan.factors, strict=True)
        shapes.append(tuple(len(span.coarse(factor)) + 2 * stage.halo for span, factor in sides))
    shapes *= len(planes)
    inputs = {s: torch.randn(1, 1, *s).contiguous(memory_format=torch.channels_last) for s in set(shapes)}

    def one(shape: tuple[int, int]) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
            stage.model(inputs[shape])

    def run() -> None:
        with Workers(min(workers, len(shapes))) as pool:
            for _ in pool.in_order(one, shapes):
                pass

    return run


class _Shape:
    """A plane of which only the shape is asked."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def held(self, *_: object) -> None:
        return None


def compare(source: Path, target: Path, settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Both in turns."""
    alone = network_alone(str(source), settings)
    costs: dict[str, list[Cost]] = {"network alone": [], "file to file": []}
    for _ in range(rounds):
        costs["network alone"].append(cost_of(alone))
        costs["file to file"].append(
            cost_of(lambda: upscale_file(source, target, overwrite=True, **settings))
        )
    found = {what: best(each) for what, each in costs.items()}
    for what, each in found.items():
        print(f"{what:16}{each.wall:9.2f} s{each.cpu:9.2f} CPU s", flush=True)
    whole, bare = found["file to file"], found["network alone"]
    print(f"ratio {whole.wall / bare.wall:.3f} on the clock, {whole.cpu / bare.cpu:.3f} in CPU time")
    return {what: vars(each) for what, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000, help="input pixels a side")
    parser.add_argument("--precision", nargs="*", default=("fp32", "bf16"))
    parser.add_argument("--volumes", type=int, default=20, help="of the series")
    parser.add_argument("--tile", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where the files are made")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tune_allocator()
    results = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        frame, series = Path(folder) / "frame.fits", Path(folder) / "series.nii"
        cases = []
        if given.size:
            write_frame(frame, given.size, given.size)
            cases.append((f"FITS {given.size}^2", frame, ASTRO))
        if given.volumes:
            write_series(series, given.volumes)
            cases.append((f"NIfTI of {given.volumes} volumes", series, MR))
        for (what, path, model), precision in itertools.product(cases, given.precision):
            print(f"{model}, {what}, x2, {precision}, {torch.get_num_threads()} threads")
            settings = {"model": model, "precision": precision, "tile": given.tile, "device": "cpu"}
            target = path.with_name(f"out{path.suffix}")
            results[f"{what} {precision}"] = compare(path, target, settings, given.rounds)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
