"""Small FITS files made for tests, and judgement of results by astropy.wcs alone."""

from __future__ import annotations

import itertools
import subprocess
import warnings
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from sciSR.image import Image
from sciSR.views import NearestView
from scisr_astronomy.fits_adapter import adapter

TAN = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 202.47,
    "CRVAL2": 47.195,
    "CRPIX1": 20.3,
    "CRPIX2": 11.8,
    "CD1_1": -1.1e-5,
    "CD1_2": 2.0e-6,
    "CD2_1": 1.9e-6,
    "CD2_2": 1.2e-5,
}


def header_of(cards: dict[str, Any]) -> fits.Header:
    header = fits.Header()
    for key, value in cards.items():
        header[key] = value
    return header


def write(path: Path, *hdus: Any, checksum: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(hdus)).writeto(path, overwrite=True, checksum=checksum)
    return path


def read(path: Path, **options: Any) -> list[Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapter.read(path, **options)


def factors_of(image: Image, scale: Fraction | int | Sequence[Fraction | int]) -> tuple[Fraction, ...]:
    """One factor per axis of `image`: `scale` (or a pair: y, x) on the upscaled ones."""
    pair = [scale, scale] if isinstance(scale, int | Fraction) else list(scale)
    wanted = dict(zip(image.spatial, map(Fraction, pair), strict=True))
    return tuple(wanted.get(axis, Fraction(1)) for axis in image.axes)


def refined(image: Image, scale: Any) -> Image:
    """What the engine would hand over with the nearest method, as float32."""
    factors = factors_of(image, scale)
    product = np.prod([float(f) for f in factors])
    data = NearestView(image.data, factors, scale=1 / product if image.quantity == "total" else 1.0)
    provenance = image.provenance.add(
        software="sciSR test", step="upscale", scale=str(scale), model="nearest"
    )
    return image.replace(
        data=np.asarray(data[...]).astype(np.float32),
        grid=image.grid.refine(factors),
        uncertainty=None if image.uncertainty is None else NearestView(image.uncertainty, factors),
        mask=None if image.mask is None else NearestView(image.mask, factors),
        provenance=provenance,
    )


def save(images: Sequence[Image], path: Path, *, overwrite: bool = False) -> Path:
    """Through the writer, plane by plane."""
    with adapter.open_writer(path, images, overwrite=overwrite) as writer:
        for part, image in enumerate(images):
            for outer in np.ndindex(*image.shape[:-2]):
                writer.put(part, outer, np.asarray(image.data[outer]))
        return writer.commit(images)


def upscaled(path: Path, target: Path, scale: Any = 2, **options: Any) -> Path:
    """Read, refine by nearest, write."""
    return save([refined(image, scale) for image in read(path, **options)], target)


def landmarks(shape: Sequence[int]) -> np.ndarray:
    """0-based (x, y) of corners, edges' middles and centre of up to 36 by 36 pixels all over an image.

    Of a small image, that is every pixel.
    """
    ny, nx = shape[-2:]
    xs, ys = (sorted({int(v) for v in np.linspace(0, n - 1, 36)}) for n in (nx, ny))
    offsets = list(itertools.product((-0.5, 0.0, 0.5), repeat=2))
    return np.array([(x + dx, y + dy) for x in xs for y in ys for dx, dy in offsets])


def wcs_of(header: Any, hdus: Any = None, alt: str = " ") -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header.copy(), fobj=hdus, key=alt)


def sky_error(before: WCS, after: WCS, shape: Sequence[int], scale: Any) -> float:
    """Largest disagreement of world coordinates (degrees, or the axis's unit) over all landmarks.

    `scale` is (y, x); the first two FITS axes are the refined ones.
    """
    sy, sx = (float(s) for s in ((scale, scale) if isinstance(scale, int | Fraction) else scale))
    old = landmarks(shape)
    new = (old + 0.5) * [sx, sy] - 0.5
    if before.naxis > 2:
        rest = np.full((len(old), before.naxis - 2), 1.0)
        old, new = np.hstack([old, rest]), np.hstack([new, rest])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a, b = before.all_pix2world(old, 0), after.all_pix2world(new, 0)
    assert np.array_equal(np.isnan(a), np.isnan(b))
    assert np.isfinite(a).any()
    difference = np.abs(a - b)
    if before.has_celestial:
        difference = np.minimum(difference, np.abs(360 - difference))
        polar = before.wcs.lat >= 0 and np.nanmax(np.abs(a[:, before.wcs.lat])) > 85
        if polar:  # longitudes crowd at the poles
            difference[:, before.wcs.lng] *= np.cos(np.radians(a[:, before.wcs.lat]))
    return float(np.nanmax(difference))


def faults(path: Path) -> tuple[int, int]:
    """Warnings and errors that fitsverify finds."""
    done = subprocess.run(["fitsverify", "-q", str(path)], capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1]
    if "verification OK" in last:
        return 0, 0
    words = last.replace(",", " ").split()
    return int(words[words.index("warnings") - 1]), int(words[words.index("errors") - 1])
