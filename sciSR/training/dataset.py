"""Batches straight from files, read as they are needed by processes of their own, at constant memory."""

from __future__ import annotations

import gc
import itertools
import multiprocessing.util
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sciSR.errors import SciSRError, SciSRWarning
from sciSR.training.config import TrainConfig
from sciSR.training.files import Files, find_files
from sciSR.training.observations import VISITS, Observations
from sciSR.training.pair import Batch, Pair
from sciSR.training.patch_file import with_noise

VALIDATION_SEED = 500_009
"""Added to the seed for the held-out patches, so that they show other simulated skies too."""

_PREFETCH = 2


class FilePatches:
    """Patches that are read from files while the network trains; see `sciSR.training.pair.Patches`.

    A batch is a function of (seed, step): a run goes on at any step at once, with any number of workers. `VISITS`
    steps in a row are cut from the same observations, one for each pair of a batch; with several scales of the model
    these steps have the same scale, and the scales take turns.

    Parameters
    ----------
    config : TrainConfig
        ``data.workers`` processes read; with 0 this one does.
    root : Path, optional
        The data's folder, instead of ``config.data.root``.

    Attributes
    ----------
    files : Files

    Raises
    ------
    UsageError
        No file can be used, or what is held out also trains.
    """

    def __init__(self, config: TrainConfig, root: Path | None = None) -> None:
        self.config = config
        self.files: Files = find_files(config, root)
        self.scales = config.model.scales or (config.model.scale,)
        self._held: Batch | None = None

    def batches(self, first_step: int, size: int, seed: int) -> Iterator[Batch]:
        """Batches of step `first_step`, `first_step` + 1, ... without end.

        Raises
        ------
        SciSRError
            No file has room for a patch.
        """
        rounds = Rounds(self.config, self.files.train, seed, size)
        first, skip = divmod(first_step, VISITS)
        told: set[Path] = set()
        loader = iter(_loader(rounds, first, self.config.data.workers))
        try:
            while True:
                batches, left_out = next(loader)
                for path, why in left_out.items():
                    if path not in told:
                        told.add(path)
                        warnings.warn(f"left out: {why}", SciSRWarning, stacklevel=2)
                if isinstance(batches, SciSRError):
                    raise batches
                yield from (batch_of(arrays) for arrays in batches[skip:])
                skip = 0
        finally:
            del (
                loader
            )  # its processes end now, and not when the last traceback that knows this frame is dropped

    def validation(self) -> Batch:
        """The held-out pairs at the scale that the model is validated at; their noise is drawn once and for all."""
        if self._held is None:
            source = Observations(
                self.config, held_out(self.files), self.config.training.seed + VALIDATION_SEED, hold=1
            )
            count, scale = self.config.data.validation_patches, self.config.model.scale
            pairs: list[Pair] = []
            for number in range(-(-count // VISITS)):
                seen = source.observe(number, scale)
                pairs += [
                    source.pair(seen, number, visit) for visit in range(min(VISITS, count - number * VISITS))
                ]
            self._held = with_noise(batch_of(stacked(pairs)), self.config)
        return self._held


class Rounds:
    """`VISITS` batches at a time, as arrays; what the workers make.

    Parameters
    ----------
    config : TrainConfig
    files : tuple of Path
    seed, size : int
        Pairs of a batch.
    """

    def __init__(self, config: TrainConfig, files: tuple[Path, ...], seed: int, size: int) -> None:
        self.source, self.size = Observations(config, files, seed), size
        self.scales = config.model.scales or (config.model.scale,)

    def __getitem__(self, number: int) -> tuple[Any, dict[Path, str]]:
        """Arrays of the batches of step ``VISITS * number`` and following, or the error; and what was left out."""
        scale = self.scales[number % len(self.scales)]
        cuts: list[list[Pair]] = [[] for _ in range(VISITS)]
        try:
            for place in range(number * self.size, (number + 1) * self.size):
                seen = self.source.observe(place, scale)
                for visit, pairs in enumerate(cuts):
                    pairs.append(self.source.pair(seen, place, visit))
        except SciSRError as error:  # raised here it would come with the worker's traceback as its message
            return error, self.source.left_out
        return [stacked(pairs) for pairs in cuts], self.source.left_out


class _From:
    """0, 1, 2, ... from a number on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _loader(rounds: Rounds, first: int, workers: int) -> torch.utils.data.DataLoader[Any]:
    """Rounds in order. Workers are spawned, since this process has threads; the global random state stays as it is."""
    parallel = {"multiprocessing_context": "spawn", "prefetch_factor": _PREFETCH} if workers else {}
    return torch.utils.data.DataLoader(
        rounds,  # type: ignore[arg-type]
        batch_size=None,
        sampler=_From(first),
        num_workers=workers,
        collate_fn=_same,
        worker_init_fn=_prepare_leaving,
        generator=torch.Generator(),
        **parallel,  # type: ignore[arg-type]
    )


def _prepare_leaving(worker: int) -> None:
    """Let a worker leave at once when its work is done, and not before: Ctrl-C is for the process that trains, which
    ends its step first.

    Python before 3.12 ends its other threads while it shuts down, such as the one that sends results, and where that
    is within C++ the process aborts, which the loader reports as a failure.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.util.Finalize(None, _leave, exitpriority=-1000)


def _leave() -> None:
    info = torch.utils.data.get_worker_info()
    if info is not None:
        info.dataset.source.cache.close()  # files that were inflated to a temporary folder
    gc.collect()
    os._exit(0)


def _same(value: Any) -> Any:
    return value


def stacked(pairs: list[Pair]) -> tuple[np.ndarray, ...]:
    """Input and truth ``[B, 1, ...]``, noise and condition of several pairs."""
    rows = ((pair.input[None], pair.truth[None], pair.noise, pair.condition) for pair in pairs)
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def batch_of(arrays: tuple[np.ndarray, ...]) -> Batch:
    """Arrays of `stacked` as tensors."""
    given, truth, noise, condition = (torch.from_numpy(array) for array in arrays)
    return Batch(given, truth, noise, condition)


def held_out(files: Files) -> tuple[Path, ...]:
    """The files that validation patches are cut from: the training files, with a warning, if there are no others."""
    if files.validation or not files.train:
        return files.validation
    warnings.warn(
        "all files are of one subject or field, so the validation patches come from the training files and flatter "
        "the network; name others in data.validation",
        SciSRWarning,
        stacklevel=3,
    )
    return files.train
