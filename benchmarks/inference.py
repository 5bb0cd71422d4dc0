"""Speed and memory of inference, side by side with other runtimes, in one run.

``python benchmarks/inference.py [--model NAME ...] [--size 1024] [--memory 2000 6000] [--json out.json]``

Prints, for the shipped ESPCN x2 networks on this machine: output megapixels a second for each precision and layout
(the bare network, untiled), the same through the engine as users run it (tiled, normalised, made consistent, bad pixels
checked), ONNX Runtime and OpenVINO on the same network untiled, and each one's share of the machine's peak, measured
here with the best convolution that oneDNN has. Then a FITS file to a FITS file, against astropy around both; and
the peak resident memory of child processes that upscale FITS files of growing size (``--memory``). Every figure is
the best of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.device import tune_allocator
from sciSR.models.espcn import limit_undershoot
from sciSR.models.files import load_model

EXPORT = {"dynamo": True, "opset_version": 18, "verbose": False}
MODELS = ("espcn-mr-kspace-x2", "espcn-astro-x2")


def best_seconds(run: Callable[[], object], budget: float = 6.0) -> float:
    """Shortest of as many runs as fit the budget, at least three, after one to warm up."""
    run()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < budget:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def peak_flops(dtype: torch.dtype) -> float:
    """The machine's floating-point peak as reached by an in-cache 3x3 convolution, in FLOP/s."""
    layer = nn.Conv2d(256, 256, 3, padding=1).to(dtype).to(memory_format=torch.channels_last).eval()
    x = torch.randn(1, 256, 48, 48, dtype=dtype).contiguous(memory_format=torch.channels_last)
    flops = 2 * 256 * 256 * 9 * 48 * 48
    with torch.inference_mode():
        return flops / best_seconds(lambda: layer(x), budget=3.0)


def flops_per_input_pixel(model: nn.Module) -> int:
    """Two per weight: every convolution works on the input grid (the fixed interpolation included)."""
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
    return 2 * (weights + model.skip.kernel.numel())


def bare_network(model: nn.Module, size: int) -> dict[str, float]:
    """Seconds of one untiled pass for each precision and layout."""
    seconds = {}
    x = torch.randn(1, 1, size, size)
    for layout in (torch.contiguous_format, torch.channels_last):
        net, data = model.to(memory_format=layout), x.contiguous(memory_format=layout)
        for bf16 in (False, True):
            name = f"torch {'bf16' if bf16 else 'fp32'} {'NHWC' if layout is torch.channels_last else 'NCHW'}"

            def run(net: nn.Module = net, data: torch.Tensor = data, bf16: bool = bf16) -> None:
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    net(data)

            seconds[name] = best_seconds(run)
    return seconds


def accuracy(name: str) -> dict[str, float]:
    """Decibels between the network in fp32 or bf16 and in float64, over the output's range, on our own samples."""
    from sciSR import read
    from sciSR.inference.normalise import fit

    model, spec, _ = load_model(name)
    samples = Path(__file__).resolve().parents[1] / "data_samples"
    if spec.domain == "mr":
        plane = np.asarray(read(samples / "phantom.nii.gz").data[:, :, 10])
    else:
        plane = np.asarray(read(samples / "star_field.fits", hdu=("SCI",)).data[100:356, 100:356])
    plane = np.where(np.isfinite(plane), plane, np.nanmedian(plane)).astype(np.float64)
    z = torch.from_numpy(fit(plane.ravel(), spec.normalisation).forward(plane))[None, None]
    results = {}
    with torch.inference_mode():
        results["fp32"] = model(z).double()
        with torch.autocast("cpu", torch.bfloat16):
            results["bf16"] = model(z).double()
        double = model.double()
        skip = nn.functional.conv2d(z.double(), double.skip.kernel.double(), padding=double.skip.radius)
        exact = double.body[-1](skip + double.body[:-1](z.double()))
        if double.finish == "detector":
            exact = limit_undershoot(exact.float(), z, spec.scale).double()
    span = float(exact.max() - exact.min())
    return {
        key: 20 * np.log10(span / float((out - exact).square().mean().sqrt())) for key, out in results.items()
    }


