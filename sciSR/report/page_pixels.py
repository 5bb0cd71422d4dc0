"""Pixels inside a page: values as whole numbers up to 16 bits, packed so that the browser gets them back exactly.

A coding says which value a code stands for, so that the stretch can be chosen in the browser::

    linear   value = low + (code - 1) * step
    asinh    value = zero + softening * sinh(low + (code - 1) * step)

Code 0 stands for pixels without a value. The steps are a fraction of the noise, so nothing that is seen is lost.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_LARGEST = 4095
_PER_NOISE = 4


@dataclass(frozen=True)
class Coding:
    """From values to codes.

    Attributes
    ----------
    kind : {"linear", "asinh"}
    low, step : float
        On the scale of the kind.
    codes : int
        Codes are 1 to this.
    zero, softening : float
        Of the asinh; in the image's unit.
    """

    kind: Literal["linear", "asinh"]
    low: float
    step: float
    codes: int
    zero: float = 0.0
    softening: float = 1.0

    @classmethod
    def between(
        cls, low: float, high: float, *, noise: float = 0.0, largest: int = _LARGEST, asinh: Any = None
    ) -> Coding:
        """For values from `low` to `high`; steps no finer than a quarter of the `noise`.

        `asinh` is (zero, softening) of that scale, None for a linear one.
        """
        if not (np.isfinite(low) and np.isfinite(high)):
            low, high = 0.0, 1.0
        if asinh is None:
            span, finest = high - low, noise / _PER_NOISE
            start, kind, zero, softening = float(low), "linear", 0.0, 1.0
        else:
            zero, softening = (float(v) for v in asinh)
            start = float(np.arcsinh((low - zero) / softening))
            span = float(np.arcsinh((high - zero) / softening)) - start
            finest, kind = noise / softening / _PER_NOISE, "asinh"
        if not span > 0:
            span = 1.0 if start == 0 else abs(start)
        step = max(span / (largest - 1), finest)
        return cls(kind, start, step, int(np.ceil(span / step)) + 1, zero, softening)  # type: ignore[arg-type]

    def encode(self, values: NDArray) -> NDArray[np.uint16]:
        """Codes; 0 where not finite, clipped at both ends."""
        values = np.asarray(values, np.float64)
        good = np.isfinite(values)
        scaled = np.where(good, values, 0.0)
        if self.kind == "asinh":
            scaled = np.arcsinh((scaled - self.zero) / self.softening)
        codes = np.clip(np.rint((scaled - self.low) / self.step) + 1, 1, self.codes)
        return np.where(good, codes, 0).astype(np.uint16)

    def code(self, value: float) -> float:
        """Of one value, not rounded."""
        scaled = np.arcsinh((value - self.zero) / self.softening) if self.kind == "asinh" else value
        return float(np.clip((scaled - self.low) / self.step + 1, 1, self.codes))

    def decode(self, codes: NDArray) -> NDArray[np.float64]:
        """Values; NaN for code 0."""
        scaled = self.low + (np.asarray(codes, np.float64) - 1) * self.step
        values = self.zero + self.softening * np.sinh(scaled) if self.kind == "asinh" else scaled
        return np.where(np.asarray(codes) == 0, np.nan, values)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def pack(codes: NDArray[np.uint16]) -> str:
    """Base64 of deflated codes ``[rows, columns]``: differences along rows, high bytes after all low bytes.

    Without the high bytes where all codes are below 256 (the unpacked length says so).
    """
    codes = np.ascontiguousarray(codes.reshape(-1, codes.shape[-1]))
    is_wide = bool(codes.max(initial=0) > 255)
    before = np.zeros_like(codes)
    before[:, 1:] = codes[:, :-1]
    difference = codes - before  # wraps around, as it does when added up again
    planes = [(difference & 255).astype(np.uint8)]
    if is_wide:
        planes.append((difference >> 8).astype(np.uint8))
    return base64.b64encode(zlib.compress(b"".join(p.tobytes() for p in planes), 9)).decode("ascii")


def unpack(text: str, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """The inverse of `pack`."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    size = shape[0] * shape[1]
    if len(raw) == size:
        return np.cumsum(raw.reshape(shape), axis=1, dtype=np.uint8).astype(np.uint16)
    difference = raw[:size].astype(np.uint16) | (raw[size:].astype(np.uint16) << 8)
    return np.cumsum(difference.reshape(shape), axis=1, dtype=np.uint16)
