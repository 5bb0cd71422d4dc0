"""Elements of a DICOM header as plain Python values, with errors that name the element."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sciSR.errors import UnreadableError

_NUMERIC = re.compile(r"[-+.,0-9eE ]{0,20}|[-+]?(nan|inf)", re.IGNORECASE)


def _quoted(raw: Any) -> str:
    """A value as messages show it: only what looks like a number, since a shifted header has anything anywhere."""
    text = str(raw)
    return f": {text!r}" if _NUMERIC.fullmatch(text) and sum(map(str.isdigit, text)) < 6 else ""


@cache
def _tag(keyword: str) -> Any:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return Tag(tag_for_keyword(keyword))


class Values:
    """Elements of a header as plain Python values, with errors that name the element."""

    def __init__(self, path: Any, header: Any) -> None:
        self.path, self.header = path, header

    @property
    def where(self) -> Path | str:
        """What errors name."""
        return self.path

    def _raw(self, keyword: str) -> list[Any]:
        try:
            element = self.header.get(_tag(keyword))  # by tag: the way by keyword takes five times as long
            value = None if element is None else element.value
        except Exception as error:
            raise UnreadableError(
                f"{keyword} can't be decoded ({type(error).__name__})", where=self.where
            ) from error
        if value is None or value == "" or value == b"":
            return []
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]

    def text(self, keyword: str) -> str:
        raw = self._raw(keyword)
        return str(raw[0]).strip() if raw else ""

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(str(v).strip() for v in self._raw(keyword))

    def number(self, keyword: str, default: float | None = None) -> Any:
        raw = self._raw(keyword)
        return default if not raw else self._float(keyword, raw[0])

    def integer(self, keyword: str, default: int | None = None) -> Any:
        number = self.number(keyword)
        return default if number is None else int(number)

    def floats(self, keyword: str, count: int) -> tuple[float, ...] | None:
        raw = self._raw(keyword)
        if not raw:
            return None
        if len(raw) != count:
            raise UnreadableError(f"{keyword} holds {len(raw)} numbers, not {count}", where=self.where)
        return tuple(self._float(keyword, v) for v in raw)

    def _float(self, keyword: str, raw: Any) -> float:
        try:
            number = float(raw)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UnreadableError(f"{keyword} is no number{_quoted(raw)}", where=self.where)
        return number
