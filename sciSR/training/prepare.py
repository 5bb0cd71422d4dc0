"""Make a patch file: ``scisr prepare CONFIG -o FILE``, or ``python -m sciSR.training.prepare``."""

from __future__ import annotations

import argparse
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRWarning
from sciSR.files import atomic_output
from sciSR.inference.normalise import Normaliser
from sciSR.training.config import TrainConfig
from sciSR.training.dataset import VALIDATION_SEED, held_out
from sciSR.training.files import Files, find_files
from sciSR.training.observations import VISITS, Observations
from sciSR.training.parallel import each_in_order
from sciSR.training.patch_file import LIMIT, VERSION, bytes_per_pair, save

Progress = Callable[[float], None]
Arrays = dict[str, NDArray[Any]]

_RUN = 16
"""Observations that a process makes at a time."""


def prepare(
    config: TrainConfig,
    target: Path,
    *,
    root: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda fraction: None,
) -> dict[str, Any]:
    """Draw a configuration's patches and write them.

    Parameters
    ----------
    config : TrainConfig
        ``data.workers`` processes read; with 0 this one does.
    target : Path
        ``.npz``.
    root : Path, optional
        The data's folder, instead of ``config.data.root``.
    overwrite : bool
    progress : callable
        Called with the share that is done.

    Returns
    -------
    dict
        What the file's ``about`` holds, and its ``bytes``.

    Raises
    ------
    UsageError
        The target exists, no file is found, no patch fits, what is held out also trains.
    """
    with atomic_output(target, overwrite=overwrite) as temporary:
        files = find_files(config, root, lambda done, total: progress(0.3 * done / total))
        train, held = _counts(config)
        scales = config.model.scales or (config.model.scale,)
        seed, total, done = config.training.seed, train * len(scales) + held, 0
        plan = [(f"train_x{s}", s, train, turn, files.train, seed) for turn, s in enumerate(scales)]
        name = f"validation_x{config.model.scale}"
        plan.append((name, config.model.scale, held, 0, held_out(files), seed + VALIDATION_SEED))
        arrays: Arrays = {}
        for name, scale, count, turn, paths, start in plan:
            source = Observations(config, paths, start, hold=1)
            for part in _fill(source, name, scale, count, range(turn, 1 << 62, len(scales)), arrays):
                done += part
                progress(0.3 + 0.65 * done / total)
        about = _about(config, files, scales, train, held)
        written, size = save(temporary, about, arrays)
    if about["pairs"] != written["pairs"]:
        _reduced(config.data.patches, sum(written["pairs"].values()))
    return {**written, "bytes": size}


