"""Real schedulers and workers for tests, and items to run on them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits

from sciSR.provenance import file_sha256
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.running import run_task
from sciSR.workflow.pipelines.work import Task

HERE = Path(__file__).parent


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> object:
    """Wait for a condition; fail when it does not come true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found


def install_fault_step(folder: Path) -> Path:
    """A folder that makes the step `fault` a plugin of every Python that has it on its path."""
    info = folder / "scisr_test_faults-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scisr-test-faults\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scisr.steps]\nfault = fault_step:fault\n")
    shutil.copy(HERE / "fault_step.py", folder)
    return folder


class Items:
    """Small FITS files, and the tasks that upscale them after the step `fault`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.input, self.output, self.signals = (folder / name for name in ("in", "out", "signals"))
        for each in (self.input, self.output, self.signals):
            each.mkdir()

    def tasks(self, *keys: str, **fields) -> list[Task]:
        """One an item; what it does stands in its key."""
        return [self._task(key, **fields) for key in keys]

    def _task(self, key: str, *, fault: bool = True, output: Path | None = None, **fields) -> Task:
        path = self.input / f"{key}.fits"
        if not path.exists():
            seed = np.frombuffer(key.encode(), np.uint8)
            pixels = np.random.default_rng(seed).normal(100, 5, (32, 32)).astype("f4")
            fits.writeto(path, pixels)
        nodes = [Node("01-read", "read", "read")]
        if fault:
            nodes.append(Node("02-fault", "fault", "fault", {"folder": str(self.signals)}, nodes[-1].id))
        nodes.append(Node("03-upscale", "upscale", "upscale", {"model": "cubic", "scale": 2}, nodes[-1].id))
        nodes.append(Node("04-write", "write", "write", {}, nodes[-1].id))
        output = self.output if output is None else output
        scratch = output / ".scisr" / "scratch" / key
        return Task(
            key, (str(path),), {"stem": key}, False, tuple(nodes), "{item}",
            str(self.input), str(output), str(scratch), **fields,
        )  # fmt: skip

    def begun(self, key: str) -> list[tuple[int, int]]:
        """Of each time that an item was begun, its process and the cluster's worker."""
        try:
            lines = (self.signals / "begun").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(int(pid), int(above)) for name, pid, above in map(str.split, lines) if name == key]

    def go(self) -> None:
        """Items that wait may go on."""
        (self.signals / "go").touch()

    def made(self, output: Path | None = None) -> dict[str, str]:
        """SHA-256 of all outputs by name."""
        output = self.output if output is None else output
        files = (p for p in output.rglob("*") if p.is_file() and ".scisr" not in p.parts)
        return {str(p.relative_to(output)): file_sha256(p) for p in files}

    def on_one_machine(self, *keys: str) -> dict[str, str]:
        """What the same items give in this process, without the step `fault`."""
        output = self.folder / "one-machine"
        output.mkdir(exist_ok=True)
        for task in self.tasks(*keys, output=output, fault=False):
            assert run_task(task).ok
        return self.made(output)


class Processes:
    """A scheduler and workers that somebody else has started."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen | None = None
        self.workers: list[subprocess.Popen] = []

    def start_scheduler(self) -> None:
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
        )
        until(self._answers, "the scheduler answers")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start_worker(self, **environment: str) -> subprocess.Popen:
        """Without a nanny: what is killed stays dead."""
        worker = self._start(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--host", "127.0.0.1", "--local-directory", str(self.folder), **environment,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def kill(self, process: subprocess.Popen) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                self.kill(process)

    def _start(self, *words: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            env={**self.environment, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def processes(folder: Path, workers: int = 0, **environment: str) -> Iterator[Processes]:
    """A scheduler with workers of its own processes; ended with the block."""
    cluster = Processes(folder, **environment)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.close()
