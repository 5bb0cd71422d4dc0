"""A mixed batch of 200 items, 20 of them bad, killed twice and resumed once: what is lost, and what it costs.

    python benchmarks/batch.py [--items 200] [--bad 20] [--jobs 2] [--cluster local:3] [--folder FOLDER] [--json FILE]

FITS, NIfTI and DICOM files of `data_samples/mixed_batch.py` through ``scisr run`` (read, upscale, verify, write). The
first run is killed (kill -9 of its process alone, so that its workers are orphans) after a third of the items, the
second, which resumes it, after two thirds (kill -9 of all its processes), the third, which resumes that, runs to its
end. Then every output is hashed and read with the format's reference library, and the output folder is searched for
files that nobody accounts for. A last run that resumes a finished one shows what verifying everything costs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data_samples"))

PIPELINE = """\
pipeline: mixed-batch
inputs: {files: ["**/*.fits", "**/*.nii", "**/*.nii.gz", "**/*.dcm"]}
steps:
  - step: read
  - {step: upscale, scale: 2, model: cubic}
  - step: verify
  - step: write
outputs: {name: "{item}_x2"}
limits: {time: 10 min, memory: 4 GB, retries: 1}
"""
PATIENCE = 1800
"""Seconds after which a run counts as hanging."""


def command(folder: Path, *more: str) -> list[str]:
    """Run the pipeline over ``folder/in``."""
    words = [
        "run",
        str(folder / "pipeline.yaml"),
        "-i",
        str(folder / "in"),
        "-o",
        str(folder / "out"),
        "--json",
    ]
    return [sys.executable, "-m", "sciSR", *words, *more]


def killed_run(folder: Path, done: int, stop: Callable[[int], None], *more: str) -> float:
    """Start a run, and stop it as soon as so many outputs are in place.

    Parameters
    ----------
    folder : Path
    done : int
        Outputs.
    stop : callable
        Takes the process's number, which is that of its group too.
    *more : str
        Options.

    Returns
    -------
    float
        Seconds.
    """
    start = time.perf_counter()
    with open(folder / "killed.log", "ab") as log:
        run = subprocess.Popen(command(folder, *more), stdout=log, stderr=log, start_new_session=True)
    try:
        while len(outputs_in(folder / "out")) < done:
            if run.poll() is not None or time.perf_counter() - start > PATIENCE:
                raise RuntimeError(f"the run ended by itself, see {folder / 'killed.log'}")
            time.sleep(0.02)
        stop(run.pid)
        run.wait()
    finally:
        if run.poll() is None:
            kill_all(run.pid)
            run.wait()
    assert run.returncode == -signal.SIGKILL
    return time.perf_counter() - start


def whole_run(folder: Path, *more: str) -> tuple[dict[str, Any], int, float]:
    """A run to its end: its JSON document, its exit code, seconds."""
    start = time.perf_counter()
    ended = subprocess.run(
        command(folder, *more), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    try:
        document = json.loads(ended.stdout)
    except ValueError:
        raise RuntimeError(f"no JSON, exit code {ended.returncode}: {ended.stderr[-2000:]}") from None
    return document, ended.returncode, time.perf_counter() - start


def outputs_in(output: Path) -> set[str]:
    """Files in the output folder, relative, without sciSR's own records and the summaries."""
    found = set()
    for folder, names, files in os.walk(output):
        names[:] = [name for name in names if name != ".scisr"]
        found |= {os.path.relpath(os.path.join(folder, file), output) for file in files}
    return {path for path in found if not path.startswith("summary.")}


def readable(path: Path) -> bool:
    """Whether the reference library reads all its pixels, and they are finite somewhere."""
    import numpy as np

    if path.name.endswith(".fits"):
        from astropy.io import fits

        pixels = fits.getdata(path)
    elif path.name.endswith((".nii", ".nii.gz")):
        import nibabel

        pixels = np.asarray(nibabel.load(path).dataobj)
    else:
        import pydicom

        pixels = pydicom.dcmread(path).pixel_array
    return bool(np.isfinite(pixels).any())


