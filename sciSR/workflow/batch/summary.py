"""What became of a run: rows for a terminal, a JSON document, and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.files import atomic_output
from sciSR.workflow.batch.space import in_bytes
from sciSR.workflow.pipelines.work import ItemResult

if TYPE_CHECKING:
    from sciSR.workflow.batch.ledger import Ledger
    from sciSR.workflow.pipelines.results import RunResult

NOTICE = "Research use only, not for diagnosis"
JSON_NAME = "summary.json"
PAGE_NAME = "summary.html"


def write_summary(output: Path, run: RunResult, ledger: Ledger | None = None) -> list[Path]:
    """Write ``summary.json`` and ``summary.html`` into the output folder, each at once or not at all.

    Parameters
    ----------
    output : Path
    run : RunResult
        Also of a run that was interrupted.
    ledger : Ledger, optional
        What it knows of items that are not among the run's results, of other shards or earlier runs, is added.

    Returns
    -------
    list of Path

    Raises
    ------
    SciSRError
        The disk is full, say.
    """
    document = summary(run, ledger)
    target = output / JSON_NAME
    with atomic_output(target, overwrite=True) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False, default=str)
        temporary.write_text(text, encoding="utf-8")
    return [target]


def summary(run: RunResult, ledger: Ledger | None = None) -> dict[str, Any]:
    """The JSON document: totals, then every item."""
    from sciSR import __version__

    results = list(run.results)
    return {
        "software": f"sciSR {__version__}",
        "notice": NOTICE,
        "pipeline": run.pipeline,
        "output": run.output.name,
        "total": run.total,
        "done": sum(result.status == "done" for result in results),
        "skipped": sum(result.status == "skipped" for result in results),
        "failed": sum(result.status == "failed" for result in results),
        "interrupted": len(results) < run.total,
        "seconds": round(run.seconds, 3),
        "output_bytes": sum(file.bytes for result in results for file in result.outputs),
        "exit_code": run.exit_code,
        "results": [result.as_dict() for result in results],
    }


def table(run: RunResult) -> list[dict[str, str]]:
    """Rows for a terminal, failures first: item, state, outputs, size, time, memory, what was said."""
    return [row(result) for result in sorted(run.results, key=lambda result: result.ok)]


def row(result: ItemResult) -> dict[str, str]:
    """One item in words."""
    error = result.error or {}
    said = str(error.get("message", "")) or "; ".join(result.warnings[:1])
    return {
        "item": result.key,
        "state": result.status,
        "outputs": str(len(result.outputs)),
        "size": in_bytes(sum(file.bytes for file in result.outputs)) if result.outputs else "",
        "time": f"{result.seconds:.1f} s" if result.seconds else "",
        "memory": in_bytes(result.peak_bytes) if result.peak_bytes else "",
        "said": said,
    }
