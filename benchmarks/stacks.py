"""Three simulated orthogonal stacks of a real head: what fusing them gains over the best single stack.

    python benchmarks/stacks.py VOLUME.nii.gz [--noise 0.01] [--size 128] [--no-slices] [--json FILE]

The volume (1 mm) is cut to whole slices, moved by up to 3 degrees and 3 mm for the second and third stack (fixed seed),
and seen through slices of 4 mm (Gaussian profile). The simulation shares no code with the engine: it sums 28 cubic
interpolations of the volume across each slice. Scores are over the head (foreground of `sciSR.evaluation.mr`), with the
99.9th percentile as data range, each single stack against the truth as it was moved. Registration errors are
displacements over the head.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import map_coordinates, spline_filter, zoom

from sciSR.evaluation.mr import foreground
from sciSR.forward.slice_sampling import SliceSampling
from sciSR.stacks import FusedVolume, Stack, fuse_stacks
from sciSR.stacks.rigid import Rigid, displacement

THICKNESS = 4.0
AXES = (2, 0, 1)
MARGIN = 6
"""Voxels at the field's ends that are not scored: there the moved stacks see what lies outside the cut volume."""


def read(path: Path, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The volume as float32 and its affine, cut to multiples of the slice distance; its middle if a size is given."""
    image = nib.as_closest_canonical(nib.load(path))
    data, affine = np.asarray(image.dataobj, dtype=np.float32), np.array(image.affine, dtype=np.float64)
    step = round(THICKNESS / float(np.linalg.norm(affine[:3, 2])))
    shape = [min(n, size or n) // step * step for n in data.shape]
    low = [(n - m) // 2 if size else 0 for n, m in zip(data.shape, shape, strict=True)]
    cut = tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))
    affine[:3, 3] += affine[:3, :3] @ np.array(low)
    return data[cut], affine


def motions(centre: np.ndarray, seed: int) -> list[Rigid]:
    """None for the first; up to 3 degrees and 3 mm for the others."""
    rng = np.random.default_rng(seed)
    out = [Rigid.of(np.zeros(6), centre)]
    for _ in AXES[1:]:
        parts = [rng.normal(size=3) for _ in range(2)]
        sizes = [3 * rng.uniform(0.6, 1.0) for _ in range(2)]
        out.append(
            Rigid.of(
                np.concatenate([s * p / np.linalg.norm(p) for s, p in zip(sizes, parts, strict=True)]), centre
            )
        )
    return out


def moved(coefficients: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Cubic interpolation at indices ``[3, ...]``."""
    return map_coordinates(coefficients, index, order=3, prefilter=False, mode="mirror")


def simulate(coefficients: np.ndarray, affine: np.ndarray, axis: int, motion: Rigid) -> Stack:
    """A stack with its slices across one axis."""
    step = round(THICKNESS / float(np.linalg.norm(affine[:3, axis])))
    shape, own = list(coefficients.shape), affine.copy()
    shape[axis] //= step
    own[:3, 3] += own[:3, axis] * (step - 1) / 2
    own[:3, axis] *= step
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).reshape(3, -1)
    to_truth = np.linalg.inv(affine) @ motion.matrix
    place = (to_truth @ own)[:3, :3] @ index + (to_truth @ own)[:3, 3:]
    across = to_truth[:3, :3] @ (own[:3, axis] / np.linalg.norm(own[:3, axis]))
    depth = (np.arange(28) - 13.5) * 0.5
    weight = np.exp(-4 * np.log(2) * (depth / THICKNESS) ** 2)
    weight /= weight.sum()

    def layer(k: int) -> np.ndarray:
        return weight[k] * moved(coefficients, place + (depth[k] * across)[:, None])

    data = np.zeros(place.shape[1])
    with ThreadPoolExecutor(2) as pool:
        for part in pool.map(layer, range(len(depth))):
            data += part
    return Stack(data.reshape(shape).astype(np.float32), own, axis, THICKNESS, name=f"across axis {axis}")


def single_stack_methods(stack: Stack, spacing: float, learning: str) -> dict[str, np.ndarray]:
    """One stack alone, made isotropic: by the ways that compete with fusing."""
    axis, n = stack.slice_axis, stack.data.shape[stack.slice_axis]
    fine = round(n * float(stack.spacing[axis]) / spacing)
    factors = [1.0, 1.0, 1.0]
    factors[axis] = fine / n
    operator = SliceSampling(n, fine, stack.thickness / float(stack.spacing[axis]), "gaussian")
    inverse = np.tensordot(operator.smoothest.numpy(), stack.data, axes=(1, axis))
    out = {
        "cubic": zoom(stack.data, factors, order=3, grid_mode=True, mode="mirror"),
        "known-profile inverse": np.moveaxis(inverse, 0, axis),
    }
    network = through_plane_network(stack, spacing, learning)
    return out if network is None else {**out, "through-plane network": network}


