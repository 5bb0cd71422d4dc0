"""How long until something happens: ``scisr --help``, and the first tile of a FITS frame.

``python benchmarks/startup.py [--size 4000] [--rounds 10]``

Best and median of several fresh processes, on the clock from the moment that the process is started. The first tile is
counted when its pixels have been handed to the writer; nothing is known of the frame but its name.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory import write_frame

HELP = [sys.executable, "-m", "sciSR", "--help"]
FIRST_TILE = """
import sys, time
from sciSR.workflow.run import upscale_file
class Enough(BaseException): pass
def first(fraction):
    if fraction > 0:
        print(time.time() - float(sys.argv[3]))
        raise Enough
try:
    upscale_file(sys.argv[1], sys.argv[2], device="cpu", overwrite=True, progress=first)
except Enough:
    pass
"""


def seconds_of_help() -> float:
    start = time.perf_counter()
    subprocess.run(HELP, check=True, capture_output=True)
    return time.perf_counter() - start


def seconds_to_first_tile(source: Path, target: Path) -> float:
    command = [sys.executable, "-c", FIRST_TILE, str(source), str(target), str(time.time())]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="*", default=(1000, 4000, 10_000))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where the files are made")
    given = parser.parse_args()
    times = [seconds_of_help() for _ in range(given.rounds)]
    print(f"{'scisr --help':32}{min(times):6.2f} s best{statistics.median(times):6.2f} s median", flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        source, target = Path(folder) / "frame.fits", Path(folder) / "out.fits"
        for size in given.size:
            write_frame(source, size, size)
            times = [seconds_to_first_tile(source, target) for _ in range(max(2, given.rounds // 3))]
            what = f"first tile of {size}^2, model auto"
            print(f"{what:32}{min(times):6.2f} s best{statistics.median(times):6.2f} s median", flush=True)


if __name__ == "__main__":
    main()
