"""A worker seen from outside: what it answers, how long it takes, how much memory it holds, whether it dies."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzz_mutations import Case

SECONDS = 10.0
"""What an input may take, of a processor's time: the machine may have other work."""
PATIENCE = 6.0
"""How many times that it may take by the clock: one that waits for ever uses no processor."""
MEMORY = 2.0
"""How many times the honest file's memory an input may take."""
_HONEST_SECONDS = 300.0
_LOOK = 0.02
_WORKER = Path(__file__).with_name("fuzz_worker.py")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watched:
    """One worker process; a new one is started when the last was lost.

    Parameters
    ----------
    honest : Path
        Folder of the honest inputs.
    script : Path
        The worker.
    seconds : float
        What an input may take.
    """

    def __init__(self, honest: Path, *, script: Path = _WORKER, seconds: float = SECONDS) -> None:
        self.honest, self.script, self.seconds = honest, script, seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.limits: dict[str, int] = {}

    def run(self, case: Case) -> dict[str, Any]:
        """Send one input through; a defect that only a busy machine can explain is looked at once more, alone.

        Returns
        -------
        dict
            As :func:`fuzz_journey.travel`, and besides ``"hang"``, ``"memory"`` and ``"crash"``.
        """
        result = self._once(case)
        if result["outcome"] in ("hang", "memory", "crash"):
            self.stop()
            again = self._once(case)
            return again | {"first": result["outcome"]}
        return result

    def _once(self, case: Case) -> dict[str, Any]:
        if case.name not in self.limits or self.process is None:
            honest = self._ask({"measure": case.name}, _HONEST_SECONDS, None)
            if honest["outcome"] != "honest":
                raise RuntimeError(f"the honest file {case.name} does not pass: {honest}")
            self.limits[case.name] = int(MEMORY * honest["peak"])
        limit = self.limits[case.name]
        result = self._ask({"case": str(case)}, self.seconds, limit)
        if result.get("peak", 0) > limit:
            result |= {"outcome": "memory", "detail": f"{result['peak']} kB, honest {limit // 2} kB"}
        return result

    def _ask(self, request: dict[str, str], seconds: float, limit: int | None) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            return self._lost("crash")
        deadline, busy = time.monotonic() + PATIENCE * seconds, self._busy() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not selector.select(_LOOK):
                if limit is not None and self._resident() > limit:
                    return self._lost("memory")
                if time.monotonic() > deadline or self._busy() > busy:
                    return self._lost("hang")
        line = process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else self._lost("crash")

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            self.limits = {}  # what the new process holds by itself may be less
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
            self.process = subprocess.Popen(
                [sys.executable, str(self.script), str(self.honest)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
            )
        return self.process

    def _busy(self) -> float:
        """Seconds that the worker has kept a processor busy."""
        assert self.process is not None
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / _TICKS
        return 0.0

    def _resident(self) -> int:
        """Resident memory now, kB."""
        assert self.process is not None
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE // 1024
        return 0

    def _lost(self, why: str) -> dict[str, Any]:
        """End the process and say where it was."""
        process = self.process
        assert process is not None
        if why != "crash":
            process.send_signal(signal.SIGUSR1)  # faulthandler writes where each thread is
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
        process.kill()
        code = process.wait()
        self.errors.seek(0)
        tail = self.errors.read().decode("utf-8", "replace")[-2500:]
        self.stop()
        return {"outcome": why, "detail": f"exit code {code}\n{tail}"}

    def stop(self) -> None:
        """End the worker."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, self.errors):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
