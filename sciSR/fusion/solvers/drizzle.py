"""Variable-pixel linear reconstruction (Fruchter and Hook 2002, PASP 114, 144), by the ``drizzle`` package."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciSR.errors import UsageError
from sciSR.fusion.prepared import PreparedFrame, PreparedFrames, Solution, Target
from sciSR.fusion.solvers.checks import begin
from sciSR.fusion.solvers.resample import sky_variance
from sciSR.fusion.transforms import frame_positions

if TYPE_CHECKING:
    from drizzle.resample import Drizzle

KERNELS = ("square", "point", "gaussian", "turbo", "lanczos2", "lanczos3")
PLANE = 32
"""Frames in a plane of the context bitmap."""


def solve(
    frames: PreparedFrames,
    target: Target,
    *,
    device: str = "cpu",
    pixfrac: float = 1.0,
    kernel: str = "square",
    context: bool | None = None,
) -> Solution:
    """Drizzle.

    Each pixel is shrunk to `pixfrac` of its width and dropped onto the fine grid, weighted by its inverse variance
    and the area it covers. The result is blurred by the native pixel, the drop and the fine pixel.

    Parameters
    ----------
    frames : PreparedFrames
    target : Target
    device : str
        The package runs on the CPU, whatever this says.
    pixfrac : float
        In (0, 1]. Below ``1 / sqrt(frames)`` or so, holes appear. The Lanczos kernels ignore it.
    kernel : {"square", "point", "gaussian", "turbo", "lanczos2", "lanczos3"}
        The Gaussian and Lanczos kernels do not keep a star's flux exactly.
    context : bool, optional
        Keep the bitmap of contributing frames, 4 bytes per fine pixel for every 32 frames. By default kept for up to
        32 frames, so that memory does not grow with their number.

    Returns
    -------
    Solution
        `std` is the propagated noise (weights squared); neighbouring pixels are correlated. `weight` is the package's,
        times the fine pixels in a native pixel: the sum of 1/variance where whole pixels fall.

    Raises
    ------
    UsageError
        `pixfrac` or `kernel` is none.
    """
    begin(frames, device)
    if kernel not in KERNELS:
        raise UsageError(f"no drizzle kernel is called {kernel!r}", remedy=f"use one of {', '.join(KERNELS)}")
    if not 0 < pixfrac <= 1:
        raise UsageError(f"pixfrac must be above 0 and at most 1, not {pixfrac}")
    keep = len(frames) <= PLANE if context is None else context
    merged, plane, planes = None, None, []
    coverage = np.zeros(target.shape, dtype=np.float32)

    def finish() -> None:
        nonlocal merged, coverage
        assert plane is not None
        coverage += _bits(plane.out_ctx[0])
        if keep:
            planes.append(plane.out_ctx[0])
        new = _Sums(plane.out_img, plane.out_img2[0], plane.out_wht)
        merged = new if merged is None else merged.and_(new)

    for k, frame in enumerate(frames):
        if k % PLANE == 0:
            if plane is not None:
                finish()
            plane = _begin(target, kernel)
        _add(plane, frame, target, pixfrac)
    finish()
    assert merged is not None
    area = float(target.factors[0] * target.factors[1])
    covered = coverage > 0
    return Solution(
        image=np.where(covered, merged.image, np.float32(np.nan)),
        std=np.where(covered, np.sqrt(merged.variance), np.float32(np.nan)),
        weight=merged.weight * np.float32(area),
        coverage=coverage,
        context=np.stack(planes) if keep else None,
        extras={"frames": len(frames), "pixfrac": pixfrac, "kernel": kernel},
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of up to 32 frames, or of several such planes: weighted mean, its variance, sum of weights."""

    image: np.ndarray
    variance: np.ndarray
    weight: np.ndarray

    def and_(self, other: _Sums) -> _Sums:
        """Both together."""
        weight = self.weight + other.weight
        with np.errstate(invalid="ignore", divide="ignore"):
            a, b = self.weight / weight, other.weight / weight
        image, variance = np.zeros_like(weight), np.zeros_like(weight)
        for share, part in ((a, self), (b, other)):
            some = part.weight != 0
            image[some] += (share * part.image)[some]
            variance[some] += (share**2 * part.variance)[some]
        return _Sums(image, variance, weight)


def _bits(plane: np.ndarray) -> np.ndarray:
    """Number of bits set in each int32."""
    octets = np.ascontiguousarray(plane).view(np.uint8).reshape(*plane.shape, 4)
    count = np.array([bin(k).count("1") for k in range(256)], dtype=np.uint8)
    return sum(count[octets[..., k]] for k in range(4))


def _begin(target: Target, kernel: str) -> Drizzle:
    from drizzle.resample import Drizzle

    # Without out_shape the package infers a transposed one. In cps, exposure times change nothing.
    return Drizzle(kernel=kernel, out_shape=target.shape, max_ctx_id=PLANE - 1, fillval="NAN", fillval2="NAN")


def drizzle_weight(frame: PreparedFrame) -> np.ndarray:
    """Weight map of a frame: 1 over the variance without that of stars, 0 where bad; float32.

    As in the inverse-variance maps that drizzle is used with (see :func:`resample.sky_variance` for why).
    """
    import torch

    bad = torch.from_numpy(frame.bad)
    variance = sky_variance(torch.from_numpy(frame.variance).masked_fill(bad, 0.0), bad)
    return torch.where(bad, 0.0, 1 / variance).numpy()


def _add(plane: Drizzle, frame: PreparedFrame, target: Target, pixfrac: float) -> None:
    rows, columns = frame.values.shape
    positions = target.fine(frame_positions(frame.transform, range(rows), columns))
    good = ~frame.bad
    weight = drizzle_weight(frame)
    scale = float(target.factors[0] * target.factors[1]) ** 0.5
    with warnings.catch_warnings():
        # solve's docstring says it once for all frames.
        warnings.filterwarnings("ignore", message=".*not a flux-conserving kernel")
        plane.add_image(
            np.where(good, frame.values, np.float32(0)),
            exptime=max(frame.exposure, 0.0) or 1.0,
            pixmap=np.ascontiguousarray(positions[..., ::-1]),  # the package wants (x, y)
            data2=np.where(good, frame.variance, np.float32(0)),
            weight_map=weight,
            pixfrac=pixfrac,
            pixel_scale_ratio=1 / scale,
            in_units="cps",
        )
