"""Values that steps share: judged when the file is read, not by every item."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema


def _scale(value: Any, *, native: bool = False) -> Any:
    from sciSR.errors import UsageError
    from sciSR.inference.choose import parse_scale

    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise UsageError("no scale")
        parse_scale(value, native=native)
    except UsageError:
        lowest = "from 1 to 64" if native else "above 1, at most 64,"
        raise ValueError(
            f"must be a number {lowest} such as 2, 1.5 or '3/2', or '2,3' for rows and columns, not {value!r}"
        ) from None
    return value


_NUMBER = {"type": "number", "minimum": 1, "maximum": 64}
_SCALE = int | float | str
Scale = Annotated[
    _SCALE,
    BeforeValidator(_scale),
    WithJsonSchema({"anyOf": [{**_NUMBER, "exclusiveMinimum": 1}, {"type": "string"}]}),
]
"""A number above 1, or a text such as "3/2" or "2,3"."""
NativeScale = Annotated[
    _SCALE,
    BeforeValidator(lambda value: _scale(value, native=True)),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "string"}]}),
]
"""The same, or 1."""
Tile = Annotated[int, Field(ge=16)]
"""Side of a tile in pixels."""
