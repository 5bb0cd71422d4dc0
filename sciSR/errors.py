"""Errors that a user may see. Each says what is wrong, where, and what to do about it.

The command line turns ``exit_code`` into the process's exit code: 2 usage, 3 unreadable or refused
input, 5 out of memory or disk, 6 verification failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike


class SciSRError(Exception):
    """Base of every error raised on purpose.

    Parameters
    ----------
    what : str
        What is wrong, with the found and the expected value.
    where : str or path, optional
        The file, with the part in brackets where there is one: ``"m51.fits[SCI]"``.
    remedy : str, optional
        What the user can do; an option that overrides the refusal, if there is one.
    """

    exit_code = 3

    def __init__(
        self, what: str, *, where: str | PathLike[str] | None = None, remedy: str | None = None
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        if self.remedy:
            text = f"{text}; {self.remedy}"
        # One line, whatever a library put into the message we quote.
        return " ".join(text.split())


class UsageError(SciSRError):
    """The request makes no sense: unknown model, scale below 1, an output that exists already."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A configuration file with one or more faults.

    Parameters
    ----------
    what, where, remedy
        As of :class:`SciSRError`.
    faults : sequence of str
        Each as ``file:line: key: what is wrong (remedy)``: the command line gives each a line of its own.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | PathLike[str] | None = None,
        remedy: str | None = None,
        faults: Sequence[str] = (),
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.faults = tuple(faults)


class ModelError(UsageError):
    """No such model, or its weights can't be used."""


class UnreadableError(SciSRError):
    """The file is damaged, truncated, of an unknown format, or not what it claims to be."""


class GeometryError(SciSRError):
    """The pixels' places in the world can't be carried over exactly; refusing beats guessing."""


class UnsupportedError(SciSRError):
    """A readable file with a content that is refused by name (RGB, random groups, 5-D vectors)."""


class ResourceError(SciSRError):
    """Out of memory or disk."""

    exit_code = 5


class VerificationError(SciSRError):
    """An output does not hold what it promises."""

    exit_code = 6


class NothingToDo(SciSRError):
    """What was asked for is there already: no failure, but nothing is written either."""

    exit_code = 0


class Terminated(SystemExit):
    """SIGTERM or SIGHUP: passes everything that catches a stranger's ``SystemExit``; its code is 128 + the signal."""


class SciSRWarning(UserWarning):
    """Something a user should know that is no failure; printed as one line."""


class PrivacyWarning(SciSRWarning):
    """Something in the pixels may tell who a person is. The command line says each such thing once a run."""
