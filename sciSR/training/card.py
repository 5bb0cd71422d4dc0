"""A model's card: ``python -m sciSR.training.card configs/train/NAME.yaml --data ROOT --measured FILE.json ...``.

It stands beside the weights and says what they are made of: data with origin and licence, recipe, limits, and the
table that ``benchmarks/quality.py --json`` measured on files never trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sciSR.models.files import load_model
from sciSR.training.recipe import Recipe, load_recipe

CLASSICAL = ("nearest", "linear", "cubic", "quintic", "lanczos", "fourier")


def gains(rows: dict[str, dict[str, list[float]]], network: str = "ESPCN") -> dict[str, float]:
    """First column of the network minus that of the best classical method, for each file."""
    return {name: round(row[network][0] - max(row[m][0] for m in CLASSICAL), 2) for name, row in rows.items()}


def origins(data: Path) -> dict[str, dict[str, str]]:
    """Licence and origin of every file in the data root's tables, by its path below the root."""
    found = {}
    for table in ("astro.tsv", "medical.tsv"):
        with (data / table).open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_MINIMAL):
                inner = row.get("path") or row.get("path_in_repo") or ""
                origin = f"{row['repo']} @ {row['commit']}: {inner}"
                found[row["file"]] = {"file": row["file"], "licence": row["licence"], "origin": origin}
    return found


def make_card(
    recipe: Recipe, text: dict[str, Any], data: Path, measured: list[Path], weights: Path
) -> dict[str, Any]:
    """The card as plain YAML data.

    Parameters
    ----------
    recipe : Recipe
    text : dict
        What no program can know, from ``NAME.card.yml`` beside the recipe: summary, limits, exclusions, notes.
    data : Path
        Data root with astro.tsv and medical.tsv.
    measured : list of Path
        JSON files of ``benchmarks/quality.py``; each becomes a table named like its file.
    weights : Path
        The weights file.
    """
    _, spec, digest = load_model(weights)
    table = origins(data)
    left_out = text["measured"].get("not_in_mean", [])
    tables = {}
    for path in measured:
        rows = json.loads(path.read_text(encoding="utf-8"))
        tables[path.stem] = {"gain_db": _summary(gains(rows), left_out), "rows": _rounded(rows)}
    settings = {key: value for key, value in asdict(recipe).items() if key != "data"}
    settings |= {f"data_{key}": value for key, value in recipe.data.items() if key != "files"}
    return {
        "name": spec.name,
        "summary": text["summary"],
        "sha256": digest,
        "bytes": weights.stat().st_size,
        "parameters": text["parameters"],
        "licence": "BSD-3-Clause",
        "domain": spec.domain,
        "scale": spec.scale,
        "forward_model": {"name": spec.forward_model, "description": text["forward_model"]},
        "normalisation": text["normalisation"],
        "consistency": {"default": spec.consistency, "why": text["consistency"]},
        "limits": text["limits"],
        "data": {"files": [table[name] for name in recipe.data["files"]]}
        | {"files_of_earlier_stages": [table[name] for name in text.get("earlier_files", [])]}
        | text["data"],
        "recipe": settings,
        "training": text["training"],
        "measured": {**text["measured"], "tables": tables},
        "date": text["date"],
    }


def _rounded(rows: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {method: [round(float(v), 4) for v in values] for method, values in row.items()}
        for name, row in rows.items()
    }


def _summary(gain: dict[str, float], left_out: list[str]) -> dict[str, Any]:
    """Gains over the best classical method in each file, and their mean, median and least."""
    counted = [value for name, value in gain.items() if name not in left_out]
    numbers = {"mean": statistics.mean(counted), "median": statistics.median(counted), "least": min(counted)}
    return {key: round(value, 2) for key, value in numbers.items()} | {"files": gain}


def main() -> None:
    """Command line."""
    from ruamel.yaml import YAML

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--measured", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("sciSR/weights"))
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    text = YAML(typ="safe", pure=True).load(
        arguments.recipe.with_suffix(".card.yml").read_text(encoding="utf-8")
    )
    weights = arguments.out / f"{recipe.name}.safetensors"
    yaml = YAML()
    yaml.width = 120
    with weights.with_suffix(".yaml").open("w", encoding="utf-8") as handle:
        yaml.dump(make_card(recipe, text, arguments.data, arguments.measured, weights), handle)


if __name__ == "__main__":
    main()
