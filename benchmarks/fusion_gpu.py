"""Large fusions on a GPU: 64 frames of 4096 x 4096 at x2, and the same solver on the CPU over a part of the field.

``python benchmarks/fusion_gpu.py [--frames 64] [--size 4096] [--part 1024] [--device cuda] [--json out.json]``
``python benchmarks/fusion_gpu.py --quick`` runs the whole of it small, on the CPU.

Needs torch, numpy and scipy only. The frames (stars and clouds through the Moffat optics of fusion_light, integrated
over pixels, dithered and turned, with sky, Poisson and read noise) are simulated in torch; the `map` solver is given
the true transforms, so that its time is measured and not that of registration. The CPU gets a square of `part`
pixels of every frame; its time is scaled up by the area. Each time is that of a second run: the first one warms up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from fusion_light import ALPHA
from fusion_scene import READ_NOISE, SKY, dithers
from torch import Tensor

from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.solvers import solver
from sciSR.fusion.transforms import Affine

OVER, MARGIN = 3, 16  # samples of the sky per native pixel; native pixels of sky around the field


@dataclass(frozen=True)
class Sky:
    """Spline coefficients of the sky seen through one pixel's square; a position p lies at 3 (p + 16.5) - 0.5."""

    coefficients: Tensor

    def at(self, matrix: np.ndarray, shape: tuple[int, int]) -> Tensor:
        """Values at a detector's pixels; `matrix` takes reference pixels to the detector's."""
        back = np.linalg.inv(matrix[:, :2])
        device = self.coefficients.device
        flat, width = self.coefficients.flatten(), self.coefficients.shape[1]
        columns = torch.arange(shape[1], device=device, dtype=torch.float64) - matrix[1, 2]
        out = torch.empty(shape, device=device)
        for start in range(0, shape[0], 256):
            stop = min(start + 256, shape[0])
            rows = torch.arange(start, stop, device=device, dtype=torch.float64)[:, None] - matrix[0, 2]
            y, x = (OVER * (b[0] * rows + b[1] * columns + MARGIN + 0.5) - 0.5 for b in back)
            top, left = y.floor().long(), x.floor().long()
            wy, wx = (_quintic((p - p.floor()).float()) for p in (y, x))
            base = (top - 2) * width + left - 2
            total = torch.zeros(base.shape, device=device)
            for i in range(6):
                line = torch.zeros_like(total)
                for j in range(6):
                    line += wx[j] * flat[base + i * width + j]
                total += wy[i] * line
            out[start:stop] = total
        return out


def _quintic(f: Tensor) -> list[Tensor]:
    """Weights of the quintic B-spline at ``floor - 2 ... floor + 3``."""

    def spline(t: Tensor) -> Tensor:
        t = t.abs()
        near, far = (1 - t).clamp(min=0) ** 5, (2 - t).clamp(min=0) ** 5
        return ((3 - t).clamp(min=0) ** 5 - 6 * far + 15 * near) / 120

    return [spline(f + 2 - k) for k in range(6)]


def make_sky(size: int, pixel: float, device: torch.device, seed: int = 2) -> Sky:
    """Clouds and 450 stars per 512 x 512 pixels, seen by square pixels of `pixel` native ones."""
    generator = torch.Generator(device=device).manual_seed(seed)
    side = OVER * (size + 2 * MARGIN)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    fy = torch.fft.fftfreq(side, 1 / OVER, device=device)[:, None]
    fx = torch.fft.rfftfreq(side, 1 / OVER, device=device)[None, :]
    k = torch.hypot(fy, fx)
    noise = torch.randn(side, side, generator=generator, device=device)
    slope = k.clamp(min=1 / 512) ** -1.8
    slope[0, 0] = 0
    clouds = torch.fft.irfft2(torch.fft.rfft2(noise) * slope, s=(side, side))
    light = 30 * torch.exp(clouds / clouds.std())
    count = int(450 * (size / 512) ** 2)
    place = (random(2, count) * side).long()
    flux = 10 ** (2.5 + 2.6 * random(count))
    light.index_put_((place[0], place[1]), flux * OVER**2, accumulate=True)
    t = 2 * np.pi * ALPHA * k
    response = (1 + t + t**2 / 3) * torch.exp(-t) * torch.sinc(fy * pixel) * torch.sinc(fx * pixel)
    for f in (fy, fx):
        w = 2 * np.pi * f / OVER
        response /= (66 + 52 * torch.cos(w) + 2 * torch.cos(2 * w)) / 120
    return Sky(torch.fft.irfft2(torch.fft.rfft2(light) * response, s=(side, side)))


