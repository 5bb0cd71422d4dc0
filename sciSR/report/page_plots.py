"""Curves of a page: drawn by matplotlib, then made to follow the page's light and dark theme.

The SVG goes into the page itself. A strict policy forbids styles in attributes and elements, so they become plain
attributes; drawing colours become the page's own variables, and text is text in the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INK, FAINT, FIRST, SECOND, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505"
"""Stand-ins that `themed` replaces."""
_VARIABLES = {INK: "--ink", FAINT: "--faint", FIRST: "--first", SECOND: "--second", THIRD: "--third"}


def figure(width: float = 5.6, height: float = 3.2) -> tuple[Any, Any]:
    """A matplotlib Figure and its axes in stand-in colours."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    axis = drawn.subplots()
    drawn.patch.set_alpha(0)
    axis.patch.set_alpha(0)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    axis.tick_params(which="both", color=FAINT, labelcolor=INK, labelsize=9)
    axis.grid(color=FAINT, linewidth=0.5, alpha=0.35)
    axis.set_axisbelow(True)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set_color(INK)
        label.set_size(9.5)
    return drawn, axis


def themed(drawn: Any, name: str, title: str, description: str) -> str:
    """The figure as an SVG element for the page; the same for the same data.

    Parameters
    ----------
    drawn : Figure
    name : str
        Distinguishes the identifiers of several figures in one page.
    title, description : str
        For those who can't see it.
    """
    import matplotlib
    from markupsafe import escape

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        drawn.savefig(
            stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'style="([^"]*)"', _attributes, text)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(f'"{colour}"', f'"var({variable})"')
    head = (
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(description)}</desc>'
    )
    tag = re.compile(r"<svg([^>]*)>")
    kept = re.search(r'viewBox="[^"]*"', text)
    return tag.sub(
        f'<svg {kept.group(0) if kept else ""} class="plot" role="img" aria-labelledby="{name}-title">{head}',
        text,
        count=1,
    )


def _attributes(match: re.Match[str]) -> str:
    """``fill: none; stroke: #000`` as ``fill="none" stroke="#000"``."""
    out = []
    for rule in match.group(1).split(";"):
        key, _, value = rule.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font":  # "9px 'DejaVu Sans'": the page's own font is taken
            size = re.search(r"[\d.]+px", value)
            out.append(f'font-size="{size.group(0)}"' if size else "")
        elif key and value:
            out.append(f'{key}="{value.replace(chr(34), chr(39))}"')
    return " ".join(word for word in out if word)


def spectra(curves: Sequence[tuple[str, Any]], limit: float) -> str:
    """Radial power spectra of input and result.

    Parameters
    ----------
    curves : sequence of (str, PowerSpectrum)
        Frequencies in cycles per input pixel.
    limit : float
        The input pixel's own limit.
    """
    drawn, axis = figure()
    for (label, curve), colour in zip(curves, (SECOND, FIRST, THIRD), strict=False):
        good = np.isfinite(curve.power) & (curve.power > 0)
        axis.semilogy(curve.frequencies[good], curve.power[good], color=colour, linewidth=1.6, label=label)
    axis.axvline(limit, color=FAINT, linewidth=1, linestyle=":")
    axis.annotate(
        "limit of the input's pixels", (limit, 0.98), xycoords=("data", "axes fraction"), rotation=90,
        ha="right", va="top", fontsize=8, color=INK,
    )  # fmt: skip
    unit = curves[0][1].unit
    axis.set(xlabel="spatial frequency, cycles per input pixel", ylabel=f"power, {unit}" if unit else "power")
    axis.set_xlim(left=0)
    _legend(axis)
    return themed(
        drawn, "spectrum", "Radial power spectra", f"Power against spatial frequency of {_names(curves)}."
    )


def correlation(found: Mapping[str, Any], title: str) -> str:
    """A ring correlation with both thresholds.

    Parameters
    ----------
    found : mapping
        ``frequencies`` (cycles per input pixel), ``correlation``, ``half_bit``; perhaps ``coarse_limit``.
    title : str
    """
    drawn, axis = figure()
    f = np.array(found["frequencies"], float)
    axis.plot(f, _values(found["correlation"]), color=FIRST, linewidth=1.6, label="correlation")
    axis.axhline(1 / 7, color=SECOND, linewidth=1, label="1/7")
    if found.get("half_bit"):
        axis.plot(f, _values(found["half_bit"]), color=SECOND, linewidth=1, linestyle="--", label="half bit")
    limit = found.get("coarse_limit", 0.5)
    axis.axvline(limit, color=FAINT, linewidth=1, linestyle=":", label="limit of the coarse pixels")
    axis.set(xlabel="spatial frequency, cycles per input pixel", ylabel="correlation", ylim=(-0.2, 1.05))
    axis.set_xlim(0, float(f.max()) if f.size else 1)
    _legend(axis)
    return themed(
        drawn,
        "correlation",
        title,
        "Correlation against spatial frequency, with both thresholds.",
    )


def residual_histogram(values: NDArray, unit: str, noise: float | None = None) -> str:
    """How the consistency residual is spread."""
    good = np.asarray(values, float)[np.isfinite(values)]
    drawn, axis = figure(5.6, 2.4)
    top = float(np.quantile(np.abs(good), 0.999)) if good.size else 0.0
    axis.hist(good, bins=61, range=(-top or -1.0, top or 1.0), color=FIRST, log=True)
    axis.set(xlabel=f"residual, {unit}" if unit else "residual", ylabel="pixels")
    return themed(
        drawn, "residuals", "Histogram of the consistency residual", "Numbers of input pixels by residual."
    )


def _values(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], float)


def _legend(axis: Any) -> None:
    legend = axis.legend(fontsize=8.5, frameon=False)
    for text in legend.get_texts():
        text.set_color(INK)


def _names(curves: Sequence[tuple[str, Any]]) -> str:
    return " and ".join(label for label, _ in curves)
