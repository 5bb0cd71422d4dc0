"""Opens files in a window of napari: ``scisr view --napari``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from sciSR.errors import UsageError


def check_installed() -> None:
    """Refuse, with the remedy, where napari is not installed.

    Raises
    ------
    UsageError
    """
    if importlib.util.find_spec("napari") is None:
        raise UsageError(
            "napari is not installed",
            remedy="pip install 'sciSR[napari]', or leave --napari away to view in the browser",
        )


def open_files(paths: Sequence[Path]) -> None:
    """Open all images of the files in one window, and wait until it is closed.

    Raises
    ------
    SciSRError
        napari is not installed, it finds no display, or a file can't be read.
    """
    from sciSR.api import read_all
    from sciSR.napari.layers import layers_of

    check_installed()
    images = [image for path in paths for image in read_all(path)]
    layers = layers_of(images)
    try:
        import napari  # type: ignore[import-not-found]

        viewer = napari.Viewer(title="sciSR")
    except Exception as problem:  # without Qt or a display, each of its backends fails in its own way
        raise UsageError(
            f"napari does not start: {problem}", remedy="leave --napari away to view in the browser"
        ) from problem
    if any(image.domain == "astronomy" for image in images) and hasattr(viewer.camera, "orientation2d"):
        viewer.camera.orientation2d = ("up", "right")  # the sky's first row is at the bottom
    for data, keywords, kind in layers:
        (viewer.add_labels if kind == "labels" else viewer.add_image)(data, **keywords)
    napari.run()
