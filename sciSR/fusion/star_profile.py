"""The point spread function of a fused image, from its stars."""

from __future__ import annotations

import warnings

import numpy as np

from sciSR.errors import UnsupportedError, UsageError
from sciSR.fusion.prepared import Solution

FEWEST = 3
"""Stars without which there is no point spread function."""
MOST = 24
"""Stars used, the brightest."""
FAINTEST = 0.1
"""Least flux of a star, in units of the third brightest's: in the wings of fainter ones the sky's structure counts."""
SIGNAL = 40.0
"""Least peak of a star, in units of the sky's noise."""
REACH = 4.5
"""Half the side of a star's cutout, in units of the stars' width (FWHM)."""
COMPANY = 0.02
"""Flux that a neighbour within a cutout may have, in units of the star's."""
_REMEDY = "give the point spread function with --psf"


def width(profile: np.ndarray) -> float:
    """Full width at half maximum: the diameter of the disc with the area above half the peak.

    Parameters
    ----------
    profile : ndarray, (rows, columns)
        With its peak near the middle, well sampled.

    Returns
    -------
    float
        In pixels.
    """
    from scipy.ndimage import label, zoom

    middle = [n // 2 for n in profile.shape]
    core = [slice(max(0, m - 24), m + 25) for m in middle]
    # Well sampled or not, a star's logarithm is smoother than the star; but noise has none. The spline will do.
    fine = zoom(
        np.asarray(profile[core[0], core[1]], dtype=np.float64), 8, order=5, mode="nearest", grid_mode=True
    )
    regions, _ = label(fine > fine.max() / 2)
    area = np.count_nonzero(regions == regions[np.unravel_index(fine.argmax(), fine.shape)])
    return float(2 * np.sqrt(area / np.pi) / 8)


def centre(profile: np.ndarray, sigma: float) -> np.ndarray:
    """Centre (row, column) of a profile: the point about which a Gaussian window finds it balanced."""
    rows, columns = np.indices(profile.shape, dtype=np.float64)
    peak = np.array(np.unravel_index(np.argmax(profile), profile.shape), dtype=np.float64)
    where = peak.copy()
    for _ in range(100):
        square = (rows - where[0]) ** 2 + (columns - where[1]) ** 2
        weight = profile * np.exp(-square / (2 * sigma**2))
        # Twice the step: the window pulls towards its own centre (Bertin and Arnouts, SExtractor's WIN positions).
        total = weight.sum()
        if not total > 0:
            break
        step = (
            2 * np.array([(weight * (rows - where[0])).sum(), (weight * (columns - where[1])).sum()]) / total
        )
        where = where + step
        if np.abs(step).max() < 1e-5 or np.abs(where - peak).max() > max(profile.shape):
            break
    return where


def shifted(image: np.ndarray, by: np.ndarray) -> np.ndarray:
    """An image moved by (rows, columns), exact for what is band-limited; ends must be about equal."""
    rows = np.fft.fftfreq(image.shape[0])[:, None]
    columns = np.fft.rfftfreq(image.shape[1])[None, :]
    phase = np.exp(-2j * np.pi * (rows * by[0] + columns * by[1]))
    return np.fft.irfft2(np.fft.rfft2(image) * phase, s=image.shape)


def centred_profile(psf: np.ndarray) -> np.ndarray:
    """A point spread function on an odd array, its centre in the middle, its ends tapered, its sum 1.

    Parameters
    ----------
    psf : ndarray, (rows, columns)
        Without a background.

    Returns
    -------
    ndarray, (2n + 1, 2m + 1), float64

    Raises
    ------
    UsageError
        Its centre can't be found, or lies at its edge.
    """
    psf = np.asarray(psf, dtype=np.float64)
    if psf.ndim != 2 or min(psf.shape) < 3 or not np.isfinite(psf).all() or not psf.sum() > 0:
        raise UsageError("a point spread function is a finite plane of 3 pixels or more with a positive sum")
    peak = np.unravel_index(np.argmax(psf), psf.shape)
    half = [int(min(p, n - 1 - p)) for p, n in zip(peak, psf.shape, strict=True)]
    if min(half) < 1:
        raise UsageError("the point spread function peaks at its edge", remedy="centre it")
    # Odd, about the brightest pixel; padded so that a shift does not wrap.
    cut = psf[peak[0] - half[0] : peak[0] + half[0] + 1, peak[1] - half[1] : peak[1] + half[1] + 1]
    out = np.pad(cut, 2)
    sigma = max(1.0, width(out) / 2.3548)
    for _ in range(5):
        middle = np.array([n // 2 for n in out.shape])
        off = middle - centre(out, sigma)
        if np.abs(off).max() > 1.5:
            raise UsageError("the point spread function has no single centre", remedy="check its file")
        if np.abs(off).max() < 1e-3:
            break
        out = shifted(out, off)
    out = out * _taper(out.shape[0])[:, None] * _taper(out.shape[1])[None, :]
    return out / out.sum()


def _taper(n: int) -> np.ndarray:
    """1 in the middle, to 0 over the last eighth of either end."""
    distance = np.abs(np.arange(n) - n // 2) / (n // 2 + 1)
    return np.where(distance < 0.75, 1.0, np.cos(np.pi * (distance - 0.75) / 0.5).clip(0, 1) ** 2)


def profile_from_stars(plain: Solution, lost: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The point spread function of a fused image, measured with photutils' effective PSF (Anderson and King 2000).

    Parameters
    ----------
    plain : Solution
        Without deconvolution.
    lost : ndarray of bool, optional
        Pixels not to be trusted.

    Returns
    -------
    profile : ndarray, (2n + 1, 2n + 1)
        On fine pixels, centred, of sum 1.
    stars : ndarray, (n, 2)
        Positions (row, column) of the stars it was measured from.

    Raises
    ------
    UnsupportedError
        Fewer than three stars that are bright, isolated and unsaturated.
    """
    stars, half, images = find_stars(plain, lost)
    if len(stars) < FEWEST:
        raise UnsupportedError(
            f"only {len(stars)} stars are bright, isolated and unsaturated enough to measure the point spread function",
            remedy=_REMEDY,
        )
    try:
        profile = _effective(images, stars - np.round(stars) + half, half)
        return centred_profile(profile), stars
    except (UsageError, ValueError) as error:
        raise UnsupportedError(
            f"the stars do not agree on a point spread function ({error})", remedy=_REMEDY
        ) from None


def find_stars(plain: Solution, lost: np.ndarray | None = None) -> tuple[np.ndarray, int, list[np.ndarray]]:
    """Bright, isolated, unsaturated stars; half the side of their cutouts; the cutouts, without their background."""
    import sep

    bad = ~np.isfinite(plain.image)
    if lost is not None:
        bad |= lost
    image = np.where(bad, 0, plain.image).astype(np.float64)
    background = sep.Background(image, mask=bad, bw=64, bh=64)
    flat = image - background.back()
    found = sep.extract(flat, 5.0, err=background.globalrms, mask=bad, minarea=4)
    none = np.empty((0, 2)), 0, []
    strong = found["peak"] > SIGNAL * background.globalrms
    if not strong.any():
        return none
    typical = np.median(plain.weight[~bad])
    rows, columns, flux = found["y"], found["x"], found["flux"]
    order = np.argsort(-flux)
    order = order[strong[order]]
    half = int(np.clip(np.ceil(REACH * _typical_width(flat, rows, columns, order[:50])), 8, 40))
    stars, images, widths, fluxes = [], [], [], []
    for k in order:
        near = np.maximum(np.abs(rows - rows[k]), np.abs(columns - columns[k])) <= 1.2 * half
        near[k] = False
        if flux[near].sum() > COMPANY * flux[k] or found["a"][k] > 1.6 * found["b"][k]:
            continue
        cut = _cutout(image, rows[k], columns[k], half)
        if cut is None or bad[cut].any() or plain.weight[cut].min() < 0.3 * typical:
            continue
        stamp = image[cut] - _rim(image[cut])
        spot = _position(stamp, half)
        if spot is None:
            continue
        stars.append(np.array([cut[0].start, cut[1].start]) + spot)
        images.append(stamp)
        widths.append(width(stamp))
        fluxes.append(flux[k])
        if len(stars) == 3 * MOST:
            break
    if not stars:
        return none
    # Galaxies are wider than stars, what remains of cosmic rays is narrower.
    size = np.array(widths)
    middle = np.median(size)
    spread = max(1.4826 * np.median(np.abs(size - middle)), 0.03 * middle)
    like = np.flatnonzero(np.abs(size - middle) < 3 * spread)
    bright = np.array(fluxes)[like]
    like = like[bright >= FAINTEST * bright[min(2, len(bright) - 1)]][:MOST]
    return np.array(stars)[like], half, [images[k] for k in like]


def _typical_width(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> float:
    """Median width of the detections; moments would count their wings."""
    found = []
    for k in chosen:
        cut = _cutout(image, rows[k], columns[k], 12)
        if cut is not None:
            found.append(width(image[cut]))
    return float(np.median(found)) if found else 3.0


def _cutout(image: np.ndarray, row: float, column: float, half: int) -> tuple[slice, slice] | None:
    top, left = round(row) - half, round(column) - half
    size = 2 * half + 1
    if top < 0 or left < 0 or top + size > image.shape[0] or left + size > image.shape[1]:
        return None
    return slice(top, top + size), slice(left, left + size)


def _position(stamp: np.ndarray, half: int) -> np.ndarray | None:
    """Of a star in its cutout; None where it is not near the middle."""
    spot = centre(stamp, max(1.0, width(stamp) / 2.3548))
    return spot if np.abs(spot - half).max() < 1.0 else None


def _rim(stamp: np.ndarray) -> np.ndarray:
    """The plane through the outermost two pixels: sky and nebula around a star."""
    rows, columns = np.indices(stamp.shape) - (np.array(stamp.shape) // 2)[:, None, None]
    rim = np.maximum(np.abs(rows), np.abs(columns)) >= stamp.shape[0] // 2 - 1
    terms = np.stack([np.ones_like(rows), rows, columns], -1).astype(np.float64)
    good = rim.copy()
    for _ in range(3):
        plane = terms @ np.linalg.lstsq(terms[good], stamp[good], rcond=None)[0]
        off = np.abs(stamp - plane)
        good = rim & (off <= 3 * 1.4826 * np.median(off[good]) + 1e-12)
    return plane


def _effective(images: list[np.ndarray], spots: np.ndarray, half: int) -> np.ndarray:
    """Stars on one centre and of one flux, as photutils' effective PSF finds these; their mean, weighted by flux.

    The effective PSF itself is smoothed and counts faint stars like bright ones. A fused image is sampled well enough
    for stars to be moved onto each other as they are.
    """
    from photutils.psf import EPSFBuilder, EPSFStar, EPSFStars

    stars = [
        EPSFStar(stamp, cutout_center=(spot[1], spot[0]), id_label=k + 1)
        for k, (stamp, spot) in enumerate(zip(images, spots, strict=True))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stars it could not fit are left out
        builder = EPSFBuilder(oversampling=2 if half <= 24 else 1, maxiters=4, progress_bar=False)
        _, fitted = builder(EPSFStars(stars))
    good = [star for star in fitted.all_good_stars if star.flux > 0]
    if len(good) < FEWEST:
        raise UsageError(f"{len(good)} of {len(stars)} could be fitted")
    moved = [
        shifted(_apodised(star.data / star.flux), half - np.array(star.cutout_center[::-1])) for star in good
    ]
    return _robust_mean(np.stack(moved), np.array([star.flux for star in good]))


def _apodised(stamp: np.ndarray) -> np.ndarray:
    return stamp * _taper(stamp.shape[0])[:, None] * _taper(stamp.shape[1])[None, :]


def _robust_mean(stack: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Mean over stars, weighted by flux, without what one star has and the others have not."""
    weight = np.broadcast_to(flux[:, None, None], stack.shape).copy()
    middle = np.median(stack, axis=0)
    scatter = 1.4826 * np.median(np.abs(stack - middle), axis=0)
    weight[np.abs(stack - middle) > 4 * scatter + 0.02 * np.abs(middle)] = 0
    total = weight.sum(axis=0)
    return np.where(total > 0, (weight * stack).sum(axis=0) / np.where(total > 0, total, 1), middle)


def ring_depth(image: np.ndarray, stars: np.ndarray) -> float:
    """Depth of the dips around stars, in units of their peaks: the median over the stars; 0 where none can be seen."""
    rows, columns = np.mgrid[-14:15, -14:15]
    radius = np.hypot(rows, columns)
    found = [0.0] if not len(stars) else []
    for row, column in stars:
        cut = _cutout(image, row, column, 14)
        if cut is None or not np.isfinite(image[cut]).all():
            continue
        stamp = image[cut] - np.median(image[cut][radius > 11])
        found.append(float(-stamp[(radius > 3) & (radius < 10)].min() / stamp.max()))
    return max(0.0, float(np.median(found))) if found else 0.0


def stacked_fwhm(image: np.ndarray, stars: np.ndarray) -> float | None:
    """Width of stars, centred and added; None where none can be."""
    total = None
    for row, column in stars:
        cut = _cutout(image, row, column, 12)
        if cut is None or not np.isfinite(image[cut]).all():
            continue
        off = np.array([row, column]) - np.round([row, column])
        stamp = image[cut].astype(np.float64)
        stamp = shifted(stamp - np.median(stamp), -off)
        total = stamp if total is None else total + stamp
    return None if total is None else width(total)