def engine(image: Image, model: str) -> dict[str, float]:
    """Seconds through the engine, as users run it but for reading and writing files."""
    seconds = {}
    for precision in ("fp32", "bf16"):
        plan = plan_upscale(image, 2, model, precision=precision, device="cpu")
        seconds[f"sciSR engine {precision}, tiled"] = best_seconds(
            lambda plan=plan: plan.run(lambda index, block: None)
        )
    return seconds


def rivals(model: nn.Module, size: int) -> dict[str, float]:
    """ONNX Runtime and OpenVINO on the same network, untiled."""
    seconds: dict[str, float] = {}
    x = torch.randn(1, 1, size, size)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(
            model.to(memory_format=torch.contiguous_format),
            (x,),
            path,
            **EXPORT,
        )
        expected = model(x).numpy()
        try:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            feed = {session.get_inputs()[0].name: x.numpy()}
            assert np.abs(session.run(None, feed)[0] - expected).max() < 1e-3
            seconds["ONNX Runtime fp32"] = best_seconds(lambda: session.run(None, feed))
        except ImportError:
            print("onnxruntime is not installed", file=sys.stderr)
        try:
            import openvino

            core = openvino.Core()
            for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
                compiled = core.compile_model(
                    path,
                    "CPU",
                    {
                        "INFERENCE_PRECISION_HINT": hint,
                        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                        "PERFORMANCE_HINT": "LATENCY",
                    },
                )
                request = compiled.create_infer_request()
                seconds[f"OpenVINO {precision}"] = best_seconds(
                    lambda request=request: request.infer([x.numpy()])
                )
        except ImportError:
            print("openvino is not installed", file=sys.stderr)
    return seconds


def with_files(size: int) -> dict[str, float]:
    """Seconds from a FITS file to a FITS file: `upscale_file`, and astropy around other runtimes on the whole plane.

    Ours also takes the image's statistics, fills bad pixels, keeps the flux, updates the WCS, hashes the input, and
    writes checksums and provenance atomically; a rival reads, runs the network and writes the plane.
    """
    from astropy.io import fits

    from sciSR.workflow.run import upscale_file

    seconds = {}
    with tempfile.TemporaryDirectory(suffix=".tmp", dir=Path.cwd()) as folder:
        source, target = os.path.join(folder, "frame.fits"), os.path.join(folder, "fine.fits")
        write_frame(source, size)
        runs: dict[str, Callable[[], object]] = {}
        for precision in ("fp32", "bf16"):
            settings = {"model": MODELS[1], "device": "cpu", "overwrite": True, "precision": precision}
            runs[f"sciSR {precision}"] = lambda settings=settings: upscale_file(source, target, **settings)
        for name, network in runtimes(load_model(MODELS[1])[0], folder).items():

            def rival(network: Callable[[np.ndarray], np.ndarray] = network) -> None:
                data = fits.getdata(source).astype(np.float32)
                fits.writeto(target, network(data[None, None])[0, 0], overwrite=True)

            runs[f"astropy and {name}"] = rival
        for what, run in runs.items():
            seconds[f"FITS to FITS, {size}^2, {what}"] = best_seconds(run)
    return seconds


