"""The reader that napari asks: by content, not by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sciSR.napari.layers import LayerData

Paths = str | Path | Sequence[str | Path]


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """What reads this path, or these paths; None where no adapter recognises each of them.

    Parameters
    ----------
    path : path or list of paths
        Files, or folders of a DICOM series. Of several, each becomes layers of its own.
    """
    from sciSR.errors import SciSRError
    from sciSR.plugins import adapter_for

    try:
        for each in _listed(path):
            adapter_for(each)
    except SciSRError:
        return None
    return read_layers


def read_layers(path: Paths) -> list[LayerData]:
    """Layer data tuples of all images of the path or paths, lazily.

    Raises
    ------
    SciSRError
        In one line that napari shows.
    """
    from sciSR.api import read_all
    from sciSR.napari.layers import layers_of

    out: list[Any] = []
    for each in _listed(path):
        out += layers_of(read_all(each))
    return out


def _listed(path: Paths) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
