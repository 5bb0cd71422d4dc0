"""Finds steps through entry points, and makes of each function's signature what a pipeline file may say."""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from sciSR.plugins import load
from sciSR.workflow.pipelines.config import StepEntry

STEPS = "scisr.steps"


@dataclass(frozen=True)
class Step:
    """A step that pipelines can name.

    Attributes
    ----------
    name : str
        Of the entry point.
    function : callable
        ``function(work, **parameters) -> Product``; see :class:`sciSR.workflow.pipelines.work.Work`.
    entry : type
        The pydantic model of an entry in a file.
    summary : str
        First line of the docstring.
    distribution : str
    """

    name: str
    function: Callable[..., Any]
    entry: type[StepEntry]
    summary: str
    distribution: str


@functools.cache
def steps() -> Mapping[str, Step]:
    """All working steps by name."""
    return {
        plugin.name: step_of(plugin.name, plugin.value, plugin.distribution)
        for plugin in load(STEPS)
        if plugin.error is None
    }


def step_of(name: str, function: Callable[..., Any], distribution: str = "sciSR") -> Step:
    """A step made of a function: its parameters but the first are the keys that a file may give.

    Parameters
    ----------
    name : str
    function : callable
        All parameters but the first have names and annotations.
    distribution : str
    """
    from pydantic import Field, create_model

    hints = get_type_hints(function, include_extras=True)
    told = described(function.__doc__ or "")
    fields: dict[str, Any] = {"step": (Literal[name], Field(description=_first_line(function)))}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        default = ... if parameter.default is parameter.empty else parameter.default
        described_as = Field(default, description=told.get(parameter.name))
        fields[parameter.name] = (hints.get(parameter.name, Any), described_as)
    with warnings.catch_warnings():
        # A parameter may be called 'register', as a method of pydantic's metaclass is: that harms neither.
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
        entry = create_model(
            f"{name.capitalize()}Step", __base__=StepEntry, __doc__=_first_line(function), **fields
        )
    return Step(name, function, entry, _first_line(function), distribution)


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def described(doc: str) -> dict[str, str]:
    """What the section Parameters of a numpydoc docstring says of each."""
    lines = inspect.cleandoc(doc).splitlines()
    try:
        start = next(n for n, line in enumerate(lines) if line == "Parameters") + 2
    except StopIteration:
        return {}
    told: dict[str, list[str]] = {}
    names: list[str] = []
    for number in range(start, len(lines)):
        line = lines[number]
        if number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1]):
            break
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif line.strip():
            for name in names:
                told.setdefault(name, []).append(line.strip())
    return {name: " ".join(text) for name, text in told.items()}
