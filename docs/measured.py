"""Write the tables of measured gains from the models' cards: `python docs/measured.py`.

The README has the default networks, `docs/zoo.md` all that are shipped. The cards stand beside the weights; their
numbers come from `python -m sciSR.evaluation.card`. A test holds both pages to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- measured: written by docs/measured.py -->", "<!-- /measured -->"


def section(every: bool = False) -> str:
    """The table as Markdown, markers included: of the default networks, or of every shipped one."""
    from sciSR.inference.candidates import default_architecture
    from sciSR.models.files import list_models, load_card

    shown = [spec for spec in list_models() if every or _is_default(spec, default_architecture)]
    cards = [card for spec in shown if (card := load_card(spec.name))]
    lines = [
        "| network | undoes | measured on | gain over the best classical method: mean | median | least |",
        "|---|---|---|---|---|---|",
        *(_line(card, name, table) for card in cards for name, table in card["measured"]["tables"].items()),
    ]
    return "\n".join([BEGIN, *lines, END])


def _is_default(spec: Any, default: Any) -> bool:
    across = spec.forward_model == "slice_profile"  # there is one
    return across or spec.architecture == default(spec.domain, spec.scale)


def _line(card: dict[str, Any], name: str, table: dict[str, Any]) -> str:
    gains = table["gain_db"]
    counted = [file for file in gains["files"] if file not in card["measured"].get("not_in_mean", [])]
    numbers = " | ".join(f"{gains[key]:+.2f} dB" for key in ("mean", "median", "least"))
    return (
        f"| `{card['name']}` | {card['forward_model']['name']} | {name}, {len(counted)} images | {numbers} |"
    )


def updated(text: str, every: bool = False) -> str:
    """A page with a fresh table."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + section(every) + tail


PAGES = {"README.md": False, "docs/zoo.md": True}
"""Page and whether it shows every network."""

if __name__ == "__main__":
    for name, every in PAGES.items():
        page = ROOT / name
        page.write_text(updated(page.read_text(encoding="utf-8"), every), encoding="utf-8")
