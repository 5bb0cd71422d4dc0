"""The card of a network: what it is made of, what it was measured to do, where it fails.

``python -m sciSR.evaluation.card NAME.safetensors ... --data ROOT [--out sciSR/weights] [--cache scores.json]`` takes
the draft that the training left beside the weights (``NAME.yaml``), measures the network on the check files of the data
root, and writes weights and finished card to the folder of shipped ones.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError, UnreadableError, UsageError
from sciSR.evaluation import prose, protocols
from sciSR.evaluation.cache import ScoreCache
from sciSR.evaluation.methods import count
from sciSR.evaluation.table import COLUMNS, Table
from sciSR.evaluation.terms import read_terms, refuse_unstated, terms_of
from sciSR.files import atomic_output
from sciSR.models.files import WEIGHTS, load_model, load_spec
from sciSR.models.spec import ModelSpec
from sciSR.provenance import file_sha256

SHOWN = {
    "mr-through-plane": ("psnr", "ssim"),
    "mr": ("psnr", "ssim", "nrmse", "bias"),
    "astro-simulated": ("psnr", "ssim", "nrmse", "bias", "scatter"),
    "astro-real": ("psnr", "ssim", "nrmse", "bias", "scatter"),
    "set": ("psnr", "ssim"),
}
"""Measures of a card's rows, by protocol."""

ORDER = (
    "name", "summary", "sha256", "bytes", "parameters", "licence", "domain", "architecture", "scale", "scales",
    "conditions", "adversarial", "forward_model", "normalisation", "consistency", "limits", "data", "training",
    "recipe", "measured", "date",
)  # fmt: skip


_LINE = 100


def measure_all(
    weights: Path, data: Path, cache: ScoreCache | None = None, spec: ModelSpec | None = None
) -> dict[str, Table]:
    """A network by every protocol of its domain and forward models, at every scale it serves.

    Returns
    -------
    dict
        Named by the protocol; with the scale where it is not the network's first.
    """
    spec = spec or load_spec(weights)
    tables = {}
    for name in protocols.protocols_of(spec):
        for scale in spec.factors:
            key = name if scale == spec.scale else f"{name} x{scale}"
            tables[key] = protocols.run(name, [weights], data, scale, cache=cache)
    return tables


def complete(
    draft: Mapping[str, Any],
    weights: Path,
    tables: Mapping[str, Table],
    data: Path,
    *,
    shipped: bool = True,
) -> dict[str, Any]:
    """The finished card as plain YAML data.

    Parameters
    ----------
    draft : mapping
        What the training left, or an earlier card; what a person wrote in it (summary, limits) is kept.
    weights : Path
    tables : mapping of str to Table
        From `measure_all`.
    data : Path
        Data root, for the licences of the training files.
    shipped : bool
        Refuse files whose terms are not stated.

    Raises
    ------
    UsageError
        A training file's terms are not stated.
    """
    model, spec, digest = load_model(weights)
    card = dict(draft)
    forward = card.get("forward_model", {})
    known = {
        "name": spec.name,
        "sha256": digest,
        "bytes": weights.stat().st_size,
        "parameters": count(model),
        "licence": card.get("licence", "BSD-3-Clause"),
        "domain": spec.domain,
        "architecture": spec.architecture,
        "scale": spec.scale,
        "forward_model": {"name": spec.forward_model, "description": prose.forward(spec, forward)},
        "normalisation": prose.NORMALISATION[spec.normalisation],
        "consistency": {"default": spec.consistency, "what": prose.consistency(spec)},
        "summary": card.get("summary") if prose.is_written(card.get("summary")) else prose.summary(spec),
        "limits": prose.limits(spec, card.get("limits", []), tables),
        "data": {**card.get("data", {}), "files": _files(card, data, shipped=shipped)},
        "measured": measured(spec, tables),
        "date": datetime.date.today(),
    }
    if spec.scales:
        known["scales"] = list(spec.scales)
    if spec.conditions:
        known["conditions"] = list(spec.conditions)
    if spec.adversarial:
        known["adversarial"] = True
    card |= known
    if "recipe" in card:
        card["recipe"] = _portable(card["recipe"])
    return {key: card[key] for key in [*ORDER, *(k for k in card if k not in ORDER)] if key in card}


def _portable(value: Any) -> Any:
    """A recipe without what is true on one machine only: absolute paths keep their names, the data root goes."""
    if isinstance(value, dict):
        return {key: _portable(each) for key, each in value.items() if key != "root"}
    if isinstance(value, list | tuple):
        return [_portable(each) for each in value]
    is_path = isinstance(value, str) and (value.startswith(("/", "..", "~")) or value[1:3] == ":\\")
    return value.replace("\\", "/").rpartition("/")[2] if is_path else value


