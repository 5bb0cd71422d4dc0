"""A prepared patch file: all that a training needs in one ``.npz``, read with NumPy and torch alone.

Arrays (``S`` is ``train_x2``, ``validation_x2``, ... for each scale):

===============  =======  =====================================================================================
``about``        text     JSON: version, configuration, files with their SHA-256 and group, counts, scales
``S_input``      any      ``[M, P, P]``, noise-free; float16, or whole numbers (uint8, int16) that ``S_levels`` explains
``S_truth``      as that  ``[M, s P, s P]``; missing where it is the input (slices are made thick at each visit)
``S_levels``     float32  ``[M, 2]``, with whole numbers only: ``value = levels[0] * number + levels[1]``
``S_noise``      float32  ``[M, 3]``, see `sciSR.training.pair.Pair`
``S_condition``  float32  ``[M, C]``
===============  =======  =====================================================================================
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciSR.errors import UnreadableError, UsageError
from sciSR.training.config import TrainConfig
from sciSR.training.pair import Batch

VERSION = 1
LIMIT = 60_000_000
"""Bytes that a patch file may have, so that it can be sent to where it is trained from."""

INFLATED = 20
"""How many times `LIMIT` its arrays may take."""


class PatchFile:
    """Patches of a prepared file; see `sciSR.training.pair.Patches`.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    about : dict
    config : TrainConfig
        What the file was prepared with.
    scales : tuple of int

    Raises
    ------
    UnreadableError
        No patch file, a damaged one, or one of a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                if sum(each.file_size for each in archive.zip.infolist()) > INFLATED * LIMIT:
                    raise ValueError("it inflates to more than patches ever do")
                self.about: dict[str, Any] = json.loads(str(archive["about"]))
                self._arrays = {
                    key: torch.from_numpy(archive[key]) for key in archive.files if key != "about"
                }
        except FileNotFoundError as error:
            raise UnreadableError(
                "no such patch file", where=path, remedy="make it with scisr prepare"
            ) from error
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise UnreadableError(
                f"is no patch file: {error}", where=path, remedy="prepare it again"
            ) from error
        except Exception as error:  # zipfile and zlib have errors of their own
            raise UnreadableError(f"is damaged: {error}", where=path, remedy="prepare it again") from error
        if self.about.get("version") != VERSION:
            raise UnreadableError(
                f"has version {self.about.get('version')}, this sciSR reads {VERSION}",
                where=path,
                remedy="prepare it again",
            )
        self.config = TrainConfig.from_dict(self.about["config"])
        self.scales = tuple(self.about["scales"])

    def batches(self, first_step: int, size: int, seed: int) -> Iterator[Batch]:
        """Batches of step `first_step`, `first_step` + 1, ...: every pair once an epoch, in an order of its own.

        With several scales they take turns, one scale a batch.
        """
        step = first_step
        while True:
            scale = self.scales[step % len(self.scales)]
            turn = step // len(self.scales)
            yield self._batch(f"train_x{scale}", self._order(scale, turn, size, seed))
            step += 1

    def validation(self) -> Batch:
        """The held-out pairs at the scale that the model is validated at; their noise is drawn once and for all."""
        name = f"validation_x{self.config.model.scale}"
        count = len(self._arrays[f"{name}_noise"])
        return with_noise(self._batch(name, np.arange(count)), self.config)

    def count(self, scale: int) -> int:
        """Training pairs of a scale."""
        return len(self._arrays[f"train_x{scale}_noise"])

    def _order(self, scale: int, turn: int, size: int, seed: int) -> NDArray[np.int64]:
        count = self.count(scale)
        at = np.arange(turn * size, (turn + 1) * size)
        return np.array([_shuffled(seed, scale, int(k) // count, count)[int(k) % count] for k in at])

    def _batch(self, name: str, index: NDArray[np.int64]) -> Batch:
        at = torch.from_numpy(index)
        levels = self._arrays.get(f"{name}_levels")
        images = []
        for key in ("input", "truth"):
            stored = key if f"{name}_{key}" in self._arrays else "input"
            values = self._arrays[f"{name}_{stored}"][at].float()[:, None]
            if levels is not None:
                gain, offset = (value[:, None, None, None] for value in levels[at].unbind(1))
                values = gain * values + offset
            images.append(values)
        noise, condition = (self._arrays[f"{name}_{key}"][at] for key in ("noise", "condition"))
        return Batch(images[0], images[1], noise.clone(), condition.clone())


@functools.lru_cache(maxsize=8)
def _shuffled(seed: int, scale: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, scale, epoch]).permutation(count)


def with_noise(batch: Batch, config: TrainConfig) -> Batch:
    """Validation pairs with noise (and, across the slices, an operator) that is the same in every run."""
    from sciSR.training.thick_slices import typical
    from sciSR.training.visit_noise import add_noise

    if config.forward.across:
        batch = typical(batch, config.forward)
    forward, generator = config.forward, torch.Generator().manual_seed(20_240_229)
    return add_noise(
        batch, forward.noise, generator, config.normalisation, config.model.conditions, forward.hot_pixels
    )


def bytes_per_pair(patch: int, scale: int, bytes_per_pixel: int) -> int:
    """Stored bytes of a pair, before compression."""
    return patch**2 * (1 + scale**2) * bytes_per_pixel + 64


def save(
    target: Path, about: dict[str, Any], arrays: dict[str, NDArray[Any]], limit: int = LIMIT
) -> tuple[dict[str, Any], int]:
    """Write a patch file; if it grows larger than `limit`, with fewer training pairs, as many as fit.

    Parameters
    ----------
    target : Path
    about : dict
        ``pairs`` by scale is corrected where pairs are left away.
    arrays : dict
        As the module says.
    limit : int
        Bytes.

    Returns
    -------
    about : dict
        As it was written.
    size : int
        Bytes.

    Raises
    ------
    UsageError
        Not even a tenth of the pairs fits.
    """
    share = 1.0
    while True:
        pairs = {scale: int(count * share) for scale, count in about["pairs"].items()}
        kept = {
            key: value[: pairs[key.split("_")[1]]] if key.startswith("train_") else value
            for key, value in arrays.items()
        }
        about = {**about, "pairs": pairs}
        with target.open("wb") as stream:
            np.savez_compressed(stream, about=np.array(json.dumps(about)), **kept)
        size = target.stat().st_size
        if size <= limit:
            return about, size
        share *= 0.98 * limit / size
        if share < 0.1:
            raise UsageError(
                f"the patches have {size / 1e6:.0f} MB, far more than {limit / 1e6:.0f}",
                where=target,
                remedy="lower data.patches or data.validation_patches",
            )


def stack(batches: list[Batch]) -> Batch:
    """Batches of one shape as one."""

    def joined(key: str) -> Tensor:
        return torch.cat([getattr(batch, key) for batch in batches])

    return Batch(joined("input"), joined("truth"), joined("noise"), joined("condition"))
