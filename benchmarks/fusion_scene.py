"""The simulation behind the fusion benchmark: one sky with known truth, seen by a dithering, rotating detector.

``python benchmarks/fusion_scene.py FOLDER [--scene stars|extended|jwst] [--seed N] [--frames 16] [--size 512]``

Light is described on a grid six times finer than the detector, with a margin. The optics (Moffat, beta 3.5, full
width 1.3 pixels at half maximum) pass nothing beyond that grid's Nyquist frequency (1e-9 of the signal), so a pixel's
integral, under any shift and rotation, is a product in Fourier space with the transform of the pixel's turned square,
read off by quintic splines: exact to about 1e-6 of the signal (tests/fusion/test_scene.py measures it).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fusion_light import MARGIN, OVER, coordinates, galaxies, nebula, optics, spiral, star_light
from scipy.fft import irfft2, rfft2
from scipy.ndimage import map_coordinates

SKY, READ_NOISE = 150.0, 5.0
SHIFT, TURN = 6.0, 0.3  # largest dither (pixels, each axis) and rotation (degrees, about the frame's centre)
HOT, DEAD, TRACKS = 8e-4, 2e-4, 38.0
JWST = "astro/train/jwst_nircam_f200w_abell2744_jw02561.fits"
JWST_PEAK = 2700.0  # electrons per native pixel at the 99.95th percentile


@dataclass(frozen=True, eq=False)
class Sky:
    """The optical image: what falls onto the detector, before pixels.

    Attributes
    ----------
    spectrum : ndarray, complex128
        ``rfft2`` of the surface brightness (electrons per native pixel area) on the fine grid: a reference
        position p lies at ``OVER * (p + MARGIN + 0.5) - 0.5``.
    native : (int, int)
        The reference frame's shape.
    stars : ndarray, (n, 3)
        Row and column in the reference frame, pixel centres whole; electrons.
    """

    spectrum: np.ndarray
    native: tuple[int, int]
    stars: np.ndarray

    @property
    def fine(self) -> tuple[int, int]:
        """Shape of the fine grid."""
        return tuple(OVER * (n + 2 * MARGIN) for n in self.native)

    def pixels(self, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Mean surface brightness in each pixel of a detector; float64 ``shape``.

        Parameters
        ----------
        matrix : ndarray, (2, 3)
            Reference pixel (row, column) -> the detector's pixel: any affine map. Its pixels are squares there,
            whatever they are in the reference frame.
        shape : (int, int)
        """
        back = np.linalg.inv(matrix[:, :2])
        rows, columns = self.fine
        k = np.stack(
            np.broadcast_arrays(
                np.fft.fftfreq(rows, 1 / OVER)[:, None], np.fft.rfftfreq(columns, 1 / OVER)[None, :]
            )
        )  # cycles per native pixel
        footprint = np.sinc(np.tensordot(back[:, 0], k, 1)) * np.sinc(np.tensordot(back[:, 1], k, 1))
        coefficients = irfft2(self.spectrum * footprint / _quintic(rows, columns), s=self.fine, workers=1)
        out = np.empty(shape)
        for start in range(0, shape[0], 128):
            points = np.mgrid[start : min(start + 128, shape[0]), : shape[1]].astype(np.float64)
            points -= matrix[:, 2][:, None, None]
            where = OVER * (np.tensordot(back, points, 1) + MARGIN + 0.5) - 0.5
            out[start : start + 128] = map_coordinates(
                coefficients, where, order=5, mode="grid-wrap", prefilter=False
            )
        return out

    def truth(self, scale: int) -> np.ndarray:
        """The sky as an ideal camera with `scale` times finer pixels sees it, without background; float32.

        In electrons per *native* pixel area: a flat sky keeps its level at every scale.
        """
        # Fine pixel X lies at reference position (X + 0.5) / scale - 0.5.
        matrix = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]], dtype=np.float64)
        return self.pixels(matrix, tuple(scale * n for n in self.native)).astype(np.float32)


def _quintic(rows: int, columns: int) -> np.ndarray:
    """Transform of the sampled quintic B-spline: dividing by it turns samples into spline coefficients."""

    def axis(w: np.ndarray) -> np.ndarray:
        return (66 + 52 * np.cos(w) + 2 * np.cos(2 * w)) / 120

    return (
        axis(2 * np.pi * np.fft.fftfreq(rows))[:, None] * axis(2 * np.pi * np.fft.rfftfreq(columns))[None, :]
    )


