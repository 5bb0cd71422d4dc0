"""A run's state on disk: whole or not at all, and read without running any code of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from sciSR.errors import UnreadableError
from sciSR.files import atomic_output

VERSION = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries; a kill at any moment leaves the old or the new file."""
    with atomic_output(path, overwrite=True) as temporary:
        torch.save({"version": VERSION, **state}, temporary)


def load(path: Path) -> dict[str, Any]:
    """The inverse of `save`, on the CPU.

    Raises
    ------
    UnreadableError
        The file is damaged, of a newer version, or holds more than plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UnreadableError(
            f"no readable checkpoint ({str(error).splitlines()[0]})",
            where=path,
            remedy="start anew with --overwrite",
        ) from error
    if state.get("version") != VERSION:
        raise UnreadableError(
            f"checkpoint of version {state.get('version')}, expected {VERSION}",
            where=path,
            remedy="start anew with --overwrite",
        )
    return state
