"""Curves of the fusion report, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_BLUE, _ORANGE, _GREY = "#2060a0", "#d07000", "#808080"


def png(figure: Any) -> bytes:
    """A matplotlib Figure as PNG, the same for the same data."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def ring_correlation(frc: Mapping[str, Any]) -> bytes:
    """The curve with both thresholds and the native pixel's own limit.

    Parameters
    ----------
    frc : mapping
        As :func:`sciSR.metrics.resolution.frc_report` returns it.
    """
    figure, axis = _figure()
    f = np.array(frc["frequencies"], float)
    curve = np.array([np.nan if c is None else c for c in frc["correlation"]], float)
    axis.plot(f, curve, color=_BLUE, label="half-sets")
    axis.axhline(1 / 7, color=_ORANGE, linewidth=1, label="1/7")
    axis.plot(
        f, np.array(frc["half_bit"], float), color=_ORANGE, linewidth=1, linestyle="--", label="half bit"
    )
    axis.axvline(0.5, color=_GREY, linewidth=1, linestyle=":", label="limit of native pixels")
    found = frc.get("resolution", {}).get("1/7", {}).get("frequency")
    if found:
        axis.axvline(found, color=_BLUE, linewidth=1, alpha=0.5)
    axis.set(xlabel="spatial frequency, cycles per native pixel", ylabel="correlation", ylim=(-0.2, 1.05))
    axis.set_xlim(0, float(f.max()) if f.size else 1)
    axis.legend(fontsize=8, frameon=False)
    return png(figure)


def placements(records: Sequence[Mapping[str, Any]], native: tuple[int, int]) -> bytes:
    """Each used frame's shift modulo one native pixel: how evenly the frames sample the gaps."""
    figure, axis = _figure(square=True)
    shifts = np.array([shift_of(r, native) for r in records if r["used"]]).reshape(-1, 2)
    phase = shifts - np.floor(shifts)
    axis.plot(phase[:, 1], phase[:, 0], "o", color=_BLUE, markersize=5, alpha=0.7, clip_on=False)
    axis.set(
        xlabel="column, fraction of a pixel", ylabel="row, fraction of a pixel", xlim=(0, 1), ylim=(0, 1)
    )
    axis.set_aspect("equal")
    return png(figure)


def residuals(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Residual of the stars and error of the position, for each used frame."""
    figure, axis = _figure()
    used = [r for r in records if r["used"]]
    number = np.arange(len(used))
    for key, colour, name in (
        ("rms_px", _ORANGE, "stars' residual rms"),
        ("error_px", _BLUE, "position, 1 sigma"),
    ):
        values = np.array([np.nan if r[key] is None else r[key] for r in used], float)
        if np.isfinite(values).any():
            axis.plot(number, values, "o", color=colour, markersize=4, label=name)
    axis.set(xlabel="frame used, in order", ylabel="native pixels")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylim(bottom=0)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False)
    return png(figure)


def shift_of(record: Mapping[str, Any], native: tuple[int, int]) -> tuple[float, float]:
    """How far (row, column) the centre of the reference's field moved to get to where the frame shows it."""
    matrix = np.array(record["matrix"], float).reshape(2, 3)
    centre = (np.array(native) - 1) / 2
    row, column = matrix[:, :2] @ centre + matrix[:, 2] - centre
    return float(row), float(column)


def _figure(*, square: bool = False) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 3.4) if square else (5.6, 3.4), layout="constrained")
    axis = figure.subplots()
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return figure, axis
