"""Patches from files that are never loaded whole: each is a function of (seed, number) alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRError, UsageError
from sciSR.training.config import TrainConfig
from sciSR.training.observation import Observation, observe_file, observe_sky
from sciSR.training.pair import Pair
from sciSR.training.planes import OPEN_FILES, FileCache
from sciSR.training.sky import SimulatedSky, simulated_sky

VISITS = 4
"""Patches that are cut from one observation."""

HOLD = 16
"""Observations of a file in a row (between those of other open files), where there are more files than can be open."""

TRIES = 4
"""Observations of a file without room for a patch, after which the next file is taken."""

_FILES = 64


class Observations:
    """Observations by number, and patches of them.

    Every file comes equally often, however large it is; every plane of a file is equally likely.

    Parameters
    ----------
    config : TrainConfig
    files : sequence of Path
    seed : int
    hold : int
        1 visits the files in random order, each once an epoch. More keeps to a few files for so many observations
        each, since opening costs (a compressed file is inflated); only where there are more than `OPEN_FILES`.

    Attributes
    ----------
    left_out : dict of Path to str
        Files that turned out to be unreadable, and why; the next file stands in for one.
    """

    def __init__(self, config: TrainConfig, files: Sequence[Path], seed: int, hold: int = HOLD) -> None:
        if config.normalisation == "sky" and config.augment.gamma != 1.0:
            raise UsageError(
                "augment.gamma has no meaning for sky images, whose values have no range",
                remedy="leave it at 1",
            )
        self.config, self.files, self.seed, self.hold = config, tuple(files), seed, hold
        self.cache = FileCache(config.domain)
        self.left_out: dict[Path, str] = {}
        self._sky: tuple[tuple[int, int], SimulatedSky] | None = None

    def patch(self, scale: int) -> int:
        """Coarse pixels a side: with several scales, patches cover about the same number of fine pixels."""
        model, data = self.config.model, self.config.data
        return data.patch if scale == model.scale else max(8, data.patch * model.scale // scale)

    def simulated(self, number: int) -> bool:
        """Whether an observation is of a simulated sky; two in a row are of the same."""
        share = self.config.data.simulated
        return share > 0 and np.random.default_rng([self.seed, number // 2, 7]).random() < share

    def file(self, number: int, later: int = 0) -> int:
        """Index of the file of an observation, or of the one that stands in for it at the attempt `later`."""
        count, visit = len(self.files), number
        if count > OPEN_FILES and self.hold > 1:
            block, place = divmod(number, OPEN_FILES * self.hold)
            visit = block * OPEN_FILES + place % OPEN_FILES
        epoch, place = divmod(visit, count)
        return int(_permutation(self.seed, epoch, count)[(place + later) % count])

    def observe(self, number: int, scale: int) -> Observation:
        """Observation `number`, the same whatever was drawn before.

        Raises
        ------
        UsageError
            Neither its file nor the next ones have room for a patch.
        """
        if self.simulated(number) or not self.files:
            return self._simulated(number, scale)
        patch = self.patch(scale)
        for later in range(min(_FILES, len(self.files))):
            path = self.files[self.file(number, later)]
            if path in self.left_out:
                continue
            for attempt in range(TRIES):
                generator = np.random.default_rng([self.seed, number, later, attempt])
                try:
                    found = observe_file(self.cache.get(path), self.config, scale, patch, generator)
                except SciSRError as error:
                    self.left_out[path] = str(error)
                    break
                if found is not None:
                    return found
        raise UsageError(
            f"none of {min(_FILES, len(self.files))} files has room for a patch of {patch} coarse pixels at x{scale}",
            where=self.files[self.file(number)],
            remedy="set data.patch (or data.foreground) lower",
        )

    def _simulated(self, number: int, scale: int) -> Observation:
        patch, seed = self.patch(scale), self.seed * 100_003 + number // 2
        if self._sky is None or self._sky[0] != (seed, scale):
            self._sky = (seed, scale), simulated_sky(seed, scale, self.config.data.resampled, patch)
        generator = np.random.default_rng([self.seed, number, 3])
        found = observe_sky(self._sky[1], self.config, scale, patch, generator)
        if found is None:
            raise UsageError(
                f"a simulated sky has no room for a patch of {patch} coarse pixels",
                remedy="set data.patch lower",
            )
        return found

    def pair(self, observation: Observation, number: int, visit: int) -> Pair:
        """Patch `visit` of an observation."""
        generator = np.random.default_rng([self.seed, number, visit, 11])
        return observation.pair(self.patch(observation.scale), generator)


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, 5]).permutation(count)
