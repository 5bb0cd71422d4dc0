"""``scisr info``: what a file holds, without reading its pixels."""

from __future__ import annotations

from pathlib import Path

import click

from sciSR.cli.output import configure, print_fields, print_json


@click.command("info")
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(file: str, as_json: bool) -> int:
    """Show what FILE (or a DICOM folder) holds: images, shapes, units, geometry.

    Research use only, not for diagnosis.
    """
    configure(0)
    from sciSR.plugins import adapter_for

    path = Path(file)
    adapter = adapter_for(path)
    document = {"file": str(path), "adapter": adapter.name, **adapter.describe(path)}
    if as_json:
        print_json(document)
    else:
        print_fields(document)
    return 0
