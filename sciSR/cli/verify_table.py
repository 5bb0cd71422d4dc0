"""A verification as text: tables on a terminal, plain lines elsewhere; failures first."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from sciSR.cli.output import print_line
from sciSR.verify.result import Check, KeyChange, Verification

_ORDER = {"failed": 0, "warning": 1, "passed": 2, "skipped": 3}
_STYLE = {"failed": "bold red", "warning": "yellow", "passed": "green", "skipped": "dim"}
_WIDE = 60


def show(found: Verification, *, every_key: bool) -> None:
    """Print the checks, the keys that changed, and the verdict in the last line."""
    checks = sorted(found.checks, key=lambda check: _ORDER[check.status])
    keys = sorted(
        (key for key in found.keys if every_key or key.fate != "kept" or not key.allowed),
        key=lambda key: (key.allowed, key.fate),
    )
    if sys.stdout.isatty():
        _tables(checks, keys)
    else:
        _lines(checks, keys)
    counts = Counter(key.fate for key in found.keys)
    if counts:
        fates = ", ".join(
            f"{counts[fate]} {fate}" for fate in ("kept", "changed", "added", "lost") if counts[fate]
        )
        print_line(f"metadata: {fates}")
    print_line(_verdict(found))


def _verdict(found: Verification) -> str:
    broken = sum(check.status == "failed" for check in found.checks) + sum(
        not key.allowed for key in found.keys
    )
    made = f" (made by {found.made_by})" if found.made_by else ""
    if broken:
        return f"{found.output.name}{made}: {broken} {'promise' if broken == 1 else 'promises'} broken"
    warned = sum(check.status == "warning" for check in found.checks)
    rest = f", {warned} warning{'s' if warned != 1 else ''}" if warned else ""
    return f"{found.output.name}{made}: every promise holds{rest}"


def _numbers(check: Check) -> str:
    if check.value is None:
        return ""
    limit = "" if check.limit is None else f" (limit {check.limit:.3g})"
    return f"{check.value:.3g}{limit}{' ' + check.unit if check.unit else ''}"


def _change(key: KeyChange) -> str:
    if key.fate in ("changed", "kept"):
        return f"{_short(key.before)} -> {_short(key.after)}" if key.fate == "changed" else _short(key.after)
    return _short(key.after or key.before)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDE else text[: _WIDE - 3] + "..."


def _lines(checks: Sequence[Check], keys: Sequence[KeyChange]) -> None:
    for check in checks:
        where = f" [{check.part}]" if check.part else ""
        numbers = _numbers(check)
        tail = f" | {numbers}" if numbers else ""
        print_line(f"{check.status:8}{check.group}{where}: {check.name}: {check.message}{tail}")
    for key in keys:
        where = f" [{key.part}]" if key.part else ""
        rule = key.rule or ("no rule allows it" if not key.allowed else "")
        word = f"{key.fate:8}" if key.allowed else f"{'failed':8}{key.fate} "
        print_line(f"{word}metadata{where}: {key.key}: {_change(key)}{' | ' + rule if rule else ''}")


def _tables(checks: Sequence[Check], keys: Sequence[KeyChange]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def row(style: str, cells: Iterable[str]) -> list[str]:
        first, *rest = cells
        return [f"[{style}]{escape(first)}[/]", *(escape(cell) for cell in rest)]

    console = Console(highlight=False)
    parts = any(check.part for check in checks) or any(key.part for key in keys)
    table = Table("", "", *(["part"] if parts else []), "promise", "found", "value")
    for check in checks:
        cells = [check.status, check.group, *([check.part] if parts else [])]
        table.add_row(*row(_STYLE[check.status], [*cells, check.name, check.message, _numbers(check)]))
    console.print(table)
    if not keys:
        return
    table = Table("", *(["part"] if parts else []), "key", "value", "rule")
    for key in keys:
        style = "dim" if key.allowed else "bold red"
        cells = [key.fate, *([key.part] if parts else []), key.key, _change(key)]
        table.add_row(*row(style, [*cells, key.rule or ("" if key.allowed else "no rule allows it")]))
    console.print(table)