def runtimes(model: nn.Module, folder: str) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The same network in other runtimes, for planes of any size, on as many threads as torch has."""
    import onnxruntime
    import openvino

    path = os.path.join(folder, "model.onnx")
    torch.onnx.export(model, (torch.randn(1, 1, 64, 64),), path, dynamic_shapes=({2: "h", 3: "w"},), **EXPORT)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = {"ONNX Runtime fp32": lambda x: session.run(None, {name: x})[0]}
    for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": hint}
        request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
        found[f"OpenVINO {precision}"] = lambda x, request=request: next(iter(request.infer([x]).values()))
    return found


def write_frame(path: str, size: int) -> None:
    """A float32 FITS frame of noise in electrons, written by bands."""
    from astropy.io import fits

    rng = np.random.default_rng(0)
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": size, "NAXIS2": size})
    header["BUNIT"] = "electron"
    with open(path, "wb") as stream:
        stream.write(header.tostring().encode())
        for start in range(0, size, 500):
            rows = rng.normal(100, 5, (min(500, size - start), size))
            stream.write(rows.astype(">f4").tobytes())
        stream.write(b"\0" * (-stream.tell() % 2880))


def measure_memory(sizes: list[int]) -> dict[int, dict[str, float]]:
    """Peak resident memory and time of `scisr upscale` on FITS files of growing size, each in its own process."""
    results = {}
    # VmHWM, not getrusage: the latter's peak is inherited from the process that started the child.
    child = (
        "import sys, time; from sciSR.workflow.run import upscale_file; t = time.time(); "
        "upscale_file(sys.argv[1], sys.argv[2], model=sys.argv[3], overwrite=True); "
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')); "
        "print(int(peak) / 1e6, time.time() - t)"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(suffix=".tmp", dir=Path.cwd()) as folder:
            path = os.path.join(folder, "frame.fits")
            write_frame(path, size)
            out = subprocess.run(
                [sys.executable, "-c", child, path, os.path.join(folder, "out.fits"), MODELS[1]],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            results[size] = {"GB": float(out[-2]), "seconds": float(out[-1])}
    return results


def compare(name: str, size: int) -> dict[str, object]:
    """Measure one network and print its table."""
    model, spec, _ = load_model(name)
    megapixels = (spec.scale * size) ** 2 / 1e6
    peak = {"fp32": peak_flops(torch.float32), "bf16": peak_flops(torch.bfloat16)}
    work = flops_per_input_pixel(model) * size**2
    image = Image.from_array(np.random.default_rng(0).normal(0, 1, (size, size)).astype(np.float32))
    seconds = bare_network(model, size) | engine(image, name) | rivals(model, size)
    print(
        f"{name}, {size}^2 -> {spec.scale * size}^2, {torch.get_num_threads()} threads; "
        f"peak fp32 {peak['fp32'] / 1e9:.0f}, bf16 {peak['bf16'] / 1e9:.0f} GFLOP/s"
    )
    exact = accuracy(name)
    print(f"from float64: fp32 {exact['fp32']:.0f} dB, bf16 {exact['bf16']:.0f} dB")
    print(f"{'':32}{'Mpx/s out':>10}{'of peak':>9}{'time / best rival':>19}")
    rows = {}
    for what, each in seconds.items():
        precision = "bf16" if "bf16" in what else "fp32"
        others = [t for n, t in seconds.items() if precision in n and ("ONNX" in n or "OpenVINO" in n)]
        rows[what] = {
            "megapixels_per_second": megapixels / each,
            "share_of_peak": work / each / peak[precision],
            "time_over_best_rival": each / min(others) if others else float("nan"),
        }
        rate, share, ratio = rows[what].values()
        print(f"{what:32}{rate:10.2f}{share:9.2f}{ratio:19.2f}")
    return {"peak": peak, "decibels_from_float64": exact, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="*", default=MODELS, help="shipped networks to measure")
    parser.add_argument("--size", type=int, default=1024, help="input pixels a side")
    parser.add_argument(
        "--memory", type=int, nargs="*", default=(1000, 2000, 4000), help="sizes to measure peak memory at"
    )
    parser.add_argument("--files", type=int, nargs="*", default=(2048, 4096), help="sizes from file to file")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tune_allocator()
    results: dict[str, object] = {name: compare(name, arguments.size) for name in arguments.model}
    files = {what: t for size in arguments.files for what, t in with_files(size).items()}
    for what, each in files.items():
        print(f"{what}: {each:.2f} s")
    memory = measure_memory(list(arguments.memory))
    for side, found in memory.items():
        print(f"FITS {side}^2 -> x2: {found['GB']:.2f} GB peak resident, {found['seconds']:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(results | {"files": files, "memory": memory}, indent=1))


if __name__ == "__main__":
    main()
