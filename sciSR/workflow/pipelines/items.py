"""Items: what a pipeline works on, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sciSR.errors import SciSRError


@dataclass(frozen=True)
class Item:
    """One thing to work on: a file, a DICOM series, or frames that belong together.

    Attributes
    ----------
    key : str
        Names it in ledger, logs and summary: the same in every run over the same folder, unlike every other's, fit for
        a file name, and without a patient's name.
    files : tuple of Path
        Sorted; the files of a DICOM series.
    facts : mapping of str to str
        What templates and overrides may speak of: ``stem``, ``suffix``, ``folder``; BIDS entities; header keys that
        the inputs filter or group by.
    sequence : bool
        Whether the files are exposures or stacks of one thing, to be registered and fused.
    problem : SciSRError or None
        Why it can't be worked on; it then fails by name, and the others go on.
    """

    key: str
    files: tuple[Path, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    sequence: bool = False
    problem: SciSRError | None = None
