"""sciSR on a list of FITS frames, one process: ``python fusion_ours.py METHOD OUT FITS... [--scale 2]``.

Writes an ``.npz`` with ``image`` and ``std`` (level of a native pixel), ``transforms`` and ``used``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import sciSR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("method")
    parser.add_argument("out", type=Path)
    parser.add_argument("frames", type=Path, nargs="+")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="further arguments of sciSR.fuse, JSON"
    )
    options = parser.parse_args()
    fused = sciSR.fuse(
        sciSR.read_sequence(options.frames), scale=options.scale, method=options.method, **options.settings
    )
    level = options.scale**2 if fused.image.quantity == "total" else 1
    np.savez(
        options.out,
        image=np.asarray(fused.image.data) * np.float32(level),
        std=np.asarray(fused.image.uncertainty) * np.float32(level),
        transforms=np.array([np.reshape(r.matrix, (2, 3)) for r in fused.records]),
        used=np.array([r.used for r in fused.records]),
    )
    for note in fused.notes:
        print(note)


if __name__ == "__main__":
    main()
