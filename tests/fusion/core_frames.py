"""Small sequences of raw frames with an exact truth, for the tests of the whole fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import solver_frames as sim

from sciSR.errors import UnreadableError
from sciSR.image import Image
from sciSR.sequence import Frame, FrameSequence, NoiseModel

SKY = 150.0
READ_NOISE = 5.0


def exposures(
    scene: sim.Blobs,
    moves: np.ndarray | Sequence[Sequence[float]],
    size: int = 64,
    *,
    seed: int = 0,
    noise: bool = True,
    sky: float = SKY,
    times: Sequence[float] | None = None,
) -> list[np.ndarray]:
    """Raw pixels, float32: photon and read noise, in electrons; each frame with its own draw."""
    random = np.random.default_rng(seed)
    out = []
    for k, move in enumerate(moves):
        expected = (scene.pixels((size, size), move) + sky) * (1.0 if times is None else times[k])
        if noise:
            expected = random.poisson(np.maximum(expected, 0)) + random.normal(0, READ_NOISE, expected.shape)
        out.append(expected.astype(np.float32))
    return out


def frames_of(
    arrays: Sequence[np.ndarray], image: dict[str, Any] | None = None, **fields: Any
) -> FrameSequence:
    """A sequence of bare arrays; `image` and `fields` as for Image and Frame."""
    given = {"noise": NoiseModel(1.0, READ_NOISE), **fields}
    return FrameSequence(
        tuple(
            Frame(Image.from_array(a, **(image or {})), name=f"frame {k}", **given)
            for k, a in enumerate(arrays)
        )
    )


def replaced(sequence: FrameSequence, index: int, **changes: Any) -> FrameSequence:
    """The same, with some fields of one frame changed."""
    frames = list(sequence.frames)
    frames[index] = frames[index].replace(**changes)
    return FrameSequence(tuple(frames), sequence.left_out, sequence.notes)


class _Failing:
    """Pixels on a failing disk: readable a few times, then no more."""

    def __init__(self, data: np.ndarray, reads: int) -> None:
        self.data, self.left, self.shape, self.dtype = data, reads, data.shape, data.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        if self.left <= 0:
            raise UnreadableError("the file ends in the middle of the pixels")
        self.left -= 1
        return self.data[index]


def breaking(sequence: FrameSequence, index: int, reads: int) -> FrameSequence:
    """The same, but one frame can be read only so many times."""
    image = sequence[index].image
    return replaced(sequence, index, image=image.replace(data=_Failing(np.asarray(image), reads)))


def values(fused: Any) -> np.ndarray:
    return np.asarray(fused.image.data)


def errors(fused: Any) -> np.ndarray:
    return np.asarray(fused.image.uncertainty)


def truth(scene: sim.Blobs, size: int = 64, scale: int = 2, sky: float = SKY) -> np.ndarray:
    """In the level of a native pixel."""
    return scene.pixels((size * scale, size * scale), scale=scale) + sky
