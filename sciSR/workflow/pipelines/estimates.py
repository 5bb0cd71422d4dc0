"""About how much disk, memory and time an item will take: from headers, without reading pixels.

Sizes follow from shapes and scales. Times and memory are those of items with the same steps that the ledger has, where
there are any; else they come from the figures below, measured on one core of a Zen 5, and can be wrong by a
factor of several on another machine.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.work import Task

if TYPE_CHECKING:
    from sciSR.workflow.batch.ledger_past import Past

FLOPS = 230e9
"""A second and core of a network's convolutions in fp32."""
START_SECONDS = 1.0
"""Of a worker, with weights read."""
PAGE_BYTES = 1_500_000
"""Of a report; 1.0 to 2.4 MB seen."""
PER_MEGAPIXEL = {
    "upscale": 0.08,
    "verify": 0.12,
    "degrade": 0.1,
    "calibrate": 0.1,
    "register": 1.0,
    "fuse": 5.0,
    "isotropic": 3.0,
    "evaluate": 0.5,
    "write": 0.02,
}
"""Core seconds for a megapixel of what comes out (fuse, register and degrade: goes in), networks not included."""
AT_ONCE = {"report": 3.0, "fuse": 2.0, "evaluate": 1.0}
"""Core seconds of a step, however small the image."""
SELF_TRAINING = {"0": 0.0, "fast": 40.0, "full": 300.0}
"""Core seconds."""
BASE_BYTES = 400_000_000
"""Of a worker that interpolates."""
MEMORY = {"upscale": 550_000_000, "isotropic": 450_000_000, "report": 150_000_000, "fuse": 400_000_000}
"""Bytes on top of it, for images of a tile or more; a network that works on the finer pixels takes six times that."""
FINE = ("VDSR", "SRCNN", "SparseCoding")
"""Architectures whose layers work on the finer pixels."""
TILE = 1e6
"""Pixels of an output from which on memory no longer grows."""
CLASSICAL = ("nearest", "linear", "cubic", "lanczos", "fourier")
DEFAULT_PARAMETERS = 313_972
"""Of the network that ``auto`` takes."""


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
        On this machine, with all cores.
    scratch_bytes : int
        On the disk of the outputs, while it is worked on.
    """

    output_bytes: int
    peak_bytes: int
    seconds: float
    scratch_bytes: int = 0


@dataclass(frozen=True)
class Size:
    """Of a product.

    Attributes
    ----------
    samples : float
        Of all images together.
    width : float
        Bytes that are written for each.
    files : int
        Exposures or stacks.
    thickness : float
        Largest distance of a volume's samples over the smallest.
    spacing : float
        The smallest one; 0 if unknown.
    """

    samples: float
    width: float = 4.0
    files: int = 1
    thickness: float = 1.0
    spacing: float = 0.0

    @property
    def bytes(self) -> float:
        return self.samples * self.width


def estimate(task: Task, past: Past | None = None) -> Estimate:
    """About what an item will need; of files that can't be read, about nothing: they will fail soon.

    Parameters
    ----------
    task : Task
    past : Past, optional
        What earlier items with the same steps took; see :meth:`sciSR.workflow.batch.ledger.Ledger.past`.
    """
    sizes: dict[str | None, Size] = {None: source_size(task)}
    output = scratch = core = at_network = 0.0
    memory = [0.0]
    for node in task.nodes:
        before = sizes[node.parent]
        size = sizes[node.id] = after(node, before)
        flops, fine = network(node)
        largest = max(size.samples, before.samples)
        measured = before if node.step in ("fuse", "register", "degrade") else size
        core += AT_ONCE.get(node.step, 0.0) + PER_MEGAPIXEL.get(node.step, 0.0) * measured.samples / 1e6
        core += SELF_TRAINING.get(str(node.parameters.get("self_training")), 0.0)
        at_network += flops * size.samples / FLOPS
        if node.step != "upscale" or flops:
            share = min(1.0, largest / TILE) * (6 if fine else 1)
            memory.append(MEMORY.get(node.step, 0.0) * share)
        made = size.bytes * (2 if node.parameters.get("uncertainty") is True else 1)
        output += made if node.step == "write" else PAGE_BYTES if node.step == "report" else 0
        scratch += 0 if node.step in ("read", "verify", "evaluate", "register") else made
    found = Estimate(
        output_bytes=math.ceil(output),
        peak_bytes=math.ceil(BASE_BYTES + max(memory)),
        seconds=round(START_SECONDS + core + at_network / (os.cpu_count() or 1), 1),
        scratch_bytes=math.ceil(scratch),
    )
    known = None if past is None else past.of(task)
    return found if known is None else replace(found, seconds=round(known[0], 1), peak_bytes=known[1])


def after(node: Node, before: Size) -> Size:
    """Of a node's product."""
    given = node.parameters
    if node.step == "upscale":
        return replace(before, samples=before.samples * math.prod(_factors(given.get("scale", 2))))
    if node.step == "degrade":
        return replace(before, samples=before.samples / math.prod(_factors(given.get("scale", 2))))
    if node.step == "isotropic":
        target = given.get("spacing") or before.spacing
        finer = before.thickness * (before.spacing / target) ** 3 if target else before.thickness
        return replace(before, samples=before.samples * finer, thickness=1.0)
    if node.step == "fuse":
        # Image, error, weight, coverage, and which frames went in.
        one = before.samples / max(before.files, 1) * math.prod(_factors(given.get("scale", 2)))
        return replace(before, samples=one, width=20.0, files=1)
    return before


