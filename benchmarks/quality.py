"""Quality of networks against every classical method, image by image.

``python benchmarks/quality.py mr-kspace|mr-gaussian|mr-kspace-noisy|mr-gaussian-noisy|astro-simulated|astro-real
--data ../shared/data [--scale 2] [--weights NAME ...] [--alone] [--auto] [--cache scores.json] [--json out.json]``

The protocols are those of `sciSR.evaluation` (``sciSR/evaluation/protocols.py`` says what each does); the networks all
shipped ones that the protocol is for, or those named. ``--alone`` shows the classical methods without the engine's
consistency step too, ``--auto`` what ``--model auto`` makes of each image. ``figure`` draws input, best classical
method, network and truth side by side into ``runs/quality.png``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from sciSR.evaluation import astronomy, methods, protocols
from sciSR.evaluation.__main__ import without_nan
from sciSR.evaluation.cache import ScoreCache
from sciSR.evaluation.render import report
from sciSR.models.files import list_models
from sciSR.training.scenes import simulate

SCALE = 2


def shipped(protocol: str, scale: int) -> list[str]:
    """Names of the shipped networks that a protocol is for."""
    return [
        spec.name
        for spec in list_models()
        if scale in spec.factors and protocol in protocols.protocols_of(spec)
    ]


def panels(sample: methods.Sample, truth: np.ndarray, best: str, network: str) -> list[np.ndarray]:
    """Input, best classical method, network and truth of the middle plane."""
    middle = len(truth) // 2
    one = methods.Sample(sample.coarse[middle][None], sample.domain, sample.forward, sample.coarse.ravel())
    images = [methods.engine(one, SCALE, name)[0][0] for name in ("nearest", best, network)]
    return [*images, truth[middle]]


def figure(data: Path, out: Path) -> None:
    """The default networks on one test image each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    head = protocols.check_file(data / "mri/check/openms_long_p19_study2_T1W.nii.gz")
    rows = []
    for forward in ("kspace", "gaussian"):
        truth, sample = head.degraded(forward, SCALE)
        name = _default(f"mr-{forward}")
        images = [
            image.T[::-1][60:160, 70:190] / truth.max() for image in panels(sample, truth, "fourier", name)
        ]
        rows.append((f"MR, {forward}", images, ("input", "fourier", name, "truth"), (0, 0.6)))
    scene = simulate(9_100_002, fixed=astronomy.REFERENCE | {"frames": 30})
    sigma = float(np.sqrt((scene.sky + scene.read_noise**2) / scene.frames))
    name = _default("astro-simulated")
    sample = methods.Sample(scene.observed[None], "astronomy")
    images = [
        np.arcsinh((image[150:250, 200:320] - scene.sky) / (4 * sigma))
        for image in panels(sample, scene.truth[None], "cubic", name)
    ]
    rows.append(("simulated sky", images, ("input", "cubic", name, "truth"), (-0.5, 5)))
    _, axes = plt.subplots(3, 4, figsize=(12, 7.8))
    for line, (title, images, labels, limits) in zip(axes, rows, strict=True):
        for panel, image, label in zip(line, images, labels, strict=True):
            panel.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
            panel.set_title(f"{title}: {label}", fontsize=9)
            panel.axis("off")
    plt.tight_layout(pad=0.4)
    out.parent.mkdir(exist_ok=True)
    plt.savefig(out, dpi=100)


def _default(protocol: str) -> str:
    """The network that `auto` would take for a protocol, or the first there is."""
    names = shipped(protocol, SCALE)
    return next((name for name in names if name.startswith("ecbsr")), names[0])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*protocols.NAMES, "figure"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", nargs="*", help="names or paths, if not the shipped ones")
    parser.add_argument("--scale", type=int, default=SCALE)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--auto", action="store_true")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.what == "figure":
        return figure(given.data, Path("runs/quality.png"))
    extra = [methods.alone(name) for name in methods.CLASSICAL] if given.alone else []
    extra += [methods.automatic()] if given.auto else []
    weights = given.weights or shipped(given.what, given.scale)
    cache = ScoreCache(given.cache)
    table = protocols.run(given.what, weights, given.data, given.scale, cache=cache, extra=extra)
    print(report(table, "markdown"))
    if given.json:
        given.json.write_text(json.dumps(without_nan(table.as_dict()), indent=1))


if __name__ == "__main__":
    main()
