"""How soon ``scisr view`` shows a large image, and with how much memory.

``python benchmarks/view.py [--side 20000] [--sparse]``

Writes a FITS image of side x side float32 pixels (noise with stars, one block of rows repeated; ``--sparse``: a file of
holes, which reads as zeros) into a temporary folder, starts ``scisr view`` on it as a process of its own, and asks as
a browser would: the page, a tile of the whole field, a native tile at the far corner; then waits until the coarse
levels are exact, and asks for tiles of all levels. Memory is the process's largest resident set. Nothing drops the
system's cache of files, so the file is read from memory where that holds it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

BLOCK = 200  # rows


def write_image(path: Path, side: int, sparse: bool) -> None:
    """FITS, BITPIX -32."""
    cards = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": str(side), "NAXIS2": str(side)}
    text = "".join(f"{name:<8}= {value:>20}".ljust(80) for name, value in cards.items())
    text += "BUNIT   = 'electron'".ljust(80) + "END".ljust(80)
    data = 4 * side * side
    with path.open("wb") as stream:
        stream.write(text.ljust(2880).encode())
        if not sparse:
            block = np.random.default_rng(0).normal(100, 5, (BLOCK, side)).astype(">f4")
            block[BLOCK // 2, :: max(1, side // 50)] += 3000
            for start in range(0, side, BLOCK):
                stream.write(block[: min(BLOCK, side - start)].tobytes())
        stream.truncate(2880 + -(-data // 2880) * 2880)


def memory(process: int, name: str) -> float:
    """MiB, from the system's account of a process."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found.group(1)) / 1024 if found else float("nan")


def get(address: str) -> tuple[bytes, bool]:
    with urllib.request.urlopen(address, timeout=600) as reply:
        return reply.read(), reply.headers.get("X-Scisr-Exact") == "1"


def measure(path: Path) -> dict[str, float]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "sciSR", "view", str(path), "--no-open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            return _asked(process, began)
        finally:
            process.terminate()


def _asked(process: subprocess.Popen[str], began: float) -> dict[str, float]:
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    url = json.loads(text)["url"]
    found = {"address known, s": time.perf_counter() - began}
    page, _ = get(url)
    scene = json.loads(re.search(rb'id="tiles">(.*?)</script>', page).group(1))
    levels = scene["planes"][0]["levels"]
    _, exact = get(f"{url}0/0/tile/after/0/0/0/0/0")
    found["first tile of the whole field, s"] = time.perf_counter() - began
    found["it is exact"] = float(exact)
    last = levels[-1]["after"]
    corner = [-(-last[side] // scene["tile"]) - 1 for side in ("width", "height")]
    start = time.perf_counter()
    get(f"{url}0/0/tile/after/0/0/{len(levels) - 1}/{corner[0]}/{corner[1]}")
    found["a native tile at the far corner, meanwhile, s"] = time.perf_counter() - start
    while not json.loads(get(f"{url}0/0/levels/after/0/0")[0])["complete"]:
        time.sleep(0.05)
    found["all levels exact, s"] = time.perf_counter() - began
    found["peak memory until then, MiB"] = memory(process.pid, "VmHWM")
    choose, count = random.Random(0), 500
    start = time.perf_counter()
    for _ in range(count):
        level = choose.randrange(len(levels))
        extent = levels[level]["after"]
        column, row = (choose.randrange(-(-extent[s] // scene["tile"])) for s in ("width", "height"))
        get(f"{url}0/0/tile/after/0/0/{level}/{column}/{row}")
    found["a tile of any level, mean of 500, ms"] = 1000 * (time.perf_counter() - start) / count
    found["peak memory at the end, MiB"] = memory(process.pid, "VmHWM")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--sparse", action="store_true", help="a file of holes: nothing is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.fits"
        write_image(path, given.side, given.sparse)
        print(
            f"{given.side} x {given.side} float32, {path.stat().st_size / 1e9:.2f} GB{', sparse' * given.sparse}"
        )
        print("| | |\n|---|---:|")
        for name, value in measure(path).items():
            print(f"| {name} | {value:.3g} |")


if __name__ == "__main__":
    main()
