"""A step that goes wrong as the item's name says; installed as a plugin of its own by the tests."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from sciSR.workflow.pipelines.work import Product, Work


def _above(process: int) -> int:
    """Items are forked from a process below the cluster's worker."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


def fault(work: Work, *, folder: str = "") -> Product:
    """Note that the item was begun; then crash, hang, take all memory, kill the worker above, wait for a file, or pass.

    Parameters
    ----------
    folder : str
        Where notes and signals lie.
    """
    kind = work.key.partition("-")[0]
    with open(Path(folder) / "begun", "a", encoding="utf-8") as stream:
        stream.write(f"{work.key} {os.getpid()} {_above(os.getppid())}\n")
    (Path(folder) / f"gpu-{work.key}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if kind == "poison":
        os.kill(_above(os.getppid()), signal.SIGKILL)
        threading.Event().wait()
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hang":
        threading.Event().wait()
    if kind == "memory":
        taken = []
        while True:
            taken.append(b"x" * (32 << 20))
    if kind == "wait":
        while not (Path(folder) / "go").exists():
            threading.Event().wait(0.05)
    return work.product
