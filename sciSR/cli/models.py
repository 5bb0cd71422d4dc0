"""``scisr models``: what can be given to ``--model``, and the user's own."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from sciSR.cli.model_card import print_card
from sciSR.cli.output import configure, print_json, print_line

JSON = click.Option(["--json", "as_json"], is_flag=True, help="One JSON document on stdout.")


class ModelsGroup(click.Group):
    """``scisr models [NAME] [--json]`` beside its subcommands: a first word that is none of them is a model's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        if not words and not {"-h", "--help"} & set(args):
            args = ["list", *args]
        elif words and words[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[NAME] [--json]  |  add FILE  |  remove NAME")


@click.group("models", cls=ModelsGroup)
def command() -> None:
    """List the upscaling models, or show the card of the model NAME: data, licences, measured quality.

    Your own models are in the folder that the environment variable SCISR_MODELS names, or in your data folder.
    """
    configure(0)


@command.command("list", params=[JSON])
def list_all(as_json: bool) -> int:
    """List all models: the same as 'scisr models'."""
    models, heads = _list(), _heads()
    if as_json:
        print_json({"models": models, "error_heads": heads})
    else:
        _print_list(models)
        _print_heads(heads)
    return 0


@command.command("show", params=[click.Argument(["name"]), JSON])
def show(name: str, as_json: bool) -> int:
    """Show the card of the model NAME: the same as 'scisr models NAME'."""
    document = _show(name)
    if as_json:
        print_json(document)
    else:
        print_card(document)
    return 0


@command.command("add")
@click.argument("file", type=click.Path())
@click.option("--name", help="What it will be called; by default the name in the file.")
@click.option("--overwrite", is_flag=True, help="Replace a model of yours that has the name.")
def add(file: str, name: str | None, overwrite: bool) -> int:
    """Check the weights FILE (.safetensors) and keep a copy, with the card beside it, as a model of yours."""
    from sciSR.models.user_models import add_model

    target = add_model(file, name, overwrite=overwrite)
    print_line(f"{file} -> {target}")
    if not target.with_suffix(".yaml").exists():
        click.echo("  without a card: nobody can see what it was trained on", err=True)
    click.echo(f"  use it with --model {target.stem}", err=True)
    return 0


@command.command("remove")
@click.argument("name")
def remove(name: str) -> int:
    """Delete your model NAME and its card."""
    from sciSR.models.user_models import remove_model

    print_line(f"removed {remove_model(name)}")
    return 0


def _list() -> list[dict[str, Any]]:
    from sciSR.inference.choose import CLASSICAL
    from sciSR.models.files import list_models
    from sciSR.models.user_models import list_user_models

    classical = [
        {
            "name": method,
            "kind": "classical",
            "scale": "any",
            "domain": "any",
            "forward_model": None,
            "gain_db": {},
            "adversarial": False,
            "yours": False,
        }
        for method in CLASSICAL
    ]
    yours = [_entry(spec, yours=True) for spec in list_user_models()]
    return yours + sorted((_entry(spec, yours=False) for spec in list_models()), key=_rank) + classical


def _heads() -> list[dict[str, Any]]:
    """The error heads, which tell how far a model errs and are no models themselves."""
    from sciSR.models.files import error_head_paths, read_metadata
    from sciSR.uncertainty.loading import DEFAULT, calibrations

    found = []
    for name, path in error_head_paths().items():
        facts = {key: json.loads(value) for key, value in (read_metadata(path) or {}).items()}
        known = {key: facts.get(key) for key in ("scale", "domain", "forward_model")}
        methods = [method for method in calibrations(name) if method != DEFAULT]
        found.append({"name": name, **known, "calibrated": methods})
    return found


def _stated(name: str, spec: Any = None) -> dict[str, Any]:
    """Which heads tell a method's error, and with what factor: by head."""
    from sciSR.uncertainty.loading import calibration_of

    found = {}
    for head in _heads():
        if spec is not None and not (
            head["domain"] == spec.domain
            and head["forward_model"] in spec.forward_models
            and head["scale"] in spec.factors
        ):
            continue
        row = calibration_of(head["name"], name)
        own = name in head["calibrated"]
        if own or spec is not None:
            numbers = {"factor": row.factor, "interval_95": row.interval_95, "files": row.files}
            found[head["name"]] = numbers | ({} if own else {"of": "all methods together"})
    return {"uncertainty": found} if found else {}


def _rank(entry: dict[str, Any]) -> tuple[Any, ...]:
    """By domain, factor and forward model; what measured best comes first."""
    gains = list(entry["gain_db"].values())
    mean = sum(gains) / len(gains) if gains else float("-inf")
    return entry["domain"], entry["scale"], entry["forward_model"], -mean, entry["name"]


def _entry(spec: Any, *, yours: bool) -> dict[str, Any]:
    from sciSR.models.files import load_card

    return {
        "name": spec.name,
        "kind": spec.architecture,
        "scale": spec.scale,
        "scales": list(spec.factors),
        "domain": spec.domain,
        "forward_model": spec.forward_model,
        "gain_db": _gains(load_card(spec.name)),
        "adversarial": spec.adversarial,
        "yours": yours,
    }


def _gains(card: dict[str, Any]) -> dict[str, float]:
    """Mean gain over the best classical method in each of a card's tables, dB of PSNR."""
    tables = card.get("measured", {}).get("tables", {})
    return {name: table["gain_db"]["mean"] for name, table in tables.items() if "gain_db" in table}


def _show(name: str) -> dict[str, Any]:
    from sciSR.inference.choose import CLASSICAL
    from sciSR.models.files import error_head_paths, load_card, load_model

    if name in CLASSICAL:
        known = {"name": name, "kind": "classical", "scale": "any rational factor from 1", "domain": "any"}
        return known | _stated(name)
    if name in error_head_paths():
        return {"name": name, "kind": "error head", "card": load_card(error_head_paths()[name])}
    _, spec, sha256 = load_model(name)
    return {**dataclasses.asdict(spec), "sha256": sha256, **_stated(spec.name, spec), "card": load_card(name)}


def _print_list(models: list[dict[str, Any]]) -> None:
    names, kinds = (max(len(model[key]) for model in models) for key in ("name", "kind"))
    for model in models:
        scale = "x" + "/".join(map(str, model["scales"])) if "scales" in model else "any scale"
        if model["forward_model"] == "slice_profile":
            scale = "across"
        undoes = f"undoes {model['forward_model']}" if model["forward_model"] else ""
        notes = ["yours"] if model["yours"] else []
        notes += ["invents texture: not for measurement"] if model["adversarial"] else []
        gains = [f"{gain:+.2f} dB ({table})" for table, gain in model["gain_db"].items() if gain is not None]
        line = f"{model['name']:<{names}}  {model['kind']:<{kinds}}  {scale:<9}  {model['domain']:<9}  {undoes:<15}  "
        click.echo((line + ", ".join([*notes, *gains])).rstrip())


def _print_heads(heads: list[dict[str, Any]]) -> None:
    if not heads:
        return
    click.echo("\nError heads, for the uncertainty of results (no models themselves):")
    width = max(len(head["name"]) for head in heads)
    for head in heads:
        task = f"x{head['scale']:<3} {head['domain']:<9}  undoes {head['forward_model']:<8}"
        click.echo(
            f"{head['name']:<{width}}  {task}  calibrated for {len(head['calibrated'])} methods and a default"
        )
