"""Peak resident memory of upscaling files of growing size, each in a process of its own.

``python benchmarks/memory.py [--fits 2000 10000 20000 40000] [--height 40000] [--volumes 10 50 200]``

FITS frames of float32 noise ``[height, width]`` at x2 (40,000^2: 6.4 GB in, 25.6 GB out), and four-dimensional NIfTI
series of int16 ``64 x 64 x 24`` voxels with more and more volumes, by k-space. A frame's height is cut where the disk
has no room for it, which is printed. Files are removed at once. Flat means that the largest needs little more than the
smallest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ASTRO, MR = "espcn-astro-x2", "espcn-mr-kspace-x2"
VOXELS = (64, 64, 24)
# VmHWM, not getrusage: the latter's peak is inherited from the process that started the child.
CHILD = """
import sys, time
from sciSR.workflow.run import upscale_file
start = time.time()
tile = int(sys.argv[4]) or None
upscale_file(sys.argv[1], sys.argv[2], model=sys.argv[3], device="cpu", tile=tile, overwrite=True)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak) * 1024 / 1e6, time.time() - start)
"""


def measure(source: Path, target: Path, model: str, tile: int) -> dict[str, float]:
    """Peak megabytes and seconds of one file in a fresh process."""
    command = [sys.executable, "-c", CHILD, str(source), str(target), model, str(tile)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"MB": float(out[-2]), "seconds": float(out[-1])}


def write_frame(path: Path, height: int, width: int) -> None:
    """A float32 FITS frame of noise in electrons, the same band of rows again and again."""
    from astropy.io import fits

    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height})
    header["BUNIT"] = "electron"
    band = np.random.default_rng(0).normal(100, 5, (250, width)).astype(">f4").tobytes()
    with open(path, "wb") as stream:
        stream.write(header.tostring().encode())
        for start in range(0, height, 250):
            stream.write(band[: 4 * width * min(250, height - start)])
        stream.write(b"\0" * (-stream.tell() % 2880))


def write_series(path: Path, volumes: int) -> None:
    """A four-dimensional NIfTI-1 file of ellipsoids that flicker."""
    import nibabel as nib

    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in VOXELS), indexing="ij")
    body = 800 * (sum(a**2 for a in axes) < 0.8) + 100 * np.cos(9 * axes[0]) * np.sin(7 * axes[1])
    data = np.empty((*VOXELS, volumes), dtype=np.int16)
    for number in range(volumes):
        data[..., number] = body * (1 + 0.02 * np.sin(number)) + rng.normal(0, 8, VOXELS)
    nib.save(nib.Nifti1Image(data, np.diag([3.0, 3.0, 4.0, 1.0])), path)


def frame(width: int, height: int, tile: int, folder: Path) -> dict[str, float]:
    """One FITS frame, as high as the disk allows."""
    room = shutil.disk_usage(folder).free - (4 << 30)
    height = min(height, room // (5 * 4 * width) // 500 * 500)
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        source = Path(inside) / "frame.fits"
        write_frame(source, height, width)
        return {"height": height, "width": width, **measure(source, Path(inside) / "out.fits", ASTRO, tile)}


def series(volumes: int, folder: Path) -> dict[str, float]:
    """One NIfTI series."""
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        source = Path(inside) / "bold.nii"
        write_series(source, volumes)
        return {"volumes": volumes, **measure(source, Path(inside) / "out.nii", MR, 0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, nargs="*", default=(2000, 4000, 10_000))
    parser.add_argument("--height", type=int, help="of all frames; square by default")
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--volumes", type=int, nargs="*", default=(10, 50, 200))
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where the files are made")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {"fits": [], "series": []}
    for size in given.fits:
        found = frame(size, given.height or size, given.tile, given.folder)
        results["fits"].append(found)
        shape = f"{found['height']} x {found['width']}"
        print(f"FITS {shape:15} x2 {found['MB']:8.0f} MB peak resident{found['seconds']:9.1f} s", flush=True)
    for volumes in given.volumes:
        found = series(volumes, given.folder)
        results["series"].append(found)
        shape = " x ".join(map(str, (*VOXELS, volumes)))
        print(f"NIfTI {shape:14} x2 {found['MB']:8.0f} MB peak resident{found['seconds']:9.1f} s", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
