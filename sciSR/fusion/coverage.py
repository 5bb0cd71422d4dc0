"""Which fine pixels a frame contributes to: those whose centre falls on a good pixel of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sciSR.fusion.forward import Canvas
from sciSR.fusion.transforms import Affine, Transform, frame_positions


class _FineToFrame:
    """For :func:`frame_positions`, which asks for the inverse: canvas pixel -> frame pixel."""

    def __init__(self, canvas: Canvas, transform: Transform) -> None:
        self.start, self.factors, self.transform = np.array(canvas.start), np.array(canvas.factors), transform

    def inverse(self, points: np.ndarray) -> np.ndarray:
        return self.transform((np.asarray(points) + self.start + 0.5) / self.factors - 0.5)


def covered(canvas: Canvas, transform: Transform, bad: np.ndarray) -> Tensor:
    """1 where the centre of a canvas pixel falls on a good pixel of a frame, else 0.

    Parameters
    ----------
    canvas : Canvas
    transform : Transform
        Reference -> frame.
    bad : ndarray of bool, the frame's shape

    Returns
    -------
    Tensor, ``canvas.shape``, float32
    """
    mapping = _FineToFrame(canvas, transform)
    out = torch.zeros(canvas.shape, device=canvas.device)
    height, width = bad.shape
    good = torch.from_numpy(~np.asarray(bad)).to(canvas.device).reshape(-1)
    for top in range(0, canvas.shape[0], 256):
        rows = slice(top, min(top + 256, canvas.shape[0]))
        where = np.rint(_positions(mapping, rows, canvas.shape[1])).astype(np.int64)
        inside = (where >= 0).all(axis=-1) & (where < np.array([height, width])).all(axis=-1)
        flat = np.where(inside, where[..., 0] * width + where[..., 1], 0)
        found = good[torch.from_numpy(flat).to(canvas.device)] & torch.from_numpy(inside).to(canvas.device)
        out[rows] = found.float()
    return out


def _positions(mapping: _FineToFrame, rows: slice, columns: int) -> np.ndarray:
    if not isinstance(mapping.transform, Affine):
        return frame_positions(mapping, rows, columns)  # type: ignore[arg-type]  # only its inverse is asked for
    corner, down, right = mapping.inverse(
        np.array([[rows.start, 0.0], [rows.start + 1.0, 0.0], [rows.start, 1.0]])
    )
    r = np.arange(rows.stop - rows.start, dtype=np.float64)[:, None, None]
    c = np.arange(columns, dtype=np.float64)[None, :, None]
    return corner + r * (down - corner) + c * (right - corner)
