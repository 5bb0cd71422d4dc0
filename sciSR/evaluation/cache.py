"""Scores of methods that never change, kept between runs: classical ones take most of the time of an evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from sciSR.evaluation.methods import Method
from sciSR.files import atomic_output
from sciSR.provenance import file_sha256

TIME = "s_per_mpix"
VERSION = 1
"""Changed whenever a protocol or a classical method gives other numbers."""


class ScoreCache:
    """A JSON file of scores by protocol, scale and content of the image.

    Parameters
    ----------
    path : path, optional
        None keeps nothing.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._scores: dict[str, dict[str, dict[str, float | None]]] = {}
        if self.path is not None and self.path.exists():
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored.get("version") == VERSION:
                self._scores = stored["scores"]

    def key(self, protocol: str, scale: int, image: Path | str) -> str:
        """Of an image: a file's content, or a simulated scene's name."""
        content = file_sha256(image)[:16] if isinstance(image, Path) else image
        return f"{protocol} x{scale} {content}"

    def known(self, key: str) -> Mapping[str, Mapping[str, float]]:
        """Scores from earlier: method -> measure -> value. Times are no part of it: they are the machine's."""
        found = self._scores.get(key, {})
        return {
            method: {
                name: math.nan if value is None else value for name, value in scores.items() if name != TIME
            }
            for method, scores in found.items()
        }

    def keep(self, key: str, scores: Mapping[str, Mapping[str, float]], methods: list[Method]) -> None:
        """Remember what does not depend on any weights, and write it."""
        if self.path is None:
            return
        fixed = {method.name for method in methods if method.kind in ("classical", "oracle")}
        kept: dict[str, dict[str, float | None]] = {
            method: {
                name: None if math.isnan(value) else value for name, value in values.items() if name != TIME
            }
            for method, values in scores.items()
            if method in fixed
        }
        self._scores[key] = self._scores.get(key, {}) | kept
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_output(self.path, overwrite=True) as temporary:
            text = json.dumps({"version": VERSION, "scores": self._scores}, indent=0)
            temporary.write_text(text, encoding="utf-8")
