"""The measured tables of a model's card, for a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def measured_tables(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Means by method of each table: name, columns, rows as texts, and the gain in words."""
    out = []
    for name, table in ((card.get("measured") or {}).get("tables") or {}).items():
        if not isinstance(table, Mapping) or not {"columns", "means"} <= set(table):
            continue
        gain = table.get("gain_db") or {}
        words = ""
        if gain.get("mean") is not None:
            error = f" ± {gain['se']:.2f}" if gain.get("se") is not None else ""
            words = (
                f"Gain over the best classical method in each image: mean {gain['mean']:+.2f}{error} dB, least "
                f"{gain['least']:+.2f} dB."
            )
        rows = [
            (str(method), ["–" if v is None else f"{v:.4g}" for v in values])
            for method, values in table["means"].items()
        ]
        out.append(
            {"name": str(name), "columns": [str(c) for c in table["columns"]], "rows": rows, "gain": words}
        )
    return out
