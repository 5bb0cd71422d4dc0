"""What the commands print and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import textwrap
import warnings
from typing import Any, TextIO

import click

from sciSR.files import encodable


def print_json(document: Any) -> None:
    """One JSON document on stdout; numbers that JSON has no word for become null."""
    # An escape of JSON's is what becomes of half a character.
    click.echo(encodable(json.dumps(jsonable(document), indent=2, ensure_ascii=False, allow_nan=False)))


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


def print_line(text: str) -> None:
    """A line on stdout. A reader of the pipe that has left (``| head -1``) does not stop the work."""
    try:
        click.echo(encodable(text))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(problem: object) -> None:
    """``error: ...`` as one line on stderr; a configuration's faults have a line each."""
    faults = getattr(problem, "faults", ())
    if len(faults) < 2:
        _print_labelled("error", "red", problem)
        return
    _print_labelled(
        "error", "red", f"{getattr(problem, 'where', None) or 'configuration'}: {len(faults)} errors"
    )
    for fault in faults:
        click.echo(f"  {' '.join(str(fault).split())}", err=True)


def print_warning(problem: object) -> None:
    """``warning: ...`` as one line on stderr."""
    _print_labelled("warning", "yellow", problem)


def _print_labelled(label: str, colour: str, problem: object) -> None:
    click.echo(f"{click.style(label + ':', fg=colour, bold=True)} {' '.join(str(problem).split())}", err=True)


def configure(verbosity: int) -> None:
    """Set up logging and warnings for this process: only the command line does so, never the library.

    A :class:`sciSR.errors.PrivacyWarning` is printed once, however many files it holds for.

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
    _said_once.clear()
    warnings.showwarning = _show_warning


_said_once: set[str] = set()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    from sciSR.errors import PrivacyWarning

    if issubclass(category, PrivacyWarning):
        if str(message) in _said_once:
            return
        _said_once.add(str(message))
    print_warning(message)


def print_fields(mapping: Any, indent: int = 0) -> None:
    """Nested mappings and lists as indented ``name  value`` lines on stdout; tables where the shape is one."""
    pad = "  " * indent
    width = max((len(_label(key)) for key, value in mapping.items() if not _is_nested(value)), default=0)
    for key, value in mapping.items():
        if not _is_nested(value):
            _print_wrapped(f"{pad}{_label(key):<{width}}  ", _inline(value))
            continue
        click.echo(f"{pad}{_label(key)}")
        if _is_table(value):
            _print_table(value, pad + "  ")
            continue
        for number, entry in enumerate([value] if hasattr(value, "items") else value):
            if number and hasattr(entry, "items"):
                click.echo("")
            if hasattr(entry, "items"):
                print_fields(entry, indent + 1)
            else:
                _print_wrapped(f"{pad}  ", _inline(entry))


def _label(key: object) -> str:
    """Names of fields lose their underscores; names of files keep them."""
    return str(key) if "." in str(key) else str(key).replace("_", " ")


def _print_wrapped(head: str, text: str) -> None:
    """A value that is longer than the terminal goes on below its first line."""
    width = max(shutil.get_terminal_size((100, 24)).columns, len(head) + 30)
    hang = " " * len(head)
    click.echo(
        textwrap.fill(text, width, initial_indent=head, subsequent_indent=hang, break_long_words=False)
    )


def _is_nested(value: Any) -> bool:
    if hasattr(value, "items"):
        return bool(value)
    if not isinstance(value, (list, tuple)):
        return False
    return any(hasattr(each, "items") or isinstance(each, list) or len(str(each)) > 60 for each in value)


def _is_table(value: Any) -> bool:
    """Several rows with the same columns, with plain values in them."""
    rows = list(value.values()) if hasattr(value, "items") else []
    if len(rows) < 2 or not all(hasattr(row, "items") for row in rows):
        return False
    columns = list(rows[0])
    return all(list(row) == columns and not any(_is_nested(cell) for cell in row.values()) for row in rows)


def _print_table(rows: Any, pad: str) -> None:
    """Rows of names and cells, numbers to four digits, columns aligned."""
    columns = [str(name) for name in next(iter(rows.values()))]
    cells = [["", *columns]]
    cells += [[str(name), *(_cell(value) for value in row.values())] for name, row in rows.items()]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns) + 1)]
    for line in cells:
        name, *values = (word.rjust(width) for word, width in zip(line, widths, strict=True))
        click.echo(pad + "  ".join([name.strip().ljust(widths[0]), *values]).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(_cell(each) for each in value)
    return f"{value:#.4g}" if isinstance(value, float) else _inline(value)


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
