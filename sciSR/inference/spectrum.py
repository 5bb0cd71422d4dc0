"""Does an MR image's own spectrum fit the network's forward model?

The k-space network assumes that the acquired spectrum fills the image's. Scanners often interpolate by zero filling
before they store an image: then the outer part of the spectrum is empty, the true resolution is lower than the
pixels, and little can be gained at this scale.
"""

from __future__ import annotations

import numpy as np

from sciSR.image import Image
from sciSR.inference.statistics import bad_pixels, plane_indices, read_rows

_EMPTY = 1e-2
"""An outer band with less than this share of the power at half its frequency counts as empty."""

_PLANES = 5


def occupied_fraction(plane: np.ndarray) -> tuple[float, float]:
    """Up to which fraction of the Nyquist frequency each axis' spectrum holds signal or noise.

    Parameters
    ----------
    plane : ndarray, shape (rows, columns), real, without bad pixels

    Returns
    -------
    rows, columns : float
        1 where the spectrum is filled to its end. The power is averaged over the other axis, smoothed over 5 %
        of the band, and compared with what it is at half the frequency (the mean in the log from 0.25 to 0.5 of
        Nyquist).
    """
    result = []
    for axis in (0, 1):
        size = plane.shape[axis]
        if size < 32:
            result.append(1.0)
            continue
        # A window along the axis alone: the jump between opposite borders would fill the spectrum with leakage.
        window = np.hanning(size + 2)[1:-1]
        spectrum = np.fft.rfft(plane * np.expand_dims(window, 1 - axis), axis=axis)
        power = np.mean(np.abs(spectrum) ** 2, axis=1 - axis)
        width = max(3, len(power) // 20)
        power = np.convolve(np.pad(power, width, mode="edge"), np.ones(width) / width, mode="same")[
            width:-width
        ]
        frequency = np.linspace(0, 1, len(power))
        inner = np.exp(np.mean(np.log(power[(frequency > 0.25) & (frequency < 0.5)] + np.finfo(float).tiny)))
        filled = frequency[power > _EMPTY * inner]
        result.append(float(filled.max()) if inner > 0 and len(filled) else 1.0)
    return result[0], result[1]


def check_occupied(image: Image) -> tuple[float, float]:
    """The median over a few planes in the middle of an image."""
    planes = plane_indices(image)
    middle = planes[len(planes) // 4 : max(len(planes) // 4 + 1, 3 * len(planes) // 4)]
    chosen = middle[:: max(1, len(middle) // _PLANES)][:_PLANES]
    found = []
    for index in chosen:
        values = read_rows(image, index, slice(None)).astype(np.float64)
        bad = bad_pixels(values, None)
        if not bad.any() and values.std() > 0:
            found.append(occupied_fraction(values))
    if not found:
        return 1.0, 1.0
    rows, columns = np.median(np.array(found), axis=0)
    return float(rows), float(columns)
