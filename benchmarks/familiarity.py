"""How often the out-of-distribution warning speaks: on files never trained on as they are, and after manipulations.

``python benchmarks/familiarity.py --data ROOT`` prints two tables: false alarms (the check files as they are, the same
through the network's own forward model, simulated fields of test seeds) and detections (the latter two, manipulated).
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from scipy import ndimage

import sciSR
from sciSR.errors import SciSRError, SciSRWarning
from sciSR.forward.kspace import KSpaceCrop
from sciSR.image import Image
from sciSR.inference.gate import central_window
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.models.files import load_spec
from sciSR.training.scenes import simulate
from sciSR.training.sky import block_mean
from sciSR.trust.familiarity import assess
from sciSR.trust.features import edge_width, source_width

Plane = NDArray[np.float64]
FWHM = 2.3548
SCENES = range(9_000_001, 9_000_009)
SIDE = 640
"""Pixels a side of the part of a file that is manipulated."""


def upsampled(plane: Plane, factor: float, order: int = 3) -> Plane:
    """By a spline, edge-aligned."""
    return ndimage.zoom(plane, factor, order=order, mode="reflect", grid_mode=True)


def jpeg(plane: Plane, quality: int = 50) -> Plane:
    """To 8 bits, JPEG and back; then cropped, so that its grid begins anywhere."""
    low, high = plane.min(), np.quantile(plane, 0.9995)
    bits = np.clip(np.rint((plane - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(bits).save(stream, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stream)).astype(np.float64)[3:, 5:] * (high - low) / 255 + low


def rotated(plane: Plane) -> Plane:
    """Resampled linearly on a grid turned by 7 degrees."""
    return ndimage.rotate(plane, 7, reshape=False, order=1, mode="reflect")


def drizzled(plane: Plane, size: float) -> Plane:
    """One frame dropped (pixfrac 0.8) on a grid turned by 7 degrees with pixels `size` as large."""
    from drizzle.resample import Drizzle

    rows, columns = plane.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    c, s = np.cos(np.radians(7)), np.sin(np.radians(7))
    dy, dx = y - rows / 2, x - columns / 2
    shape = (int(rows / size), int(columns / size))
    pixmap = np.stack([(c * dx - s * dy) / size + shape[1] / 2, (s * dx + c * dy) / size + shape[0] / 2], -1)
    drop = Drizzle(kernel="square", out_shape=shape, fillval="NaN")
    drop.add_image(plane.astype(np.float32), exptime=1.0, pixmap=pixmap, pixfrac=0.8)
    out = np.asarray(drop.out_img, np.float64)
    side = int(min(shape) * 0.35)
    return out[shape[0] // 2 - side : shape[0] // 2 + side, shape[1] // 2 - side : shape[1] // 2 + side]


def smoothed(plane: Plane) -> Plane:
    """By a Gaussian of 1 pixel standard deviation."""
    return ndimage.gaussian_filter(plane, 1.0)


def _wider(plane: Plane, times: float, sky: bool) -> Plane:
    noise = sky_level_and_noise(plane)[1]
    width = source_width(plane, noise) if sky else edge_width(plane)
    width = 2.0 if not np.isfinite(width) else width
    blurred = ndimage.gaussian_filter(plane, np.sqrt(times**2 - 1) * width / FWHM)
    return blurred + noise * np.random.default_rng(0).standard_normal(plane.shape)


def sharpened(plane: Plane) -> Plane:
    """Unsharp mask, three times over."""
    return plane + 3.0 * (plane - ndimage.gaussian_filter(plane, 1.0))


def quantised(plane: Plane) -> Plane:
    """In steps of three times the noise."""
    step = 3 * sky_level_and_noise(plane)[1]
    return np.rint(plane / step) * step


def zero_filled(plane: Plane) -> Plane:
    """Twice the pixels, the spectrum filled with zeros, as scanners interpolate."""
    rows, columns = (n // 2 * 2 for n in plane.shape)
    return KSpaceCrop(2).pinv(torch.from_numpy(plane[:rows, :columns].copy())).numpy()


def manipulations(sky: bool) -> dict[str, Callable[[Plane], Plane]]:
    """By name."""
    found: dict[str, Callable[[Plane], Plane]] = {
        "upsampled by 2 (cubic spline)": lambda p: upsampled(p, 2),
        "upsampled by 2 (linear)": lambda p: upsampled(p, 2, 1),
        "upsampled by 1.5 (cubic spline)": lambda p: upsampled(p, 1.5),
        "JPEG, quality 50, cropped": jpeg,
        "drizzled: turned grid, pixels 0.6": lambda p: drizzled(p, 0.6),
        "drizzled: turned grid, pixels 0.4": lambda p: drizzled(p, 0.4),
        "resampled: turned grid, linear": rotated,
        "Gaussian-smoothed, sigma 1 pixel": smoothed,
        "PSF twice as wide, then noise": lambda p: _wider(p, 2, sky),
        "PSF four times as wide, then noise": lambda p: _wider(p, 4, sky),
        "sharpened (unsharp mask)": sharpened,
    }
    more = {"quantised, steps of 3 sigma": quantised} if sky else {"zero-filled by 2": zero_filled}
    return {**found, **more}


def planes(data: Path, domain: str) -> dict[str, Plane]:
    """The middles of the check files, bad pixels at the median."""
    folder = data / ("astro" if domain == "astronomy" else "mri") / "check"
    found = {}
    for path in sorted(folder.iterdir()):
        try:
            image = sciSR.read_all(path, **({"ignore_checksum": True} if domain == "astronomy" else {}))[0]
        except SciSRError:
            continue
        window = central_window(image, SIDE)
        found[path.name] = np.where(np.isfinite(window), window, np.nanmedian(window))
    return found


def through(plane: Plane, domain: str) -> Plane:
    """Through the network's own forward model."""
    rows, columns = (n // 2 * 2 for n in plane.shape)
    cut = plane[:rows, :columns]
    if domain == "astronomy":
        return block_mean(cut, 2)
    return np.abs(KSpaceCrop(2).apply(torch.from_numpy(cut.copy())).numpy())


def notes(plane: Plane, domain: str, network: str) -> tuple[str, ...]:
    """What is said of a plane."""
    return assess(Image.from_array(plane, domain=domain), load_spec(network)).notes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="data root, e.g. ../shared/data")
    given = parser.parse_args()
    warnings.simplefilter("ignore", SciSRWarning)
    for domain, network in (("astronomy", "espcn-astro-x2"), ("mr", "ecbsr-mr-kspace-x2")):
        files = planes(given.data, domain)
        sets = {"check files as they are": files}
        sets["check files through the forward model"] = {k: through(p, domain) for k, p in files.items()}
        if domain == "astronomy":
            sets["simulated fields"] = {str(seed): simulate(seed).observed for seed in SCENES}
        print(f"\n{network}\n\n| not manipulated | warned | of |\n|---|---|---|")
        said = []
        for name, group in sets.items():
            each = {k: notes(p, domain, network) for k, p in group.items() if min(p.shape) >= 64}
            print(f"| {name} | {sum(map(bool, each.values()))} | {len(each)} |")
            said += [f"- {name}, {k}: {'; '.join(v)}" for k, v in each.items() if v]
        print("\n" + "\n".join(said))
        base = {f"{n} {k}": p for n in list(sets)[1:] for k, p in sets[n].items() if min(p.shape) >= 64}
        base = {k: p for k, p in base.items() if not notes(p, domain, network)}
        print("\n| manipulation (of images without a warning) | warned | of |\n|---|---|---|")
        start, count = time.perf_counter(), 0
        for name, change in manipulations(domain == "astronomy").items():
            found = [bool(notes(change(p), domain, network)) for p in base.values()]
            count += len(found)
            print(f"| {name} | {sum(found)} | {len(found)} |", flush=True)
        print(f"\n{(time.perf_counter() - start) / count * 1e3:.0f} ms an image, manipulation included")


if __name__ == "__main__":
    main()
