"""A comparison as text: one table, the best of each column marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sciSR.comparison.halves import HalfSets
from sciSR.comparison.resolving import ALL
from sciSR.comparison.result import Comparison, Measure, PartComparison, Row
from sciSR.metrics.resolution import THRESHOLDS

MARK = "*"


def render(comparison: Comparison, width: int = 100, markdown: bool = False) -> str:
    """All parts, each with its table and what must be known to read it.

    Parameters
    ----------
    comparison : Comparison
    width : int
        Of the terminal: what does not fit beside goes below. Markdown is not folded.
    markdown : bool
    """
    return "\n\n".join(_part(part, width, markdown) for part in comparison.parts)


def _part(part: PartComparison, width: int, markdown: bool) -> str:
    names = short_names([row.name for row in part.rows])
    columns = [_column(part, measure) for measure in part.measures]
    shown = [column for column in columns if any(cell != "-" for cell in column[1:])]
    heads = ["image", *names]
    lines = [f"truth: {part.truth} ({part.domain})"]
    if markdown:
        cells = [heads, *shown]
        lines.append("| " + " | ".join(column[0] for column in cells) + " |")
        lines.append("|---" + "|---:" * len(shown) + "|")
        lines += ["| " + " | ".join(column[k + 1] for column in cells) + " |" for k in range(len(names))]
        lines = [lines[0], "", *lines[1:], ""]
    else:
        for group in _folded(heads, shown, width):
            lines += ["", *_aligned([heads, *group])]
        lines.append("")
    dash = "- " if markdown else "  "
    lines += [f"{dash}{note}" for note in part.notes]
    lines += [
        f"{dash}{name}: {note}" for name, row in zip(names, part.rows, strict=True) for note in row.notes
    ]
    if len(part.rows) > 1:
        lines.append(f"{dash}{MARK} best")
    return "\n".join(lines)


def _column(part: PartComparison, measure: Measure) -> list[str]:
    best = part.best(measure)
    head = f"{measure.heading} {measure.unit}".strip()
    return [head, *(_cell(row, measure, row.name in best) for row in part.rows)]


def _cell(row: Row, measure: Measure, best: bool) -> str:
    score = row.scores.get(measure.key)
    if score is None or math.isnan(score.value):
        return "-"
    text = number(score.value, measure.decimals)
    if score.spread is not None and math.isfinite(score.spread):
        text += f" ± {number(score.spread, measure.decimals)}"
    return text + (MARK if best else "")


def number(value: float, decimals: int | None) -> str:
    """Fixed decimals, or four significant digits."""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"


def _folded(heads: list[str], columns: Sequence[list[str]], width: int) -> list[list[list[str]]]:
    """Columns in groups that fit beside the names."""
    groups: list[list[list[str]]] = [[]]
    left = first = max(map(len, heads))
    for column in columns:
        need = 3 + max(map(len, column))
        if groups[-1] and left + need > width:
            groups.append([])
            left = first
        groups[-1].append(column)
        left += need
    return groups


def _aligned(columns: Sequence[list[str]]) -> list[str]:
    padded = [[cell.ljust(max(map(len, columns[0]))) for cell in columns[0]]]
    padded += [_right(column) for column in columns[1:]]
    return ["  ".join(column[k] for column in padded).rstrip() for k in range(len(columns[0]))]


def _right(column: Sequence[str]) -> list[str]:
    """Right-aligned; where some are marked, with room for the mark, so that the digits stand below each other."""
    marked = any(cell.endswith(MARK) for cell in column)
    cells = [column[0], *(cell if not marked or cell.endswith(MARK) else cell + " " for cell in column[1:])]
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def short_names(names: Sequence[str]) -> list[str]:
    """The files' names alone where these tell them apart, else with their folders."""
    short = [Path(name).name for name in names]
    return short if len(set(short)) == len(short) else list(names)


def render_halves(found: Sequence[HalfSets]) -> str:
    """The resolution of each part, one line for each direction."""
    lines = []
    for part in found:
        lines.append(f"{part.a} and {part.b}: {part.resolved.kind} correlation of {part.resolved.where}")
        for direction, curve in part.resolved.curves.items():
            told = curve["resolution"]
            words = [
                f"{t}: {_period(told[t], part.resolved.length_unit, 0.5 / curve['limit'])}"
                for t in THRESHOLDS
            ]
            name = {ALL: "all directions"}.get(direction, f"along {direction}") + ": "
            lines.append(f"  {name if len(part.resolved.curves) > 1 else ''}resolution {'; '.join(words)}")
        lines += [f"  {note}" for note in part.notes]
    return "\n".join(lines)


def _period(told: Mapping[str, Any], unit: str, pixel: float) -> str:
    period = told["period"]
    if period is None:
        return "none (the halves have nothing in common)"
    text = f"{period:.4g} {unit}{'s' if unit == 'pixel' else f' = {period / pixel:.3g} pixels'}"
    if told["reached_end"]:
        text += " or finer (the pixel's own limit)"
    if told["rises_again"]:
        text += " (the curve rises again: what lies beyond is most likely an artefact)"
    return text
