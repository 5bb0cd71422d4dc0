"""A small exact scene for the tests of matching: Gaussian stars integrated over pixels, at any shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import erf

from sciSR.fusion.prepared import PreparedFrame
from sciSR.fusion.transforms import Affine
from sciSR.sequence import Frame, FrameSequence, NoiseModel

SKY, READ = 150.0, 5.0
SIGMA = 1.3 / 2.3548  # optical FWHM 1.3 px: undersampled


@dataclass(frozen=True, eq=False)
class Scene:
    """Stars over a broad nebula; electrons, gain 1, sky not included in :meth:`clean`."""

    size: int = 128
    number: int = 60
    seed: int = 0
    faintest: float = 2.5
    brightest: float = 4.8
    sky: float = SKY
    stars: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        stars = np.column_stack(
            [
                rng.uniform(-6, self.size + 6, (self.number, 2)),
                10 ** rng.uniform(self.faintest, self.brightest, self.number),
            ]
        )
        object.__setattr__(self, "stars", stars)

    def clean(self, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Expected electrons of a frame in which reference pixel p lies at p + shift."""
        edges = np.arange(self.size + 1) - 0.5
        parts = []
        for axis in (0, 1):
            z = (edges[None, :] - self.stars[:, axis, None] - shift[axis]) / (SIGMA * np.sqrt(2))
            parts.append(0.5 * np.diff(erf(z), axis=1))
        image = np.einsum("k,ki,kj->ij", self.stars[:, 2], *parts)
        y, x = (np.arange(self.size) - s - 0.45 * self.size for s in shift)
        nebula = 40 * np.exp(-(y[:, None] ** 2 + 1.5 * x[None, :] ** 2) / (2 * (0.25 * self.size) ** 2))
        return (image + nebula).astype(np.float32)

    def observe(
        self, rng: np.random.Generator, shift: tuple[float, float] = (0.0, 0.0), transparency: float = 1.0
    ) -> np.ndarray:
        """A noisy frame, sky included, float32."""
        expected = transparency * self.clean(shift) + self.sky
        return (rng.poisson(expected) + rng.normal(0, READ, expected.shape)).astype(np.float32)

    def variance(self, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        return self.clean(shift) + np.float32(self.sky + READ**2)


def shifts(number: int, seed: int = 1, reach: float = 6.0) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return [(0.0, 0.0), *(tuple(v) for v in rng.uniform(-reach, reach, (number - 1, 2)))]


def sequence(images: Sequence[np.ndarray], noise: bool = True) -> FrameSequence:
    fields = {"noise": NoiseModel(1.0, READ)} if noise else {}
    return FrameSequence.from_arrays(list(images), **fields)


def prepared(
    scene: Scene, images: Sequence[np.ndarray], where: Sequence[tuple[float, float]]
) -> list[PreparedFrame]:
    return [
        PreparedFrame(
            str(k),
            image - np.float32(scene.sky),
            scene.variance(shift),
            np.zeros(image.shape, dtype=bool),
            Affine.shift(*shift),
        )
        for k, (image, shift) in enumerate(zip(images, where, strict=True))
    ]


def single(image: np.ndarray, **fields) -> Frame:
    return FrameSequence.from_arrays([image], **fields)[0]


def cores(scene: Scene, shift: tuple[float, float], least: float = 0.0) -> np.ndarray:
    """The 3 x 3 pixels of each star's centre."""
    out = np.zeros((scene.size, scene.size), dtype=bool)
    for row, column, flux in scene.stars:
        r, c = round(row + shift[0]), round(column + shift[1])
        if flux >= least and 1 <= r < scene.size - 1 and 1 <= c < scene.size - 1:
            out[r - 1 : r + 2, c - 1 : c + 2] = True
    return out
