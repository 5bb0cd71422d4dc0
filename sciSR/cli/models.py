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
            "gain_db": None,
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
            "gain_db": load_card(spec.name).get("measured", {}).get("gain_db", {}).get("mean"),
        }
        for spec in list_models()
    ]
    return trained + classical


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
        gain = f"{model['gain_db']:+.2f} dB over the best classical method" if model["gain_db"] else ""
        line = f"{model['name']:<{width}}  {model['kind']:<9}  {scale:<9}  {model['domain']:<9}  {undoes:<15}  {gain}"
        click.echo(line.rstrip())
