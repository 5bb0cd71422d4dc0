"""Networks by one protocol: ``python -m sciSR.evaluation WEIGHTS... --protocol mr-kspace --data ROOT [--json out]``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError
from sciSR.evaluation import protocols
from sciSR.evaluation.cache import ScoreCache
from sciSR.evaluation.render import report
from sciSR.models.files import load_spec


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sciSR.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", help="paths of safetensors files, or names of shipped networks")
    parser.add_argument(
        "--protocol", choices=protocols.NAMES, help="by default all of the network's own domain"
    )
    parser.add_argument("--data", type=Path, required=True, help="data root, e.g. ../shared/data")
    parser.add_argument("--scale", type=int, help="the network's own by default")
    parser.add_argument("--cache", type=Path, help="JSON file that keeps the classical methods' scores")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    try:
        spec = load_spec(given.weights[0])
        names = (given.protocol,) if given.protocol else protocols.protocols_of(spec)
        cache, tables = ScoreCache(given.cache), []
        for name in names:
            table = protocols.run(name, given.weights, given.data, given.scale or spec.scale, cache=cache)
            tables.append(table.as_dict())
            print(report(table, "markdown" if given.markdown else "plain"), end="\n\n", flush=True)
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if given.json:
        given.json.write_text(json.dumps(without_nan(tables), indent=1), encoding="utf-8")
    return 0


def without_nan(value: Any) -> Any:
    """Plain data in which numbers that JSON has no word for are None."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
