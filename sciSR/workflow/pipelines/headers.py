"""What the headers of files say, asked of the formats; for filters, groups and names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sciSR.errors import SciSRError, UnreadableError
from sciSR.plugins import adapter_for


def header_facts(path: Path) -> tuple[Mapping[str, str], SciSRError | None]:
    """Facts of one file, or why its headers can't be read; neither of a format that tells none.

    See ``facts`` of :class:`sciSR.adapter.Adapter`.
    """
    try:
        adapter = adapter_for(path)
        tell = getattr(adapter, "facts", None)
        return ({} if tell is None else {str(k): str(v) for k, v in tell(path).items()}), None
    except SciSRError as problem:
        return {}, problem
    except Exception as error:  # a stranger's format that breaks its promise stops nobody else's file
        what = f"its headers can't be read: {type(error).__name__}: {error}"
        return {}, UnreadableError(what[:300], where=path)
