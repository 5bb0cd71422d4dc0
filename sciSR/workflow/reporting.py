"""Pages about outputs: of one pair, of each output of a run, and an index of a folder."""

from __future__ import annotations

import logging
import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.errors import SciSRError, SciSRWarning
from sciSR.files import check_output
from sciSR.workflow.outputs import Job
from sciSR.workflow.run import Failure, Outcome, Skipped

log = logging.getLogger(__name__)

FAILED = 4
"""Exit code where outputs were written but not all pages about them."""


def check_pages(jobs: Sequence[Job], *, overwrite: bool = False) -> list[Job]:
    """The jobs, those whose page can't be written with that problem: said before any work is done."""
    from sciSR.report.page import default_page

    out = []
    for job in jobs:
        if job.problem is None and job.output is not None:
            try:
                page = default_page(job.output)
                if page.parent.is_dir():  # an output folder may only be made later
                    check_output(page, overwrite=overwrite)
            except SciSRError as problem:
                job = replace(job, problem=problem)
        out.append(job)
    return out


def with_page(
    outcome: Outcome,
    job: Job,
    *,
    arguments: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Outcome:
    """The outcome with the page about it, beside the output.

    A page that can't be made is a warning: the output is finished and stays. ``report`` is then None.

    Parameters
    ----------
    outcome : Outcome
    job : Job
        What it came from.
    arguments : sequence of str, optional
        The command line, for the page.
    overwrite : bool
    """
    from sciSR.report.page import write_page

    writing = {o.name for a in (job.adapter, job.writer) if a is not None for o in a.options if o.writes}
    options = {name: value for name, value in job.options.items() if name not in writing}
    read = {"step": "read", "input_sha256": outcome.input_sha256}
    record = (read, outcome.parts[0].step)
    command = None if not arguments else shown_command(arguments, outcome)
    try:
        page = write_page(
            outcome.input,
            outcome.output,
            command=command,
            record=record,
            options=options,
            overwrite=overwrite,
        )
    except SciSRError as error:
        _warn(outcome, str(error))
    except Exception as error:
        if os.environ.get("SCISR_DEBUG", "") not in ("", "0"):
            raise
        log.debug("unexpected", exc_info=True)
        _warn(outcome, f"unexpected {type(error).__name__}; SCISR_DEBUG=1 shows where")
    else:
        return replace(outcome, report=page)
    return outcome


def _warn(outcome: Outcome, reason: str) -> None:
    warnings.warn(
        f"{outcome.output}: is finished, but the page about it could not be made: {reason}",
        SciSRWarning,
        stacklevel=3,
    )


def exit_code_with_pages(results: Sequence[Outcome | Failure | Skipped], code: int) -> int:
    """`code`, or 4 where all outputs were written but not all pages."""
    missing = any(isinstance(result, Outcome) and result.report is None for result in results)
    return FAILED if missing and code == 0 else code


def shown_command(arguments: Sequence[str], outcome: Outcome) -> str:
    """The command line as a page may show it: files of medical formats by the names that records give them.

    Folders, which may name a patient or a user, are left out of the names of files.
    """
    from sciSR.workflow.stack_names import record_name

    words = []
    for word in arguments:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = Path(value)
        if value and (os.sep in value or path.exists()) and not value.startswith("-"):
            known = path.resolve() in (outcome.input.resolve(), outcome.output.resolve())
            value = record_name(path) if known or path.exists() else path.name
        words.append(f"{option}{equals}{value}")
    return shlex.join(["scisr", *words])


def report_pair(
    input: Path | str | None, output: Path | str, page: Path | str | None = None, **settings: Any
) -> Path:
    """The page of one pair; see :func:`sciSR.report.page.write_page`."""
    from sciSR.report.page import write_page

    return write_page(input, output, page, **settings)


def report_folder(
    folder: Path | str,
    page: Path | str | None = None,
    *,
    inputs: Path | str | None = None,
    overwrite: bool = False,
    options: Mapping[str, Any] | None = None,
) -> tuple[Path, list[dict[str, Any]]]:
    """An index of a folder's outputs, and a page for each beside it; see :func:`sciSR.report.index.write_index`."""
    from sciSR.report.index import write_index

    return write_index(Path(folder), page, inputs=inputs, overwrite=overwrite, options=options)


def is_folder_of_outputs(path: Path) -> bool:
    """A folder that is not itself one output (a DICOM series); several series in folders of their own are several."""
    if not path.is_dir():
        return False
    whole = _format_of(path)
    if whole is None:
        return True
    found = 0
    for child in sorted(path.iterdir()):
        if child.name.startswith("."):
            continue
        own = _format_of(child)
        if own is whole and not child.is_dir():
            return False
        found += own is not None
    return found > 1


def _format_of(path: Path) -> Adapter | None:
    from sciSR.plugins import adapter_for

    try:
        return adapter_for(path)
    except SciSRError:
        return None
