"""The ranges of what networks were trained on: their own training inputs, measured.

``python -m sciSR.trust.ranges --data ROOT [CONFIG.yaml ...]`` draws observations as the training does (files, simulated
scenes, variants, forward model, noise), measures the features of each and writes the ranges to the table of the shipped
networks; ``--card NAME.yaml`` writes those of one configuration under ``familiar:`` of a card instead.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.models.spec import ModelSpec
from sciSR.trust.features import measure

TABLE = Path(__file__).with_name("familiar.yaml")
"""Ranges of the shipped networks, one entry a recipe: those of one domain, forward model, scale and conditions."""
POINTS = Path(__file__).with_name("familiar.npz")
"""The training inputs themselves, as points in the space of `AXES`; one array a recipe."""

Ranges = Mapping[str, tuple[float, float]]

SIDE = 256
"""Pixels a side of the windows that are measured, here and in an image."""
TAIL = 0.005
"""Share of the training inputs beyond either end of a range."""
SAMPLES = 400
CONFIGS = ("astro-x2", "astro-x2-conditional", "astro-x4", "mri-x2", "mri-x4", "mri-x8-lapsrn", "mri-gaussian-x2",
           "mri-gaussian-x4", "mri-x2-conditional")  # fmt: skip
"""Recipes whose inputs the shipped networks have learned from."""


def key_of(domain: str, forward: Sequence[str], scale: int, conditions: Sequence[str]) -> str:
    """How a recipe is named in the table: ``"astronomy detector x2"``."""
    told = f", told {' and '.join(conditions)}" if conditions else ""
    return f"{domain} {' or '.join(forward)} x{scale}{told}"


@dataclass(frozen=True)
class Known:
    """What a network was trained on.

    Attributes
    ----------
    ranges : mapping of str to (float, float)
    points : ndarray, float32 ``[N, len(AXES)]``
        Training inputs, from `point`; none for networks whose card holds ranges only.
    reach : float
        Distance from its next neighbours within which a new training input lies, but for `FAR` of them.
    """

    ranges: Ranges
    points: NDArray[np.float32]
    reach: float = math.inf

    def notes(self, measured: Mapping[str, float]) -> list[str]:
        """One line for each thing that lies outside."""
        from sciSR.trust.words import unfamiliar

        outside = {
            name: measured[name]
            for name, (low, high) in self.ranges.items()
            if name in measured and not _widened(name, low, high, measured[name])
        }
        distance = self.distance(measured)
        return unfamiliar(measured, self.ranges, outside, (distance, self.reach))

    def distance(self, measured: Mapping[str, float]) -> float:
        """Root mean square distance from the `NEIGHBOURS`-th nearest training input; 0 where it can't be told."""
        place = point(measured)
        return distance(place, self.points) if len(self.points) and np.isfinite(place[2:]).all() else 0.0


def known_of(spec: ModelSpec) -> Known | None:
    """What a network learned from: from its card (``familiar:``), or the table of the shipped recipes.

    None where neither knows it: nothing can then be called unfamiliar.
    """
    from sciSR.models.files import shipped_paths

    if spec.name not in shipped_paths():
        own = _own(spec.name)
        return Known(own, np.empty((0, len(AXES)), np.float32)) if own else None
    return _table().get(key_of(spec.domain, spec.forward_models, spec.scale, spec.conditions))


@functools.lru_cache(maxsize=8)
def _own(name: str) -> Ranges:
    from sciSR.models.files import load_card
    from sciSR.models.user_models import user_paths

    return _pairs(load_card(name).get("familiar", {}).get("ranges", {})) if name in user_paths() else {}


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, Known]:
    table = _read_table()
    if not table:
        return {}
    with np.load(POINTS) as points:
        return {
            key: Known(_pairs(entry["ranges"]), points[key], entry["reach"]) for key, entry in table.items()
        }


def _pairs(ranges: Mapping[str, Sequence[float]]) -> Ranges:
    return {name: (float(low), float(high)) for name, (low, high) in ranges.items()}


SLACK = {"correlation": 0.03, "sharpening": 0.03, "fine_noise": 1.0}
RATIO = {"signal_to_noise": 2.0, "width": 1.1}
"""How far beyond a range a value must lie, by difference or by ratio: its ends come from a few hundred draws, and those
of the next few hundred lie elsewhere."""


def _widened(name: str, low: float, high: float, value: float) -> bool:
    """Whether a value lies in a range or close to it."""
    if name in RATIO:
        return low / RATIO[name] <= value <= high * RATIO[name]
    return low - SLACK.get(name, 0.0) <= value <= high + SLACK.get(name, 0.0)


AXES = {
    "signal_to_noise": 0.5,
    "width": 0.15,
    "noise_1": 2.0,
    "noise_2": 2.0,
    "noise_3": 2.0,
    "noise_4": 4.0,
    "noise_axes": 3.0,
}
"""What spans the space of images, and how far apart two are that differ by one unit: decades (of the first two) and
decibel."""
NEIGHBOURS = 3
FAR = 0.01
"""Share of the training inputs that lie farther from the others than `Known.reach`."""


