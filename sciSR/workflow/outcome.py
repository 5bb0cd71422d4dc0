"""What became of each input: JSON-ready records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.errors import NothingToDo, SciSRError


@dataclass(frozen=True)
class PartOutcome:
    """What happened to one image of a file.

    Attributes
    ----------
    part : str
        ``"SCI"``; empty where a file holds one image.
    shape_in, shape_out : tuple of int
        In the order of the data's axes.
    step : mapping
        The provenance record: model, weights, scale, quantity, consistency, measured agreement.
    messages : tuple of str
        What was decided on the way, and why.
    """

    part: str
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    step: Mapping[str, Any]
    messages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "shape_in": list(self.shape_in),
            "shape_out": list(self.shape_out),
            **{key: value for key, value in self.step.items() if key not in ("software", "step")},
            "messages": list(self.messages),
        }


@dataclass(frozen=True)
class Outcome:
    """One file upscaled: a JSON-ready record; `uncertainty` names the files with standard deviations.

    `report` is the page about it, where one was asked for and could be made.
    """

    input: Path
    output: Path
    format: str
    input_sha256: str
    parts: tuple[PartOutcome, ...]
    warnings: tuple[str, ...]
    seconds: float
    uncertainty: tuple[Path, ...] = ()
    report: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "input": str(self.input),
            "output": str(self.output),
            "ok": True,
            "format": self.format,
            "input_sha256": self.input_sha256,
            "parts": [part.as_dict() for part in self.parts],
            "uncertainty_files": [str(path) for path in self.uncertainty],
            **({} if self.report is None else {"report": str(self.report)}),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Failure:
    """One file refused or failed: nothing was written for it."""

    input: Path
    error: SciSRError

    @property
    def exit_code(self) -> int:
        return self.error.exit_code

    def as_dict(self) -> dict[str, Any]:
        return {"input": str(self.input), "ok": False, "error": str(self.error), "exit_code": self.exit_code}


@dataclass(frozen=True)
class Skipped:
    """One file that needed nothing done: nothing was written for it."""

    input: Path
    reason: NothingToDo

    def as_dict(self) -> dict[str, Any]:
        return {"input": str(self.input), "output": None, "ok": True, "skipped": str(self.reason)}
