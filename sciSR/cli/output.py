"""What the commands print and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any, TextIO

import click


def print_json(document: Any) -> None:
    """One JSON document on stdout; numbers that JSON has no word for become null."""
    click.echo(json.dumps(jsonable(document), indent=2, ensure_ascii=False, allow_nan=False))


def jsonable(value: Any) -> Any:
    """Mappings, sequences and NumPy scalars as plain JSON types."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [jsonable(each) for each in value]
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return str(value)


def print_error(problem: object) -> None:
    """``error: ...`` as one line on stderr."""
    _print_labelled("error", "red", problem)


def print_warning(problem: object) -> None:
    """``warning: ...`` as one line on stderr."""
    _print_labelled("warning", "yellow", problem)


def _print_labelled(label: str, colour: str, problem: object) -> None:
    click.echo(f"{click.style(label + ':', fg=colour, bold=True)} {' '.join(str(problem).split())}", err=True)


def configure(verbosity: int) -> None:
    """Set up logging and warnings for this process: only the command line does so, never the library.

    Parameters
    ----------
    verbosity : int
        -1 quiet, 0 plain, 1 information, 2 everything, the libraries' own warnings included.
    """
    level = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("sciSR")
    root.handlers = [handler]
    root.setLevel(level)
    from sciSR.errors import SciSRWarning

    if verbosity < 2:
        warnings.simplefilter("ignore")
    warnings.simplefilter("always", SciSRWarning)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print_warning(message)


def print_fields(mapping: Any, indent: int = 0) -> None:
    """Nested mappings and lists as indented ``name  value`` lines on stdout."""
    pad = "  " * indent
    width = max((len(str(key)) for key in mapping), default=0)
    for key, value in mapping.items():
        name = str(key).replace("_", " ")
        if _is_nested(value):
            click.echo(f"{pad}{name}")
            entries = [value] if hasattr(value, "items") else value
            for number, entry in enumerate(entries):
                if number and hasattr(entry, "items"):
                    click.echo("")
                if hasattr(entry, "items"):
                    print_fields(entry, indent + 1)
                else:
                    click.echo(f"{pad}  {_inline(entry)}")
        else:
            click.echo(f"{pad}{name:<{width}}  {_inline(value)}")


def _is_nested(value: Any) -> bool:
    if hasattr(value, "items"):
        return bool(value)
    return isinstance(value, (list, tuple)) and any(
        hasattr(each, "items") or isinstance(each, list) for each in value
    )


def _inline(value: Any) -> str:
    if value is None or (isinstance(value, str) and not value):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_inline(each) for each in value) or "-"
    return str(value)
