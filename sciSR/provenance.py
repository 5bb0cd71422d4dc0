"""What was done to an image: by which software, with which weights, from which input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Provenance:
    """An ordered record of steps, each a small JSON-ready mapping.

    A step of ``upscale`` holds: ``software``, ``step``, ``scale``, ``model``, ``weights_sha256``,
    ``quantity``, ``consistency``, ``normalisation``, and the measured agreement with the input.
    """

    steps: tuple[Mapping[str, Any], ...] = ()

    def add(self, **step: Any) -> Provenance:
        """A record with one more step."""
        return Provenance((*self.steps, dict(step)))

    def to_json(self) -> str:
        """One compact line of ASCII JSON; keys in the order they were given, no NaN."""
        return json.dumps(list(self.steps), separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        return cls(tuple(json.loads(text)))

    def summary(self) -> str:
        """One human line, e.g. ``sciSR 0.1.0 upscale x2 espcn-astro-x2 (sha256 1f2e3d4c)``."""
        words = []
        for step in self.steps:
            line = [str(step.get("software", "sciSR")), str(step.get("step", ""))]
            if "scale" in step:
                line.append(f"x{step['scale']}")
            if "model" in step:
                line.append(str(step["model"]))
            if step.get("weights_sha256"):
                line.append(f"(sha256 {str(step['weights_sha256'])[:8]})")
            if step.get("forward"):
                line.append(parameters(step["forward"]))
            words.append(" ".join(w for w in line if w))
        return "; ".join(words)


def parameters(values: Mapping[str, Any]) -> str:
    """Parameters of a step in words: ``kind detector, fwhm 1.2, seed 0``."""
    words = (
        (key.replace("_", " "), f"{v:.9g}" if isinstance(v, float) else str(v)) for key, v in values.items()
    )
    return ", ".join(f"{name} {value or 'none'}" for name, value in words)


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file, or of a folder's files in name order (names left out: they may hold patient data)."""
    digest = hashlib.sha256()
    path = Path(path)
    if path.is_dir():
        for name in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(bytes.fromhex(file_sha256(name)))
        return digest.hexdigest()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
