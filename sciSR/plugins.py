"""Finds adapters and models through entry points. A broken plugin is named in a warning and skipped."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter, Option
from sciSR.errors import SciSRWarning, Terminated, UnreadableError, UsageError

ADAPTERS = "scisr.adapters"
MODELS = "scisr.models"


@dataclass(frozen=True)
class Plugin:
    """One entry point: loaded, or broken with the reason."""

    name: str
    group: str
    target: str
    distribution: str
    value: Any = None
    error: str | None = None


def _entry_points(group: str) -> list[EntryPoint]:
    """All entry points of a group, each (name, target) once, in name order; of one name, sciSR's own first."""
    unique = {
        (point.name, _distribution(point).lower() != "scisr", point.value): point
        for point in entry_points(group=group)
    }
    return [unique[key] for key in sorted(unique)]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _check_adapter(value: Any) -> None:
    """Raise TypeError where an object can't serve as an adapter."""
    if not isinstance(value, Adapter):
        raise TypeError("it lacks attributes of sciSR.adapter.Adapter")
    if not all(isinstance(option, Option) for option in value.options):
        raise TypeError("its options are not all sciSR.adapter.Option")
    if not isinstance(value.suffixes, tuple) or not all(isinstance(s, str) and s for s in value.suffixes):
        raise TypeError('its suffixes are no tuple of texts like (".fits",)')


@functools.cache
def load(group: str) -> tuple[Plugin, ...]:
    """Load every plugin of a group. Warns once for each that fails, and goes on."""
    found: list[Plugin] = []
    for point in _entry_points(group):
        distribution = _distribution(point)
        fields = {"name": point.name, "group": group, "target": point.value, "distribution": distribution}
        try:
            if taken := [p for p in found if p.name == point.name and p.error is None]:
                raise ValueError(f"its name is taken by {taken[0].distribution} ({taken[0].target})")
            value = point.load()
            if group == ADAPTERS:
                _check_adapter(value)
        except Terminated:
            raise
        except (Exception, SystemExit) as error:  # whatever a stranger's import may raise
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"plugin {point.name!r} of {distribution} ({point.value}) is broken and skipped: {reason}",
                SciSRWarning,
                stacklevel=2,
            )
            found.append(Plugin(**fields, error=reason))
        else:
            found.append(Plugin(**fields, value=value))
    return tuple(found)


def adapters() -> Mapping[str, Adapter]:
    """Working adapters by name."""
    return {p.name: p.value for p in load(ADAPTERS) if p.error is None}


def adapter_for(path: Path | str) -> Adapter:
    """The adapter that recognises the content of `path`.

    Raises
    ------
    UnreadableError
        The path does not exist, or no adapter knows what it holds.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableError("no such file or folder", where=path)
    for adapter in adapters().values():
        if _recognises(adapter, path):
            return adapter
    if path.is_file():
        # Says what a reader would have stumbled over: empty, an LFS pointer, no permission.
        from sciSR.files import check_regular_file

        check_regular_file(path)
    known = ", ".join(sorted(adapters())) or "none installed"
    raise UnreadableError(
        f"no adapter recognises it (known: {known})", where=path, remedy="see 'scisr plugins'"
    )


def _recognises(adapter: Adapter, path: Path) -> bool:
    """The adapter's own answer; one that breaks its promise not to raise does not stop the others."""
    try:
        return adapter.sniff(path)
    except Terminated:
        raise
    except (Exception, SystemExit) as error:  # whatever a stranger's code may raise
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"adapter {adapter.name!r} failed on {path}: {reason}", SciSRWarning, stacklevel=3)
        return False


def adapter_for_output(path: Path | str) -> Adapter:
    """The adapter whose suffix an output name carries (the longest suffix wins).

    Raises
    ------
    UsageError
        No adapter writes such a file.
    """
    name = Path(path).name.lower()
    fitting = [(len(s), a) for a in adapters().values() for s in a.suffixes if name.endswith(s)]
    if not fitting:
        known = " ".join(sorted({s for a in adapters().values() for s in a.suffixes}))
        raise UsageError("no adapter writes this kind of file", where=path, remedy=f"use one of {known}")
    return max(fitting, key=lambda pair: pair[0])[1]
