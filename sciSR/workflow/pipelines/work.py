"""What goes into a step and comes out; what a worker is told about an item, and what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from sciSR.workflow.pipelines.nodes import Node

Progress = Callable[[float], None]


class InputPathMark:
    """Marks parameters that are paths or patterns, relative to the input folder."""


class StepNameMark:
    """Marks parameters that are the name of an earlier step."""


InputPath = Annotated[str, InputPathMark()]
"""A path or pattern, relative to the folder of the inputs."""
StepName = Annotated[str, StepNameMark()]
"""The name of an earlier step."""


@dataclass(frozen=True)
class Product:
    """What a step hands to the next: files on disk, so that memory does not grow with the image.

    Attributes
    ----------
    files : tuple of Path
        One file (or the files of one DICOM series), or several exposures if `sequence`.
    sequence : bool
    options : mapping
        For reading them: options of the format, and for a sequence those of :func:`sciSR.read_sequence`.
    beside : tuple of Path
        What belongs to it: standard deviations, contact sheets, tables.
    ready : mapping of str to Path
        Files that are finished and are to be put into the output folder under this name (with the item's name
        template applied) once all steps have passed.
    record : mapping
        What the step did and measured, JSON-ready and small.
    messages : tuple of str
    state : mapping
        For steps of one kind to hand to each other within a process: a registration for the fusion. Never needed.
    """

    files: tuple[Path, ...]
    sequence: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()
    ready: Mapping[str, Path] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a step is told besides its parameters.

    Attributes
    ----------
    key : str
        Of the item.
    facts : mapping of str to str
    product : Product
        Of the step before; of the item's own files for the first.
    earlier : mapping of str to Product
        Of all steps before in this branch, by name.
    name : str
        Of the result, without suffix: the output template, filled in.
    folder : Path
        An empty folder of this step, on the file system of the outputs; what is left there is removed at the end.
    input : Path
        The folder that patterns are relative to.
    progress : callable
        Takes the fraction of this step that is done.
    """

    key: str
    facts: Mapping[str, str]
    product: Product
    earlier: Mapping[str, Product]
    name: str
    folder: Path
    input: Path
    progress: Progress = lambda fraction: None


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know about one item; survives JSON.

    Attributes
    ----------
    key : str
    files : tuple of str
        Absolute paths.
    facts : mapping
    sequence : bool
    nodes : tuple of Node
        The steps with this item's overrides, parents before children.
    name : str
        Template of output names.
    input, output, scratch : str
        Absolute folders; `scratch` lies on the file system of `output` and belongs to this item alone.
    overwrite : bool
        Replace outputs that exist.
    may_replace : tuple of str
        Outputs of an earlier run of this item, relative to `output`: they may be replaced without `overwrite`, and
        those that are not made again are removed.
    seed : int
        Of everything random in this item: the pipeline's, joined with its key.
    """

    key: str
    files: tuple[str, ...]
    facts: Mapping[str, str]
    sequence: bool
    nodes: tuple[Node, ...]
    name: str
    input: str
    output: str
    scratch: str
    overwrite: bool = False
    may_replace: tuple[str, ...] = ()
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "nodes": [node.as_dict() for node in self.nodes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """As :meth:`as_dict` gave it."""
        nodes = tuple(Node(**node) for node in values["nodes"])
        more = {name: tuple(values[name]) for name in ("files", "may_replace")}
        return cls(**{**values, **more, "nodes": nodes})


@dataclass(frozen=True)
class OutputFile:
    """One file (or folder) in its place: relative to the output folder, with its SHA-256 and bytes."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ItemResult:
    """What became of one item; small, survives JSON.

    Attributes
    ----------
    key : str
    status : {"done", "failed", "skipped"}
        Skipped: done in an earlier run and verified now.
    outputs : tuple of OutputFile
    steps : tuple of mapping
        Of each node: ``id``, ``step``, ``branch``, ``seconds``, ``messages``, ``record``.
    error : mapping or None
        ``kind`` (class of the error, or ``crash``, ``timeout``, ``memory``, ``lost``), ``message`` (one line),
        ``exit_code``, ``step`` (id of the node, or empty).
    warnings : tuple of str
    seconds : float
    peak_bytes : int
        Largest resident memory of the worker; 0 if unknown.
    attempts : int
    """

    key: str
    status: Literal["done", "failed", "skipped"]
    outputs: tuple[OutputFile, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    error: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_bytes: int = 0
    attempts: int = 1

    @property
    def ok(self) -> bool:
        return self.status != "failed"

    def replace(self, **fields: Any) -> ItemResult:
        """A copy with other fields."""
        return dataclasses.replace(self, **fields)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ItemResult:
        """As :meth:`as_dict` gave it."""
        outputs = tuple(OutputFile(**each) for each in values["outputs"])
        more = {name: tuple(values[name]) for name in ("steps", "warnings")}
        return cls(**{**values, "outputs": outputs, **more})
