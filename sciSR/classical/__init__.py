"""Classical interpolation: the baselines and the safe fallback, on exactly edge-aligned grids, at any rational scale."""

from sciSR.classical.kernels import METHODS, Kernel, axis_weights, kernel

__all__ = ["METHODS", "Kernel", "axis_weights", "kernel"]
