"""What became of a run: rows for a terminal, a JSON document, and a page."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import ResourceError, UsageError
from sciSR.files import atomic_output
from sciSR.workflow.batch.ledger_shards import LEDGER
from sciSR.workflow.batch.space import in_bytes
from sciSR.workflow.batch.summary_scores import scores
from sciSR.workflow.pipelines.work import ItemResult

if TYPE_CHECKING:
    from sciSR.workflow.batch.ledger import Ledger
    from sciSR.workflow.pipelines.results import RunResult

NOTICE = "Research use only, not for diagnosis"


def check_summary(output: Path, ledger: Ledger) -> None:
    """Refuse before any work what :func:`write_summary` could not write after it.

    Raises
    ------
    UsageError
        A file of its name is none of ours.
    """
    for target in _targets(output, ledger):
        if os.path.lexists(target) and not _is_ours(target):
            raise UsageError(
                "is no summary of a run, which is to have its name", where=target, remedy="move it away"
            )


def _targets(output: Path, ledger: Ledger | None) -> tuple[Path, Path]:
    stem = "summary" if ledger is None else ledger.path.stem.replace(LEDGER, "summary", 1)
    return output / f"{stem}.json", output / f"{stem}.html"


def write_summary(
    output: Path, run: RunResult, ledger: Ledger | None = None, *, ended: BaseException | None = None
) -> list[Path]:
    """Write ``summary.json`` and ``summary.html`` into the output folder, each at once or not at all.

    A shard's are called ``summary-3-of-64.json`` and so on, so that shards do not replace each other's. Summaries of
    earlier runs are replaced; a file of such a name that is none of ours is not.

    Parameters
    ----------
    output : Path
    run : RunResult
        Also of a run that was interrupted.
    ledger : Ledger, optional
        Of the run.
    ended : exception, optional
        What ended the run. It is what will be said then, not that there was no room for the summary of it.

    Returns
    -------
    list of Path

    Raises
    ------
    SciSRError
        The disk is full, say.
    """
    from sciSR.workflow.batch.summary_page import page

    document = json.dumps(summary(run), indent=1, ensure_ascii=False, default=str) + "\n"
    made = []
    for target, text in zip(_targets(output, ledger), (document, page(output, run)), strict=True):
        try:
            _write(target, text)
        except ResourceError as error:
            if ended is not None:
                break
            remedy = "free some space and run again with --resume; what is done stays done"
            raise ResourceError(error.what, where=target, remedy=remedy) from error
        made.append(target)
    return made


def _write(target: Path, text: str) -> None:
    # What a run has left that was killed as it wrote.
    for left in target.parent.glob(f".{target.name}.????????.tmp"):
        with contextlib.suppress(OSError):
            left.unlink()
    with atomic_output(target, overwrite=_is_ours(target)) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _is_ours(target: Path) -> bool:
    """Whether a file that is there is a summary of an earlier run, by its first lines."""
    if target.is_symlink() or not target.is_file():
        return False
    with open(target, "rb") as stream:
        head = stream.read(4000)
    return b'"software": "sciSR ' in head or b'name="generator" content="sciSR ' in head


def summary(run: RunResult) -> dict[str, Any]:
    """The JSON document: totals, then every item, failures first."""
    from sciSR import __version__

    return {
        "software": f"sciSR {__version__}",
        "notice": NOTICE,
        "pipeline": run.pipeline,
        "output": run.output.name,
        "total": run.total,
        **run.counts,
        "interrupted": len(run.results) < run.total,
        "seconds": round(run.seconds, 3),
        "output_bytes": output_bytes(run),
        "peak_bytes": peak_bytes(run),
        "exit_code": run.exit_code,
        **({"scores": found} if (found := scores(run.results)) else {}),
        "results": [result.as_dict() for result in ordered(run)],
    }


def ordered(run: RunResult) -> list[ItemResult]:
    """Failures first, else in the order of the items."""
    return sorted(run.results, key=lambda result: result.ok)


def output_bytes(run: RunResult) -> int:
    """Of all outputs."""
    return sum(file.bytes for result in run.results for file in result.outputs)


def peak_bytes(run: RunResult) -> int:
    """Of the item that took most memory."""
    return max((result.peak_bytes for result in run.results), default=0)


def table(run: RunResult) -> list[dict[str, str]]:
    """Rows for a terminal, failures first: item, state, outputs, size, time, memory, what was said."""
    return [row(result) for result in ordered(run)]


def row(result: ItemResult) -> dict[str, str]:
    """One item in words."""
    error = result.error or {}
    return {
        "item": result.key,
        "state": {"skipped": "already done"}.get(result.status, result.status),
        "outputs": str(len(result.outputs)),
        "size": in_bytes(sum(file.bytes for file in result.outputs)) if result.outputs else "",
        "time": in_time(result.seconds) if result.seconds else "",
        "memory": in_bytes(result.peak_bytes) if result.peak_bytes else "",
        "said": str(error.get("message", "")) or "; ".join(result.warnings[:1]),
    }


def in_time(seconds: float) -> str:
    """``"0.4 s"``, ``"12 min"``, ``"3.5 h"``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
