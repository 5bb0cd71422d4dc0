"""About how much disk, memory and time an item will take: from headers alone, nothing is read through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.work import Task

BASE_BYTES = 400_000_000
BASE_SECONDS = 3.0
SECONDS_PER_MEGAPIXEL = 1.0


@dataclass(frozen=True)
class Estimate:
    """About what an item needs.

    Attributes
    ----------
    output_bytes : int
        Of its outputs, uncompressed.
    peak_bytes : int
        Memory of its worker.
    seconds : float
        On this machine.
    scratch_bytes : int
        On the disk of the outputs, while it is worked on.
    """

    output_bytes: int
    peak_bytes: int
    seconds: float
    scratch_bytes: int = 0


@dataclass(frozen=True)
class Size:
    """Samples of a product, and bytes of each when written."""

    samples: float
    width: float

    @property
    def bytes(self) -> float:
        return self.samples * self.width


def estimate(task: Task) -> Estimate:
    """About what an item will need; of files that can't be read, about nothing: they will fail soon.

    Parameters
    ----------
    task : Task
    """
    source = source_size(task)
    sizes: dict[str | None, Size] = {None: source}
    output = scratch = work = 0.0
    for node in task.nodes:
        size = sizes[node.id] = after(node, sizes[node.parent])
        work += size.samples
        if node.step == "write":
            output += size.bytes
        elif node.step == "report":
            output += 1_000_000
        else:
            scratch += size.bytes
    largest = max((size.bytes for size in sizes.values()), default=0.0)
    return Estimate(
        output_bytes=math.ceil(output),
        peak_bytes=math.ceil(BASE_BYTES + largest),
        seconds=BASE_SECONDS + SECONDS_PER_MEGAPIXEL * work / 1e6,
        scratch_bytes=math.ceil(scratch),
    )


def after(node: Node, before: Size) -> Size:
    """Of a node's product."""
    if node.step in ("upscale", "fuse"):
        return Size(before.samples * math.prod(_factors(node.parameters.get("scale", 2))), before.width)
    if node.step == "degrade":
        return Size(before.samples / math.prod(_factors(node.parameters.get("scale", 2))), before.width)
    return before


def source_size(task: Task) -> Size:
    """Of an item's files, from the header of the first; several are alike."""
    from sciSR.plugins import adapter_for

    if not task.files:
        return Size(0, 4)
    path = Path(task.files[0])
    try:
        told = adapter_for(path).describe(path)
    except Exception:  # a bad file; the worker will say so by name
        return Size(0, 4)
    parts = [part for part in told.get("parts", ()) if part.get("upscaled_axes") or part.get("series_uid")]
    samples = sum(math.prod(part.get("shape") or (0,)) for part in parts)
    width = max((_width(part) for part in parts), default=4)
    return Size(float(samples * len(task.files)), width)


def _width(part: Mapping[str, Any]) -> float:
    if "series_uid" in part:
        return 2
    if "bitpix" in part:
        return max(abs(int(part["bitpix"])) / 8, 4)
    return 8 if part.get("dtype") in ("float64", "complex64") else 4


def _factors(scale: Any) -> tuple[float, float]:
    """Along both axes; 2 where a file leaves it to the step."""
    words = str(scale).lower().replace("x", ",").split(",")
    try:
        numbers = [float(Fraction(word.strip())) for word in words if word.strip()]
    except (ValueError, ZeroDivisionError):
        return (2.0, 2.0)
    return (numbers[0], numbers[-1]) if numbers else (2.0, 2.0)
