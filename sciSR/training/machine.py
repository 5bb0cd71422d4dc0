"""What the loop asks of the machine: Fabric with the right precision, memory that is kept, signals that wait."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal, Self, TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision
from lightning.fabric.strategies import DDPStrategy
from lightning.fabric.utilities.rank_zero import rank_zero_only

from sciSR.errors import SciSRError, UsageError

T = TypeVar("T")

NAMES: dict[str, Literal["16-mixed", "bf16-mixed"]] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Fabric's names of the precisions that are mixed."""
ASK_EVERY = 10
"""Steps between which several processes agree whether to stop; a single one sees a signal at once."""


class KeepInput(MixedPrecision):
    """Mixed precision that leaves the network's input in float32: a fixed interpolation inside would otherwise lose
    all but eight bits of it, and the network's output is a small correction to that."""

    def convert_input(self, data: Any) -> Any:
        return data


def make_fabric(precision: str, device: str, devices: int, nodes: int, batch: int) -> Fabric:
    """Fabric on a device: one process, or distributed data parallel over several.

    Parameters
    ----------
    precision : {"fp32", "bf16", "fp16"}
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    devices, nodes : int
        Processes of a node; nodes.
    batch : int
        To be shared equally.

    Raises
    ------
    UsageError
        The machine or the batch doesn't allow it.
    """
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda") or (number and (kind == "cpu" or not number.isdecimal())):
        raise UsageError(f"--device {device} is unknown", remedy="give auto, cpu, cuda or cuda:N")
    present = torch.cuda.device_count() if kind == "cuda" else devices
    wanted = [int(number)] if number else devices
    if devices < 1 or nodes < 1 or present < (int(number) + 1 if number else devices):
        raise UsageError(
            f"--device {device} --devices {devices}: the machine has {present}", remedy="give fewer"
        )
    processes = devices * nodes
    if number and processes > 1:
        raise UsageError(f"--device {device} is a single one", remedy="give cuda and --devices")
    if batch % processes:
        raise UsageError(
            f"a batch of {batch} can't be shared by {processes} processes",
            remedy="--set training.batch to a multiple",
        )
    if precision == "fp16" and kind == "cpu":
        raise UsageError("training.precision fp16 needs a GPU", remedy="--set training.precision=bf16")
    if kind == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    plugins: list[Any] = []
    if precision in NAMES:
        plugins.append(KeepInput(NAMES[precision], kind))
    return Fabric(
        accelerator=kind,
        devices=wanted,
        num_nodes=nodes,
        strategy=DDPStrategy(broadcast_buffers=False) if processes > 1 else "auto",
        plugins=plugins or None,
    )


def is_first() -> bool:
    """Whether this is the first of all processes, or the only one."""
    return getattr(rank_zero_only, "rank", 0) == 0


def on_first(fabric: Fabric, act: Callable[[], T]) -> T:
    """What `act` gives in the first process, in all of them; its error likewise."""
    result: Any = None
    if fabric.is_global_zero:
        try:
            result = act()
        except SciSRError as error:
            result = error
    result = fabric.broadcast(result) if fabric.world_size > 1 else result
    if isinstance(result, SciSRError):
        raise result
    return result


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
