"""``scisr plugins``: what is installed, and what is broken."""

from __future__ import annotations

import click

from sciSR.cli.output import configure, print_fields, print_json


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> int:
    """List the installed file formats and network architectures."""
    configure(0)
    from sciSR.plugins import ADAPTERS, MODELS, load

    entries = [
        {
            "name": plugin.name,
            "kind": "file format" if plugin.group == ADAPTERS else "architecture",
            "package": plugin.distribution,
            "target": plugin.target,
            "suffixes": list(getattr(plugin.value, "suffixes", ())),
            "options": [option.name for option in getattr(plugin.value, "options", ())],
            "error": plugin.error,
        }
        for group in (ADAPTERS, MODELS)
        for plugin in load(group)
    ]
    if as_json:
        print_json({"plugins": entries})
    else:
        print_fields(
            {"plugins": [{k: v for k, v in entry.items() if v not in (None, [])} for entry in entries]}
        )
    return 0
