"""Measurements for the demonstration, each made with a reader that is not sciSR."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import stars


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, by whom, and whether the promise holds."""

    sample: str
    what: str
    measured: str
    judge: str
    ok: bool


def block_sum(fine: np.ndarray) -> np.ndarray:
    """Sums over blocks of 2 x 2 fine pixels."""
    return stars.bin_sum(fine, 2)


def wcs_shift(before: Any, after: Any) -> float:
    """Largest shift of the four corners and the centre of any input pixel, degrees on the sky.

    Input pixel i spans fine pixels 2i and 2i + 1; position p of the input is 2p + 0.5 on the fine grid (0-based).
    """
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

    rows, columns = stars.SHAPE
    offsets = np.array([(0, 0), *itertools.product((-0.5, 0.5), repeat=2)])
    centres = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 1, 2)
    points = (centres + offsets).reshape(-1, 2)
    old = WCS(before).all_pix2world(points, 0)
    new = WCS(after).all_pix2world(2 * points + 0.5, 0)
    first, second = (SkyCoord(*place.T, unit=units.deg) for place in (old, new))
    return float(first.separation(second).deg.max())


def measure_photometry(
    truth: stars.StarField, image: np.ndarray, fine: np.ndarray, good: np.ndarray
) -> tuple[float, float]:
    """Rms flux error of isolated stars in the input and in the result, in standard deviations of the input's noise.

    Apertures of 5 pixels' radius, the true sky subtracted; stars whose aperture holds a flagged pixel or another
    star's core are left out.
    """
    from sciSR.metrics import aperture_sums

    radius = 5.0
    points = np.stack([truth.y, truth.x], axis=1)
    distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(points))
    spoiled = aperture_sums((~good).astype(float), points, radius)
    use = (truth.flux > 3000) & (distance.min(axis=1) > 8) & (spoiled == 0)
    # What the noiseless scene holds there: the star, the sky, and the light of its neighbours.
    expected = aperture_sums(truth.expected, points, radius)
    noise = np.sqrt(aperture_sums(truth.error.astype(float) ** 2, points, radius))
    coarse = aperture_sums(np.nan_to_num(image), points, radius)
    doubled = aperture_sums(np.nan_to_num(fine), 2 * points + 0.5, 2 * radius)
    before, after = (np.sqrt(np.mean(((sums - expected) / noise)[use] ** 2)) for sums in (coarse, doubled))
    return float(before), float(after)


def sky_stretch(electrons: np.ndarray) -> np.ndarray:
    """asinh of electrons per fine pixel above the sky, in units of the noise of a fine pixel's share."""
    sky = stars.SKY / 4
    noise = np.sqrt(stars.SKY + stars.READ_NOISE**2) / 4
    return np.arcsinh((electrons - sky) / noise)


def sky_psnr(truth: stars.StarField, fine: np.ndarray, good: np.ndarray) -> float:
    """PSNR of the stretched image to the stretched noiseless scene; the peak is the scene's own range.

    Pixels within two of a flagged one are left out.
    """
    from scipy.ndimage import binary_dilation

    from sciSR.metrics import psnr

    used = np.kron(~binary_dilation(~good, iterations=2), np.ones((2, 2), bool))
    reference = sky_stretch(truth.fine)
    image = np.where(used, sky_stretch(np.nan_to_num(fine)), reference)
    return psnr(reference, image, float(np.ptp(reference)), used)


def mr_psnr(truth: np.ndarray, volume: np.ndarray) -> float:
    """PSNR inside the head; the peak is the 99.9th percentile of the truth."""
    from sciSR.metrics import psnr

    peak = float(np.percentile(truth, 99.9))
    return psnr(truth, volume, peak, truth > 0.05 * peak)


def nifti_corners(image: Any) -> np.ndarray:
    """The field's eight corners (outer edges of the corner voxels) in the world, mm."""
    from nibabel.affines import apply_affine

    return apply_affine(image.affine, _corner_indices(image.shape[:3]))


def _corner_indices(shape: tuple[int, ...]) -> np.ndarray:
    return np.array(list(itertools.product(*((-0.5, size - 0.5) for size in shape))))


def read_series(folder: Path) -> list[Any]:
    """The datasets of a folder, by position along the slice normal."""
    import pydicom

    datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    across, down = np.reshape(datasets[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(across, down)
    return sorted(datasets, key=lambda ds: float(normal @ np.array(ds.ImagePositionPatient, float)))


def series_values(series: list[Any]) -> np.ndarray:
    """Physical values of a series, axes (column, row, slice)."""
    planes = [
        ds.pixel_array.T * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        for ds in series
    ]
    return np.stack(planes, axis=-1)


def dicom_corners(series: list[Any]) -> np.ndarray:
    """The eight corners of the volume in patient coordinates, mm (Part 3, C.7.6.2.1.1)."""
    first, last = series[0], series[-1]
    across, down = np.reshape(first.ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    start, stop = (np.array(ds.ImagePositionPatient, float) for ds in (first, last))
    step = (stop - start) / (len(series) - 1)
    matrix = np.stack([across * between_columns, down * between_rows, step], axis=1)
    return start + _corner_indices((first.Columns, first.Rows, len(series))) @ matrix.T