def verified(output: Path, results: Sequence[dict[str, Any]]) -> list[str]:
    """Keys of the items whose outputs are all there, byte for byte as recorded, and readable."""
    return [
        result["key"]
        for result in results
        if result["outputs"]
        and all(
            hashlib.sha256((output / file["path"]).read_bytes()).hexdigest() == file["sha256"]
            and readable(output / file["path"])
            for file in result["outputs"]
        )
    ]


def check(
    folder: Path, inputs: Path, document: dict[str, Any], good: Sequence[str], bad: Sequence[str]
) -> dict[str, Any]:
    """What the batch ended with, counted from the files themselves."""
    from sciSR.workflow.pipelines.pipeline import Pipeline

    output, results = folder / "out", document["results"]
    # A file that can't say whether it is named after its patient has a key that does not repeat its name.
    found = Pipeline.from_file(folder / "pipeline.yaml").items(inputs, output)
    names = {item.key: item.files[0].name for item in found}
    failed = [result for result in results if result["status"] == "failed"]
    listed = [file["path"] for result in results for file in result["outputs"]]
    return {
        "items": len(results),
        "verified outputs": len(verified(output, [r for r in results if r["status"] != "failed"])),
        "named failures": sum(
            any(names[result["key"]].startswith(f"{name}.") for name in bad)
            and result["key"].split("__")[-1] in result["error"]["message"]
            for result in failed
        ),
        "good items that failed": [r["key"] for r in failed if any(r["key"].endswith(n) for n in good)],
        "recorded twice": len(listed) - len(set(listed)),
        "files nobody accounts for": sorted(outputs_in(output) - set(listed)),
        "left in scratch": len(list((output / ".scisr" / "scratch").glob("*"))),
    }


def kill_alone(pid: int) -> None:
    """The run's own process; its workers are left without a parent."""
    os.kill(pid, signal.SIGKILL)


def kill_all(pid: int) -> None:
    """The run's process and all its workers at once."""
    os.killpg(pid, signal.SIGKILL)


def batch(folder: Path, items: int, bad: int, options: Sequence[str]) -> dict[str, Any]:
    """Two kills and a resume; what came of it.

    Parameters
    ----------
    folder : Path
    items, bad : int
    options : sequence of str
        Of ``scisr run``.
    """
    import mixed_batch

    good_names, bad_names = mixed_batch.make(folder / "in", items, bad)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    third = (items - bad) // 3
    times = {"killed alone": killed_run(folder, third, kill_alone, *options)}
    before = outputs_in(folder / "out")
    times["resumed, killed with its workers"] = killed_run(
        folder, len(before) + third, kill_all, "--resume", *options
    )
    before = outputs_in(folder / "out")
    document, code, times["resumed to the end"] = whole_run(folder, "--resume", *options)
    found = {"exit code": code, **check(folder, folder / "in", document, good_names, bad_names)}
    found["skipped as done"] = document["skipped"]
    found["outputs before the last run"] = len(before)
    again, _, times["resumed once more"] = whole_run(folder, "--resume", *options)
    found["done again by a run after the end"] = again["done"]
    return {"found": found, "seconds": times}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--cluster")
    parser.add_argument("--folder", type=Path, help="an empty one; kept")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    options = ["--cluster", given.cluster] if given.cluster else ["--jobs", given.jobs]
    folder = given.folder or Path(tempfile.mkdtemp(prefix="scisr-batch-"))
    folder.mkdir(parents=True, exist_ok=True)
    made = batch(folder, given.items, given.bad, options)
    print(f"{given.items} items, {given.bad} bad, scisr run {' '.join(options)}")
    for name, value in made["found"].items():
        print(f"  {name:<36} {value if value != [] else 'none'}")
    for name, seconds in made["seconds"].items():
        print(f"  {name:<36} {seconds:.1f} s")
    if given.json:
        given.json.write_text(json.dumps(made, indent=1))
    if given.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
