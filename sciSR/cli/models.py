"""``scisr models``: what can be given to ``--model``."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from sciSR.cli.output import configure, print_fields, print_json


@click.command("models")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(name: str | None, as_json: bool) -> int:
    """List the upscaling models, or show the card of the model NAME: data, licences, measured quality."""
    configure(0)
    document = {"models": _list()} if name is None else _show(name)
    if as_json:
        print_json(document)
    elif name is None:
        _print_list(document["models"])
    else:
        print_fields(document)
    return 0


def _list() -> list[dict[str, Any]]:
    from sciSR.inference.choose import CLASSICAL
    from sciSR.models.files import list_models, load_card

    classical = [
        {
            "name": method,
            "kind": "classical",
            "scale": "any",
            "domain": "any",
            "forward_model": None,
            "gain_db": {},
        }
        for method in CLASSICAL
    ]
    trained = [
        {
            "name": spec.name,
            "kind": spec.architecture,
            "scale": spec.scale,
            "domain": spec.domain,
            "forward_model": spec.forward_model,
            "gain_db": _gains(load_card(spec.name)),
        }
        for spec in list_models()
    ]
    return trained + classical


def _gains(card: dict[str, Any]) -> dict[str, float]:
    """Mean gain over the best classical method in each of a card's tables, dB of PSNR."""
    tables = card.get("measured", {}).get("tables", {})
    return {name: table["gain_db"]["mean"] for name, table in tables.items()}


def _show(name: str) -> dict[str, Any]:
    from sciSR.inference.choose import CLASSICAL
    from sciSR.models.files import load_card, load_model

    if name in CLASSICAL:
        return {"name": name, "kind": "classical", "scale": "any rational factor from 1", "domain": "any"}
    _, spec, sha256 = load_model(name)
    return {**dataclasses.asdict(spec), "sha256": sha256, "card": load_card(name)}


def _print_list(models: list[dict[str, Any]]) -> None:
    width = max(len(model["name"]) for model in models)
    for model in models:
        scale = f"x{model['scale']}" if model["scale"] != "any" else "any scale"
        undoes = f"undoes {model['forward_model']}" if model["forward_model"] else ""
        gains = ", ".join(f"{gain:+.2f} dB ({table})" for table, gain in model["gain_db"].items())
        line = f"{model['name']:<{width}}  {model['kind']:<9}  {scale:<9}  {model['domain']:<9}  {undoes:<15}  {gains}"
        click.echo(line.rstrip())
