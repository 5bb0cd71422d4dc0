"""Invented and lost features of every shipped network, against known truth, and what the support check makes of them.

``python benchmarks/hallucination.py [--sky 2 4] [--mr 2 4] [--models NAME ...] [--seeds N]``

1. Sky: simulated fields of stars alone (detector noise, three widths of the point spread function). A source of the
   output is real if a star lies there (one source a star, within 1.5 input pixels), otherwise invented; a clear star
   (`CLEAR` sigmas x pixels) without a source is lost.
2. MR: a digital head with lesions, truncated k-space, Rician noise. A blob is real if the noiseless truth has half of
   its contrast there (a difference of Gaussians), an edge if it has a third of its slope. A lesion without a blob is
   lost; only lesions of `CLEAR_LESION` sigmas in the input count.

"cubic with 40 painted in" is a control: the same output with forty blots that nobody measured.

Features are what stands out of an output by the same height for all methods, in sigmas of the input's noise; of sky
images also what stands out of each output's own noise, which is what a user would see. Of MR only blobs count that a
reader could take for lesions: in the white matter, with a lesion's contrast.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hallucination_phantom import Head, head
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from sciSR.errors import SciSRWarning
from sciSR.forward.kspace import KSpaceCrop
from sciSR.forward.noise import rician
from sciSR.image import Image
from sciSR.inference import upscale
from sciSR.inference.selfcheck import sky_level_and_noise
from sciSR.models.files import list_models
from sciSR.training.scenes import Scene, simulate
from sciSR.trust.anatomy import RATIO, SCALES
from sciSR.trust.support import Feature, check_support

CLASSICAL = {"astronomy": ("nearest", "linear", "cubic", "lanczos"), "mr": ("fourier", "cubic", "lanczos")}
PAINTED = " with 40 painted in"
HEIGHT = 4.0
"""Sigmas of the input's noise that a source stands out by at its outline; blobs by so many of what noise makes."""
REACH = 1.5
"""Input pixels between a feature and what it is taken for."""
CLEAR = 60.0
CLEAR_LESION = 8.0
FIELD = {
    "sky": 150,
    "read_noise": 5,
    "frames": 1,
    "stars": 450,
    "galaxies": 0,
    "nebula": 0,
    "faint": 10,
    "bright": 1e4,
}
WIDTHS = (1.2, 1.8, 2.6)
SIDE = 160
LEAST_CONTRAST = 0.02
"""Of what counts as a blob that looks like a lesion; the lesions' begin at 0.08, partial volume makes it less."""
SIGMA = 0.008
"""Of the head's noise; white matter is 0.7."""


@dataclass
class Count:
    """What was found of one method. Flagged are those that the support check calls unsupported at 3, and at 5 sigma.

    Attributes
    ----------
    real, invented : int
        Features with and without a truth.
    lost, of : int
        Clear stars or lesions that are not found, and all.
    own, own3, own5 : int
        Invented sources that stand out of the output's own noise by 3 sigmas, and those of them that are flagged.
    edges, invented_edges : int
        Of MR; `edges` are the real ones.
    """

    real: int = 0
    real3: int = 0
    real5: int = 0
    invented: int = 0
    invented3: int = 0
    invented5: int = 0
    lost: int = 0
    of: int = 0
    own: int = 0
    own3: int = 0
    own5: int = 0
    edges: int = 0
    edges3: int = 0
    invented_edges: int = 0
    invented_edges3: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(**{key: value + getattr(other, key) for key, value in asdict(self).items()})


