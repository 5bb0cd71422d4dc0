"""The same network in four tilings, each in a process of its own: time, memory, seams.

``python benchmarks/tiling_peers.py [--size 4000] [--tile 512] [--model espcn-astro-x2 ecbsr-astro-x2] [--rounds 3]``

- ``ours``: the engine as users run it, from array to array: normalised, tiled, made consistent, finished in float64.
- ``real-esrgan``: tiles with a margin of 10 pixels that is cut off again (``tile_pad=10``, the default of the program
  and of those who run networks loaded by spandrel); the result is put together in one tensor.
- ``monai``: `monai.inferers.sliding_window_inference`, overlap 0.25 (its default), ``constant`` and ``gaussian``.
- ``torchio``: `GridSampler` and `GridAggregator` with ``crop`` and the network's own reach as overlap. The aggregator
  knows no finer grid, so the four sub-pixels travel as channels and are shuffled at the end.

All are given the very module that the engine runs (fused, channels_last), our allocator settings, an array in memory
and all cores. Peers are given the normalised image and only undo the stretch. Peak memory is that of the process after
one tiled run, with how much was there before; the seam error is the largest difference from the same method on the
whole image at once, in the network's stretched units, where the sky's noise is about 0.5.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

METHODS = ("ours", "real-esrgan", "monai-constant", "monai-gaussian", "torchio-crop")
PAD = 10
Run = Callable[[torch.Tensor], torch.Tensor]


def scene(size: int) -> np.ndarray:
    """Sky noise and some stars, float32."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((size, size), dtype=np.float32)
    yy, xx = np.mgrid[-8:9, -8:9]
    spot = np.exp(-(yy**2 + xx**2) / (2 * 1.1**2)).astype(np.float32)
    for y, x in rng.integers(8, size - 9, (size * size // 4000, 2)):
        image[y - 8 : y + 9, x - 8 : x + 9] += rng.pareto(1.2) * 10 * spot
    return image


def real_esrgan(network: Run, scale: int, tile: int) -> Run:
    """Tiles with a margin, clipped at the image's edges, cut off again."""

    def run(z: torch.Tensor) -> torch.Tensor:
        height, width = z.shape[2:]
        out = z.new_zeros(1, 1, scale * height, scale * width)
        for y in range(0, height, tile):
            for x in range(0, width, tile):
                bottom, right = min(y + tile, height), min(x + tile, width)
                top, left = max(y - PAD, 0), max(x - PAD, 0)
                fine = network(z[:, :, top : min(bottom + PAD, height), left : min(right + PAD, width)])
                rows = slice(scale * (y - top), scale * (bottom - top))
                columns = slice(scale * (x - left), scale * (right - left))
                out[:, :, scale * y : scale * bottom, scale * x : scale * right] = fine[:, :, rows, columns]
        return out

    return run


def monai(network: Run, tile: int, mode: str) -> Run:
    """MONAI's sliding window."""
    from monai.inferers import sliding_window_inference

    return lambda z: sliding_window_inference(z, (tile, tile), 1, network, overlap=0.25, mode=mode)


def torchio(network: Run, scale: int, tile: int, overlap: int) -> Run:
    """TorchIO's grid, of planes as volumes one voxel thick."""
    import torchio as tio

    def run(z: torch.Tensor) -> torch.Tensor:
        subject = tio.Subject(image=tio.ScalarImage(tensor=z[0][..., None]))
        sampler = tio.GridSampler(subject, (tile, tile, 1), (overlap, overlap, 0))
        aggregator = tio.GridAggregator(sampler, overlap_mode="crop")
        for batch in tio.SubjectsLoader(sampler, batch_size=1):
            fine = network(batch["image"][tio.DATA][..., 0])
            phases = torch.nn.functional.pixel_unshuffle(fine, scale)
            aggregator.add_batch(phases[..., None], batch[tio.LOCATION])
        return torch.nn.functional.pixel_shuffle(aggregator.get_output_tensor()[None, ..., 0], scale)

    return run


def peak_megabytes() -> float:
    """Of this process since it began."""
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM")) * 1024 / 1e6


def child(method: str, model: str, size: int, tile: int, rounds: int) -> dict[str, float]:
    """Measure one method in this process."""
    from sciSR.image import Image
    from sciSR.inference import plan_upscale
    from sciSR.inference.device import tune_allocator

    tune_allocator()
    data = scene(size)
    image = Image.from_array(data, domain="astronomy")
    plan = plan_upscale(image, 2, model, device="cpu", tile=tile, consistency="block")
    network, spec, _ = plan.models[0]
    before = peak_megabytes()
    if method == "ours":
        out = np.empty((2 * size, 2 * size), np.float32)

        def put(index: tuple[slice, slice], block: np.ndarray) -> None:
            out[index] = block

        def run(tile: int = tile) -> np.ndarray:
            plan.tile = tile
            plan.run(put, by_tile=True)
            return out

        def whole() -> np.ndarray:
            return run(size)

        def stretched(fine: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(plan.normaliser.forward(fine))
    else:

        def forward(z: torch.Tensor) -> torch.Tensor:
            return network(z.contiguous(memory_format=torch.channels_last))

        reach = 2 * (spec.receptive_field + spec.receptive_field % 2)
        tiled = {
            "real-esrgan": lambda: real_esrgan(forward, spec.scale, tile),
            "monai-constant": lambda: monai(forward, tile, "constant"),
            "monai-gaussian": lambda: monai(forward, tile, "gaussian"),
            "torchio-crop": lambda: torchio(forward, spec.scale, tile, reach),
        }[method]()

        def finished(do: Run) -> np.ndarray:
            with torch.inference_mode():
                z = torch.from_numpy(plan.normaliser.forward(data))[None, None]
                return plan.normaliser.inverse(do(z)[0, 0]).float().numpy()

        def run() -> np.ndarray:
            return finished(tiled)

        def whole() -> np.ndarray:
            return finished(forward)

        def stretched(fine: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(plan.normaliser.forward(fine))

    seconds, cpu = [], []
    for _ in range(rounds):
        clock, busy = time.perf_counter(), time.process_time()
        fine = run()
        seconds.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - busy)
    peak = peak_megabytes()
    z = stretched(fine)
    del fine
    seam = float((z - stretched(whole())).abs().max())
    return {"seconds": min(seconds), "cpu": min(cpu), "MB": peak, "before": before, "seam": seam}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4000)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--model", nargs="*", default=["espcn-astro-x2", "ecbsr-astro-x2"])
    parser.add_argument("--method", nargs="*", default=METHODS, choices=METHODS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.method[0], given.model[0], given.size, given.tile, given.rounds)))
        return
    results = {}
    for model in given.model:
        print(f"{model}, {given.size}^2 x2, tiles of {given.tile}, {torch.get_num_threads()} threads")
        print(f"{'':16}{'s':>8}{'CPU s':>8}{'peak MB':>9}{'before':>8}{'largest seam':>14}")
        for method in given.method:
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                "--child",
                "--method",
                method,
                "--model",
                model,
            ]
            command += ["--size", str(given.size), "--tile", str(given.tile), "--rounds", str(given.rounds)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{method:16}{done.stderr.splitlines()[-1]}")
                continue
            found = results[f"{model} {method}"] = json.loads(done.stdout.splitlines()[-1])
            times = f"{found['seconds']:8.2f}{found['cpu']:8.2f}"
            print(
                f"{method:16}{times}{found['MB']:9.0f}{found['before']:8.0f}{found['seam']:14.2g}", flush=True
            )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
