"""What a verification finds: checks with their verdicts, and what became of each metadata key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

from sciSR.image import Image

Status = Literal["passed", "failed", "warning", "skipped"]
Group = Literal[
    "geometry", "field of view", "flux", "consistency", "mask", "values", "metadata", "provenance", "format"
]
Fate = Literal["kept", "changed", "added", "lost"]


@dataclass(frozen=True)
class Check:
    """One promise and whether it holds.

    Attributes
    ----------
    group : str
        Which kind of promise.
    name : str
        The promise, in a few words: ``"corners"``, ``"flux per original pixel"``.
    status : {"passed", "failed", "warning", "skipped"}
        A warning is worth reading and breaks no promise (a provenance that another tool never wrote); skipped says why
        in `message` (the validator is not installed).
    message : str
        One line: what was found, and where it is worst.
    value, limit : float, optional
        What was measured, and the most (or, where `message` says so, least) that passes.
    unit : str
        Of both.
    part : str
        Which image of the file; empty where it holds one.
    """

    group: Group
    name: str
    status: Status
    message: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    part: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {key: value for key, value in vars(self).items() if value not in (None, "")}


@dataclass(frozen=True)
class KeyChange:
    """What became of one metadata key.

    Attributes
    ----------
    key : str
        As the format writes it: ``"CRPIX1"``, ``"pixdim[3]"``, ``"(0028,0030) PixelSpacing"``.
    fate : {"kept", "changed", "added", "lost"}
    before, after : str
        Short texts; of what may name a patient nothing but ``"(not shown)"``.
    rule : str
        Why it may change so: ``"pixels are 2 times smaller"``; empty where nothing allows it.
    allowed : bool
        False breaks a promise: a key lost without a rule, a value that does not follow its rule.
    part : str
    """

    key: str
    fate: Fate
    before: str = ""
    after: str = ""
    rule: str = ""
    allowed: bool = True
    part: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {key: value for key, value in vars(self).items() if value != ""}


@dataclass(frozen=True)
class Pair:
    """One image of the input and the one made of it.

    Attributes
    ----------
    input, output : Path
        Files or folders.
    before, after : Image
        As their adapters read them; lazily.
    factors : tuple of Fraction
        Output pixels per input pixel, one per axis of the data.
    options : mapping
        What the adapter was told when it read the files.
    """

    input: Path
    output: Path
    before: Image
    after: Image
    factors: tuple[Fraction, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


class FormatVerifier(Protocol):
    """What a format knows that the engine does not; an adapter's optional method ``verifier()`` returns one.

    All of it is found with tools other than the ones that wrote the file: the format's reference library, its own
    validator. A verifier may also have

    ``lenient : mapping``
        Options of the adapter's ``read`` with which damage that :meth:`validate` reports does not stop the reading.
    ``quantum(image) -> float``
        The step in which an image's values are stored, in its unit; 0 (or no such method) for floating point.
    ``holds_deviation : bool``
        Whether a standard deviation stands in the output's own file, so that one that is missing was lost.
    ``contents(pairs) -> (list[Check], list[KeyChange])``
        What else the two files hold besides their images: tables and other parts carried over, headers of the file as a
        whole. Called once, with all pairs.
    """

    def geometry(self, pair: Pair) -> list[Check]:
        """Corners and centres of pixels, and the field of view, by the reference library."""
        ...

    def metadata(self, pair: Pair) -> list[KeyChange]:
        """Every key of either header."""
        ...

    def validate(self, path: Path) -> list[Check]:
        """The format's own validator on one file or folder; a skipped check where it is not installed."""
        ...


@dataclass(frozen=True)
class Verification:
    """All that was checked of one output.

    Attributes
    ----------
    input, output : Path
    checks : tuple of Check
    keys : tuple of KeyChange
    made_by : str
        What the output says made it, e.g. ``"sciSR 0.1.0"``; empty where it says nothing.
    """

    input: Path
    output: Path
    checks: tuple[Check, ...]
    keys: tuple[KeyChange, ...] = ()
    made_by: str = ""

    @property
    def passed(self) -> bool:
        """No check failed and no key broke its rule."""
        return all(check.status != "failed" for check in self.checks) and all(k.allowed for k in self.keys)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "made_by": self.made_by,
            "passed": self.passed,
            "checks": [check.as_dict() for check in self.checks],
            "metadata": [key.as_dict() for key in self.keys],
        }
