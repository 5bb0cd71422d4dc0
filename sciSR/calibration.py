"""Raw frames calibrated with master frames, lazily: ``(raw - bias - dark * t_frame / t_dark) / flat``.

The masters stand in memory once; each frame's pixels are calibrated when they are read. The arithmetic is that of
ccdproc's ``subtract_bias``, ``subtract_dark`` and ``flat_correct``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciSR.errors import UsageError
from sciSR.image import LazyArray
from sciSR.masters import Master, combine, grouped, read_exposures, same_exposure
from sciSR.reading import Paths
from sciSR.sequence import Frame, NoiseModel

_DARKEST = 0.02  # a flat's pixel below this share of its mean sees no light


@dataclass(frozen=True, eq=False)
class CalibratedNoise(NoiseModel):
    """The noise of a raw pixel, carried through its calibration.

    A calibrated value ``v`` was the raw value ``v * flat + offset``, whose noise the detector's model tells.

    Attributes
    ----------
    flat : ndarray or None
        Master flat, mean 1.
    offset : tuple of (ndarray, float)
        What was subtracted beside the level without light, as arrays to be multiplied by a number and added up.
    floor : float
        Variance of the masters themselves, raw units squared.
    """

    flat: np.ndarray | None = None
    offset: tuple[tuple[np.ndarray, float], ...] = ()
    floor: float = 0.0

    def variance(self, values: np.ndarray | float) -> np.ndarray:
        """Variance of pixels with these expected values, in units of the data squared; float32.

        For a whole frame each pixel's own flat and dark count, for anything else their median.
        """
        values = np.asarray(values, dtype=np.float32)
        flat = np.float32(1) if self.flat is None else self._like(values, self.flat)
        raw = values * flat
        for array, factor in self.offset:
            raw = raw + self._like(values, array) * np.float32(factor)
        return (NoiseModel.variance(self, raw) + np.float32(self.floor)) / np.square(flat)

    @staticmethod
    def _like(values: np.ndarray, array: np.ndarray) -> np.ndarray:
        return array if values.shape == array.shape else np.float32(np.median(array))


class CalibratedPixels:
    """Calibrated values of a frame, read block by block; float32."""

    def __init__(
        self, raw: LazyArray, subtract: Sequence[tuple[np.ndarray, float]], flat: np.ndarray | None
    ) -> None:
        self.raw = raw
        self.subtract = tuple(subtract)
        self.flat = flat
        self.shape = tuple(raw.shape)
        self.dtype = np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        values = np.array(self.raw[index], dtype=np.float32)
        for array, factor in self.subtract:
            values -= array[index] * np.float32(factor)
        return values if self.flat is None else values / self.flat[index]


class _Flattened:
    """A standard deviation divided by the flat."""

    def __init__(self, source: LazyArray, flat: np.ndarray) -> None:
        self.source, self.flat = source, flat
        self.shape, self.dtype = tuple(source.shape), np.dtype(np.float32)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self.source[index]).astype(np.float32) / self.flat[index]


class _Bad:
    """A frame's own mask, its saturated raw pixels, and the masters' bad ones."""

    def __init__(
        self, raw: LazyArray, mask: LazyArray | None, saturation: float | None, bad: np.ndarray
    ) -> None:
        self.raw, self.mask, self.saturation, self.bad = raw, mask, saturation, bad
        self.shape, self.dtype = tuple(raw.shape), np.dtype(bool)

    def __getitem__(self, index: Any) -> np.ndarray:
        bad = np.array(self.bad[index])
        if self.mask is not None:
            bad |= np.asarray(self.mask[index], dtype=bool)
        if self.saturation is not None:
            bad |= np.asarray(self.raw[index]) >= self.saturation
        return bad


class Calibration:
    """Masters of all kinds, and which of them fit a frame.

    Parameters
    ----------
    bias, dark, flat : paths or None
        Raw exposures or masters; several of a kind are combined. Darks are grouped by exposure, flats by filter.

    Raises
    ------
    UsageError
        ccdproc is missing, or the masters don't go together.
    SciSRError
        A file can't be read.
    """

    def __init__(
        self, *, bias: Paths | None = None, dark: Paths | None = None, flat: Paths | None = None
    ) -> None:
        self.biases: list[Master] = []
        self.darks: list[Master] = []
        self.flats: list[Master] = []
        self.notes: list[str] = []
        if bias is not None:
            self.biases = self._biases(read_exposures("bias", bias))
        if dark is not None:
            self.darks = self._darks(read_exposures("dark", dark))
        if flat is not None:
            self.flats = self._flats(read_exposures("flat", flat))

    def _biases(self, frames: list[Frame]) -> list[Master]:
        masters = [combine(group) for group in grouped(frames, lambda f: (f.image.part, f.shape))]
        self.notes.append(f"bias: {len(frames)} exposures combined" if len(frames) > 1 else "bias: one frame")
        return masters

    def _darks(self, frames: list[Frame]) -> list[Master]:
        def without_bias(frame: Frame, values: np.ndarray, rows: slice) -> np.ndarray:
            master = self._fitting(self.biases, frame, "bias")
            return values if master is None else values - master.values[rows]

        groups = grouped(frames, lambda f: (f.image.part, f.shape, _rounded(f.exposure)))
        masters = [combine(group, without_bias) for group in groups]
        of = ", ".join(f"{m.count} of {m.exposure:g} s" if m.exposure else f"{m.count}" for m in masters)
        self.notes.append(f"dark: {of}{'' if self.biases else ', with the bias in them'}")
        return masters

    def _flats(self, frames: list[Frame]) -> list[Master]:
        def prepared(frame: Frame, values: np.ndarray, rows: slice) -> np.ndarray:
            for array, factor in self._darkness(frame, flat=True):
                values = values - array[rows] * np.float32(factor)
            return values / levels[id(frame)]

        masters = []
        for group in grouped(frames, lambda f: (f.image.part, f.shape, _plain(f.filter))):
            levels = {id(frame): self._flat_level(frame) for frame in group}
            masters.append(_normalised(combine(group, prepared), group[0].name))
        of = ", ".join(f"{m.count} of {m.filter}" if m.filter else f"{m.count}" for m in masters)
        self.notes.append(f"flat: {of}, mean 1")
        return masters

    def _flat_level(self, frame: Frame) -> np.float32:
        pixels = frame.read()
        values = pixels.values
        for array, factor in self._darkness(frame, flat=True):
            values = values - array * np.float32(factor)
        good = values[~pixels.bad]
        level = np.float32(np.median(good)) if good.size else np.float32(0)
        if not level > 0:
            raise UsageError(
                f"its level above the dark is {level:g}: no flat field",
                where=frame.name,
                remedy="check --flat",
            )
        return level

    def _darkness(self, frame: Frame, *, flat: bool = False) -> list[tuple[np.ndarray, float]]:
        """What a frame holds without light: arrays with the factors by which they count."""
        if flat and frame.image.dtype.kind == "f" and _level(frame) < 10:
            return []  # a master that was normalised already
        found = []
        bias = self._fitting(self.biases, frame, "bias")
        if bias is not None:
            found.append((bias.values, 1.0))
        dark = self._dark_for(frame, needed=not flat)
        if dark is not None:
            factor = 1.0
            if not same_exposure(dark.exposure, frame.exposure):
                factor = float(frame.exposure) / float(dark.exposure)
            found.append((dark.values, factor))
        return found

    def _dark_for(self, frame: Frame, *, needed: bool) -> Master | None:
        fitting = self._all_fitting(self.darks, frame, "dark")
        if not fitting:
            return None
        for master in fitting:
            if same_exposure(master.exposure, frame.exposure):
                return master
        if self.biases:
            return max(fitting, key=lambda m: m.exposure)
        if not needed:
            return None
        have = ", ".join(f"{m.exposure:g}" for m in fitting)
        raise UsageError(
            f"lasts {frame.exposure:g} s, the dark {have} s",
            where=frame.name,
            remedy="give darks of the same exposure, or --bias too, so that they can be scaled",
        )

    def _flat_for(self, frame: Frame) -> Master | None:
        fitting = self._all_fitting(self.flats, frame, "flat")
        if not fitting:
            return None
        same = [m for m in fitting if _plain(m.filter) == _plain(frame.filter)]
        if same or len(fitting) == 1:
            master = (same or fitting)[0]
            if not same and master.filter and frame.filter:
                note = f"flats of filter {master.filter} are used for frames of {frame.filter}"
                if note not in self.notes:
                    self.notes.append(note)
            return master
        raise UsageError(
            f"is of filter {frame.filter}, the flats are of {', '.join(str(m.filter) for m in fitting)}",
            where=frame.name,
            remedy="give flats of the same filter",
        )

    def _fitting(self, masters: Sequence[Master], frame: Frame, kind: str) -> Master | None:
        found = self._all_fitting(masters, frame, kind)
        return found[0] if found else None

    def _all_fitting(self, masters: Sequence[Master], frame: Frame, kind: str) -> list[Master]:
        """Masters of a frame's detector; of any, where only one detector has masters."""
        if not masters:
            return []
        parts = {m.part for m in masters}
        own = [m for m in masters if m.part == frame.image.part] if len(parts) > 1 else list(masters)
        found = [m for m in own if m.shape == frame.shape]
        if not found:
            shapes = ", ".join(sorted({f"{m.shape[0]}x{m.shape[1]}" for m in own})) or "none"
            raise UsageError(
                f"has {frame.shape[0]}x{frame.shape[1]} pixels (rows x columns), the {kind} {shapes}",
                where=frame.name,
                remedy=f"give a {kind} of the same detector and binning",
            )
        return found

    def apply(self, frame: Frame) -> Frame:
        """A raw frame calibrated; nothing is read yet.

        Raises
        ------
        UsageError
            No master of its shape, exposure or filter.
        """
        subtract = self._darkness(frame)
        flat = self._flat_for(frame)
        masters = [m for m in (self._fitting(self.biases, frame, "bias"), self._used_dark(frame), flat) if m]
        bad = np.logical_or.reduce([m.bad for m in masters])
        image = frame.image
        uncertainty = image.uncertainty
        if uncertainty is not None and flat is not None:
            uncertainty = _Flattened(uncertainty, flat.values)
        calibrated = image.replace(
            data=CalibratedPixels(image.data, subtract, None if flat is None else flat.values),
            mask=_Bad(image.data, image.mask, frame.saturation, bad),
            uncertainty=uncertainty,
            provenance=image.provenance.add(
                software="sciSR", step="calibrate", masters="; ".join(self.notes)
            ),
        )
        # Saturated pixels are known from their raw values, which now stand behind the mask.
        return frame.replace(image=calibrated, saturation=None, noise=self._noise(frame, subtract, flat))

    def _used_dark(self, frame: Frame) -> Master | None:
        return self._dark_for(frame, needed=True)

    def _noise(
        self, frame: Frame, subtract: Sequence[tuple[np.ndarray, float]], flat: Master | None
    ) -> NoiseModel | None:
        """The detector's model behind the calibration, with the masters' own noise added."""
        model = frame.noise
        if model is None:
            return None
        bias = self._fitting(self.biases, frame, "bias")
        dark = self._used_dark(frame)
        # With a bias the level without light is known for each pixel; what else was subtracted is light or current.
        offset = [pair for pair in subtract if bias is None or pair[0] is not bias.values]
        pedestal = model.pedestal if bias is None else 0.0
        read = (model.read_noise / model.gain) ** 2
        floor = 0.0 if bias is None else read / bias.count
        if dark is not None:
            factor = next(f for array, f in subtract if array is dark.values)
            current = max(float(np.median(dark.values)) - pedestal, 0.0) / model.gain
            floor += factor**2 * (read + current) / dark.count
        return CalibratedNoise(
            model.gain,
            model.read_noise,
            pedestal,
            None if flat is None else flat.values,
            tuple(offset),
            floor,
        )


def _normalised(master: Master, name: str) -> Master:
    """Divided by the mean of its good pixels, as ccdproc does; pixels that see no light become bad."""
    good = ~master.bad
    mean = float(np.mean(master.values[good], dtype=np.float64)) if good.any() else 0.0
    if not mean > 0:
        raise UsageError("the combined flat has no good pixel", where=name, remedy="check --flat")
    values = master.values / np.float32(mean)
    bad = master.bad | ~(values > _DARKEST)
    return Master(
        np.where(bad, np.float32(1), values), bad, master.count, master.exposure, master.filter, master.part
    )


def _level(frame: Frame) -> float:
    rows = frame.shape[0]
    pixels = frame.read(slice(rows // 2, rows // 2 + 4))
    good = pixels.values[~pixels.bad]
    return float(np.median(good)) if good.size else 0.0


def _rounded(exposure: float | None) -> float | None:
    """Exposures to three digits: shutters are not exact."""
    return None if exposure is None else float(f"{exposure:.3g}")


def _plain(name: str | None) -> str | None:
    return None if name is None else name.strip().lower()
