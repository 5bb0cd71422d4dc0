"""Writes the tables of docs/pipeline-steps.md from the steps' own docstrings: ``python docs/pipeline_steps.py``."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from sciSR.workflow.pipelines.registry import Step, described, steps

PAGE = Path(__file__).with_name("pipeline-steps.md")
ORDER = (
    "read", "calibrate", "register", "fuse", "upscale", "isotropic", "degrade", "evaluate", "verify", "report", "write",
)  # fmt: skip
TAKES = {
    "read": ("the item", "the same, with options for reading it"),
    "calibrate": ("raw frames, or one", "frames that are calibrated as they are read, or a calibrated one"),
    "register": ("frames", "the same, with their places; stacks as they are"),
    "fuse": ("frames, or stacks of slices", "one image with its error; contact sheet"),
    "upscale": ("one file", "one file on finer pixels; its standard deviation if asked for"),
    "isotropic": ("a volume", "an isotropic volume; its standard deviation if asked for"),
    "degrade": ("one file", "one file on coarser pixels"),
    "evaluate": ("one file", "the same; `NAME_scores.json`"),
    "verify": ("one file and what it was made from", "the same, or the item fails"),
    "report": ("one file and what it was made from", "the same; `NAME.html`"),
    "write": ("one file", "the same under its name in the output folder"),
}


def tables() -> str:
    """One section a step: what it takes and gives, its parameters with types, defaults and texts."""
    known = steps()
    return "\n\n".join(_section(known[name]) for name in ORDER)


def _section(step: Step) -> str:
    takes, gives = TAKES[step.name]
    summary = step.summary.replace("``", "`").split(" Research use")[0]
    lines = [f"### {step.name}", "", f"{summary}", "", f"Takes {takes}; gives {gives}."]
    parameters = list(inspect.signature(step.function).parameters.values())[1:]
    if not parameters:
        return "\n".join(lines)
    told = described(step.function.__doc__ or "")
    hints = get_type_hints(step.function, include_extras=True)
    lines += ["", "| parameter | value | default | meaning |", "|---|---|---|---|"]
    for each in parameters:
        default = "required" if each.default is each.empty else _value(each.default)
        text = re.sub(r"`{1,2}", "", told.get(each.name, "")).replace("|", "\\|")
        lines.append(f"| `{each.name}` | {_kind(hints[each.name])} | {default} | {text} |")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _kind(hint: Any) -> str:
    """A type in words: ``float``, ``auto, block, none``, ``str or list of str``."""
    if get_origin(hint) is Annotated:
        marks = [getattr(mark, "__class__", type(mark)).__name__ for mark in hint.__metadata__]
        named = {"InputPathMark": "path", "StepNameMark": "name of a step"}
        return next((named[mark] for mark in marks if mark in named), _kind(get_args(hint)[0]))
    if get_origin(hint) is Literal:
        return ", ".join(str(each) for each in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(each) for each in get_args(hint) if each is not type(None)))
    if get_origin(hint) is list:
        return f"list of {_kind(get_args(hint)[0])}"
    return {"str": "text", "int": "number", "float": "number", "bool": "yes or no"}.get(
        hint.__name__, str(hint)
    )


def page() -> str:
    """The whole page, its tables made anew."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    tail = rest.partition("<!-- end of tables -->")[2]
    return f"{head}<!-- tables -->\n\n{tables()}\n\n<!-- end of tables -->{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
