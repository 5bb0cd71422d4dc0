"""Classical interpolation on edge-aligned grids at any rational scale: the baselines and the safe fallback."""

from sciSR.classical.kernels import METHODS, Kernel, axis_weights, kernel

__all__ = ["METHODS", "Kernel", "axis_weights", "kernel"]
