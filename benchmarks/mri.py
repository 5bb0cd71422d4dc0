"""MR volumes: thick slices made thin, and slices made finer, against every classical method and the known inverse.

``python benchmarks/mri.py [--data ../shared/data] [--methods ...] [--volumes NAME ...] [--in-plane] [--json out.json]``

Through the plane: the sharp volumes of ``mri/check`` in RAS order, the central 128 x 128 window, all slices; every four
slices become one through a Gaussian profile whose full width at half maximum is their spacing (for 1 mm voxels: 4 mm
slices). Intensities over the 99.9 % quantile of the truth, which is the data range; scored where truth > 0.05, closed
and filled, minus a frame of eight voxels; SSIM in three dimensions (Gaussian weights, sigma 1.5), averaged there.

"known-profile inverse" is iterated back projection (Irani and Peleg 1991), ten times, the residual enlarged by a cubic
spline: it is told the profile, like ours.

``--in-plane``: x2 and x4 within the slices of the same volumes, as `scisr evaluate` does it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from sciSR.forward.slice_sampling import SliceSampling
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.metrics import psnr
from sciSR.throughplane import isotropic

VOLUMES = ("fnndsc_eun_uchar8", "sct_t1w_cervical_1mm", "sct_t2_cervical_1mm", "sct_t2_cervical_0p8")
FACTOR, WINDOW = 4, 128
Array = np.ndarray
Method = Callable[[Array, SliceSampling], Array]


def volume(data: Path, name: str) -> Array:
    """The central window in RAS order, over its 99.9 % quantile, float64."""
    image = nibabel.as_closest_canonical(nibabel.load(data / f"mri/check/{name}.nii.gz"))
    array = np.asarray(image.dataobj, np.float64)
    corner = [(n - min(n, WINDOW)) // 2 for n in array.shape[:2]]
    slices = array.shape[2] // FACTOR * FACTOR
    array = array[corner[0] : corner[0] + WINDOW, corner[1] : corner[1] + WINDOW, :slices]
    return array / np.quantile(array, 0.999)


def foreground(truth: Array) -> Array:
    """Where it is scored."""
    mask = ndimage.binary_closing(truth > 0.05)
    mask = np.stack([ndimage.binary_fill_holes(p) for p in np.moveaxis(mask, 2, 0)], 2)
    rim = 2 * FACTOR
    inside = np.zeros_like(mask)
    inside[rim:-rim, rim:-rim, rim:-rim] = True
    return mask & inside


def score(truth: Array, result: Array, mask: Array) -> dict[str, float]:
    """PSNR and SSIM in the foreground."""
    _, similar = structural_similarity(
        truth, result, data_range=1.0, gaussian_weights=True, sigma=1.5, full=True
    )
    return {"psnr": psnr(truth, result, 1.0, mask), "ssim": float(similar[mask].mean())}


def spline(y: Array, order: int) -> Array:
    """scipy's spline across the slices, aligned at the edges."""
    mode = "nearest" if order == 1 else "reflect"
    return ndimage.zoom(y, (1, 1, FACTOR), order=order, mode=mode, grid_mode=True)


def known_inverse(y: Array, operator: SliceSampling) -> Array:
    """Iterated back projection with the true profile."""
    x = spline(y, 3)
    for _ in range(10):
        x = x + spline(y - operator.apply(torch.from_numpy(x), 2).numpy(), 3)
    return x


def ours(model: str, learning: str = "fast", consistency: str = "auto") -> Method:
    """The engine, told the slices' thickness as a header would."""

    def run(y: Array, operator: SliceSampling) -> Array:
        image = Image(
            data=y.astype(np.float32),
            axes=("x", "y", "z"),
            spatial=("x", "y"),
            grid=AffineGrid(y.shape, np.diag([1.0, 1.0, FACTOR, 1.0])),
            domain="mr",
            slice_thickness=float(FACTOR),
        )
        result = isotropic(image, model=model, self_training=learning, consistency=consistency)
        return np.asarray(result.data, np.float64)

    return run


METHODS: dict[str, Method] = {
    "linear": lambda y, _: spline(y, 1),
    "cubic": lambda y, _: spline(y, 3),
    "lanczos": ours("lanczos", consistency="none"),
    "known-profile inverse": known_inverse,
    "smoothest that agrees": ours("smoothest"),
    "ours, from this volume alone (fast)": ours("scratch", "fast"),
    "ours, from this volume alone (full)": ours("scratch", "full"),
    "ours, pre-trained": ours("auto", "0"),
    "ours, pre-trained, learns (fast)": ours("auto", "fast"),
    "ours, pre-trained, learns (full)": ours("auto", "full"),
}


def through_plane(data: Path, names: list[str], methods: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by method and volume, printed as they come."""
    table: dict[str, dict[str, dict[str, float]]] = {name: {} for name in methods}
    print("| method | " + " | ".join(names) + " | mean PSNR | mean SSIM | seconds |")
    print("|---" * (len(names) + 4) + "|")
    cases = []
    for name in names:
        truth = volume(data, name)
        operator = SliceSampling(truth.shape[2] // FACTOR, truth.shape[2], 1.0, "gaussian")
        cases.append(
            (name, truth, operator, operator.apply(torch.from_numpy(truth), 2).numpy(), foreground(truth))
        )
    for method in methods:
        seconds = 0.0
        for name, truth, operator, thick, mask in cases:
            start = time.perf_counter()
            result = METHODS[method](thick, operator)
            seconds += time.perf_counter() - start
            table[method][name] = score(truth, result, mask)
        row = table[method].values()
        cells = [f"{each['psnr']:.2f} / {each['ssim']:.3f}" for each in row]
        mean = [np.mean([each[key] for each in row]) for key in ("psnr", "ssim")]
        print(
            f"| {method} | {' | '.join(cells)} | {mean[0]:.2f} | {mean[1]:.4f} | {seconds:.0f} |", flush=True
        )
    return table


def in_plane(data: Path) -> None:
    """x2 and x4 within the slices, networks against classical methods."""
    from sciSR.evaluation import protocols
    from sciSR.evaluation.render import report
    from sciSR.models.files import list_models

    for what in ("mr-kspace", "mr-gaussian"):
        for scale in (2, 4):
            known = [s for s in list_models() if scale in s.factors and what in protocols.protocols_of(s)]
            names = [s.name for s in known if s.architecture == "ECBSR"]
            print(f"\n{what} x{scale}\n")
            print(report(protocols.run(what, names, data, scale), "markdown"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--volumes", nargs="*", default=list(VOLUMES))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), help="beginnings of their names")
    parser.add_argument("--in-plane", action="store_true", help="within the slices instead")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.in_plane:
        return in_plane(given.data)
    methods = [name for name in METHODS if any(name.startswith(wish) for wish in given.methods)]
    table = through_plane(given.data, given.volumes, methods)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1))
    return None


if __name__ == "__main__":
    main()
