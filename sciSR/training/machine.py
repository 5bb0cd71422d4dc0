"""What the loop asks of the machine: Fabric with the right precision, memory that is kept, signals that wait."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from types import FrameType
from typing import Any, Literal, Self

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision

from sciSR.errors import UsageError

ASK_EVERY = 10
"""Steps between which several processes agree whether to stop; a single one sees a signal at once."""


class KeepInput(MixedPrecision):
    """Mixed precision that leaves the network's input in float32: a fixed interpolation inside would otherwise lose
    all but eight bits of it, and the network's output is a small correction to that."""

    def convert_input(self, data: Any) -> Any:
        return data


def make_fabric(precision: str, device: str, devices: int, nodes: int) -> Fabric:
    """Fabric on a device: one process, or distributed data parallel over several.

    Parameters
    ----------
    precision : {"fp32", "bf16", "fp16"}
    device : {"auto", "cpu", "cuda"}
    devices, nodes : int
        Processes of a node; nodes.
    """
    cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if cuda else "cpu"
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device is {device!r}", remedy="give auto, cpu or cuda")
    if device == "cuda" and not cuda:
        raise UsageError("no CUDA device is available", remedy="give --device cpu")
    kind: Literal["16-mixed", "bf16-mixed"]
    plugins: list[Any] = []
    if precision == "fp16":
        if device == "cpu":
            raise UsageError("fp16 needs a GPU", remedy="--set training.precision=bf16")
        kind = "16-mixed"
        plugins = [KeepInput(kind, "cuda")]
    elif precision == "bf16":
        kind = "bf16-mixed"
        plugins = [KeepInput(kind, device)]
    many = devices * nodes > 1
    return Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if many else "auto",
        plugins=plugins or None,
    )


class Stop:
    """Context in which Ctrl-C and SIGTERM ask for a stop at the end of the step; a second one stops at once."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric, self.asked = fabric, False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def now(self, step: int) -> bool:
        """Whether to stop after `step`: all processes give the same answer."""
        if self.fabric.world_size == 1:
            return self.asked
        if step % ASK_EVERY:
            return False
        answers = self.fabric.all_gather(torch.tensor(self.asked, device=self.fabric.device))
        return bool(answers.any())


def keep_memory() -> None:
    """Ask glibc to keep freed memory: large activations are otherwise mapped and unmapped at every layer (a factor of
    2 on a CPU)."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
