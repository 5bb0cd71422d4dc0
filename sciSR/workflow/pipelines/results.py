"""What a run will do, and what became of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import SciSRError
from sciSR.workflow.pipelines.work import ItemResult, Task

if TYPE_CHECKING:
    from sciSR.workflow.pipelines.estimates import Estimate

SOME_FAILED = 4


def failure(key: str, error: SciSRError, step: str = "") -> ItemResult:
    """The result of an item that could not be worked on."""
    told = {
        "kind": type(error).__name__,
        "message": str(error),
        "exit_code": error.exit_code,
        "step": step,
    }
    return ItemResult(key, "failed", error=told)


@dataclass(frozen=True)
class Planned:
    """One item of a plan.

    Attributes
    ----------
    task : Task
    estimate : Estimate or None
        None for what is done, or fails.
    why : str
        ``"done"``, ``"new"``, what changed, or why it will fail.
    failing : bool
    """

    task: Task
    estimate: Estimate | None
    why: str
    failing: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "key": self.task.key,
            "files": len(self.task.files),
            "steps": [node.id for node in self.task.nodes],
            "state": "fails" if self.failing else "done" if self.why == "done" else "to do",
            "why": self.why,
            "estimate": None if self.estimate is None else dataclasses.asdict(self.estimate),
        }


@dataclass(frozen=True)
class RunPlan:
    """What a run would do."""

    pipeline: str
    input: Path
    output: Path
    items: tuple[Planned, ...]

    @property
    def todo(self) -> tuple[Planned, ...]:
        """The items that would be worked on."""
        return tuple(item for item in self.items if item.estimate is not None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        estimates = [item.estimate for item in self.todo if item.estimate is not None]
        return {
            "pipeline": self.pipeline,
            "input": str(self.input),
            "output": str(self.output),
            "items": [item.as_dict() for item in self.items],
            "total": {
                "items": len(self.items),
                "to_do": len(self.todo),
                "output_bytes": sum(each.output_bytes for each in estimates),
                "peak_bytes": max((each.peak_bytes for each in estimates), default=0),
                "seconds": sum(each.seconds for each in estimates),
            },
        }


@dataclass(frozen=True)
class RunResult:
    """What became of a run.

    Attributes
    ----------
    pipeline : str
    input, output : Path
    results : tuple of ItemResult
        In the order of the items; fewer than `total` after an interruption.
    seconds : float
    total : int
        Items that there were.
    files : tuple of Path
        The summaries.
    """

    pipeline: str
    input: Path
    output: Path
    results: tuple[ItemResult, ...]
    seconds: float
    total: int = 0
    files: tuple[Path, ...] = ()

    def with_files(self, files: Sequence[Path]) -> RunResult:
        """The same with the summaries' paths."""
        return dataclasses.replace(self, files=tuple(files))

    @property
    def failures(self) -> tuple[ItemResult, ...]:
        """The items that failed."""
        return tuple(result for result in self.results if not result.ok)

    @property
    def exit_code(self) -> int:
        """0; 4 if some failed; the item's own code if there is one item only."""
        failures = self.failures
        if not failures:
            return 0
        error: Mapping[str, Any] = failures[0].error or {}
        return int(error.get("exit_code", 3)) if self.total == 1 else SOME_FAILED

    @property
    def counts(self) -> dict[str, int]:
        """Of each status how many."""
        return {
            status: sum(result.status == status for result in self.results)
            for status in ("done", "skipped", "failed")
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pipeline": self.pipeline,
            "input": str(self.input),
            "output": str(self.output),
            "total": self.total,
            **self.counts,
            "seconds": round(self.seconds, 3),
            "exit_code": self.exit_code,
            "files": [str(path) for path in self.files],
            "results": [result.as_dict() for result in self.results],
        }
