"""Write the README's table of measured gains from the models' cards: `python docs/measured.py`.

The cards stand beside the weights; their numbers come from `benchmarks/quality.py`. A test holds the README to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- measured: written by docs/measured.py -->", "<!-- /measured -->"


def section() -> str:
    """The table as Markdown, markers included."""
    from sciSR.models.files import list_models, load_card

    cards = [card for spec in list_models() if (card := load_card(spec.name))]
    lines = [
        "| network | undoes | measured on | gain over the best classical method: mean | median | least |",
        "|---|---|---|---|---|---|",
        *(_line(card, name, table) for card in cards for name, table in card["measured"]["tables"].items()),
    ]
    return "\n".join([BEGIN, *lines, END])


def _line(card: dict[str, Any], name: str, table: dict[str, Any]) -> str:
    gains = table["gain_db"]
    counted = [file for file in gains["files"] if file not in card["measured"].get("not_in_mean", [])]
    numbers = " | ".join(f"{gains[key]:+.2f} dB" for key in ("mean", "median", "least"))
    return (
        f"| `{card['name']}` | {card['forward_model']['name']} | {name}, {len(counted)} images | {numbers} |"
    )


def updated(text: str) -> str:
    """The README with a fresh table."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + section() + tail


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(updated(readme.read_text(encoding="utf-8")), encoding="utf-8")