def _files(card: Mapping[str, Any], data: Path, *, shipped: bool) -> list[dict[str, Any]]:
    """The training files with licence and origin."""
    table, found = read_terms(data), []
    for entry in card.get("data", {}).get("files", []):
        row = {"file": entry} if isinstance(entry, str) else dict(entry)
        name = str(row.pop("file", None) or row.pop("name", None) or row.pop("path", ""))
        terms = terms_of(name, table)
        about = {} if terms is None else {"licence": terms.stated or terms.licence, "origin": terms.origin}
        row = {"file": name, "licence": "not stated", **row, **about}
        if not row.get("sha256") and (data / name).is_file():
            row["sha256"] = file_sha256(data / name)
        found.append({key: value for key, value in row.items() if key != "group"})
    if shipped:
        if not found and card.get("recipe", {}).get("data", {}).get("simulated", 0) < 1:
            raise UsageError(
                "the draft names no file that the network was trained on",
                remedy="put the draft of its training beside the weights, or keep them (--out elsewhere --unshipped)",
            )
        refuse_unstated([row["file"] for row in found if row.get("role", "train") == "train"], table)
    return found


def measured(spec: ModelSpec, tables: Mapping[str, Table]) -> dict[str, Any]:
    """Each table's gains, means, and for every image the network beside the best classical method."""
    out: dict[str, Any] = {"protocol": {}, "not_in_mean": [], "tables": {}}
    for key, table in tables.items():
        columns = next(shown for start, shown in SHOWN.items() if table.name.startswith(start))
        gain = table.gain(spec.name)
        rows = {}
        for image, row in table.rows.items():
            best = table.best(image) or ""
            rows[image] = {
                "network": _numbers(row[spec.name], columns),
                "best": best,
                "classical": _numbers(row[best], columns),
            }
        entry: dict[str, Any] = {
            "columns": [COLUMNS[each].heading for each in columns],
            "gain_db": {
                **{word: _number(getattr(gain, word)) for word in ("mean", "se", "median", "least")},
                "files": {image: _number(value) for image, value in gain.files.items()},
            },
            "means": {
                method: [_number(table.mean(method, each).mean, 4) for each in columns]
                for method in table.methods
            },
            "rows": rows,
        }
        if table.of_kind("oracle"):
            over = table.gain(spec.name, "oracle")
            entry["gain_over_known_psf_db"] = {
                word: _number(getattr(over, word)) for word in ("mean", "se", "least")
            }
        out["tables"][key] = entry
        out["protocol"][table.name] = protocols.words(table.name)
        skipped = [name for name in table.left_out if name in table.rows and name not in out["not_in_mean"]]
        out["not_in_mean"] += skipped
    return out


def _numbers(scores: Mapping[str, float], columns: tuple[str, ...]) -> list[float | None]:
    return [_number(scores.get(each, math.nan), 4) for each in columns]


def _number(value: float, digits: int = 2) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def read_draft(weights: Path) -> dict[str, Any]:
    """The draft beside a weights file; of weights without one what their own metadata says of the training."""
    path = weights.with_suffix(".yaml")
    if path.exists():
        from sciSR.yaml_file import parse

        try:
            return parse(path)[0] if path.read_bytes().strip() else {}
        except UsageError as error:
            raise UnreadableError(f"is no card ({error.what})", where=path) from error
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        metadata = file.metadata() or {}
    config = json.loads(metadata.get("config", "{}"))
    words = config.pop("card", {}) if config else {}
    return {**words, **({"recipe": config, "forward_model": config.get("forward", {})} if config else {})}


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """YAML with short lists and mappings on one line, whole or not at all."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 120
    with atomic_output(path, overwrite=True) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yaml.dump(_styled(dict(card)), stream)


def _styled(value: Any) -> Any:
    """The same data, marked with what goes on one line: what is flat and fits there."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, dict | list | tuple):
        return value
    inner = list(value.values()) if isinstance(value, dict) else list(value)
    out: Any
    if isinstance(value, dict):
        out = CommentedMap((key, _styled(each)) for key, each in value.items())
    else:
        out = CommentedSeq(_styled(each) for each in value)
    short = len(json.dumps(value, default=str, ensure_ascii=False)) < _LINE
    if short and not any(isinstance(each, dict | list | tuple) for each in inner):
        out.fa.set_flow_style()
    return out


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sciSR.evaluation.card", description=__doc__.splitlines()[0]
    )
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="data root, e.g. ../shared/data")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights and cards")
    parser.add_argument("--cache", type=Path, help="JSON file that keeps the classical methods' scores")
    parser.add_argument("--unshipped", action="store_true", help="accept files whose licence is not stated")
    given = parser.parse_args()
    cache = ScoreCache(given.cache)
    try:
        for weights in given.weights:
            draft = read_draft(weights)
            _files(draft, given.data, shipped=not given.unshipped)  # refused before an hour of measuring
            tables = measure_all(weights, given.data, cache)
            card = complete(draft, weights, tables, given.data, shipped=not given.unshipped)
            target = given.out / f"{card['name']}.safetensors"
            given.out.mkdir(parents=True, exist_ok=True)
            if target.resolve() != weights.resolve():
                with atomic_output(target, overwrite=True) as temporary:
                    shutil.copyfile(weights, temporary)
            write_card(target.with_suffix(".yaml"), card)
            gains = {key: each["gain_db"]["mean"] for key, each in card["measured"]["tables"].items()}
            print(f"{target.name}: {', '.join(f'{key} {value:+.2f} dB' for key, value in gains.items())}")
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
