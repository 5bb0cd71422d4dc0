"""The page about a run: failures first, each with its reason and log; then the outputs with their pages."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sciSR.workflow.batch.filesystem import STATE
from sciSR.workflow.batch.space import in_bytes
from sciSR.workflow.batch.summary import in_time, output_bytes, peak_bytes, row
from sciSR.workflow.batch.summary_scores import score_table, scores
from sciSR.workflow.pipelines.work import ItemResult

if TYPE_CHECKING:
    from sciSR.workflow.pipelines.results import RunResult

MOST_ROWS = 2000
"""Of each table; the JSON document has them all."""
MOST_FILES = 12
"""Linked in one row."""
PICTURES = 2_000_000
"""Characters of all pictures together."""
_SIDE = 96
_PAGE_BYTES = 20_000_000
# The page of a report holds the result as a picture of its own for printing.
_PICTURE = re.compile(rb'<img id="print-after" src="data:image/png;base64,([A-Za-z0-9+/=]{1,4000000})"')


def page(output: Path, run: RunResult) -> str:
    """The page's text: one file that asks nobody for anything and needs no script.

    Parameters
    ----------
    output : Path
        The folder that the page will lie in; links are relative to it.
    run : RunResult
    """
    from sciSR.report.page_render import render

    failed = [result for result in run.results if not result.ok]
    good = [result for result in run.results if result.ok]
    interrupted = len(run.results) < run.total
    return render(
        "run.html.j2",
        viewer=False,
        name=run.pipeline,
        lead=f"{_count(run.total, 'item')} · {in_time(run.seconds)} · {in_bytes(output_bytes(run))} of outputs",
        mood="bad" if failed else "caution" if interrupted else "good",
        verdict=_verdict(run, failed, interrupted),
        totals=_totals(run),
        failures=[_failed(output, result) for result in failed[:MOST_ROWS]],
        done=list(_done(output, good[:MOST_ROWS])),
        scores=_scores(run),
        steps=_steps(run.results),
        notes=[
            f"{len(some) - MOST_ROWS} more {word} stand in the JSON document only."
            for some, word in ((failed, "that failed"), (good, "that are done"))
            if len(some) > MOST_ROWS
        ],
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _verdict(run: RunResult, failed: Sequence[ItemResult], interrupted: bool) -> str:
    words = []
    if failed:
        words.append(f"{len(failed)} of {_count(run.total, 'item')} failed.")
    if interrupted:
        left = run.total - len(run.results)
        words.append(
            f"The run was interrupted: {left} {'is' if left == 1 else 'are'} left for scisr run --resume."
        )
    return " ".join(words) or f"All {run.total} are done."


def _totals(run: RunResult) -> list[tuple[str, str]]:
    counts = run.counts
    told = [("Done", str(counts["done"]))]
    if counts["skipped"]:
        told.append(("Done before, verified now", str(counts["skipped"])))
    told += [("Failed", str(counts["failed"])), ("Time", in_time(run.seconds))]
    told.append(("Outputs", in_bytes(output_bytes(run))))
    if peak_bytes(run):
        told.append(("Most memory of one item", in_bytes(peak_bytes(run))))
    return told


def _failed(output: Path, result: ItemResult) -> dict[str, Any]:
    error = result.error or {}
    return {
        "item": result.key,
        "said": str(error.get("message") or error.get("kind") or "failed"),
        "step": str(error.get("step") or ""),
        "attempts": result.attempts,
        "log": _log(output, result.key),
    }


def _done(output: Path, results: Sequence[ItemResult]) -> Iterator[dict[str, Any]]:
    """Rows; pictures as long as there is room."""
    room = PICTURES
    for result in results:
        picture = _picture(output, result) if room > 0 else ""
        room -= len(picture)
        files = [{"name": file.path, "link": _link(file.path)} for file in result.outputs[:MOST_FILES]]
        yield {
            **row(result),
            "files": files,
            "warnings": result.warnings[:3],
            "picture": picture,
            "bytes": sum(file.bytes for file in result.outputs),
            "seconds": result.seconds,
            "peak": result.peak_bytes,
            "log": _log(output, result.key),
        }


def _link(path: str) -> str:
    """Relative, so that the folder can move; no text can be another scheme or leave the attribute."""
    return "./" + quote(path.encode("utf-8", "surrogateescape"))


def _log(output: Path, key: str) -> str:
    path = f"{STATE}/logs/{key}.log"
    return _link(path) if (output / path).is_file() else ""


def _picture(output: Path, result: ItemResult) -> str:
    """The result's picture from the item's report page, reduced; empty where there is none."""
    for file in result.outputs:
        if file.path.endswith(".html") and file.bytes < _PAGE_BYTES:
            try:
                found = _PICTURE.search((output / file.path).read_bytes())
                return "" if found is None else _reduced(base64.b64decode(found[1]))
            except (OSError, ValueError):
                return ""
    return ""


def _reduced(png: bytes) -> str:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as whole:
            small = whole.convert("L")
    except (SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("no picture of ours") from error
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _scores(run: RunResult) -> dict[str, Any]:
    """Means over the items, a row a branch; empty where nothing was evaluated."""
    head, body = score_table(scores(run.results))
    return {"head": head, "body": body} if head else {}


def _steps(results: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """How long each step took."""
    times: dict[str, list[float]] = {}
    for result in results:
        for step in result.steps:
            times.setdefault(str(step["id"]), []).append(float(step["seconds"]))
    return [
        {
            "step": step,
            "items": len(seconds),
            "median": median(seconds),
            "longest": max(seconds),
            "median_text": in_time(median(seconds)),
            "longest_text": in_time(max(seconds)),
        }
        for step, seconds in sorted(times.items())
    ]
