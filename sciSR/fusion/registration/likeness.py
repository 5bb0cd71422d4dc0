"""Do two images show the same scene? The test that keeps false registrations out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciSR.fusion.registration.planes import Plane, blurred, warped
from sciSR.fusion.transforms import Transform

ALIKE = 0.3
"""Correlation of two frames of one scene, their noise allowed for, must be at least this."""
EVIDENCE = 5.5
"""Student's t that a correlation must reach over the patches of the overlap: chance does so once in 10^7."""
PATCH = 8
"""Pixels a side of a patch: larger than a star, so that one star is one patch."""


def windowed(image: Plane) -> np.ndarray:
    """Bad pixels at the mean of the good, the border faded out: no edges in the spectrum but the scene's."""
    mean = image.values[image.good].mean() if image.good.any() else 0.0
    return np.where(image.good, image.values - mean, 0) * fade(image.values.shape)


def fade(shape: tuple[int, int]) -> np.ndarray:
    from scipy.signal.windows import tukey

    return np.outer(tukey(shape[0], 0.25), tukey(shape[1], 0.25))


def white(spectrum: np.ndarray, radius: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum over the root of its mean power at that frequency, and the part of that power that is scene."""
    power = np.square(np.abs(spectrum))
    # Rings as narrow as the data resolve; a ring's mean over hundreds of modes is all but free of their noise.
    rings = max(8, side // 2)
    ring = np.minimum((radius / np.hypot(0.5, 0.5) * rings).astype(int), rings - 1)
    count = np.maximum(np.bincount(ring.ravel(), minlength=rings), 1)
    mean = np.bincount(ring.ravel(), power.ravel(), minlength=rings) / count
    mean = np.convolve(np.pad(mean, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    # Noise is white; its level is that of the finest detail, which the optics do not pass.
    noise = float(np.median(mean[int(0.6 * rings) :]))
    scene = np.clip(1 - noise / np.maximum(mean, 1e-30), 0, 1)
    # Less than three periods over the frame is background.
    scene[(np.arange(rings) + 0.5) / rings * np.hypot(0.5, 0.5) * side < 3] = 0
    return spectrum / np.sqrt(mean[ring] + 1e-30), (scene + 0.02)[ring] * (scene > 0)[ring]


@dataclass(frozen=True, eq=False)
class Likeness:
    """How far two images show the same scene.

    Attributes
    ----------
    correlation : float
        Noise allowed for: 1 for the same scene; 0 where either image shows nothing but noise.
    evidence : float
        Student's t of the correlation over patches of the overlap. Without a common scene it is a standard normal
        value, whatever the images hold; two bright stars that coincide give no more than the root of two.
    """

    correlation: float
    evidence: float


def likeness(reference: Plane, frame: Plane, transform: Transform) -> Likeness:
    """Correlation of the two scenes where they overlap, and what it rests on."""
    seen = warped(reference, transform, frame.values.shape)
    both = seen.good & frame.good
    if both.sum() < 256:
        return Likeness(0.0, 0.0)
    one, other = Plane(seen.values, both), Plane(frame.values, both)
    return Likeness(_attenuated(one, other), _evidence(one, other))


def _attenuated(one: Plane, other: Plane, sigma: float = 1.5) -> float:
    """Spearman's correction for attenuation: the correlation of two noisy measurements, over the root of the parts
    of their variances that are not noise."""
    both = one.good
    patch = 4 * np.pi * sigma**2
    x, y = (blurred(i.values, both, sigma)[both].astype(np.float64) for i in (one, other))
    x, y = x - x.mean(), y - y.mean()
    noise = 1 / patch
    # The scatter of a variance that is all noise: as many values as blurs fit into the overlap.
    doubt = noise * np.sqrt(2 * patch / both.sum())
    parts = [np.mean(np.square(v)) - noise for v in (x, y)]
    if min(parts) < 4 * doubt:
        return 0.0
    return float(np.mean(x * y) / np.sqrt(parts[0] * parts[1]))


def _evidence(one: Plane, other: Plane) -> float:
    """The whitened images' product, summed over patches: the sum over the root of the sum of squares."""
    from scipy.fft import irfft2, rfft2

    shape = one.values.shape
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    fields = []
    for image in (one, other):
        spectrum, weight = white(rfft2(windowed(image)), radius, min(shape))
        fields.append(irfft2(spectrum * weight, shape))
    product = np.where(one.good, fields[0] * fields[1], 0)
    rows, columns = (n // PATCH * PATCH for n in shape)
    sums = product[:rows, :columns].reshape(rows // PATCH, PATCH, columns // PATCH, PATCH).sum(axis=(1, 3))
    return float(sums.sum() / np.sqrt(np.square(sums).sum() + 1e-30))
