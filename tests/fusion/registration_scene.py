"""Star fields and clouds with known transforms, for the tests of registration."""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from sciSR.fusion.transforms import Affine
from sciSR.sequence import Frame, FrameSequence, NoiseModel

SKY, READ_NOISE = 100.0, 5.0


def stars(
    random: np.random.Generator, number: int, reach: tuple[float, float], bright: float = 5.0
) -> np.ndarray:
    """Row, column, electrons (n, 3); positions from -20 to `reach` + 20."""
    places = random.uniform(-20, np.array(reach) + 20, (number, 2))
    return np.column_stack([places, 10 ** random.uniform(3.0, bright, number)])


def expose(field: np.ndarray, transform: Affine, shape: tuple[int, int], fwhm: float = 1.6) -> np.ndarray:
    """Expected electrons of each pixel, sky excluded: Gaussian stars with faint wings, integrated over pixels."""
    out = np.zeros(shape)
    for (row, column), electrons in zip(transform(field[:, :2]), field[:, 2], strict=True):
        for width, part in ((fwhm / 2.355, 0.85), (fwhm, 0.15)):
            parts = []
            for place, size in ((row, shape[0]), (column, shape[1])):
                edges = (np.arange(size + 1) - 0.5 - place) / (np.sqrt(2) * width)
                parts.append(np.diff(erf(edges)) / 2)
            out += part * electrons * np.outer(*parts)
    return out


def clouds(random: np.random.Generator, size: int = 512, slope: float = 1.6) -> np.ndarray:
    """Spline coefficients of a smooth random field with filaments; sampled by :func:`expose_clouds`."""
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    k[0, 0] = 1
    spectrum = np.fft.rfft2(random.normal(size=(size, size))) * k**-slope * np.exp(-((k / size) ** 2) * 24)
    field = np.fft.irfft2(spectrum, (size, size))
    return np.exp(1.2 * field / field.std())


def expose_clouds(
    field: np.ndarray, transform: Affine, shape: tuple[int, int], level: float = 60.0
) -> np.ndarray:
    """Each pixel the mean of 3 x 3 spline samples; the field's middle lies on the reference's pixel (64, 64)."""
    from scipy.ndimage import map_coordinates

    out = np.zeros(shape)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).astype(float)
    for dr in (-1 / 3, 0, 1 / 3):
        for dc in (-1 / 3, 0, 1 / 3):
            where = transform.inverse(grid + np.array([dr, dc])) + np.array(field.shape) / 2 - 64
            out += map_coordinates(field, np.moveaxis(where, -1, 0), order=3, mode="wrap") / 9
    return level * out


def noisy(expected: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Electrons as read: sky, photons, read noise."""
    seen = random.poisson(np.maximum(expected, 0) + SKY) + random.normal(0, READ_NOISE, expected.shape)
    return seen.astype(np.float32)


def with_defects(
    frame: np.ndarray, hot: np.ndarray, random: np.random.Generator, rays: int = 6
) -> np.ndarray:
    """The same hot pixels in every frame, cosmic rays in random places."""
    out = frame + hot
    for _ in range(rays):
        start, angle = random.uniform(0, np.array(frame.shape)), random.uniform(0, np.pi)
        steps = np.arange(0, random.uniform(2, 12), 0.5)
        track = np.rint(start + steps[:, None] * [np.cos(angle), np.sin(angle)]).astype(int)
        inside = ((track >= 0) & (track < frame.shape)).all(axis=1)
        track = np.unique(track[inside], axis=0)
        out[track[:, 0], track[:, 1]] += random.uniform(500, 5000)
    return out.astype(np.float32)


def hot_pixels(shape: tuple[int, int], random: np.random.Generator, part: float = 2e-3) -> np.ndarray:
    """Excess electrons of the detector's hot pixels."""
    where = random.uniform(size=shape) < part
    return np.where(where, 10 ** random.uniform(2.0, 4.4, shape), 0).astype(np.float32)


def sequence(frames: list[np.ndarray], **fields: object) -> FrameSequence:
    fields = {"noise": NoiseModel(1.0, READ_NOISE)} | fields
    return FrameSequence.from_arrays(frames, **fields)


def error(transform: object, truth: Affine, shape: tuple[int, int]) -> float:
    """Rms distance over the frame's pixels, in the frame's pixels."""
    nodes = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 9) for n in shape), indexing="ij"), axis=-1)
    points = truth.inverse(nodes.reshape(-1, 2))
    return float(np.sqrt(np.square(transform(points) - truth(points)).sum(axis=-1).mean()))


def frame_on(values: np.ndarray, grid: object, name: str) -> Frame:
    """A frame with a grid of its own."""
    from sciSR.image import Image

    return Frame(Image.from_array(values, grid=grid), name=name, noise=NoiseModel(1.0, READ_NOISE))
