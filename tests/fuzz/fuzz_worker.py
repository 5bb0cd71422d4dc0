"""The process that inputs go through: reads requests from standard input, answers on standard output, as JSON lines.

It is reused for speed and watched from outside (`fuzz_watching`); a request that stops it is the fault of its input.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fuzz_seeds
from fuzz_journey import go, travel
from fuzz_mutations import Case, build

from sciSR.errors import SciSRError

_ADDRESS_SPACE = 24 << 30
"""Bytes; so that no input takes the machine down before the watcher sees it."""


def peak(*, reset: bool = False) -> int:
    """Largest resident memory since it was last reset, kB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


class Worker:
    """Honest files made once, and one mutated input at a time in a folder of its own.

    Parameters
    ----------
    honest : Path
        Folder that :func:`fuzz_seeds.make` filled.
    work : Path
    """

    def __init__(self, honest: Path, work: Path) -> None:
        self.honest, self.work = honest, work
        self.seeds = fuzz_seeds.seeds()
        self.pixels: dict[str, list[Any]] = {}

    def folder(self, name: str) -> Path:
        return self.honest / name.replace("/", "-")

    def measure(self, name: str) -> dict[str, Any]:
        """Send the honest input through, twice: the first time pays for imports. What it needs is the measure."""
        seed = self.seeds[name]
        for number in (0, 1, 2, 3):
            work = self._fresh("out")
            path = self._copy(seed)
            with contextlib.suppress(SciSRError):
                self.pixels[name] = go(seed, path, work, number)
            work = self._fresh("out")
            peak(reset=True)
            result = travel(seed, path, work, number, self.pixels.get(name))
            if result["outcome"] in ("refused", "traceback", "wrong grid", "litter"):
                return {"outcome": "dishonest", "detail": result["detail"]}
        return {"outcome": "honest", "peak": peak()}

    def run(self, case: Case) -> dict[str, Any]:
        """Send one mutated input through."""
        seed = self.seeds[case.name]
        others = [
            self.folder(other.name) / other.victim
            for other in self.seeds.values()
            if other.format == seed.format and self.folder(other.name).is_dir()
        ]
        path, what = build(case, seed, self.folder(case.name), self.work / "in", others)
        work = self._fresh("out")
        peak(reset=True)
        start = time.perf_counter()
        result = travel(seed, path, work, case.number, self.pixels.get(case.name))
        return {**result, "mutation": what, "peak": peak(), "seconds": round(time.perf_counter() - start, 3)}

    def _copy(self, seed: fuzz_seeds.Seed) -> Path:
        target = self.work / "in"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder(seed.name), target)
        return target / seed.opened

    def _fresh(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print must not stand between the answers
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="scisr-fuzz-") as folder:
        worker = Worker(Path(sys.argv[1]), Path(folder))
        for line in sys.stdin:
            request = json.loads(line)
            if "measure" in request:
                answer = worker.measure(request["measure"])
            else:
                answer = worker.run(Case.parse(request["case"]))
            answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