def _counts(config: TrainConfig) -> tuple[int, int]:
    """Training pairs of each scale and held-out pairs.

    No more than take four times the room that a patch file has, which no compression gains: it bounds the memory.
    """
    data, scales = config.data, config.model.scales or (config.model.scale,)
    each = sum(bytes_per_pair(_side(config, scale), scale, _stored(config).itemsize) for scale in scales)
    wanted, most = -(-data.patches // len(scales)), max(1, 4 * LIMIT // each)
    if wanted > most:
        _reduced(data.patches, most * len(scales))
    return min(wanted, most), data.validation_patches


def _reduced(wanted: int, made: int) -> None:
    warnings.warn(
        f"data.patches is {wanted}, but no more than {made} fit into a patch file of {LIMIT / 1e6:.0f} MB",
        SciSRWarning,
        stacklevel=3,
    )


def _side(config: TrainConfig, scale: int) -> int:
    return Observations(config, (), 0).patch(scale)


def _stored(config: TrainConfig) -> np.dtype:
    """Photographs are stored in the levels they came in. Half floats have 11 bits, a stretched star needs more of them
    to keep its flux: skies have 16 bits between a patch's ends."""
    return np.dtype({"natural": np.uint8, "astronomy": np.int16}.get(config.domain, np.float16))


def _fill(
    source: Observations, name: str, scale: int, count: int, numbers: range, arrays: Arrays
) -> Iterator[int]:
    """Draw `count` pairs into new arrays, file by file so that each is opened once; yields how many at a time."""
    config, patch = source.config, source.patch(scale)
    stored = _stored(config)
    made: Arrays = {
        "input": np.zeros((count, patch, patch), stored),
        "truth": np.zeros((count, scale * patch, scale * patch), stored),
        "noise": np.zeros((count, 3), np.float32),
        "condition": np.zeros((count, len(config.model.conditions)), np.float32),
    }
    if stored.kind != "f":
        made["levels"] = np.zeros((count, 2), np.float32)
    if config.forward.across:
        del made["truth"]  # which is the input
    arrays.update({f"{name}_{key}": value for key, value in made.items()})
    order = sorted(
        range(-(-count // VISITS)),
        key=lambda k: (
            -1 if source.simulated(numbers[k]) or not source.files else source.file(numbers[k]),
            k,
        ),
    )
    runs = [order[k : k + _RUN] for k in range(0, len(order), _RUN)]
    jobs = [[(numbers[k], scale, min(VISITS, count - k * VISITS)) for k in run] for run in runs]
    for run, found in zip(
        runs, each_in_order(_draw, jobs, config.data.workers, _open, (source,)), strict=True
    ):
        for k, pairs in zip(run, found, strict=True):
            for visit, pair in enumerate(pairs):
                for key in made:
                    made[key][k * VISITS + visit] = pair[key]
        yield sum(len(pairs) for pairs in found)


_source: list[Observations] = []


def _open(source: Observations) -> None:
    """What this process draws from."""
    _source[:] = [source]


def _draw(jobs: list[tuple[int, int, int]]) -> list[list[Arrays]]:
    """Pairs of some observations as they are stored."""
    source, out = _source[0], []
    for number, scale, visits in jobs:
        seen = source.observe(number, scale)
        pairs = []
        for visit in range(visits):
            pair = source.pair(seen, number, visit)
            values: Arrays = {key: getattr(pair, key) for key in ("input", "truth", "noise", "condition")}
            if (stored := _stored(source.config)).kind != "f":
                values |= _in_levels(values["input"], values["truth"], seen.normaliser, stored)
            pairs.append(values)
        out.append(pairs)
    return out


def _in_levels(
    given: NDArray[np.float32], truth: NDArray[np.float32], normaliser: Normaliser, stored: np.dtype
) -> Arrays:
    """Input and truth as whole numbers with ``value = levels[0] * number + levels[1]``."""
    ends = np.iinfo(stored)
    if stored == np.uint8:  # 0 to 1 of the picture itself
        gain = normaliser.inverse_scale / 255
        offset = -normaliser.offset * normaliser.inverse_scale
    else:
        low, high = (
            float(function((given.min(), given.max(), truth.min(), truth.max()))) for function in (min, max)
        )
        gain = max(high - low, 1e-6) / (ends.max - ends.min)
        offset = low - gain * ends.min
    levels = np.array([gain, offset])
    numbers = {
        key: np.clip(np.round((values - offset) / gain), ends.min, ends.max)
        for key, values in (("input", given), ("truth", truth))
    }
    return {"levels": levels, **numbers}


def _about(
    config: TrainConfig, files: Files, scales: tuple[int, ...], train: int, held: int
) -> dict[str, Any]:
    # Numbers, since a group's name may come from a header: even the hash of a patient's identifier stays here.
    group = {name: number for number, name in enumerate(dict.fromkeys(files.group.values()))}
    return {
        "version": VERSION,
        "config": config.as_dict(),
        "scales": list(scales),
        "pairs": {f"x{scale}": train for scale in scales},
        "validation_pairs": held,
        "files": [
            {
                "name": path.relative_to(files.root).as_posix(),
                "role": role,
                "sha256": sha256(path),
                "group": group[files.group[path]],
            }
            for role, paths in (("train", files.train), ("validation", files.validation))
            for path in paths
        ],
        "missing": list(files.missing),
        "left_out": [path.relative_to(files.root).as_posix() for path in files.left_out],
    }


def sha256(path: Path) -> str:
    """Of a file's bytes; for a folder, of its files' names and hashes."""
    digest = hashlib.sha256()
    if path.is_dir():
        for each in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{each.relative_to(path).as_posix()}\0{sha256(each)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def summary(about: dict[str, Any]) -> Iterator[str]:
    """Lines that tell what a patch file holds."""
    config = TrainConfig.from_dict(about["config"])
    pairs = ", ".join(f"{count} pairs {scale}" for scale, count in about["pairs"].items())
    yield f"{config.name}: {pairs}, {about['validation_pairs']} held out, {about['bytes'] / 1e6:.1f} MB"
    for role in ("train", "validation"):
        named = [each for each in about["files"] if each["role"] == role]
        groups = len({each["group"] for each in named})
        yield f"{role}: {len(named)} files of {groups} subjects or fields"
    for key, label in (("missing", "missing"), ("left_out", "left out")):
        if about[key]:
            yield f"{label}: {', '.join(about[key])}"


def main() -> None:
    """Command line, without click."""
    from sciSR.training.config_file import load_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the data's folder, instead of data.root")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    parser.add_argument("--overwrite", action="store_true")
    arguments = parser.parse_args()
    clock = time.perf_counter()
    config = load_config(arguments.config, arguments.sets)
    about = prepare(config, arguments.output, root=arguments.data, overwrite=arguments.overwrite)
    print("\n".join(summary(about)))
    print(f"{time.perf_counter() - clock:.0f} s")


if __name__ == "__main__":
    main()
