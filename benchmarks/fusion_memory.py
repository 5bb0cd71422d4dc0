"""Memory and time of a long sequence: frames are made when they are read, so none of them is held by this script.

``python benchmarks/fusion_memory.py [--frames 500] [--size 1024] [--method map]``
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from sciSR import FrameSequence, Image, fuse
from sciSR.sequence import Frame, NoiseModel


class Exposure:
    """One simulated frame, made anew each time it is read: stars, sky, Poisson-like noise, hot pixels."""

    dtype = np.dtype(np.float32)

    def __init__(self, index: int, stars: np.ndarray, shift: np.ndarray, size: int) -> None:
        self.index, self.stars, self.shift, self.shape = index, stars, shift, (size, size)

    def __getitem__(self, index: Any) -> np.ndarray:
        from scipy.special import erf

        image = np.full(self.shape, 150.0, dtype=np.float32)
        reach, sigma = 6, 1.4 / 2.355
        for row, column, flux in self.stars:
            y, x = row + self.shift[0], column + self.shift[1]
            r0, c0 = round(y), round(x)
            if min(r0, c0) < reach or max(r0, c0) >= self.shape[0] - reach:
                continue
            edges = np.arange(-reach, reach + 2) - 0.5
            profile = [
                np.diff(erf((centre + edges - at) / sigma / np.sqrt(2))) / 2
                for centre, at in ((r0, y), (c0, x))
            ]
            image[r0 - reach : r0 + reach + 1, c0 - reach : c0 + reach + 1] += flux * np.outer(*profile)
        random = np.random.default_rng([7, self.index])
        image += random.standard_normal(self.shape, dtype=np.float32) * np.sqrt(image + 25)
        return image[index]


def sequence(frames: int, size: int) -> FrameSequence:
    """Lazy frames, dithered by up to 6 pixels."""
    random = np.random.default_rng(3)
    stars = np.column_stack([random.uniform(0, size, (size, 2)), 10 ** random.uniform(2.5, 4.7, size)])
    shifts = random.uniform(-6, 6, (frames, 2))
    shifts[0] = 0
    return FrameSequence(
        tuple(
            Frame(
                Image(Exposure(k, stars, shifts[k], size), axes=("y", "x"), spatial=("y", "x")),
                f"frame {k}",
                exposure=60.0,
                noise=NoiseModel(1.0, 5.0),
            )
            for k in range(frames)
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--method", default="map")
    parser.add_argument("--scale", type=float, default=2)
    given = parser.parse_args()
    start = time.perf_counter()
    fused = fuse(sequence(given.frames, given.size), given.scale, given.method)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    used = sum(record.used for record in fused.records)
    print(
        f"{given.frames} frames of {given.size}x{given.size}, x{given.scale:g}, {given.method}: {used} used,"
        f" {time.perf_counter() - start:.0f} s, peak {peak:.2f} GB"
    )


if __name__ == "__main__":
    main()