def matched(points: NDArray[np.float64], truth: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """Which points have a truth of their own within `reach`; the nearest pairs first."""
    taken, found = np.zeros(len(truth), bool), np.zeros(len(points), bool)
    if not len(truth) or not len(points):
        return found
    pairs = cKDTree(points).sparse_distance_matrix(cKDTree(truth), reach, output_type="coo_matrix")
    for k in np.argsort(pairs.data, kind="stable"):
        a, b = pairs.row[k], pairs.col[k]
        if not found[a] and not taken[b]:
            found[a], taken[b] = True, True
    return found


def missing(truth: NDArray[np.float64], points: NDArray[np.float64], reach: float) -> int:
    """How many truths have no point within `reach`; a blend of two counts for both."""
    if not len(truth) or not len(points):
        return len(truth)
    return int((cKDTree(points).query(truth)[0] > reach).sum())


def sky_count(scene: Scene, scale: int, model: str) -> Count:
    """One method on one field."""
    image = Image.from_array(scene.observed, domain="astronomy")
    sigma = math.sqrt((scene.sky + scene.read_noise**2) / scene.frames)
    made = _made(image, scale, model)
    rim, side = 4 * scale, scene.truth.shape[0]

    def sources(threshold: float | None) -> tuple[list[Feature], NDArray[np.float64], NDArray[np.bool_]]:
        found = check_support(image, made, noise=sigma, threshold=threshold).features
        inner = [f for f in found if all(rim <= at < side - rim for at in f.index)]
        points = np.array([f.index for f in inner]).reshape(-1, 2)
        return inner, points, matched(points, scene.stars[:, :2], REACH * scale)

    own, _, own_real = sources(None)
    seen = _count(own, own_real)
    found, points, real = sources(HEIGHT)
    inside = ((scene.stars[:, :2] >= rim) & (scene.stars[:, :2] < side - rim)).all(1)
    shallow = math.sqrt(scene.sky + scene.read_noise**2)  # the same stars whatever the exposure
    clear = scene.stars[inside & (scene.stars[:, 2] > CLEAR * shallow * scene.fwhm / 1.2)][:, :2]
    lost = missing(clear, points, REACH * scale)
    more = Count(lost=lost, of=len(clear), own=seen.invented, own3=seen.invented3, own5=seen.invented5)
    return _count(found, real) + more


def _count(found: Iterable[Feature], real: NDArray[np.bool_]) -> Count:
    support = np.array([f.support for f in found], float)
    return Count(
        real=int(real.sum()),
        real3=int((real & (support < 3)).sum()),
        real5=int((real & (support < 5)).sum()),
        invented=int((~real).sum()),
        invented3=int((~real & (support < 3)).sum()),
        invented5=int((~real & (support < 5)).sum()),
    )


def head_count(phantom: Head, observed: NDArray[np.float64], scale: int, model: str) -> Count:
    """One method on one head."""
    image = Image.from_array(observed, domain="mr")
    made = _made(image, scale, model)
    found = check_support(image, made, noise=SIGMA, forward="kspace", threshold=HEIGHT).features
    blobs = [f for f in found if f.kind == "source" and _like_a_lesion(f, phantom)]
    edges = [f for f in found if f.kind == "edge"]
    output = np.asarray(made.data, np.float64)
    real = np.array([_is_there(f, output, phantom.truth, scale) for f in blobs], bool)
    slope = np.hypot(*np.gradient(gaussian_filter(phantom.truth, 0.35 * scale)))
    reached = maximum_filter(slope, 2 * round(REACH * scale) + 1)
    given = np.hypot(*np.gradient(gaussian_filter(output, 0.35 * scale)))
    at = tuple(np.array([f.index for f in edges], int).reshape(-1, 2).T)
    steep = reached[at] >= given[at] / 3
    unsure = np.array([not f.is_supported for f in edges], bool)
    clear = [
        each
        for each in phantom.lesions
        if abs(each.contrast) * math.sqrt(math.pi) * each.radius / scale / SIGMA > CLEAR_LESION
    ]
    lost = 0
    for each in clear:
        same = [f.index for f in blobs if f.strength * each.contrast > 0]
        lost += missing(
            np.array([[each.y, each.x]]), np.array(same).reshape(-1, 2), max(REACH * scale, each.radius)
        )
    return _count(blobs, real) + Count(
        lost=lost,
        of=len(clear),
        edges=int(steep.sum()),
        edges3=int((steep & unsure).sum()),
        invented_edges=int((~steep).sum()),
        invented_edges3=int((~steep & unsure).sum()),
    )


def _like_a_lesion(feature: Feature, phantom: Head) -> bool:
    """Whether a reader could take a blob for a lesion: in the white matter, with a contrast as the faintest have."""
    y, x = (at - (n - 1) / 2 for at, n in zip(feature.index, phantom.truth.shape, strict=True))
    unit = phantom.truth.shape[0] / 256
    return math.hypot(y / (85 * unit), x / (66 * unit)) < 1 and abs(feature.strength) > LEAST_CONTRAST


def _is_there(feature: Feature, output: NDArray[np.float64], truth: NDArray[np.float64], scale: int) -> bool:
    """Whether the noiseless truth has half of a blob's contrast within half the reach."""
    sign = np.sign(feature.strength)
    reach = round(0.5 * REACH * scale)
    margin = reach + 12 * scale
    at = [round(place) for place in feature.index]
    cut = tuple(slice(max(0, k - margin), k + margin + 1) for k in at)
    y, x = (k - c.start for k, c in zip(at, cut, strict=True))
    found = [_contrast(sign * image[cut], scale) for image in (output, truth)]
    near = (slice(None), slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
    return bool(found[1][near].max() > found[0][:, y, x].max() / 2)


def _contrast(image: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Differences of Gaussians at the scales of the detector, ``[scales, H, W]``."""
    widths = [each * scale for each in SCALES]
    return np.stack([gaussian_filter(image, w) - gaussian_filter(image, RATIO * w) for w in widths])


def _made(image: Image, scale: int, model: str) -> Image:
    name = model.removesuffix(PAINTED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        made = upscale(image, scale, name)
    return made if model == name else made.replace(data=np.asarray(made) + _blots(image, scale))


def _blots(image: Image, scale: int) -> NDArray[np.float64]:
    """Forty Gaussians that nobody measured, one and a half input pixels wide, ten times as high as the noise; in the
    middle part of the image."""
    g = np.random.default_rng(77)
    shape = [n * scale for n in image.shape]
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle, reach = (
        np.array(shape)[:, None] / 2,
        np.array(shape)[:, None] * (0.2 if image.domain == "mr" else 0.45),
    )
    places = (middle + reach * g.uniform(-1, 1, (2, 40))).T
    noise = SIGMA if image.domain == "mr" else sky_level_and_noise(np.asarray(image))[1]
    blots = np.zeros(shape)
    for row, column in places:
        blots += 10 * noise * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * (0.65 * scale) ** 2))
    return blots


def models_of(domain: str, forward: str, scale: int) -> list[str]:
    """Shipped networks for a task."""
    specs = [
        s for s in list_models() if s.domain == domain and forward in s.forward_models and scale in s.factors
    ]
    return [spec.name for spec in specs if not spec.name.startswith("error-")]


def run_sky(scale: int, models: list[str], seeds: int, frames: float) -> dict[str, Count]:
    """All methods on all fields."""
    stars = FIELD["stars"] * (SIDE / 256) ** 2
    fixed = [{**FIELD, "stars": stars, "fwhm": WIDTHS[k % 3], "frames": frames} for k in range(seeds)]
    fields = [simulate(9_300_001 + k, SIDE, scale, each) for k, each in enumerate(fixed)]
    return {model: sum((sky_count(field, scale, model) for field in fields), Count()) for model in models}


def run_mr(scale: int, models: list[str], seeds: int) -> dict[str, Count]:
    """All methods on all heads."""
    total: dict[str, Count] = {}
    for seed in range(seeds):
        phantom = head(seed, radii=(0.75 * scale, 2.0 * scale))
        clean = KSpaceCrop(scale).apply(torch.from_numpy(phantom.truth)).numpy()
        observed = rician(np.abs(clean), SIGMA, np.random.default_rng(seed))
        for model in models:
            total[model] = total.get(model, Count()) + head_count(phantom, observed, scale, model)
    return total


def table(found: dict[str, Count], mr: bool) -> str:
    """A table in Markdown."""
    what = "lesions" if mr else "clear stars"
    first = [
        "method",
        "real",
        "flagged at 3, 5 sigma",
        f"lost of {what}",
        "invented",
        "flagged at 3, 5 sigma",
    ]
    last = (
        ["real edges", "flagged", "invented edges", "flagged"]
        if mr
        else ["invented at its own noise", "flagged at 3, 5 sigma"]
    )
    titles = [*first, *last]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name, c in found.items():
        row: list[Any] = [name, c.real, f"{c.real3}, {c.real5}", f"{c.lost} of {c.of}"]
        row += [c.invented, f"{c.invented3}, {c.invented5}"]
        row += (
            [c.edges, c.edges3, c.invented_edges, c.invented_edges3] if mr else [c.own, f"{c.own3}, {c.own5}"]
        )
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sky", type=int, nargs="*", default=[2, 4], help="factors")
    parser.add_argument("--mr", type=int, nargs="*", default=[2, 4], help="factors")
    parser.add_argument("--models", nargs="*", help="only these")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    for title, forward, scales, run in (
        ("astronomy", "detector", given.sky, functools.partial(run_sky, frames=1)),
        ("astronomy, 100 exposures", "detector", given.sky, functools.partial(run_sky, frames=100)),
        ("mr", "kspace", given.mr, run_mr),
    ):
        for scale in scales:
            domain = title.partition(",")[0]
            names = [*CLASSICAL[domain], f"cubic{PAINTED}", *models_of(domain, forward, scale)]
            names = [name for name in names if not given.models or name in given.models]
            found = run(scale, names, given.seeds)
            print(f"\n{title} x{scale}\n\n{table(found, domain == 'mr')}", flush=True)
            results[f"{title} x{scale}"] = {name: asdict(count) for name, count in found.items()}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
