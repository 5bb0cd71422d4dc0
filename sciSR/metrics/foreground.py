"""What of an MR slice is body: the rest is noise and ghosts, and easy to get right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHARE = 0.05


def foreground(plane: NDArray, peak: float = 1.0) -> NDArray[np.bool_]:
    """True where a slice is brighter than a twentieth of the volume's bright end, gaps closed and holes filled.

    Parameters
    ----------
    plane : ndarray, (rows, columns)
        NaN is background.
    peak : float
        The bright end, the 99.9 % quantile say, in the image's unit.
    """
    from scipy import ndimage

    found: NDArray[np.bool_] = ndimage.binary_fill_holes(ndimage.binary_closing(plane > SHARE * peak))
    return found