def point(measured: Mapping[str, float]) -> NDArray[np.float64]:
    """The place of an image in the space of `AXES`; NaN along those that were not measured."""
    values = np.array([measured.get(name, math.nan) for name in AXES])
    values[:2] = np.log10(np.clip(values[:2], 1e-2, 1e6))
    return values / np.array(list(AXES.values()))


def distance(place: NDArray[np.float64], points: NDArray[np.floating], neighbours: int = NEIGHBOURS) -> float:
    """Root mean square over the axes that both have, to the `neighbours`-th nearest point."""
    square = (points - place) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.sqrt(np.nansum(square, 1) / np.isfinite(square).sum(1))
    each = np.sort(each[np.isfinite(each)])
    return float(each[min(neighbours, len(each)) - 1]) if len(each) else 0.0


def reach_of(points: NDArray[np.floating]) -> float:
    """See `Known.reach`; each training input against all others."""
    own = [distance(place.astype(np.float64), np.delete(points, k, 0)) for k, place in enumerate(points)]
    return float(np.quantile(own, 1 - FAR))


def samples(config: Any, root: Path, count: int, seed: int = 11) -> list[dict[str, float]]:
    """Features of training inputs.

    Parameters
    ----------
    config : TrainConfig
    root : Path
        Of the data.
    count : int
        Number of observations.
    seed : int
        None that a training used, so that another draw of the same distribution is seen.
    """
    from sciSR.training.files import find_files
    from sciSR.training.observations import Observations

    files = find_files(config, root)
    source = Observations(config, files.train, seed, hold=1)
    return [
        measure(
            centre(noisy_input(source.observe(number, config.model.scale), config, number)), config.domain
        )
        for number in range(count)
    ]


def noisy_input(observation: Any, config: Any, seed: int) -> NDArray[np.float64]:
    """An observation as a file would hold it: noise drawn, no stretch; float64 ``[H, W]``."""
    import torch

    from sciSR.training.consistent import linear
    from sciSR.training.pair import Batch
    from sciSR.training.visit_noise import add_noise

    coarse = torch.from_numpy(np.ascontiguousarray(observation.coarse))[None, None]
    condition = torch.from_numpy(observation.condition)[None]
    batch = Batch(coarse, coarse, torch.from_numpy(observation.noise)[None], condition)
    generator = torch.Generator().manual_seed(seed)
    noisy = add_noise(
        batch, config.forward.noise, generator, config.normalisation, (), config.forward.hot_pixels
    )
    return linear(noisy.input, config.normalisation)[0, 0].double().numpy()


def centre(plane: NDArray[np.float64], side: int = SIDE) -> NDArray[np.float64]:
    """The middle of a plane, at most `side` pixels a side."""
    cut = tuple(slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side) for n in plane.shape)
    return plane[cut]


def between(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """From `TAIL` to 1 - `TAIL` of each feature, of the samples that have it."""
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        values = values[np.isfinite(values)]
        if len(values) >= len(rows) / 20:
            low, high = np.quantile(values, [TAIL, 1 - TAIL])
            found[name] = (_rounded(low), _rounded(high))
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if math.isfinite(value) else value


def main() -> int:
    """Command line."""
    from sciSR.errors import SciSRError, SciSRWarning
    from sciSR.evaluation.card import read_draft, write_card
    from sciSR.training.config_file import load_config

    parser = argparse.ArgumentParser(prog="python -m sciSR.trust.ranges", description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", type=Path, help="by default those of the shipped networks")
    parser.add_argument("--data", type=Path, required=True, help="data root, e.g. ../shared/data")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--card", type=Path, help="write the ranges of one configuration to this card")
    given = parser.parse_args()
    configs = given.configs or [Path("configs/train") / f"{name}.yaml" for name in CONFIGS]
    if given.card and len(configs) != 1:
        parser.error("--card takes one configuration")
    warnings.simplefilter("ignore", SciSRWarning)
    try:
        for path in configs:
            config = load_config(path)
            rows = samples(config, given.data, given.samples)
            found = between(rows)
            points = np.array([point(row) for row in rows], np.float32)
            points = points[np.isfinite(points[:, 2:]).all(1)]
            entry: dict[str, Any] = {"config": path.name, "samples": given.samples, "reach": _rounded(reach_of(points)),
                                     "ranges": {name: list(pair) for name, pair in found.items()}}  # fmt: skip
            if given.card:
                write_card(
                    given.card, {**read_draft(given.card.with_suffix(".safetensors")), "familiar": entry}
                )
            else:
                model = config.model
                key = key_of(config.domain, config.forward.kinds, model.scale, model.conditions)
                _write(key, entry, points)
            print(f"{path.name}: reach {entry['reach']}, {found}")
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _read_table() -> dict[str, Any]:
    from ruamel.yaml import YAML

    return (
        dict(YAML(typ="safe", pure=True).load(TABLE.read_text(encoding="utf-8")) or {})
        if TABLE.exists()
        else {}
    )


def _write(key: str, entry: Mapping[str, Any], points: NDArray[np.float32]) -> None:
    from sciSR.evaluation.card import write_card
    from sciSR.files import atomic_output

    held = dict(np.load(POINTS)) if POINTS.exists() else {}
    with atomic_output(POINTS, overwrite=True) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **{**held, key: points})
    write_card(TABLE, {**_read_table(), key: entry})


if __name__ == "__main__":
    sys.exit(main())
