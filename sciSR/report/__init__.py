"""What a person looks at after a run: pictures and pages, self-contained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciSR.report.page import write_page as write_page


def __getattr__(name: str) -> object:
    if name == "write_page":  # the templates' libraries come with the first page
        from sciSR.report.page import write_page

        return write_page
    raise AttributeError(f"module 'sciSR.report' has no attribute {name!r}")