@dataclass(frozen=True, eq=False)
class Frames:
    """Prepared frames made of counts when they are asked for: one in memory at a time, beside the counts.

    `part` (pixels, or None) cuts a square out of every frame; the transforms then refer to that of the reference.
    """

    counts: list[np.ndarray]
    transforms: np.ndarray
    part: int | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[PreparedFrame]:
        for k, (counts, matrix) in enumerate(zip(self.counts, self.transforms, strict=True)):
            start = np.zeros(2)
            if self.part is not None:
                start = (np.array(counts.shape) - self.part) // 2
                counts = counts[start[0] :, start[1] :][: self.part, : self.part]
                # p' = p - start on both sides.
                matrix = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ start - start])
            values = counts.astype(np.float32) - np.float32(SKY)
            variance = np.maximum(values, 0) + np.float32(SKY + READ_NOISE**2)
            yield PreparedFrame(
                f"frame {k}", values, variance, np.zeros(values.shape, dtype=bool), Affine(matrix)
            )


def expose(sky: Sky, size: int, number: int, seed: int = 2) -> Frames:
    """Dithered exposures as uint16 counts in the host's memory."""
    transforms = dithers(number, (size, size), np.random.default_rng(seed))
    generator = torch.Generator(device=sky.coefficients.device).manual_seed(seed)
    counts = []
    for matrix in transforms:
        expected = sky.at(matrix, (size, size)).clamp(min=0) + SKY
        seen = torch.poisson(expected, generator=generator)
        seen += READ_NOISE * torch.randn(seen.shape, generator=generator, device=seen.device)
        counts.append(seen.round().clamp(0, 65535).cpu().numpy().astype(np.uint16))
    return Frames(counts, transforms)


def timed(frames: Frames, side: int, device: torch.device, settings: dict) -> tuple[dict, np.ndarray]:
    """Seconds of the second of two solutions, peak memory on the device, and the image."""
    solve = solver("map")
    target = Target((side, side), (Fraction(2), Fraction(2)))
    seconds = []
    cuda = device.type == "cuda"
    for _ in range(2):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        solution = solve(frames, target, device=str(device), **settings)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    found = {"first_s": seconds[0], "seconds": seconds[1], "megapixels": 4 * side**2 / 1e6}
    if cuda:
        found["device_gb"] = torch.cuda.max_memory_allocated() / 2**30
    return found, solution.image


def psnr(image: np.ndarray, truth: np.ndarray, cut: int = 28) -> float:
    """As in fusion_score: sky matched by the median, peak and clipping at the 99.95th percentile."""
    x, t = (a[cut:-cut, cut:-cut].astype(np.float64) for a in (image, truth))
    x = x - np.nanmedian(x - t)
    level = np.median(t)
    peak = np.percentile(t, 99.95) - level
    error = np.minimum(x - level, peak) - np.minimum(t - level, peak)
    return float(20 * np.log10(peak) - 10 * np.log10(np.nanmean(error**2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument(
        "--part", type=int, default=1024, help="side of the square that the CPU solves, pixels"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the solver, JSON")
    parser.add_argument("--quick", action="store_true", help="small, on the CPU")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.frames, options.size, options.part, options.device = 8, 256, 128, "cpu"
    device = torch.device(options.device)
    size, part = options.size, min(options.part, options.size)
    begin = time.perf_counter()
    frames = expose(make_sky(size, 1.0, device), size, options.frames)
    fine = np.column_stack([2 * np.eye(2), [0.5, 0.5]])
    truth = make_sky(size, 0.5, device).at(fine, (2 * size, 2 * size)).cpu().numpy()
    print(f"simulated {options.frames} frames of {size} x {size} in {time.perf_counter() - begin:.1f} s")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    whole, image = timed(frames, size, device, options.settings)
    whole["psnr"] = psnr(image, truth)
    del image
    small = Frames(frames.counts, frames.transforms, part)
    cpu, image = timed(small, part, torch.device("cpu"), options.settings)
    middle = slice(2 * ((size - part) // 2), 2 * ((size - part) // 2 + part))
    cpu["psnr"] = psnr(image, truth[middle, middle])
    results = {"device": name, "threads": torch.get_num_threads(), "whole": whole, "cpu part": cpu}
    if device.type == "cuda":
        results["device part"], _ = timed(small, part, device, options.settings)
    scaled = cpu["seconds"] * (size / part) ** 2
    for what, found in results.items():
        if isinstance(found, dict):
            print(f"{what:12s} " + ", ".join(f"{k} {v:.2f}" for k, v in found.items()))
    print(
        f"{name}: {whole['seconds']:.2f} s; CPU ({results['threads']} threads), scaled by area: {scaled:.0f} s; "
        f"speed-up x {scaled / whole['seconds']:.1f}"
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
