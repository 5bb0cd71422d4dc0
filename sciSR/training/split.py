"""Which files train and which are held out: by subject or sky field, never by patch."""

from __future__ import annotations

import re
from pathlib import Path

_SUBJECT = re.compile(r"(?i)^(?:sub|subj|subject|patient|pat|case|id|p|s)-?\d+[a-z]?$")


def name_group(path: Path, pattern: str | None = None) -> str:
    """Subject of a file by its path.

    The first group of `pattern` if it is given and fits; else BIDS's ``sub-<label>`` anywhere in the path; else the
    first part of the name (parts end at ``_``, ``-`` or blanks) that reads like a subject's number (``p01``,
    ``patient7``); else the name up to its first part with a digit: ``studyforrest_7T_T1.nii.gz`` gives
    ``studyforrest_7T``. Coarse on purpose: files that may belong together must not be parted.
    """
    if pattern is not None and (match := re.search(pattern, path.as_posix())):
        return match[1] if match.re.groups else match[0]
    if match := re.search(r"(?:^|[/_])sub-([0-9A-Za-z]+)", path.as_posix()):
        return f"sub-{match[1]}"
    parts = [part for part in re.split(r"[_\-\s]+", path.name.split(".")[0]) if part]
    for part in parts:
        if _SUBJECT.match(part):
            return part.lower()
    for end, part in enumerate(parts, start=1):
        if re.search(r"\d", part):
            return "_".join(parts[:end])
    return path.name.split(".")[0]
