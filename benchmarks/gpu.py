"""Inference on GPUs: share of the convolution peak, share of that from array to array, several devices side by side.

``python benchmarks/gpu.py [--model espcn-astro-x2] [--size 8192] [--devices 1] [--json out.json]``

One command on a machine with CUDA. Prints for fp32 and bf16: the peak, measured with the best 3x3 convolution of cuDNN;
the bare network on one batch of tiles, eager, as a CUDA graph, and compiled (``torch.compile``), by the device's own
clock; the engine from array to array (host memory to host memory: cut, copied, normalised, computed, copied back, made
consistent in float64, agreement measured); and with ``--devices n`` as many processes at once, one for each device.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from inference import flops_per_input_pixel
from torch import nn

from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.stages import NetworkStage
from sciSR.models.files import load_model

TILE = 512


def device_seconds(run: Callable[[], object], rounds: int = 20) -> float:
    """Median seconds of one call by CUDA events, after three calls to warm up."""
    for _ in range(3):
        run()
    times = []
    for _ in range(rounds):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3)
    return float(np.median(times))


def peak_flops(dtype: torch.dtype) -> float:
    """The best of some wide 3x3 convolutions, in FLOP/s; float32 without rounded inputs (TF32)."""
    best = 0.0
    for channels, batch in ((256, 16), (512, 8)):
        layer = (
            nn.Conv2d(channels, channels, 3, padding=1).cuda().to(dtype).to(memory_format=torch.channels_last)
        )
        x = torch.randn(batch, channels, 128, 128, device="cuda", dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.backends.cudnn.flags(benchmark=True, allow_tf32=False):
            seconds = device_seconds(lambda layer=layer, x=x: layer(x))
        best = max(best, 2 * channels**2 * 9 * 128**2 * batch / seconds)
    return best


def bare(stage: NetworkStage, batch: int) -> dict[str, float]:
    """Seconds of one batch of tiles through the network: eager, as a graph, compiled."""
    side = TILE + 2 * stage.halo
    x = torch.randn(batch, side, side, device="cuda")
    found = {"eager": device_seconds(lambda: stage.batch(x))}
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            stage.batch(x)
        found["CUDA graph"] = device_seconds(graph.replay)
    except RuntimeError as error:
        print(f"no CUDA graph: {error}", file=sys.stderr)
    try:
        compiled = torch.compile(stage.batch, mode="max-autotune-no-cudagraphs")
        found["torch.compile"] = device_seconds(lambda: compiled(x))
    except Exception as error:  # whatever a compiler says: the figure is only missing
        print(f"not compiled: {str(error).splitlines()[0]}", file=sys.stderr)
    return found


def engine_seconds(model: str, precision: str, size: int) -> float:
    """From array to array, best of three."""
    image = Image.from_array(np.random.default_rng(0).standard_normal((size, size), dtype=np.float32))
    plan = plan_upscale(image, 2, model, precision=precision, device="cuda")
    out = np.empty(plan.output.shape, np.float32)

    def put(index: tuple[slice, slice], block: np.ndarray) -> None:
        out[index] = block

    times = []
    for _ in range(4):
        start = time.perf_counter()
        plan.run(put, by_tile=True)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def side_by_side(devices: int, model: str, precision: str, size: int) -> float:
    """Seconds per image and device with one process on each of them, all at once."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from gpu import engine_seconds; "
        "print(engine_seconds(sys.argv[2], sys.argv[3], int(sys.argv[4])))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), model, precision, str(size)]
    children = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": str(number)},
        )
        for number in range(devices)
    ]
    return max(float(child.communicate()[0].split()[-1]) for child in children)


def compare(name: str, size: int, devices: int) -> dict[str, object]:
    """Measure one network in both precisions."""
    results: dict[str, object] = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        model, _, _ = load_model(name)
        work = flops_per_input_pixel(model)
        image = Image.from_array(np.random.default_rng(0).standard_normal((600, 600), dtype=np.float32))
        plan = plan_upscale(image, 2, name, precision=precision, device="cuda")
        [stage] = plan.stages()
        assert isinstance(stage, NetworkStage)
        peak, batch = peak_flops(dtype), 8
        print(f"{name} {precision} on {torch.cuda.get_device_name()}: peak {peak / 1e12:.1f} TFLOP/s")
        seconds = {f"network, {how}": t / (batch * TILE**2) for how, t in bare(stage, batch).items()}
        seconds[f"array to array, {size}^2"] = engine_seconds(name, precision, size) / size**2
        if devices > 1:
            each = side_by_side(devices, name, precision, size)
            seconds[f"array to array, {devices} devices"] = each / devices / size**2
        fastest = min(t for what, t in seconds.items() if what.startswith("network"))
        rows = {}
        for what, each in seconds.items():
            rows[what] = {
                "Mpx/s out": 4e-6 / each,
                "of peak": work / each / peak,
                "of network": fastest / each,
            }
            print(
                f"{what:32}" + "".join(f"{value:10.3f} {key}" for key, value in rows[what].items()),
                flush=True,
            )
        results[precision] = {"peak": peak, "rows": rows}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="*", default=("espcn-astro-x2",))
    parser.add_argument("--size", type=int, default=8192, help="input pixels a side")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device on this machine: nothing measured")
    results = {name: compare(name, given.size, given.devices) for name in given.model}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