def make_sky(scene: str = "stars", size: int = 512, seed: int = 2, data: Path | None = None) -> Sky:
    """One of the benchmark's skies.

    Parameters
    ----------
    scene : {"stars", "extended", "jwst"}
        A star field over a nebula, a spiral and small galaxies; the same with three faint stars only; or a real
        JWST/NIRCam image of Abell 2744 taken as the light before the optics, two of its pixels per native one.
    size : int
        Native pixels a side; numbers of objects follow the area. JWST: at most what the image holds.
    seed : int
    data : path
        The folder that holds ``astro/train`` (JWST only).
    """
    if scene == "jwst":
        return _jwst_sky(Path(data or "../shared/data"), size)
    random = np.random.default_rng(seed)
    shape = (OVER * (size + 2 * MARGIN),) * 2
    area = (size / 512) ** 2
    number = 3 if scene == "extended" else round(450 * area)
    faintest, brightest = (2.5, 3.5) if scene == "extended" else (2.5, 5.1)
    # Beyond the border too, so that the sky does not end where the reference frame does.
    beyond = 8.0
    stars = np.column_stack(
        [
            random.uniform(-0.5 - beyond, size - 0.5 + beyond, (number, 2)),
            10 ** random.uniform(faintest, brightest, number),
        ]
    )
    bright = 3.0 if scene == "extended" else 1.0
    light = spiral(shape, (0.45 * size, 0.55 * size), 0.17 * size, 900.0 * bright)
    light += galaxies(shape, random, round(70 * area)) + nebula(shape, random, 190.0 * bright)
    spectrum = rfft2(light, workers=1) * optics(shape)
    spectrum += rfft2(star_light(stars, shape), workers=1)
    return Sky(spectrum, (size, size), stars)


