"""The card of a network across slices, from its draft and what ``benchmarks/mri.py --json`` measured.

``python -m sciSR.throughplane.card WEIGHTS DRAFT_CARD SCORES_JSON [--data ROOT] [--out sciSR/weights]`` completes the
draft that the training left, and writes weights and card to the folder of shipped ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRError, UnreadableError, UsageError
from sciSR.evaluation.card import complete, read_draft, write_card
from sciSR.evaluation.table import MethodInfo, Table
from sciSR.files import atomic_output
from sciSR.models.files import WEIGHTS, load_spec
from sciSR.models.spec import ModelSpec

NAME = "mr-through-plane-x4"
FACTOR = 4
OURS = "ours, pre-trained"
"""The network as it was trained, in the benchmark's words."""
OTHERS = ("linear", "cubic", "lanczos", "known-profile inverse", "smoothest that agrees")
"""What it must beat: all that is not learned, also what is told the profile."""
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Method -> volume -> measure -> value."""


def table_of(scores: Scores, spec: ModelSpec) -> Table:
    """The benchmark's scores as a table whose gains are over the best of `OTHERS` in each volume.

    Networks that learned further from the volume itself stand in it, and no gain is theirs.

    Raises
    ------
    UsageError
        A method is missing, or was not measured on the same volumes: its absence could only flatter.
    """
    missing = [name for name in (OURS, *OTHERS) if name not in scores]
    if missing:
        raise UsageError(
            f"no scores of {', '.join(missing)}", remedy="run benchmarks/mri.py --json with all methods"
        )
    volumes = list(scores[OURS])
    uneven = [name for name, row in scores.items() if set(row) != set(volumes)]
    if uneven or not volumes:
        raise UsageError(
            f"{', '.join(uneven) or OURS}: not measured on the same volumes",
            remedy="measure all methods in one run",
        )

    def called(method: str) -> str:
        return method.replace(OURS, spec.name).removeprefix("ours, ")

    kinds = dict.fromkeys(OTHERS, "classical") | {OURS: "trained"}
    return Table(
        NAME,
        FACTOR,
        {volume: {called(name): scores[name][volume] for name in scores} for volume in volumes},
        {called(name): MethodInfo(kinds.get(name, "reference")) for name in scores},
    )


def finished(weights: Path, draft: Path, scores: Path, data: Path, *, shipped: bool = True) -> dict[str, Any]:
    """The finished card as plain YAML data.

    Parameters
    ----------
    weights : Path
    draft : Path
        YAML that the training left.
    scores : Path
        JSON of ``benchmarks/mri.py``.
    data : Path
        Data root, for the licences of the training files.
    shipped : bool
        Refuse files whose terms are not stated.

    Raises
    ------
    UsageError
        Scores are missing, the network is of another kind, a training file's terms are not stated.
    UnreadableError
        No draft, or no such scores.
    """
    spec = load_spec(weights)
    if spec.forward_model != "slice_profile":
        raise UsageError(
            f"undoes {spec.forward_model}", where=weights, remedy="use python -m sciSR.evaluation.card"
        )
    if not draft.is_file():
        raise UnreadableError(
            "no such draft", where=draft, remedy="scisr train leaves one beside the weights"
        )
    try:
        found = json.loads(scores.read_text(encoding="utf-8"))
        table = table_of(found, spec)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UnreadableError(f"holds no scores ({error})", where=scores) from error
    return complete(read_draft(draft), weights, {NAME: table}, data, shipped=shipped)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sciSR.throughplane.card", description=__doc__.splitlines()[0]
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("draft", type=Path, help="the card that the training left")
    parser.add_argument("scores", type=Path, help="JSON of benchmarks/mri.py")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data root")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights and cards")
    parser.add_argument("--unshipped", action="store_true", help="accept files whose licence is not stated")
    given = parser.parse_args()
    try:
        card = finished(given.weights, given.draft, given.scores, given.data, shipped=not given.unshipped)
        given.out.mkdir(parents=True, exist_ok=True)
        target = given.out / f"{card['name']}.safetensors"
        if target.resolve() != given.weights.resolve():
            with atomic_output(target, overwrite=True) as temporary:
                shutil.copyfile(given.weights, temporary)
        write_card(target.with_suffix(".yaml"), card)
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    gain = card["measured"]["tables"][NAME]["gain_db"]["mean"]
    print(f"{target.name}: {NAME} {gain:+.2f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
