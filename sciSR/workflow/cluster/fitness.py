"""Whether workers can do a run's work: the same software, the same files."""

from __future__ import annotations

import secrets
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.errors import ResourceError, SciSRWarning, UsageError
from sciSR.files import translate_os_errors
from sciSR.workflow.cluster.connect import SATURATION

if TYPE_CHECKING:
    from sciSR.workflow.cluster.connect import Connection

NUMERICS = ("torch", "numpy", "scipy")
"""Libraries whose versions may change last bits."""
PATIENCE = 10.0
"""Seconds that a network file system may take to show a new file on another machine."""


@dataclass(frozen=True)
class Probe:
    """What every worker must find: a file with a word in it, in a folder that it can write to.

    Attributes
    ----------
    path : str
    word : str
    input : str
        Folder of the inputs; empty if that is not known.
    software : str
        Version of sciSR.
    python : str
    """

    path: str
    word: str
    input: str
    software: str
    python: str

    @classmethod
    def write(cls, folder: Path, input: str = "") -> Probe:
        """Put the file into a folder that all workers must see."""
        from sciSR import __version__

        path, word = folder / "probe", secrets.token_hex(16)
        with translate_os_errors(path):
            path.write_text(word, encoding="ascii")
        return cls(str(path), word, input, __version__, _python(sys.version_info))

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def problem(told: dict[str, str], *, patience: float = PATIENCE) -> str | None:
    """Why this process can't do the work that a probe stands for; None if it can.

    Parameters
    ----------
    told : dict
        Of a :class:`Probe`.
    patience : float
        Seconds until a missing file counts as missing.
    """
    from sciSR import __version__

    if __version__ != told["software"]:
        return f"has sciSR {__version__}, not {told['software']}"
    path, deadline = Path(told["path"]), time.monotonic() + patience
    while (word := _text(path)) != told["word"]:
        if time.monotonic() > deadline:
            seen = "sees no such file" if word is None else "sees another file of this name"
            return f"{seen}: {path}"
        time.sleep(0.1)
    mark = path.with_name(f"probe-{secrets.token_hex(6)}")
    try:
        mark.touch()
        mark.unlink()
    except OSError as error:
        return f"can't write to {path.parent}: {error.strerror}"
    if told["input"] and not Path(told["input"]).exists():
        return f"sees no such input folder: {told['input']}"
    return None


def check_workers(connection: Connection, probe: Probe) -> None:
    """Refuse workers with other software or other files; warn of what may matter.

    Raises
    ------
    UsageError
        With one worker's address and what is wrong there, and how many others there are.
    ResourceError
        The workers don't answer.
    """
    try:
        seen = connection.client.get_versions(packages=["sciSR", *NUMERICS])
    except (OSError, TimeoutError) as error:
        raise ResourceError(f"the workers don't answer: {error}", where=connection.spec) from error
    workers = {address: _versions(told) for address, told in seen["workers"].items()}
    here = _versions(seen["client"])
    _refuse(_different(workers, here, probe), "install the same versions everywhere")
    # Only now: functions don't travel between versions of Python.
    answers = connection.client.run(problem, probe.as_dict(), on_error="return")
    bad = {a: str(t) for a, t in answers.items() if t is not None}
    _refuse(bad, "all machines need the same folders under the same names (a shared file system)")
    for name in NUMERICS:
        others = sorted({str(told.get(name)) for told in workers.values()} - {str(here.get(name))})
        if others:
            _warn(
                f"workers have {name} {', '.join(others)}, this machine {here.get(name)}: last bits may differ"
            )
    check_settings(connection)


def check_settings(connection: Connection) -> None:
    """Warn of settings of a scheduler that others have started."""
    if connection.ours:
        return
    found = _saturation(connection)
    if found is not None and found != 1.0:
        _warn(
            f"the scheduler's worker-saturation is {found}: an item that takes its worker down may take others along; "
            f"start it with DASK_{SATURATION.upper().replace('.', '__').replace('-', '_')}=1.0"
        )
    many = {address: threads for address, threads in connection.workers().items() if threads > 1}
    if many:
        address, threads = next(iter(many.items()))
        _warn(
            f"{len(many)} workers have several threads ({address}: {threads}) and are given one item at a time "
            "all the same; start them with --nthreads 1"
        )


def _saturation(connection: Connection) -> float | None:
    def look(dask_scheduler: Any) -> float | None:
        return getattr(dask_scheduler, "WORKER_SATURATION", None)

    try:
        return connection.client.run_on_scheduler(look)
    except Exception:  # a scheduler of another make (Coiled, a gateway) may refuse: nothing to warn of
        return None


def _different(
    workers: dict[str, dict[str, str | None]], here: dict[str, str | None], probe: Probe
) -> dict[str, str]:
    """What is wrong with the workers' software, by address."""
    bad = {}
    for address, told in workers.items():
        python = _python(str(told.get("python")).split("."))
        if told.get("sciSR") is None:
            bad[address] = "has no sciSR"
        elif told["sciSR"] != here.get("sciSR"):
            bad[address] = f"has sciSR {told['sciSR']}, not {here.get('sciSR')}"
        elif python != probe.python:
            bad[address] = f"has Python {python}, not {probe.python}"
    return bad


def _refuse(bad: dict[str, str], remedy: str) -> None:
    if bad:
        address, text = next(iter(bad.items()))
        more = f" (and {len(bad) - 1} more workers are unfit)" if len(bad) > 1 else ""
        raise UsageError(f"the worker {address} {text}{more}", remedy=remedy)


def _versions(told: Any) -> dict[str, str | None]:
    return dict(told["packages"]) if isinstance(told, dict) else {}


def _python(version: Any) -> str:
    return ".".join(str(part) for part in list(version)[:2])


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None


def _warn(text: str) -> None:
    warnings.warn(text, SciSRWarning, stacklevel=3)
