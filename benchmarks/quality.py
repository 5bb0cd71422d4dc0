"""Quality of the shipped networks against every classical method, file by file.

``python benchmarks/quality.py mr-kspace|mr-gaussian|astro-simulated|astro-real --data ../shared/data [--json
out.json]``

MR: whole slices (across the coarsest axis, the 24 central ones) through the forward model; intensities over
their 99.9 % quantile; PSNR and SSIM over the mask (truth > 0.05, closed, filled, minus a frame of 2 s
pixels). Astronomy: PSNR of asinh((x - sky) / 2 sigma), sigma the noise of the input's sky, peak the truth's
range; all methods with the block-mean consistency step. The gain is against the *best* classical method in
each file.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from sciSR.forward.gaussian import GaussianDecimation
from sciSR.forward.kspace import KSpaceCrop
from sciSR.inference.normalise import fit
from sciSR.inference.selfcheck import gain_on_own_downsample, sky_level_and_noise
from sciSR.metrics import flux_error, psnr, ssim
from sciSR.models.espcn import lanczos_phases
from sciSR.models.files import load_model
from sciSR.training.astro_patches import block_mean, load_plane
from sciSR.training.mr_patches import degrade, even, load_slices
from sciSR.training.scenes import Scene, simulate

SCALE = 2
CLASSICAL = ("nearest", "linear", "cubic", "quintic", "lanczos", "fourier")
TEST_SEEDS = range(9_000_001, 9_000_017)
REFERENCE = {
    "sky": 150,
    "read_noise": 5,
    "frames": 1,
    "fwhm": 1.3,
    "stars": 450,
    "galaxies": 70,
    "nebula": 20,
    "faint": 25,
    "bright": 1e4,
}


def classical(y: np.ndarray, method: str) -> np.ndarray:
    """Upscale ``[..., H, W]`` by 2, edge-aligned, mirrored borders."""
    if method == "fourier":
        return KSpaceCrop(SCALE).pinv(torch.from_numpy(np.ascontiguousarray(y, np.float64))).numpy()
    if method == "lanczos":
        taps = lanczos_phases(SCALE)
        pad = taps.shape[1] // 2
        kernel = torch.einsum("ai,bj->abij", taps, taps).reshape(SCALE**2, 1, *[taps.shape[1]] * 2)
        flat = np.asarray(y, np.float64).reshape(-1, *y.shape[-2:])
        padded = torch.from_numpy(np.pad(flat, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric"))[:, None]
        out = F.pixel_shuffle(F.conv2d(padded, kernel), SCALE)[:, 0]
        return out.numpy().reshape(*y.shape[:-2], *out.shape[-2:])
    order = {"nearest": 0, "linear": 1, "cubic": 3, "quintic": 5}[method]
    zoom = (1,) * (y.ndim - 2) + (SCALE, SCALE)
    return ndimage.zoom(np.asarray(y, np.float64), zoom, order=order, mode="reflect", grid_mode=True)


def network(model: torch.nn.Module, halo: int, z: np.ndarray) -> np.ndarray:
    """Run a network on normalised planes ``[..., H, W]`` with a mirrored halo, as the engine does."""
    flat = np.asarray(z, np.float32).reshape(-1, *z.shape[-2:])
    out = []
    with torch.no_grad():
        for plane in flat:
            padded = torch.from_numpy(np.pad(plane, halo, mode="symmetric"))[None, None]
            full = model(padded.to(memory_format=torch.channels_last))
            out.append(full[0, 0, SCALE * halo : -SCALE * halo, SCALE * halo : -SCALE * halo].numpy())
    return np.stack(out).reshape(*z.shape[:-2], *out[0].shape)


def consistent(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """The engine's consistency step ``x + A+ (y - A x)`` in linear units, float64."""
    if kind == "none":
        return x
    if kind == "blockmean":
        rest = y - block_mean(x, SCALE)
        return x + np.repeat(np.repeat(rest, SCALE, -2), SCALE, -1)
    operator = KSpaceCrop(SCALE) if kind == "kspace" else GaussianDecimation(SCALE)
    fine, coarse = torch.from_numpy(np.asarray(x, np.float64)), torch.from_numpy(np.asarray(y, np.float64))
    return (fine + operator.pinv(coarse - operator.apply(fine))).numpy()


