"""A worker's side of blocks: an order in JSON comes in, pixels go to the output's disk, a tiny answer goes back.

``python -m sciSR.workflow.cluster.blocks_worker`` answers orders on stdin, one line each, until stdin ends. On a
cluster :func:`run_block` is the task; it is idempotent: done twice, it writes the same bytes to the same place.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.errors import ResourceError, SciSRError, UnreadableError
from sciSR.image import Image
from sciSR.plugins import adapter_for, adapters


def fingerprint(path: Path | str) -> list[int]:
    """Size and time of last change, which tell whether an input is still the one that was planned."""
    try:
        found = Path(path).stat()
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=path) from error
    return [found.st_size if Path(path).is_file() else 0, found.st_mtime_ns]


def checked_images(path: Path | str, options: Mapping[str, Any]) -> list[Image]:
    """The images of a file whose sums this run has already checked."""
    adapter = adapter_for(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said once, where the run was planned
        return adapter.read(Path(path), **{**options, **getattr(adapter, "checked_options", {})})


@functools.lru_cache(maxsize=2)
def _images(path: str, options: str, stamp: tuple[int, ...]) -> list[Image]:
    return checked_images(path, json.loads(options))


@functools.lru_cache(maxsize=2)
def _models(state: str, domain: str) -> list[Any]:
    from sciSR.workflow.cluster.blocks_state import models_from

    return models_from(json.loads(state), domain)


def run_block(order: Mapping[str, Any]) -> dict[str, Any]:
    """Compute one block and store it.

    Parameters
    ----------
    order : mapping
        ``path``, ``options``, ``fingerprint`` of the input; ``state``, ``block``; ``adapter`` and ``ticket`` of the
        output. JSON-ready.

    Returns
    -------
    dict
        ``block`` (its number) and ``agreement``.

    Raises
    ------
    SciSRError
    """
    from sciSR.workflow.cluster.blocks import Block
    from sciSR.workflow.cluster.blocks_compute import compute_block
    from sciSR.workflow.run import out_of_memory_named

    block = Block.from_dict(order["block"])
    stamp = fingerprint(order["path"])
    if stamp != list(order["fingerprint"]):
        raise UnreadableError("changed while it was worked on", where=order["path"], remedy="start again")
    with out_of_memory_named(Path(order["path"])):
        images = _images(order["path"], json.dumps(order["options"], sort_keys=True), tuple(stamp))
        image = images[block.part]
        models = _models(json.dumps(order["state"], sort_keys=True), image.domain)
        with adapters()[order["adapter"]].shared_store(order["ticket"]) as store:
            found = compute_block(image, order["state"], block, store.put, models=models)
    return {"block": block.number, "agreement": found}


def answer(order: Mapping[str, Any]) -> dict[str, Any]:
    """:func:`run_block`, with what went wrong as data."""
    try:
        return run_block(order)
    except SciSRError as error:
        return {"error": [type(error).__name__, error.what, error.where, error.remedy]}
    except MemoryError:
        error_ = ResourceError("out of memory", where=order["path"], remedy="give smaller blocks")
        return {"error": ["ResourceError", error_.what, error_.where, error_.remedy]}
    except Exception as error:
        what = f"unexpected {type(error).__name__}: {error}"
        return {"error": ["SciSRError", what, order["path"], "please report it"]}


def main() -> None:
    """Answer orders until stdin ends, as it does when the run that gave them is gone."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    if threads := os.environ.get("SCISR_BLOCK_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    for line in sys.stdin:
        out.write(json.dumps(answer(json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
