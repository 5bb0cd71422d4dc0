"""Make the README's picture from the samples: `python docs/img/before_after.py`.

Each row shows one place: as measured, by the best classical method, by sciSR, and the truth; the same stretch for all
four, every pixel as computed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "data_samples"))

import figures  # noqa: E402
import measure  # noqa: E402
import phantom  # noqa: E402
import stars  # noqa: E402

import sciSR  # noqa: E402

SKY_PLACE = (172, 152, 44)  # first row, first column, size, in input pixels
HEAD_PLACE, SLICE = (44, 20, 40), 13


def main(target: Path) -> None:
    """Compute all panels and write the picture."""
    draw([sky_row(), head_row()], target)


def sky_row() -> list[tuple[str, np.ndarray]]:
    """The star field, asinh stretch."""
    image = sciSR.read(ROOT / "data_samples" / "star_field.fits", hdu="SCI")
    sharp, cubic = (np.asarray(sciSR.upscale(image, model=model)) for model in ("auto", "cubic"))
    truth = stars.make_star_field().fine
    coarse = np.kron(np.asarray(image) / 4, np.ones((2, 2)))
    panels = {"measured": coarse, "cubic": cubic, "sciSR": sharp, "truth": truth}
    return [(title, crop(measure.sky_stretch(panel), SKY_PLACE)) for title, panel in panels.items()]


def head_row() -> list[tuple[str, np.ndarray]]:
    """One slice of the head phantom."""
    image = sciSR.read(ROOT / "data_samples" / "phantom.nii.gz")
    sharp, fourier = (np.asarray(sciSR.upscale(image, model=model)) for model in ("auto", "fourier"))
    truth, _ = phantom.make_phantom()
    coarse = np.kron(np.asarray(image)[:, :, SLICE], np.ones((2, 2)))
    panels = {"measured": coarse, "zero-filled Fourier": fourier[:, :, SLICE], "sciSR": sharp[:, :, SLICE]}
    panels["truth"] = truth[:, :, SLICE]
    return [(title, crop(panel.T, HEAD_PLACE)) for title, panel in panels.items()]


def crop(values: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    """The place's pixels, twice as fine as it is given in."""
    row, column, size = (2 * number for number in place)
    return values[row : row + size, column : column + size]


def draw(rows: list[list[tuple[str, np.ndarray]]], target: Path) -> None:
    """Two rows of four panels on a dark ground."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    looks = [{"cmap": "inferno", "vmin": 1.0, "vmax": 6.6}, {"cmap": "gray", "vmin": 0, "vmax": 1050}]
    figure, axes = plt.subplots(2, 4, figsize=(12, 6.5), facecolor=figures.BACKGROUND)
    figure.subplots_adjust(left=0.004, right=0.996, bottom=0.006, top=0.955, wspace=0.012, hspace=0.10)
    for line, look, row in zip(axes, looks, rows, strict=True):
        for axis, (title, panel) in zip(line, row, strict=True):
            axis.imshow(panel, interpolation="nearest", origin="lower", **look)
            axis.set_title(
                title, color=figures.FRAME if title == "sciSR" else figures.INK, fontsize=12, pad=5
            )
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color=figures.FRAME if title == "sciSR" else "#39424f", linewidth=1.2)
    figure.savefig(target, dpi=100, facecolor=figures.BACKGROUND, pil_kwargs={"optimize": True})
    plt.close(figure)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".png"))