def mr_file(
    path: Path, forward: str, weights: str | Path, extra: bool = True
) -> dict[str, tuple[float, float]]:
    """PSNR and SSIM of every method on one MR volume."""
    volume, (axis,) = load_slices(path)
    stack = np.moveaxis(volume, axis, 0)
    first = max(0, (len(stack) - 24) // 2)
    fine = np.ascontiguousarray(even(stack, SCALE), np.float64)
    coarse = degrade(torch.from_numpy(fine), forward, SCALE).numpy()
    model, spec, _ = load_model(weights)
    normaliser = fit(coarse.ravel(), spec.normalisation)
    fine, coarse = fine[first : first + 24], coarse[first : first + 24]
    results = {name: classical(coarse, name) for name in CLASSICAL}
    raw = normaliser.inverse(network(model, spec.receptive_field, normaliser.forward(coarse)))
    for kind in ("none", "kspace") if forward == "kspace" else ("none", "gaussian"):
        results["ESPCN" if kind == spec.consistency else f"ESPCN, consistency {kind}"] = consistent(
            raw, coarse, kind
        )
    if extra and forward == "gaussian":
        results["IBP (known PSF)"] = back_projection(coarse)
        operator = GaussianDecimation(SCALE)
        results["Tikhonov (known PSF)"] = operator.pinv(torch.from_numpy(coarse), damping=0.01).numpy()
    peak = np.quantile(fine, 0.999)
    mask = np.stack(
        [ndimage.binary_fill_holes(ndimage.binary_closing(plane > 0.05 * peak)) for plane in fine]
    )
    rim = 2 * SCALE
    mask[:, :rim], mask[:, -rim:], mask[:, :, :rim], mask[:, :, -rim:] = False, False, False, False
    return {
        name: (
            psnr(fine / peak, image / peak, 1.0, mask),
            float(
                np.mean(
                    [
                        ssim(t / peak, i / peak, 1.0, m)
                        for t, i, m in zip(fine, image, mask, strict=True)
                        if m.any()
                    ]
                )
            ),
        )
        for name, image in results.items()
    }


def back_projection(y: np.ndarray, iterations: int = 10) -> np.ndarray:
    """Iterated back projection with the true point spread function and cubic interpolation of the
    residual."""
    operator = GaussianDecimation(SCALE)
    x = classical(y, "cubic")
    for _ in range(iterations):
        x = x + classical(y - operator.apply(torch.from_numpy(x)).numpy(), "cubic")
    return x


def astro_methods(
    observed: np.ndarray, weights: str | Path, names: tuple[str, ...] = (*CLASSICAL, "ESPCN")
) -> dict[str, np.ndarray]:
    """Every method on one plane, all with the block-mean consistency step."""
    model, spec, _ = load_model(weights)
    normaliser = fit(observed.ravel(), spec.normalisation)
    results = {}
    for name in names:
        if name == "ESPCN":
            raw = normaliser.inverse(network(model, spec.receptive_field, normaliser.forward(observed)))
        else:
            raw = classical(observed, name)
        results[name] = consistent(raw, observed, "blockmean")
    return results


def asinh_psnr(truth: np.ndarray, image: np.ndarray, sky: float, sigma: float, rim: int = 8) -> float:
    """PSNR of asinh((x - sky) / 2 sigma); the peak is the truth's range; a rim is left out."""
    inner = (slice(rim, -rim),) * 2
    a, b = (np.arcsinh((v[inner] - sky) / (2 * sigma)) for v in (truth, image))
    return psnr(a, b, float(a.max() - a.min()))


def astro_scene(scene: Scene, weights: str | Path) -> dict[str, tuple[float, float, float]]:
    """asinh PSNR, flux bias and scatter (per cent) of every method on a simulated scene."""
    sigma = math.sqrt(scene.sky + scene.read_noise**2)
    bright = scene.stars[scene.stars[:, 2] > 60 * sigma * max(1.0, scene.fwhm)]
    bright = bright[np.argsort(-bright[:, 2])][:200]
    rows = {}
    images = astro_methods(scene.observed, weights)
    images |= {f"{name} alone": classical(scene.observed, name) for name in CLASSICAL}
    for name, image in images.items():
        radius = SCALE * max(1.5, 1.0 * scene.fwhm)
        bias, scatter = flux_error(scene.truth, image, bright[:, :2], radius, scene.sky)
        rows[name] = (asinh_psnr(scene.truth, image, scene.sky, sigma), bias, scatter)
    return rows


def own_gain(observed: np.ndarray, weights: str | Path) -> tuple[float, str]:
    """The self-check of an input: predicted gain and best classical method, on its own block mean."""

    def one(name: str):
        return lambda plane: astro_methods(plane, weights, (name,))[name]

    return gain_on_own_downsample(observed, one("ESPCN"), {name: one(name) for name in CLASSICAL})


def astro_file(path: Path, weights: str | Path) -> dict[str, tuple[float, ...]]:
    """asinh PSNR of every method on a real image; the input is its block mean; no pixels near bad ones.

    The entries "... alone" are the classical methods without the consistency step, as other tools have them.
    The entry "self-check" holds the gain that the input predicts from its own block mean, and the PSNR of
    the classical method that it would choose.
    """
    truth = even(load_plane(path), SCALE)
    observed = block_mean(truth, SCALE)
    bad = ~np.isfinite(observed)
    sky, sigma = sky_level_and_noise(np.where(bad, np.nan, observed))
    filled = np.where(bad, np.median(observed[~bad]), observed)
    near = ndimage.binary_dilation(bad, iterations=7) if bad.any() else bad
    good = ~np.repeat(np.repeat(near, SCALE, 0), SCALE, 1)
    good[:8], good[-8:], good[:, :8], good[:, -8:] = False, False, False, False
    a = np.arcsinh((truth[good] - sky) / (2 * sigma))
    peak = float(a.max() - a.min())

    def score(image: np.ndarray) -> float:
        return psnr(a, np.arcsinh((image[good] - sky) / (2 * sigma)), peak)

    rows = {name: (score(image),) for name, image in astro_methods(filled, weights).items()}
    rows |= {f"{name} alone": (score(classical(filled, name)),) for name in CLASSICAL}
    predicted, best = own_gain(np.where(bad, np.nan, observed), weights)
    return rows | {"self-check": (predicted, rows[best][0])}


def table(rows: dict[str, dict[str, tuple[float, ...]]], digits: tuple[int, ...]) -> str:
    """Markdown: one row a file, one column a method, and the gain over the best classical one."""
    methods = list(next(iter(rows.values())))
    lines = ["| file | " + " | ".join(methods) + " | gain |", "|---" * (len(methods) + 2) + "|"]
    for name, row in rows.items():
        cells = [" / ".join(f"{v:.{d}f}" for v, d in zip(row[m], digits, strict=False)) for m in methods]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {gain(row):+.2f} |")
    gains = [gain(row) for row in rows.values()]
    lines.append(
        f"\nGain: mean {np.mean(gains):+.2f}, median {np.median(gains):+.2f}, least {min(gains):+.2f} dB."
    )
    if "cubic alone" in methods:
        plain = [gain(row, " alone") for row in rows.values()]
        lines.append(
            f"Over the best classical method without consistency: mean {np.mean(plain):+.2f}, "
            f"median {np.median(plain):+.2f}, least {min(plain):+.2f} dB."
        )
    return "\n".join(lines)


def gain(row: dict[str, tuple[float, ...]], suffix: str = "") -> float:
    """PSNR of the network over that of the best classical method (suffix " alone": without consistency)."""
    return row["ESPCN"][0] - max(row[name + suffix][0] for name in CLASSICAL)


def measure(
    what: str, data: Path, weights: str | Path | None = None
) -> dict[str, dict[str, tuple[float, ...]]]:
    """All rows of one of the four tables."""
    if what.startswith("mr-"):
        forward = what.removeprefix("mr-")
        files = sorted((data / "mri/check").glob("*.nii.gz"))
        return {path.name: mr_file(path, forward, weights or f"espcn-{what}-x2") for path in files}
    weights = weights or "espcn-astro-x2"
    if what == "astro-simulated":
        scenes = {f"seed {seed}": simulate(seed) for seed in TEST_SEEDS}
        scenes |= {
            f"reference {seed}": simulate(seed, fixed=REFERENCE) for seed in (9_100_001, 9_100_002, 9_100_003)
        }
        return {name: astro_scene(scene, weights) for name, scene in scenes.items()}
    return {path.name: astro_file(path, weights) for path in sorted((data / "astro/check").glob("*.fits"))}


def figure(data: Path, out: Path) -> None:
    """Input, best classical, network and truth for the three networks, side by side (test images only)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    volume, (axis,) = load_slices(data / "mri/check/openms_long_p19_study2_T1W.nii.gz")
    stack = np.ascontiguousarray(even(np.moveaxis(volume, axis, 0), SCALE), np.float64)
    rows = []
    for forward in ("kspace", "gaussian"):
        coarse = degrade(torch.from_numpy(stack), forward, SCALE).numpy()
        model, spec, _ = load_model(f"espcn-mr-{forward}-x2")
        normaliser = fit(coarse.ravel(), spec.normalisation)
        fine, y = stack[len(stack) // 2].T[::-1], coarse[len(stack) // 2]
        sharp = consistent(
            normaliser.inverse(network(model, spec.receptive_field, normaliser.forward(y))),
            y,
            spec.consistency,
        )
        images = [np.repeat(np.repeat(y, SCALE, 0), SCALE, 1), classical(y, "fourier"), sharp]
        images = [image.T[::-1] for image in images] + [fine]
        window = (slice(60, 160), slice(70, 190))
        rows.append((f"MR, {forward}", [i[window] / fine.max() for i in images], "Fourier", (0, 0.6)))
    scene = simulate(9_100_002, fixed=REFERENCE | {"frames": 30})
    methods = astro_methods(scene.observed, "espcn-astro-x2")
    sigma = math.sqrt((scene.sky + scene.read_noise**2) / scene.frames)
    images = [methods[m] for m in ("nearest", "cubic", "ESPCN")] + [scene.truth]
    images = [np.arcsinh((i[150:250, 200:320] - scene.sky) / (4 * sigma)) for i in images]
    rows.append(("simulated sky", images, "cubic", (-0.5, 5)))
    _, axes = plt.subplots(3, 4, figsize=(12, 7.8))
    for line, (title, images, best, limits) in zip(axes, rows, strict=True):
        for panel, image, label in zip(line, images, ("input", best, "ESPCN", "truth"), strict=True):
            panel.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
            panel.set_title(f"{title}: {label}", fontsize=9)
            panel.axis("off")
    plt.tight_layout(pad=0.4)
    out.parent.mkdir(exist_ok=True)
    plt.savefig(out, dpi=100)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=["mr-kspace", "mr-gaussian", "astro-simulated", "astro-real", "figure"]
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", help="name or path, if not the shipped ones")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "figure":
        return figure(arguments.data, Path("runs/quality.png"))
    rows = measure(arguments.what, arguments.data, arguments.weights)
    digits = {"mr-kspace": (2, 4), "mr-gaussian": (2, 4), "astro-simulated": (2, 2, 2), "astro-real": (2,)}[
        arguments.what
    ]
    print(table(rows, digits))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
