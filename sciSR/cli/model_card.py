"""A model's card on the terminal: what it is, where it fails, and its measured tables with their columns aligned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sciSR.cli.output import print_fields


def print_card(document: Mapping[str, Any]) -> None:
    """Print what ``scisr models NAME`` has found.

    Parameters
    ----------
    document : mapping
        The spec, the checksum, and the card under ``"card"``.
    """
    card = dict(document.get("card") or {})
    known = {"name", "sha256", "domain", "architecture", "scale"}
    print_fields(
        {key: value for key, value in document.items() if key != "card" and value not in ((), [], {})}
    )
    measured = dict(card.pop("measured", None) or {})
    about = {key: value for key, value in card.items() if key not in known or key not in document}
    if about:
        click.echo("")
        print_fields(about)
    tables = measured.pop("tables", {})
    if not all(_is_compact(table) for table in tables.values()):
        print_fields({"measured": {**measured, "tables": tables}})
        return
    skipped = measured.get("not_in_mean") or []
    for name, table in tables.items():
        click.echo(f"\nmeasured: {name}")
        _print_table(table, skipped)
    if measured.get("protocol"):
        click.echo("\nhow it was measured")
        words = measured["protocol"]
        print_fields(words if isinstance(words, dict) else {"protocol": words}, indent=1)


def _is_compact(table: Any) -> bool:
    return isinstance(table, dict) and {"columns", "means", "rows", "gain_db"} <= set(table)


def _print_table(table: Mapping[str, Any], skipped: list[str]) -> None:
    from sciSR.evaluation.render import plain
    from sciSR.evaluation.table import COLUMNS

    digits = {column.heading: column.digits for column in COLUMNS.values()}

    def cells(values: list[float | None]) -> list[str]:
        pairs = zip(values, columns, strict=False)
        return ["-" if value is None else f"{value:.{digits.get(name, 3)}f}" for value, name in pairs]

    gain, columns = table["gain_db"], list(table["columns"])
    click.echo(
        f"gain over the best classical method in each image: mean {_signed(gain['mean'])}"
        f"{_error(gain)}, median {_signed(gain['median'])}, least {_signed(gain['least'])} dB"
    )
    if over := table.get("gain_over_known_psf_db"):
        click.echo(f"over the best inverse that knows the PSF: mean {_signed(over['mean'])}{_error(over)} dB")
    click.echo("")
    lines = [["mean of", *columns], *([name, *cells(values)] for name, values in table["means"].items())]
    click.echo(plain(lines))
    click.echo("")
    head = ["image", *columns, "best classical", columns[0], "gain dB"]
    lines = [head]
    for image, row in table["rows"].items():
        mark = " (not counted)" if image in skipped else ""
        lines.append(
            [
                image + mark,
                *cells(row["network"]),
                row["best"],
                *cells(row["classical"][:1]),
                _signed(gain["files"].get(image)),
            ]
        )
    click.echo(plain(lines))


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _error(gain: Mapping[str, Any]) -> str:
    return "" if gain.get("se") is None else f" ± {gain['se']:.2f}"
