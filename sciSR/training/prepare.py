"""Make a patch file: ``scisr prepare CONFIG -o FILE``, or ``python -m sciSR.training.prepare``."""

from __future__ import annotations

import argparse
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRWarning
from sciSR.files import atomic_output
from sciSR.training.config import TrainConfig
from sciSR.training.dataset import VISITS, Observations
from sciSR.training.files import Files, find_files
from sciSR.training.patch_file import LIMIT, VERSION, bytes_per_pair, save
from sciSR.training.split import name_group

VALIDATION_SEED = 500_009
"""Added to the seed for the held-out patches, so that they show other simulated skies too."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Stack:
    """Arrays of one scale, filled pair by pair."""

    arrays: dict[str, NDArray[Any]]

    @classmethod
    def empty(cls, count: int, patch: int, scale: int, conditions: int, eight_bit: bool) -> _Stack:
        stored = np.uint8 if eight_bit else np.float16
        arrays: dict[str, NDArray[Any]] = {
            "input": np.zeros((count, patch, patch), stored),
            "truth": np.zeros((count, scale * patch, scale * patch), stored),
            "noise": np.zeros((count, 3), np.float32),
            "condition": np.zeros((count, conditions), np.float32),
        }
        if eight_bit:
            arrays["levels"] = np.zeros((count, 2), np.float32)
        return cls(arrays)


def prepare(
    config: TrainConfig,
    target: Path,
    *,
    root: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Draw a configuration's patches and write them.

    Parameters
    ----------
    config : TrainConfig
    target : Path
        ``.npz``.
    root : Path, optional
        The data's folder, instead of ``config.data.root``.
    overwrite : bool
    progress : callable
        Called with the number of patches made and wanted.

    Returns
    -------
    dict
        What the file's ``about`` holds, and its ``bytes``.

    Raises
    ------
    UsageError
        The target exists, no file is found, patches do not fit.
    """
    files = find_files(config.data, root)
    train, held = _counts(config)
    scales = config.model.scales or (config.model.scale,)
    seed, total = config.training.seed, train * len(scales) + held
    with atomic_output(target, overwrite=overwrite) as temporary:
        arrays: dict[str, NDArray[Any]] = {}
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        source = Observations(config, files.train, seed, hold=1)
        for turn, scale in enumerate(scales):
            _fill(arrays, f"train_x{scale}", source, config, scale, train, turn, len(scales), count)
        source = Observations(config, _held_out(files, config), seed + VALIDATION_SEED, hold=1)
        name = f"validation_x{config.model.scale}"
        _fill(arrays, name, source, config, config.model.scale, held, 0, 1, count)
        about = _about(config, files, scales, train, held)
        wanted = about["pairs"]
        about, size = save(temporary, about, arrays)
    if about["pairs"] != wanted:
        _reduced(config.data.patches, sum(about["pairs"].values()))
    return {**about, "bytes": size}


def _held_out(files: Files, config: TrainConfig) -> tuple[Path, ...]:
    if files.validation or config.data.simulated >= 1:
        return files.validation
    warnings.warn(
        "all files are of one subject or field, so the validation patches come from the training files and flatter "
        "the network; name others in data.validation",
        SciSRWarning,
        stacklevel=3,
    )
    return files.train


def _counts(config: TrainConfig) -> tuple[int, int]:
    """Training pairs of each scale and held-out pairs.

    No more than take four times the room that a patch file has, which no compression gains: it bounds the memory.
    """
    data, scales = config.data, config.model.scales or (config.model.scale,)
    eight_bit = config.domain == "natural"
    each = sum(bytes_per_pair(_side(config, scale), scale, eight_bit) for scale in scales)
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


def _fill(
    arrays: dict[str, NDArray[Any]],
    name: str,
    source: Observations,
    config: TrainConfig,
    scale: int,
    count: int,
    turn: int,
    turns: int,
    tell: Callable[[], None],
) -> None:
    """Draw `count` pairs, file by file, so that each is opened once."""
    eight_bit = config.domain == "natural"
    patch = source.patch(scale)
    stack = _Stack.empty(count, patch, scale, len(config.model.conditions), eight_bit).arrays
    numbers = [turn + turns * k for k in range(-(-count // VISITS))]
    order = sorted(
        range(len(numbers)),
        key=lambda k: (
            source.file(numbers[k]) if source.files and not source.simulated(numbers[k]) else -1,
            k,
        ),
    )
    for k in order:
        observation = source.observe(numbers[k], scale)
        for visit in range(min(VISITS, count - k * VISITS)):
            pair, at = source.pair(observation, numbers[k], visit), k * VISITS + visit
            if eight_bit:
                level = observation.normaliser.inverse_scale / 255
                zero = -observation.normaliser.offset * observation.normaliser.inverse_scale
                stack["levels"][at] = level, zero
            for key in ("input", "truth"):
                values = getattr(pair, key)
                if eight_bit:
                    values = np.clip(np.round((values - zero) / level), 0, 255)
                stack[key][at] = values
            stack["noise"][at], stack["condition"][at] = pair.noise, pair.condition
            tell()
    arrays.update({f"{name}_{key}": value for key, value in stack.items()})


def _about(
    config: TrainConfig, files: Files, scales: tuple[int, ...], train: int, held: int
) -> dict[str, Any]:
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
                "group": name_group(path.relative_to(files.root), config.data.group),
            }
            for role, paths in (("train", files.train), ("validation", files.validation))
            for path in paths
        ],
        "missing": list(files.missing),
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
    if about["missing"]:
        yield f"missing: {', '.join(about['missing'])}"


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
