"""A variance told by a file serves for every round, and outliers that are taken back have the weight they had."""

from __future__ import annotations

import numpy as np

from sciSR.fusion.matching import frame_variance
from sciSR.image import Image
from sciSR.sequence import Frame, FramePixels


def test_an_outlier_keeps_the_variance_of_its_file() -> None:
    """Outliers may be taken back later: a made-up variance would give their pixel any weight."""
    rng = np.random.default_rng(3)
    level = np.full((64, 64), 3000.0, dtype=np.float32)
    level[30:33, 30:33] = 15000.0
    values = (level + rng.normal(0, 30, level.shape)).astype(np.float32)
    variance = np.full(level.shape, 900.0, dtype=np.float32)
    variance[30:33, 30:33] = 4000.0
    image = Image.from_array(values, uncertainty=np.sqrt(variance))
    outlier = np.zeros(level.shape, dtype=bool)
    outlier[30:33, 30:33] = True
    found = frame_variance(Frame(image, "one"), FramePixels(values, outlier, variance), level)
    assert (found[outlier] >= 900).all()


def test_a_pixel_without_a_variance_harms_nobody() -> None:
    values = np.random.default_rng(4).normal(100, 3, (64, 64)).astype(np.float32)
    variance = np.full(values.shape, 9.0, dtype=np.float32)
    variance[5, 5], variance[6, 6] = np.nan, 0.0
    bad = ~(variance > 0)
    image = Image.from_array(values, uncertainty=np.sqrt(variance))
    found = frame_variance(Frame(image, "one"), FramePixels(values, bad, variance), values)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert np.allclose(found[~bad], 9.0, rtol=0.05)