def _jwst_sky(data: Path, size: int) -> Sky:
    """The real image, mirrored into the margin, its noise-like negative values cut."""
    from astropy.io import fits

    image = fits.getdata(data / JWST).astype(np.float64)
    image = np.maximum(image - np.median(image), 0)
    native = tuple(min(size, n // 2 // 2 * 2) for n in image.shape)
    fine = tuple(OVER * (n + 2 * MARGIN) for n in native)
    # Two JWST pixels per native one, the field's corner at the image's corner.
    y, x = (2 * (a + 0.5) - 0.5 for a in coordinates(fine))
    light = np.maximum(map_coordinates(image, np.broadcast_arrays(y, x), order=3, mode="reflect"), 0)
    sky = Sky(rfft2(light, workers=1) * optics(fine), native, np.empty((0, 3)))
    level = np.percentile(sky.truth(2), 99.95)
    return Sky(sky.spectrum * (JWST_PEAK / level), native, sky.stars)


@dataclass(frozen=True, eq=False)
class Simulation:
    """Frames and everything that is true of them.

    Attributes
    ----------
    frames : ndarray, uint16, (n, rows, columns)
        Electrons (gain 1), sky included.
    transforms : ndarray, (n, 2, 3)
        Reference pixel (row, column) -> frame pixel. The first is the identity.
    hot, dead : ndarray of bool, (rows, columns)
        The detector's defects, the same in all frames.
    rays : ndarray of bool, (n, rows, columns)
        Pixels hit by cosmic rays.
    sky : Sky
    """

    frames: np.ndarray
    transforms: np.ndarray
    hot: np.ndarray
    dead: np.ndarray
    rays: np.ndarray
    sky: Sky
    settings: dict = field(default_factory=dict)


def dithers(number: int, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Random shifts and rotations about the frame's centre, ``(number, 2, 3)``; the first is the identity."""
    middle = (np.array(shape) - 1) / 2
    out = [np.eye(2, 3)]
    for _ in range(number - 1):
        angle = np.radians(random.uniform(-TURN, TURN))
        c, s = np.cos(angle), np.sin(angle)
        linear = np.array([[c, -s], [s, c]])
        shift = random.uniform(-SHIFT, SHIFT, 2)
        out.append(np.column_stack([linear, middle + shift - linear @ middle]))
    return np.stack(out[:number])


def cosmic_rays(shape: tuple[int, int], random: np.random.Generator, mean: float) -> np.ndarray:
    """Electrons left by straight tracks, each with its own charge per pixel; float64."""
    out = np.zeros(shape)
    for _ in range(random.poisson(mean)):
        start, angle = random.uniform(0, 1, 2) * np.array(shape), random.uniform(0, 2 * np.pi)
        length, charge = 1 + random.exponential(5.0), 10 ** random.uniform(2.5, 4.0)
        steps = np.arange(0, length, 0.25)
        points = start[:, None] + np.array([[np.sin(angle)], [np.cos(angle)]]) * steps
        r, c = np.floor(points).astype(int)
        inside = (r >= 0) & (c >= 0) & (r < shape[0]) & (c < shape[1])
        np.add.at(out, (r[inside], c[inside]), charge * 0.25)
    return out


def simulate(
    scene: str = "stars",
    *,
    frames: int = 16,
    size: int = 512,
    seed: int = 2,
    bad_pixels: bool = True,
    rays: bool = True,
    data: Path | None = None,
) -> Simulation:
    """The benchmark's sequence. Everything follows from the seed.

    Parameters
    ----------
    scene, size, seed, data
        See :func:`make_sky`.
    frames : int
        The first is the reference.
    bad_pixels, rays : bool
        Hot and dead pixels; cosmic rays.
    """
    sky = make_sky(scene, size, seed, data)
    random = np.random.default_rng([seed, 2])
    transforms = dithers(frames, sky.native, random)
    area = np.prod(sky.native) / 512**2
    defect = random.uniform(size=sky.native)
    hot = (defect < HOT) & bad_pixels
    dead = (defect > 1 - DEAD) & bad_pixels
    excess = np.where(hot, random.uniform(500, 25_000, sky.native), 0)
    out, hits = [], []
    for matrix in transforms:
        expected = np.maximum(sky.pixels(matrix, sky.native), 0) + SKY
        track = cosmic_rays(sky.native, random, TRACKS * area if rays else 0.0)
        counts = random.poisson(expected) + random.normal(0, READ_NOISE, sky.native) + excess + track
        counts[dead] = 0
        out.append(np.clip(np.rint(counts), 0, 65535).astype(np.uint16))
        hits.append(track > 0)
    settings = {"scene": scene, "frames": frames, "seed": seed, "bad_pixels": bad_pixels, "rays": rays}
    return Simulation(np.stack(out), transforms, hot, dead, np.stack(hits), sky, settings)


def write_frames(simulation: Simulation, folder: Path, *, wcs: bool = False) -> list[Path]:
    """One FITS file a frame, as a camera writes them; with `wcs` each carries its true world coordinates."""
    from datetime import datetime, timedelta

    from astropy.io import fits

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, (values, matrix) in enumerate(zip(simulation.frames, simulation.transforms, strict=True)):
        header = fits.Header()
        begin = datetime(2026, 3, 1, 21) + timedelta(seconds=75 * k)
        header["OBJECT"] = "simulated field"
        header["FILTER"] = "r"
        header["EXPTIME"] = (60.0, "s")
        header["DATE-OBS"] = begin.isoformat()
        header["GAIN"] = (1.0, "electrons per ADU")
        header["RDNOISE"] = (READ_NOISE, "electrons")
        header["BUNIT"] = "adu"
        if wcs:
            header.update(_world(matrix, values.shape).to_header())
        path = folder / f"frame_{k:03d}.fits"
        fits.PrimaryHDU(values, header).writeto(path, overwrite=True)
        paths.append(path)
    return paths


def _world(matrix: np.ndarray, shape: tuple[int, int]):
    """Tangent-plane coordinates, 0.5 arcsec a pixel, the reference frame's centre at (150, +20) degrees."""
    from astropy.wcs import WCS

    middle = (np.array(shape) - 1) / 2
    back = np.linalg.inv(matrix[:, :2])
    swap = np.array([[0, 1], [1, 0]])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 20.0]
    wcs.wcs.crpix = (matrix[:, :2] @ middle + matrix[:, 2])[::-1] + 1
    wcs.wcs.cd = np.diag([-0.5 / 3600, 0.5 / 3600]) @ swap @ back @ swap
    return wcs


def save(simulation: Simulation, path: Path) -> None:
    """All arrays in one file, for experiments."""
    np.savez(
        path,
        frames=simulation.frames,
        truth2=simulation.sky.truth(2),
        truth3=simulation.sky.truth(3),
        stars=simulation.sky.stars,
        transforms=simulation.transforms,
        hot=simulation.hot,
        dead=simulation.dead,
        rays=simulation.rays,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scene", choices=("stars", "extended", "jwst"), default="stars")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--wcs", action="store_true", help="write world coordinates into the frames")
    parser.add_argument("--data", type=Path, help="folder of real images (jwst)")
    options = parser.parse_args()
    simulation = simulate(
        options.scene, frames=options.frames, size=options.size, seed=options.seed, data=options.data
    )
    paths = write_frames(simulation, options.folder, wcs=options.wcs)
    save(simulation, options.folder / "truth.npz")
    print(f"{len(paths)} frames and truth.npz in {options.folder}")


if __name__ == "__main__":
    main()