def network(node: Node) -> tuple[float, bool]:
    """Floating point operations for each pixel of the result, and whether its layers work on the finer pixels."""
    model = str(node.parameters.get("model", ""))
    if node.step not in ("upscale", "isotropic") or model in CLASSICAL:
        return 0.0, False
    if node.step == "isotropic":
        return 0.0, False  # small networks, in the seconds a megapixel
    parameters, architecture = _card(model)
    fine = architecture in FINE
    finer = 1.0 if fine else math.prod(_factors(node.parameters.get("scale", 2)))
    precise = 0.5 if node.parameters.get("precision") == "bf16" else 1.0
    return 2.0 * parameters / max(finer, 1.0) * precise, fine


@functools.cache
def _card(model: str) -> tuple[int, str]:
    """Parameters and architecture of a model by its card; the default network's where there is none."""
    weights = Path(__file__).parents[2] / "weights"
    try:
        text = (weights / f"{Path(model).name}.yaml").read_text(encoding="utf-8")
    except OSError:
        return DEFAULT_PARAMETERS, ""
    counted = re.search(r"^parameters: *(\d+)", text, flags=re.M)
    architecture = re.search(r"^architecture: *(\w+)", text, flags=re.M)
    return int(counted[1]) if counted else DEFAULT_PARAMETERS, architecture[1] if architecture else ""


def source_size(task: Task) -> Size:
    """Of an item's files, from the header of the first; those of one item are alike."""
    import warnings

    from sciSR.plugins import adapter_for

    if not task.files:
        return Size(0)
    path = Path(task.files[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = adapter_for(path).describe(path)
    except Exception:  # a bad file; the worker will say so by name
        return Size(0)
    parts = [part for part in told.get("parts", ()) if part.get("upscaled_axes") or part.get("series_uid")]
    if not parts:
        return Size(0)
    samples = sum(math.prod(part.get("shape") or (0,)) for part in parts)
    steps = [float(each) for each in (parts[0].get("grid") or {}).get("spacing", ())[:3]] or [0.0]
    return Size(
        float(samples * len(task.files)),
        max(_width(part) for part in parts),
        len(task.files) if task.sequence else 1,
        max(steps) / min(steps) if min(steps) > 0 else 1.0,
        min(steps),
    )


def _width(part: Mapping[str, Any]) -> float:
    """Bytes of a sample of the result: floating point as the input, whole numbers of DICOM."""
    if "series_uid" in part:
        return 2.0
    if "bitpix" in part:
        return max(abs(int(part["bitpix"])) / 8, 4.0)
    return 8.0 if part.get("dtype") in ("float64", "complex64") else 4.0


def _factors(scale: Any) -> tuple[float, float]:
    """Along both axes; 2 where a file leaves it to the step."""
    words = str(scale).lower().replace("x", ",").split(",")
    try:
        numbers = [float(Fraction(word.strip())) for word in words if word.strip()]
    except (ValueError, ZeroDivisionError):
        return (2.0, 2.0)
    return (numbers[0], numbers[-1]) if numbers else (2.0, 2.0)
