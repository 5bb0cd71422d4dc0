"""A clip of a planet through a turbulent atmosphere, with the truth: for tests and benchmarks.

The scene (belts with eddies, festoons, ovals, limb darkening) is drawn on a finer grid, blurred by the telescope,
then for each frame blurred by the seeing, warped smoothly, shifted, integrated over the pixels, and given shot and
read noise. The truth is the scene behind the telescope alone, integrated over the pixels of any finer grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClipSettings:
    """What is simulated. Lengths are in native pixels.

    Attributes
    ----------
    size : int
        Rows and columns of a frame.
    radius : float
        Equatorial radius of the disc; the polar one is 6.5 % shorter. Beyond ``size`` the frame is all surface.
    frames : int
    optics : float
        FWHM of the telescope's (Gaussian) image of a point.
    warp : float
        Rms displacement per axis by the seeing.
    correlation : (float, float)
        Distances over which displacements stay alike (the Gaussian that smooths them has half that sigma);
        each frame mixes both.
    blur : float
        Median FWHM of the seeing's blur within a frame.
    blur_spread : float
        Rms of the natural logarithm of the blur from frame to frame; a quarter of it varies across the field.
    jitter : float
        Rms shift of the whole frame per axis.
    full_well : float
        Electrons of the brightest surface in one frame.
    read_noise : float
        Electrons.
    bits : int
        Of the recorded integers; the brightest surface is at 70 % of their range.
    pedestal : float
        Level without light, as a fraction of the range.
    oversampling : int
        Points of the scene per native pixel.
    seed : int
    """

    size: int = 128
    radius: float = 45.0
    frames: int = 30
    optics: float = 1.8
    warp: float = 1.4
    correlation: tuple[float, float] = (30.0, 60.0)
    blur: float = 1.6
    blur_spread: float = 0.35
    jitter: float = 3.0
    full_well: float = 6000.0
    read_noise: float = 8.0
    bits: int = 10
    pedestal: float = 0.02
    oversampling: int = 4
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Clip:
    """A simulated clip.

    Attributes
    ----------
    frames : ndarray, (n, rows, columns), uint16
    shifts : ndarray, (n, 2), float64
        Where the scene's origin lies in each frame (row, column).
    warps : ndarray, (n, rows, columns, 2), float32
        Frame position minus scene position minus shift, at each native pixel of the scene.
    blurs : ndarray, (n,), float64
        FWHM of the seeing in each frame.
    scene : ndarray, float32
        Behind the telescope, `oversampling` points per native pixel, in units of the frames, without pedestal.
    settings : ClipSettings
    """

    frames: np.ndarray
    shifts: np.ndarray
    warps: np.ndarray
    blurs: np.ndarray
    scene: np.ndarray
    settings: ClipSettings

    def truth(self, factor: int) -> np.ndarray:
        """The scene integrated over pixels of a `factor` times finer grid, edge to edge; in a native pixel's level.

        `factor` must divide the oversampling.
        """
        return _block_mean(self.scene, self.settings.oversampling // factor)


def simulate_clip(settings: ClipSettings | None = None, **changes: object) -> Clip:
    """Simulate a clip; `changes` are fields of :class:`ClipSettings`.

    Returns
    -------
    Clip
    """
    from dataclasses import replace

    settings = replace(settings or ClipSettings(), **changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(settings.seed)
    top = 0.7 * (2**settings.bits - 1)
    scene = _blurred(draw_planet(settings, rng), settings.optics * settings.oversampling / 2.3548) * top
    made = list(_observed(scene, settings, rng))
    frames, shifts, warps, blurs = (np.array(part) for part in zip(*made, strict=True))
    return Clip(frames, shifts, warps, blurs, scene.astype(np.float32), settings)


def draw_planet(settings: ClipSettings, rng: np.random.Generator) -> np.ndarray:
    """The scene before the telescope, ``(size * oversampling)`` a side, brightest surface about 1, dark sky 0."""
    n = settings.size * settings.oversampling
    axis = (np.arange(n) + 0.5) / settings.oversampling - settings.size / 2
    y, x = np.meshgrid(axis / (0.935 * settings.radius), axis / settings.radius, indexing="ij")
    r2 = x**2 + y**2
    depth = np.sqrt(np.clip(1 - r2, 0, None)) if settings.radius < settings.size else np.ones_like(x)
    unit = settings.oversampling
    eddies = _field(n, 10 * unit, rng)
    lat = np.arcsin(np.clip(y, -1, 1)) + 0.035 * eddies + 0.012 * _field(n, 3 * unit, rng)
    belts = 0.72 + 0.13 * np.sin(9 * lat + 0.6) + 0.08 * np.sin(23 * lat) + 0.04 * np.sin(51 * lat + 1.0)
    fine = 0.035 * _streaks(n, 1.1 * unit, rng) + 0.03 * _streaks(n, 2.5 * unit, rng)
    surface = belts + fine * (0.4 + np.abs(np.sin(4 * lat)))
    for _ in range(24):  # ovals and barges, dark and bright, most of them near the limit of resolution
        cy, cx = rng.uniform(-0.75, 0.75, 2)
        a = rng.uniform(0.8, 3.5) / settings.radius
        oval = np.exp(-0.5 * (((y - cy) / a) ** 2 + ((x - cx) / (2 * a)) ** 2) ** 2)
        surface = surface + rng.choice([-0.22, 0.18]) * oval
    for _ in range(10):  # festoons: thin slanted curves along a belt's edge
        cy, cx = rng.uniform(-0.35, 0.35), rng.uniform(-0.7, 0.7)
        line = (y - cy) - 0.9 * (x - cx) - 1.5 * (x - cx) ** 2
        near = np.exp(-0.5 * ((x - cx) / 0.09) ** 2)
        surface = surface - 0.15 * near * np.exp(-0.5 * (line * settings.radius / 0.7) ** 2)
    return np.clip(surface, 0.02, None) * depth**0.9


def _observed(
    scene: np.ndarray, settings: ClipSettings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    from scipy.ndimage import map_coordinates, spline_filter

    s, n, fine = settings, settings.size, settings.oversampling
    nodes = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij")).astype(np.float64)
    for _ in range(s.frames):
        shift = rng.normal(0, s.jitter, 2)
        warp = _warp(n, s, rng)
        blur = s.blur * np.exp(rng.normal(0, s.blur_spread))
        contrast = np.exp(s.blur_spread / 4)
        mix = np.clip(0.5 + 0.25 * _finer(_field(n, 15, rng), fine), 0, 1)
        sharp, soft = (_blurred(scene, b * fine / 2.3548) for b in (blur / contrast, blur * contrast))
        seen = spline_filter(sharp + mix * (soft - sharp), order=3, output=np.float32)
        # Frame position f shows scene position p with f = p + shift + warp(p): found by fixed-point iteration.
        start = nodes - shift[:, None, None]
        place = start
        for _ in range(6):
            moved = [map_coordinates(warp[k], place, order=3, mode="nearest") for k in (0, 1)]
            place = start - np.stack(moved)
        place = np.stack([_finer(p, fine) for p in place])
        light = map_coordinates(seen, (place + 0.5) * fine - 0.5, order=3, prefilter=False, mode="nearest")
        expected = np.clip(_block_mean(light, fine), 0, None)
        yield _recorded(expected, s, rng), shift, np.moveaxis(warp, 0, -1).astype(np.float32), blur


def _recorded(expected: np.ndarray, s: ClipSettings, rng: np.random.Generator) -> np.ndarray:
    levels = 2**s.bits - 1
    gain = s.full_well / (0.7 * levels)
    electrons = rng.poisson(expected * gain) + rng.normal(0, s.read_noise, expected.shape)
    return np.clip(np.rint(electrons / gain + s.pedestal * levels), 0, levels).astype(np.uint16)


def _warp(n: int, s: ClipSettings, rng: np.random.Generator) -> np.ndarray:
    short, long = s.correlation
    both = [[_field(n, c / 2, rng) for _ in range(2)] for c in (short, long)]
    return s.warp * np.sqrt(0.5) * (np.array(both[0]) + np.array(both[1]))


def _finer(smooth: np.ndarray, factor: int) -> np.ndarray:
    """A smooth field (linear beyond its border) on the finer grid."""
    from scipy.interpolate import RectBivariateSpline

    nodes = np.arange(len(smooth))
    fine = (np.arange(len(smooth) * factor) + 0.5) / factor - 0.5
    inside = np.clip(fine, 0, len(smooth) - 1)
    spline = RectBivariateSpline(nodes, nodes, smooth)
    over = fine - inside
    return (
        spline(inside, inside)
        + over[:, None] * spline(inside, inside, dx=1)
        + over[None] * spline(inside, inside, dy=1)
    ).astype(np.float32)


def _field(n: int, sigma: float, rng: np.random.Generator, squeeze: float = 1.0) -> np.ndarray:
    """Smooth Gaussian noise of rms 1: white noise smoothed by a Gaussian, on a torus larger than the field."""
    m = n + int(4 * sigma)
    fr, fc = np.fft.fftfreq(m)[:, None], np.fft.rfftfreq(m)[None]
    gauss = np.exp(-2 * np.pi**2 * sigma**2 * ((fr / squeeze) ** 2 + fc**2))
    power = np.sum(gauss**2 * np.where((fc == 0) | (fc == 0.5), 1, 2)) / m**2
    noise = np.fft.rfft2(rng.standard_normal((m, m)))
    return np.fft.irfft2(noise * gauss, s=(m, m))[:n, :n] / np.sqrt(power)


def _streaks(n: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Structure drawn out along the rows, as clouds are by the winds."""
    return _field(n, 3 * sigma, rng, squeeze=3.0)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.asarray(image, dtype=np.float32), sigma, mode="nearest", truncate=5.0)


def _block_mean(image: np.ndarray, factor: int) -> np.ndarray:
    rows, columns = (n // factor for n in image.shape)
    return image.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
