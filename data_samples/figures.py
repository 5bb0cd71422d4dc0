"""Before and after, side by side with the truth: the same stretch, the same place, no pixel touched up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import stars
from measure import sky_stretch

BACKGROUND, INK, FRAME = "#11151c", "#e8edf4", "#ffb454"
_STARS = ((168, 150, 64), (48, 244, 30))  # zooms: first row, first column, size, in input pixels
_HEAD = ((44, 20, 26), (26, 50, 26))


def star_field(
    truth: stars.StarField, image: np.ndarray, cubic: np.ndarray, fine: np.ndarray, path: Path, model: str
) -> None:
    """Whole frame and two zooms of the FITS sample; all panels in electrons per fine pixel."""
    coarse = np.kron(image / 4, np.ones((2, 2)))
    panels = {"measured": coarse, "cubic ×2": cubic, f"sciSR ×2  ({model})": fine, "truth": truth.fine}
    stretched = {title: sky_stretch(values) for title, values in panels.items()}
    _figure(stretched, _STARS, (-1.6, 6.8), "inferno", path)


def head(
    truth: np.ndarray,
    image: np.ndarray,
    fourier: np.ndarray,
    fine: np.ndarray,
    path: Path,
    model: str,
    k: int = 13,
) -> None:
    """One slice and two zooms of the NIfTI sample."""
    coarse = np.kron(image[:, :, k], np.ones((2, 2)))
    volumes = {"zero-filled Fourier ×2": fourier, f"sciSR ×2  ({model})": fine, "truth": truth}
    panels = {"measured": coarse} | {title: volume[:, :, k] for title, volume in volumes.items()}
    _figure({title: panel.T for title, panel in panels.items()}, _HEAD, (0, 1000), "gray", path)


def _figure(
    panels: dict[str, np.ndarray],
    zooms: tuple[tuple[int, int, int], ...],
    limits: tuple[float, float],
    colours: str,
    path: Path,
) -> None:
    """One column for each panel: the whole, then the zooms, each framed in the whole."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = next(iter(panels.values())).shape
    tall = rows / columns
    figure, axes = plt.subplots(
        1 + len(zooms),
        len(panels),
        figsize=(3.4 * len(panels), 3.4 * (tall + len(zooms)) + 0.35),
        height_ratios=[tall, *([1] * len(zooms))],
        facecolor=BACKGROUND,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0.0, wspace=0.0)
    show: dict[str, Any] = {"cmap": colours, "vmin": limits[0], "vmax": limits[1], "origin": "lower"}
    for column, (title, values) in enumerate(panels.items()):
        axes[0, column].set_title(title, color=INK, fontsize=12)
        axes[0, column].imshow(values, interpolation="nearest", **show)
        for row, (top, left, size) in enumerate(zooms, start=1):
            top, left, size = 2 * top, 2 * left, 2 * size
            box = plt.Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor=FRAME, linewidth=1)
            axes[0, column].add_patch(box)
            axes[row, column].imshow(
                values[top : top + size, left : left + size], interpolation="nearest", **show
            )
    for each in axes.ravel():
        each.set(xticks=[], yticks=[])
        for spine in each.spines.values():
            spine.set(color=FRAME if each not in axes[0] else "#39424f", linewidth=1)
        each.set_facecolor("#39424f")  # NaN pixels
    figure.savefig(path, dpi=110, facecolor=BACKGROUND)
    plt.close(figure)
