"""One network by one protocol: ``python -m sciSR.evaluation WEIGHTS --protocol mr-kspace --data ROOT [--json out]``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sciSR.evaluation import protocols
from sciSR.models.files import load_spec


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sciSR.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="path of a safetensors file, or the name of a shipped network")
    parser.add_argument("--protocol", choices=protocols.NAMES, required=True)
    parser.add_argument("--data", type=Path, required=True, help="data root, e.g. ../shared/data")
    parser.add_argument("--scale", type=int, help="the network's own by default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scale = given.scale or load_spec(given.weights).scale
    table = protocols.run(given.protocol, [given.weights], given.data, scale)
    print(protocols.report(table))
    if given.json:
        given.json.write_text(json.dumps(table.rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
