"""What a pipeline file may say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Scalar = bool | int | float | str
_WORDS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Words = Annotated[
    list[str],
    BeforeValidator(lambda value: [str(each) for each in (value if isinstance(value, list) else [value])]),
    WithJsonSchema(_WORDS_SCHEMA),
]
"""One text or several."""

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_BYTES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def seconds(value: Any) -> Any:
    """``"30 min"`` -> 1800; numbers are seconds."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h|d)?\s*", value)
        if not found:
            raise ValueError("must be a time like 90, '30 min' or '2 h'")
        return float(found[1]) * _UNITS[found[2] or "s"]
    return value


def size(value: Any) -> Any:
    """``"8 GB"`` -> 8e9; numbers are bytes."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]i?B)?\s*", value, flags=re.I)
        if not found:
            raise ValueError("must be a size like '8 GB' or '500 MiB'")
        return int(float(found[1]) * _BYTES.get((found[2] or "").upper(), 1))
    return value


_QUANTITY = {"anyOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0}]}
Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0), WithJsonSchema(_QUANTITY)]
Bytes = Annotated[int, BeforeValidator(size), Field(gt=0), WithJsonSchema(_QUANTITY)]


class Strict(BaseModel):
    """No unknown keys, no changes, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class StepEntry(Strict):
    """One step of a file; its subclasses hold the parameters of the step's function."""

    step: str
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z][\w-]*$",
        description="How overrides and other steps speak of it; the step's own name by default.",
    )

    def parameters(self) -> dict[str, Any]:
        """All parameters, those with their defaults too; JSON-ready."""
        return self.model_dump(mode="json", exclude={"step", "name"})


class Bids(Strict):
    """Filters of BIDS entities; each a value or a list of values, patterns allowed."""

    datatype: Words = Field(default_factory=list, description="anat, func, dwi, ...")
    suffix: Words = Field(default_factory=list, description="T1w, T2w, bold, ...")
    subject: Words = Field(default_factory=list, description="Without 'sub-'.")
    session: Words = Field(default_factory=list, description="Without 'ses-'.")
    entities: dict[str, Words] = Field(
        default_factory=dict, description="Any other: {task: rest, acq: highres, run: 1}."
    )


class Dicom(Strict):
    """Filters of DICOM series; each a value or a list of values, patterns allowed."""

    modality: Words = Field(default_factory=list, description="MR, CT, ...")
    description: Words = Field(default_factory=list, description="Patterns of SeriesDescription.")
    tags: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Any other keyword: {MagneticFieldStrength: '>= 3'}."
    )


class Inputs(Strict):
    """Which files, and which of them belong together."""

    folder: str | None = Field(
        None, description="Relative to the pipeline file; the option --input comes first."
    )
    files: Words = Field(
        default_factory=list, description="Patterns relative to the folder; '**' goes into folders."
    )
    exclude: Words = Field(default_factory=list, description="Patterns of files to leave out.")
    bids: Bids | None = Field(None, description="The folder is a BIDS dataset; which files of it.")
    dicom: Dicom | None = Field(None, description="The folder holds DICOM files in any order; which series.")
    header: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict,
        description="FITS keywords: a value, a pattern ('M*'), a list, or a comparison ('>= 30').",
    )
    group: Literal["all"] | list[str] | None = Field(
        None,
        description="Files that are one sequence: 'all', or FITS keywords, BIDS entities or 'folder' to group by.",
    )
    minimum: int = Field(1, ge=1, description="Groups of fewer files fail by name.")


class Outputs(Strict):
    """Where results go and what they are called."""

    folder: str | None = Field(
        None, description="Relative to the pipeline file; the option --output comes first."
    )
    name: str = Field(
        "{item}",
        description="Template without suffix: {item}, {stem}, {folder}, {branch}, header keys, BIDS entities.",
    )


class Limits(Strict):
    """Of each item."""

    time: Seconds | None = Field(None, description="'30 min': a worker that takes longer is stopped.")
    memory: Bytes | None = Field(None, description="'8 GB': a worker that holds more is stopped.")
    retries: int = Field(1, ge=0, le=10, description="After a crash, a lost worker or a failing disk.")


class Override(Strict):
    """Other parameters for some items."""

    match: Words = Field(default_factory=list, description="Patterns of the item's key or a file's path.")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Facts of the item: {subject: '02', FILTER: 'Ha'}."
    )
    set: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Parameters by name of the step: {upscale: {model: cubic}}."
    )
    skip: Words = Field(default_factory=list, description="Names of steps to leave out.")


class Head(Strict):
    """All of a pipeline file but its steps."""

    pipeline: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="Its name, for records.")
    description: str = ""
    inputs: Inputs = Field(default_factory=Inputs)
    outputs: Outputs = Field(default_factory=Outputs)
    limits: Limits = Field(default_factory=Limits)
    overrides: list[Override] = Field(default_factory=list)
    seed: int = Field(0, ge=0, description="Of everything random.")
