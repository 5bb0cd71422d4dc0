"""The methods astronomers use today, at their best, each as one process: ``python fusion_peers.py METHOD OUT FITS...``.

``drizzle`` (the reference implementation of drizzle) with square and Lanczos kernels, ``reproject``, and bicubic
interpolation of one frame. Frames are registered by astroalign's asterisms, then by all matched stars; hot and dead
pixels found by percentiles over the frames and outliers by drizzlepac's driz_cr recipe are masked first.
The result, an ``.npz`` with ``image``, is on the grid ``X = s x + (s - 1) / 2``, in the level of a native pixel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

METHODS = (
    "bicubic",
    "drizzle-1",
    "drizzle-0.6",
    "drizzle-lanczos3",
    "reproject-bicubic",
    "reproject-adaptive",
)


def read(paths: list[Path]) -> np.ndarray:
    """All frames, float32, ``(n, rows, columns)``."""
    from astropy.io import fits

    return np.stack([fits.getdata(path).astype(np.float32) for path in paths])


def noise(frame: np.ndarray) -> float:
    """Sky noise of one frame, from the differences of neighbours: the sky's own structure cancels."""
    step = np.diff(frame, axis=1)
    return float(1.4826 * np.median(np.abs(step - np.median(step))) / np.sqrt(2))


def static_defects(frames: np.ndarray) -> np.ndarray:
    """Hot and dead pixels: off in nearly all frames, while stars wander with the dither."""
    from scipy.ndimage import median_filter

    rest = np.stack(
        [(f - median_filter(f, 5)) / np.sqrt(np.maximum(median_filter(f, 5), 1) + 25.0) for f in frames]
    )
    low, high = np.percentile(rest, [15, 85], axis=0)
    return (low > 5) | (high < -5)


