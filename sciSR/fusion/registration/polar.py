"""Rotation and scale of one frame against another, from the magnitudes of their spectra.

In log-polar coordinates both are displacements (Reddy & Chatterji, IEEE Trans. Image Process. 5, 1266, 1996).
"""

from __future__ import annotations

import numpy as np

from sciSR.fusion.registration.planes import Plane, binned
from sciSR.fusion.transforms import Affine

ANGLES, RADII = 720, 192
"""Log-polar samples: a quarter of a degree, and about two per cent of scale at 256 pixels."""

_FEWEST = 16
"""Pixels a side: below, a spectrum has no rings to compare."""


def turned(reference: Plane, frame: Plane) -> list[Affine]:
    """Rotations, scales and mirror images about the frames' centres that the spectra's magnitudes suggest."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = max(*reference.values.shape, *frame.values.shape)
    factor = max(1, round(size / 256))
    side = -(-size // factor)
    if side < _FEWEST:
        return []

    def polar(image: Plane, mirrored: bool) -> np.ndarray:
        small = binned(image, factor)
        values = np.zeros((side, side), np.float32)
        part = small.values * np.outer(np.hanning(small.values.shape[0]), np.hanning(small.values.shape[1]))
        values[: part.shape[0], : part.shape[1]] = part
        if mirrored:
            values = values[:, ::-1]
        power = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(values))))
        angle = np.arange(ANGLES) * np.pi / ANGLES
        radius = np.exp(np.linspace(np.log(4), np.log(side / 2 - 1), RADII))
        where = side // 2 + np.stack([np.outer(np.cos(angle), radius), np.outer(np.sin(angle), radius)])
        out = map_coordinates(gaussian_filter(power, 1.0), where, order=1)
        out = out - out.mean(axis=0)
        return out / np.maximum(out.std(axis=0), 1e-9)

    step = np.log((side / 2 - 1) / 4) / (RADII - 1)
    there = polar(frame, False)
    centre_r, centre_f = (_middle(i) for i in (reference, frame))
    found: list[tuple[float, Affine]] = []
    for mirrored in (False, True):
        here = polar(reference, mirrored)
        lift, weight = np.hanning(RADII), np.ones((ANGLES, 1))
        cross = np.fft.fft2(there * lift * weight, (ANGLES, 2 * RADII)) * np.conj(
            np.fft.fft2(here * lift * weight, (ANGLES, 2 * RADII))
        )
        surface = np.fft.ifft2(cross).real
        wide = int(np.ceil(np.log(1.3) / step))
        columns = np.concatenate([np.arange(wide + 1), np.arange(-wide, 0)])
        part = surface[:, columns]
        for _ in range(2):
            a, b = np.unravel_index(int(np.argmax(part)), part.shape)
            value = float(part[a, b])
            part[np.arange(a - 6, a + 7) % ANGLES] = -np.inf
            # Finer detail in the image is a wider spectrum: the scale is the other way round.
            scale = float(np.exp(-columns[b] * step))
            scale = 1.0 if abs(scale - 1) < 1.5 * step else scale
            for half in (0.0, np.pi):
                angle = a * np.pi / ANGLES + half
                found.append((value, _about(centre_r, centre_f, angle, scale, mirrored)))
    found.sort(key=lambda pair: -pair[0])
    return [transform for _, transform in found]


def _middle(image: Plane) -> np.ndarray:
    return (np.array(image.values.shape) - 1) / 2


def _about(reference: np.ndarray, frame: np.ndarray, angle: float, scale: float, mirrored: bool) -> Affine:
    """Centre onto centre, the columns reversed first where mirrored, then turned and scaled."""
    flip = np.diag([1.0, -1.0]) if mirrored else np.eye(2)
    linear = Affine.about((0, 0), angle, scale).linear @ flip
    return Affine(np.column_stack([linear, frame - linear @ reference]))
