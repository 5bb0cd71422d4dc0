"""The mixed batch of `batch.py` on a cluster of three workers, one of them killed: what is lost, and what it costs.

    python benchmarks/cluster.py [--items 200] [--bad 20] [--workers 3] [--json FILE]

A scheduler and workers are started as anyone would start them (``dask scheduler``, ``dask worker --nthreads 1``), on
this machine. Three runs of ``scisr run`` over the same files: with worker processes of this machine alone
(``--jobs 3``), on the cluster, and on the cluster with a worker killed (kill -9, nothing starts it again) once a third
of the outputs are in place. Every output is hashed and held against the record, read with the format's reference
library, and compared with the first run's.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import batch  # noqa: E402


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler with workers; its address and the workers' processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    }
    address = f"tcp://127.0.0.1:{port}"
    commands = [["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    common = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    with tempfile.TemporaryDirectory() as own:
        commands += [["worker", address, *common, "--local-directory", own] for _ in range(workers)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]
        try:
            yield address, processes[1:]
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def kill_one(worker: subprocess.Popen, output: Path, done: int, over: threading.Event) -> None:
    """As soon as so many outputs are in place."""
    while not over.wait(0.05):
        if len(batch.outputs_in(output)) >= done:
            worker.kill()
            return


def content(path: Path) -> str:
    """SHA-256 of a file; of its pixels for DICOM, whose objects have new UIDs in every run, as the standard asks."""
    if path.suffix != ".dcm":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    import pydicom

    return hashlib.sha256(pydicom.dcmread(path).PixelData).hexdigest()


def compare(folder: Path, items: int, bad: int, workers: int) -> dict[str, Any]:
    """The three runs."""
    import mixed_batch

    good_names, bad_names = mixed_batch.make(folder / "in", items, bad)
    found: dict[str, Any] = {}
    reference: dict[str, str] = {}
    for name in ("worker processes", "cluster", "cluster, one worker killed"):
        own = folder / name.replace(" ", "-").replace(",", "")
        own.mkdir()
        (own / "in").symlink_to(folder / "in")
        (own / "pipeline.yaml").write_text(batch.PIPELINE)
        with contextlib.ExitStack() as stack:
            if name == "worker processes":
                document, code, _ = batch.whole_run(own, "--jobs", str(workers))
            else:
                address, processes = stack.enter_context(cluster(workers))
                over = threading.Event()
                if "killed" in name:
                    arguments = (processes[0], own / "out", (items - bad) // 3, over)
                    killing = threading.Thread(target=kill_one, args=arguments)
                    killing.start()
                    stack.callback(killing.join)
                    stack.callback(over.set)
                document, code, _ = batch.whole_run(own, "--cluster", address)
                found.setdefault("workers left", {})[name] = sum(p.poll() is None for p in processes)
        made = [file["path"] for result in document["results"] for file in result["outputs"]]
        hashes = {path: content(own / "out" / path) for path in made}
        reference = reference or hashes
        found[name] = {
            "exit code": code,
            **batch.check(own, folder / "in", document, good_names, bad_names),
            "outputs unlike the first run's": len(set(hashes.items()) ^ set(reference.items())),
            "seconds": round(document["seconds"], 1),
            "seconds an item": round(document["seconds"] / items, 3),
            # Start, planning, hashes and waiting included: what a worker's time went into besides the items' own work.
            "of a worker's, not the item's own": round(
                (document["seconds"] * workers - sum(r["seconds"] for r in document["results"])) / items, 3
            ),
        }
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="scisr-cluster-"))
    try:
        found = compare(folder, given.items, given.bad, given.workers)
    finally:
        shutil.rmtree(folder)
    left = found.pop("workers left")
    print(f"{given.items} items, {given.bad} bad, {given.workers} workers")
    names = list(found)
    print("  " + " " * 34 + "".join(f"{name:>28}" for name in names))
    for row in found[names[0]]:
        cells = [found[name][row] for name in names]
        print(f"  {row:<34}" + "".join(f"{cell if cell != [] else 'none'!s:>28}" for cell in cells))
    print(f"  {'workers left at the end':<34}" + "".join(f"{left.get(name, ''):>28}" for name in names))
    if given.json:
        given.json.write_text(json.dumps({**found, "workers left": left}, indent=1))


if __name__ == "__main__":
    main()
