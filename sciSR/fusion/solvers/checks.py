"""What all solvers ask of their input."""

from __future__ import annotations

import torch

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrames


def begin(frames: PreparedFrames, device: str) -> torch.device:
    """The device to work on.

    Raises
    ------
    UsageError
        There are no frames, or no such device.
    """
    from sciSR.inference.device import choose_device

    if len(frames) == 0:
        raise UsageError("there are no frames to fuse")
    return choose_device(device)