def through_plane_network(stack: Stack, spacing: float, learning: str) -> np.ndarray | None:
    """`sciSR.throughplane` on one stack, where it and its weights are there."""
    try:
        from sciSR.grid import AffineGrid
        from sciSR.image import Image
        from sciSR.throughplane.plan import isotropic
    except ImportError:
        return None
    names = tuple("k" if axis == stack.slice_axis else "ij"[stack.in_plane.index(axis)] for axis in range(3))
    image = Image(
        stack.data,
        axes=names,
        spatial=tuple(names[axis] for axis in stack.in_plane),
        grid=AffineGrid(stack.data.shape, stack.affine),
        domain="mr",
        slice_thickness=stack.thickness,
    )
    return np.asarray(isotropic(image, spacing=spacing, self_training=learning).data)


def psnr(found: np.ndarray, true: np.ndarray, head: np.ndarray, top: float) -> float:
    """Decibels over the head."""
    return float(10 * np.log10(top**2 / np.mean((found[head].astype(np.float64) - true[head]) ** 2)))


def registration(
    fused: FusedVolume, true: list[Rigid], points: np.ndarray, stacks: list[Stack]
) -> list[dict[str, float]]:
    """Mean and largest displacement over the head, millimetres, for each stack but the first."""
    out = []
    for motion, right in list(zip(fused.motions, true, strict=True))[1:]:
        error = displacement(motion.matrix, right.matrix, points)
        every = np.stack([displacement(s.rigid.matrix, right.matrix, points) for s in motion.slices])
        out.append(
            {"mean": float(error.mean()), "max": float(error.max()), "slices_mean": float(every.mean())}
        )
    return out


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All numbers."""
    truth, affine = read(options.volume, options.size)
    coefficients = spline_filter(truth, order=3, mode="mirror").astype(np.float32)
    centre = affine[:3, :3] @ ((np.array(truth.shape) - 1) / 2) + affine[:3, 3]
    true = motions(centre, options.seed)
    top = float(np.percentile(truth, 99.9))
    rng = np.random.default_rng(options.seed + 1)
    stacks = []
    for axis, motion in zip(AXES, true, strict=True):
        stack = simulate(coefficients, affine, axis, motion)
        stack.data[...] += options.noise * top * rng.normal(size=stack.data.shape)
        stacks.append(stack)
    head = foreground(truth / top, 1)
    inner = np.zeros_like(head)
    inner[(slice(MARGIN, -MARGIN),) * 3] = True
    head &= inner
    rows: dict[str, Any] = {"volume": options.volume.name, "noise": options.noise, "shape": truth.shape}
    spacing = float(np.linalg.norm(affine[:3, 0]))
    singles: dict[str, float] = {}
    index = np.stack(np.meshgrid(*[np.arange(n) for n in truth.shape], indexing="ij")).reshape(3, -1)
    for stack, motion in zip(stacks, true, strict=True):
        matrix = np.linalg.inv(affine) @ motion.matrix @ affine
        seen = moved(coefficients, matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(truth.shape)
        for name, volume in single_stack_methods(stack, spacing, options.learning).items():
            singles[name] = max(singles.get(name, -np.inf), psnr(volume, seen, head, top))
    started = time.perf_counter()
    fused = fuse_stacks(
        stacks, spacing=spacing, slice_motion=not options.no_slices, prior=options.prior, progress=_tell
    )
    rows["seconds"] = time.perf_counter() - started
    rows["best_single_stack"] = singles
    rows["fused"] = psnr(fused.volume, truth, head, top)
    rows["gain_dB"] = rows["fused"] - max(singles.values())
    points = np.argwhere(head)[::997] @ affine[:3, :3].T + affine[:3, 3]
    rows["registration_mm"] = registration(fused, true, points, stacks)
    error = fused.volume[head] - truth[head]
    rows["std_over_error"] = float(np.sqrt(np.mean(fused.std[head] ** 2) / np.mean(error**2)))
    rows["peak_memory_GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows["gains"] = fused.gains
    return rows


def _tell(step: str, share: float) -> None:
    print(f"\r{share:4.0%} {step:20s}", end="", flush=True)


def main() -> None:
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volume", type=Path)
    parser.add_argument("--noise", type=float, default=0.0, help="of the data range")
    parser.add_argument("--size", type=int, help="only the middle, voxels a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", default="auto")
    parser.add_argument("--no-slices", action="store_true", help="stacks move as a whole")
    parser.add_argument("--learning", default="0", help="of the through-plane network: 0, fast or full")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = measure(options)
    print()
    for name, value in rows["best_single_stack"].items():
        print(f"best single stack, {name:24s} {value:6.2f} dB")
    print(f"{'fused':43s} {rows['fused']:6.2f} dB  ({rows['gain_dB']:+.2f})")
    for n, error in enumerate(rows["registration_mm"], 2):
        print(f"registration of stack {n}: mean {error['mean']:.3f} mm, max {error['max']:.3f} mm")
    print(f"standard deviation / error {rows['std_over_error']:.2f}")
    print(f"{rows['seconds']:.0f} s, {rows['peak_memory_GB']:.1f} GB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, default=list))


if __name__ == "__main__":
    main()
