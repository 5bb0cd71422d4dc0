"""Tables as text: aligned columns for a terminal, Markdown for documents."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sciSR.evaluation.table import COLUMNS, Summary, Table

Cells = list[list[str]]


def number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with so many decimals; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def spread(summary: Summary, digits: int, *, sign: bool = False) -> str:
    """``mean ± standard error``."""
    mean = number(summary.mean, digits, sign=sign)
    return mean if math.isnan(summary.se) else f"{mean} ± {summary.se:.{digits}f}"


def means(table: Table) -> Cells:
    """One line a method: all measures' means with their standard errors, parameters, gain over the best classical
    method."""
    lines = [
        [
            "method",
            *(COLUMNS[key].heading for key in table.measures),
            "parameters",
            "gain dB",
            "least gain dB",
        ]
    ]
    for name, info in table.methods.items():
        cells = [
            number(table.mean(name, key).mean, 2)
            if key == "s_per_mpix"
            else spread(table.mean(name, key), COLUMNS[key].digits)
            for key in table.measures
        ]
        gain = table.gain(name)
        gains = (
            ["", ""]
            if info.kind == "classical"
            else [spread(gain, 2, sign=True), number(gain.least, 2, sign=True)]
        )
        lines.append([name, *cells, f"{info.parameters:,}" if info.parameters else "", *gains])
    return lines


def image(table: Table, name: str) -> Cells:
    """One line a method: its scores on one image."""
    lines = [["method", *(COLUMNS[key].heading for key in table.measures), "gain dB"]]
    for method, scores in table.rows[name].items():
        cells = [number(scores.get(key, math.nan), COLUMNS[key].digits) for key in table.measures]
        is_classical = table.methods[method].kind == "classical"
        gain = math.nan if is_classical else table.gain(method).files.get(name, math.nan)
        lines.append([method, *cells, "" if is_classical else number(gain, 2, sign=True)])
    return lines


def gains(table: Table) -> Cells:
    """One line an image, one column a network: its gain over the best classical method, which stands beside it."""
    networks = [*table.of_kind("oracle"), *table.of_kind("trained")]
    lines = [["image", "best classical", "PSNR dB", *networks]]
    found = {method: table.gain(method) for method in networks}
    for name, row in table.rows.items():
        best = table.best(name)
        level = "-" if best is None else number(row[best]["psnr"], 2)
        cells = [number(found[method].files.get(name, math.nan), 2, sign=True) for method in networks]
        lines.append([name, best or "-", level, *cells])
    for word in ("mean", "median", "least"):
        cells = [number(getattr(found[method], word), 2, sign=True) for method in networks]
        lines.append([word, "", "", *cells])
    return lines


def title(table: Table) -> str:
    """The protocol and how much is counted."""
    count = len(table.counted)
    return f"{table.name} x{table.scale}: {count} image{'' if count == 1 else 's'}"


def plain(cells: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = []
    for name, *values in cells:
        words = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *words]).rstrip())
    return "\n".join(lines)


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    head, *lines = cells
    rule = "|---" + "|---:" * (len(head) - 1) + "|"
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])


def report(table: Table, style: str = "plain", *, images: bool = False) -> str:
    """Means of all methods, then the networks' gains image by image.

    Parameters
    ----------
    table : Table
    style : {"plain", "markdown"}
    images : bool
        All scores of every image before that.
    """
    draw = markdown if style == "markdown" else plain
    parts = [title(table)]
    if images:
        parts += [f"{name}\n{draw(image(table, name))}" for name in table.rows]
        parts.append("Means and their standard errors:")
    parts.append(draw(means(table)))
    if len(table.rows) > 1 and (table.of_kind("trained") or table.of_kind("oracle")):
        parts += ["Gain over the best classical method in each image, dB of PSNR:", draw(gains(table))]
    if skipped := [name for name in table.left_out if name in table.rows]:
        parts.append(f"Not counted in the means: {', '.join(skipped)}.")
    return "\n\n".join(parts)