def repaired(frame: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Bad pixels replaced by the median of the good ones around, for methods that know no masks."""
    padded = np.pad(np.where(bad, np.nan, frame), 4, mode="reflect")
    out = frame.copy()
    for r, c in np.argwhere(bad):
        near = padded[r + 2 : r + 7, c + 2 : c + 7]
        if np.isnan(near).all():
            near = padded[r : r + 9, c : c + 9]
        out[r, c] = np.nanmedian(near) if np.isfinite(near).any() else np.median(frame)
    return out


def find_stars(frame: np.ndarray, threshold: float = 3.0) -> np.ndarray:
    """Windowed centroids ``(n, 2)`` (row, column) of stars, brightest first.

    Ranked by what a 3x3 median leaves of their peak: nothing of a cosmic ray.
    """
    import sep
    from scipy.ndimage import median_filter

    image = np.ascontiguousarray(frame)
    background = sep.Background(image, bw=32, bh=32)
    image = image - background.back()
    found = sep.extract(image, threshold, err=background.globalrms, minarea=5)
    smooth = median_filter(image, 3)[found["ypeak"], found["xpeak"]]
    keep = smooth > threshold * background.globalrms
    found = found[keep][np.argsort(-smooth[keep])][:400]
    x, y, flag = sep.winpos(image, found["x"], found["y"], np.full(len(found), 0.6))
    return np.column_stack([y, x])[flag == 0]


def register(frames: np.ndarray) -> np.ndarray:
    """Reference -> frame matrices ``(n, 2, 3)`` in (row, column): astroalign, then rigid fits to all stars."""
    import astroalign
    from scipy.spatial import cKDTree

    lists = [find_stars(f) for f in frames]
    out = [np.eye(2, 3)]
    for stars in lists[1:]:
        guess, _ = astroalign.find_transform(lists[0][:50, ::-1], stars[:50, ::-1])
        placed = guess(lists[0][:, ::-1])[:, ::-1]
        tree = cKDTree(stars)
        for reach in (1.0, 0.5, 0.3):
            apart, index = tree.query(placed, distance_upper_bound=reach)
            near = np.isfinite(apart)
            matrix = _rigid(lists[0][near], stars[index[near]])
            placed = lists[0] @ matrix[:, :2].T + matrix[:, 2]
        out.append(matrix)
    return np.stack(out)


def _rigid(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation and shift that take `a` onto `b`, outliers cut at 2.5 robust sigmas."""
    keep = np.ones(len(a), dtype=bool)
    for _ in range(8):
        ma, mb = a[keep].mean(0), b[keep].mean(0)
        u, _, vt = np.linalg.svd((b[keep] - mb).T @ (a[keep] - ma))
        linear = u @ vt
        off = np.linalg.norm((a - ma) @ linear.T + mb - b, axis=1)
        keep = off < 2.5 * max(1.4826 * np.median(off[keep]) / 1.18, 1e-3)
    return np.column_stack([linear, mb - linear @ ma])


def outliers(frames: np.ndarray, transforms: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """drizzlepac's driz_cr: frames against the median of all, resampled back; slopes excuse differences.

    Two passes: 4 sigma + 1.2 slope, then 3 sigma + 0.7 slope beside what the first one found.
    """
    from scipy.ndimage import binary_dilation, map_coordinates

    shape = frames.shape[1:]
    grid = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    stack = np.empty_like(frames)
    for k, (frame, matrix) in enumerate(zip(frames, transforms, strict=True)):
        where = np.tensordot(matrix[:, :2], grid, 1) + matrix[:, 2][:, None, None]
        level = np.median(frame)
        clean = repaired(frame, bad)
        stack[k] = map_coordinates(clean, where, order=3, mode="nearest", output=np.float32) - level
        edge = np.any((where < 0) | (where > np.array(shape)[:, None, None] - 1), axis=0)
        stack[k][edge] = np.nan
    median = np.nanmedian(stack, axis=0)
    out = np.empty(frames.shape, dtype=bool)
    for k, (frame, matrix) in enumerate(zip(frames, transforms, strict=True)):
        back = np.linalg.inv(matrix[:, :2])
        where = np.tensordot(back, grid - matrix[:, 2][:, None, None], 1)
        model = map_coordinates(median, where, order=3, mode="nearest", output=np.float32)
        level = np.median(frame)
        slope = _largest_step(model)
        sigma = np.sqrt(np.maximum(model, 0) + noise(frame) ** 2)
        off = np.abs(frame - level - model)
        first = off > 1.2 * slope + 4.0 * sigma
        beside = binary_dilation(first, np.ones((3, 3)))
        out[k] = first | (beside & (off > 0.7 * slope + 3.0 * sigma)) | bad
    return out


def _largest_step(image: np.ndarray) -> np.ndarray:
    """Largest absolute difference of each pixel to its four neighbours."""
    out = np.zeros_like(image)
    for axis in (0, 1):
        step = np.abs(np.diff(image, axis=axis))
        first, second = (slice(1, None), slice(None)), (slice(None, -1), slice(None))
        for part in (first, second) if axis == 0 else (first[::-1], second[::-1]):
            out[part] = np.maximum(out[part], step)
    return out


def drizzled(
    frames: np.ndarray, transforms: np.ndarray, bad: np.ndarray, scale: int, kernel: str, pixfrac: float
) -> np.ndarray:
    """One call of ``Drizzle.add_image`` a frame; weight zero where bad."""
    from drizzle.resample import Drizzle

    shape = frames.shape[1:]
    driz = Drizzle(
        kernel=kernel, out_shape=(scale * shape[0], scale * shape[1]), fillval=np.nan, disable_ctx=True
    )
    grid = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    for frame, matrix, wrong in zip(frames, transforms, bad, strict=True):
        where = np.tensordot(np.linalg.inv(matrix[:, :2]), grid - matrix[:, 2][:, None, None], 1)
        fine = (where + 0.5) * scale - 0.5
        driz.add_image(
            frame - np.float32(np.median(frame[~wrong])),
            exptime=1.0,
            pixmap=np.ascontiguousarray(np.stack([fine[1], fine[0]], axis=-1)),
            weight_map=(~wrong).astype(np.float32),
            pixfrac=pixfrac,
            pixel_scale_ratio=1 / scale,
        )
    return driz.out_img


def reprojected(
    frames: np.ndarray, transforms: np.ndarray, bad: np.ndarray, scale: int, kind: str
) -> np.ndarray:
    """``reproject_and_coadd``, frames matched through linear pixel coordinates; weight zero where bad."""
    from astropy.wcs import WCS
    from reproject import reproject_adaptive, reproject_interp
    from reproject.mosaicking import reproject_and_coadd

    def flat(matrix: np.ndarray) -> WCS:
        """Pixel (row, column) -> reference pixel through `matrix`, as a gnomonic plane of 0.1 arcsec pixels.

        Plain linear axes would do, were it not that reproject wants celestial ones.
        """
        swap = np.array([[0, 1], [1, 0]])
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 0.0]
        wcs.wcs.crpix = np.linalg.solve(matrix[:, :2], 256 - matrix[:, 2])[::-1] + 1
        wcs.wcs.cd = swap @ matrix[:, :2] @ swap * 0.1 / 3600
        return wcs

    inverse = [np.linalg.inv(m[:, :2]) for m in transforms]
    back = [np.column_stack([i, -i @ m[:, 2]]) for i, m in zip(inverse, transforms, strict=True)]
    fine = np.array([[1 / scale, 0, (1 / scale - 1) / 2], [0, 1 / scale, (1 / scale - 1) / 2]])
    shape = tuple(scale * n for n in frames.shape[1:])
    inputs = [(repaired(f, b) - np.median(f[~b]), flat(m)) for f, m, b in zip(frames, back, bad, strict=True)]
    weights = [(~b).astype(np.float32) for b in bad]
    how = {"order": "bicubic"} if kind == "bicubic" else {"conserve_flux": False, "kernel": "gaussian"}
    function = reproject_interp if kind == "bicubic" else reproject_adaptive
    image, _ = reproject_and_coadd(
        inputs, flat(fine), shape_out=shape, input_weights=weights, reproject_function=function, **how
    )
    return image


def bicubic(frame: np.ndarray, scale: int) -> np.ndarray:
    """Keys' cubic (a = -0.5) on the edge-aligned grid, what a user gets from one frame."""
    from PIL import Image

    size = (scale * frame.shape[1], scale * frame.shape[0])
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def run(
    method: str, paths: list[Path], scale: int, transforms: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """``image``, and ``transforms`` where frames were registered; given ones are taken as they are."""
    if method == "bicubic":
        return {"image": bicubic(read(paths[:1])[0], scale)}
    frames = read(paths)
    defects = static_defects(frames)
    if transforms is None:
        transforms = register(np.stack([repaired(f, defects) for f in frames]))
    bad = outliers(frames, transforms, defects)
    kind, _, how = method.partition("-")
    if kind == "drizzle":
        kernel, pixfrac = ("lanczos3", 1.0) if how == "lanczos3" else ("square", float(how))
        image = drizzled(frames, transforms, bad, scale, kernel, pixfrac)
    else:
        image = reprojected(frames, transforms, bad, scale, how)
    return {"image": image.astype(np.float32), "transforms": transforms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("out", type=Path)
    parser.add_argument("frames", type=Path, nargs="+")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--transforms", type=Path, help=".npy of known transforms: do not register")
    options = parser.parse_args()
    known = np.load(options.transforms) if options.transforms else None
    np.savez(options.out, **run(options.method, options.frames, options.scale, known))


if __name__ == "__main__":
    sys.exit(main())
