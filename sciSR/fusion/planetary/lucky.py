"""Registration of a planetary clip: the best frames, aligned as a whole, then each by a smooth local warp.

Two rounds: against the mean of the best frames shifted as a whole, then against the mean of the same frames with
their warps undone, which is as sharp as the frames themselves. The atmosphere displaces by zero on average: the
mean warp over many frames is the reference's own, and is taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sciSR.errors import UnreadableError, UsageError
from sciSR.fusion.planetary.coarse import CoarseAligner
from sciSR.fusion.planetary.disc import Disc, find_disc
from sciSR.fusion.planetary.lattice import Lattice
from sciSR.fusion.planetary.local import Box, Fit, LocalAligner, resampled
from sciSR.fusion.planetary.quality import best_frames, rank_quality
from sciSR.fusion.planetary.weights import SharpnessMeter, SharpnessWeights
from sciSR.fusion.registration.results import Registered, Registration
from sciSR.fusion.transforms import Affine, Chain, Displacement
from sciSR.sequence import Frame

_PICTURE_FRAMES = 48  # in the reference picture: its noise is then a seventh of a frame's
_GEOMETRY_FRAMES = 100  # their mean warp is the reference's: a tenth of a frame's is left
MAP_SETTINGS = {"prior": "tikhonov", "strength": 1e-3}
"""For the `map` solver. A planet's spectrum falls far more steeply than its sharpest detail, so that the default
prior, which learns what to expect from the spectrum, smooths that detail away: 44.5 instead of 52.3 dB (simulated)."""

_LEAST_CORRELATION = 0.15  # with one other frame, smoothed: noise alone gives 0.03
_USUAL_CORRELATION = 0.6  # share of most frames' correlation with the picture


@dataclass(frozen=True, eq=False)
class PlanetaryRegistration(Registration):
    """A :class:`Registration` with what was learnt of each frame's sharpness.

    Attributes
    ----------
    quality : ndarray, (n,)
        As from :func:`rank_quality`, for all frames of the sequence.
    picture : ndarray, (rows, columns), float32
        The reference picture: mean of the best frames, aligned, in the level of the reference frame; the
        reference frame itself outside `box`.
    box : Box or None
        The part of the reference in which warps were measured.
    weights : SharpnessWeights or None
        Which of the kept frames are sharp where.
    levels : mapping of int to (float, float)
        Gain and offset of each kept frame: ``frame = gain * picture + offset``, from the object's light alone.
    not_kept : tuple of int
        Frames left out only because sharper ones were asked for: no fault of theirs, and no reason to warn.
    """

    quality: np.ndarray = field(default_factory=lambda: np.zeros(0))
    picture: np.ndarray | None = None
    box: Box | None = None
    weights: SharpnessWeights | None = None
    levels: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    not_kept: tuple[int, ...] = ()

    def variance_multiplier(self, index: int) -> np.ndarray:
        """What to multiply the variance of a kept frame's pixels by, so that the sharpest count most where they are.

        Returns
        -------
        ndarray, (rows, columns), float32
            1 where no frame is better, up to 100; on the frame's own pixels.
        """
        frame = self.frames[index]
        if self.weights is None or frame is None:
            raise UsageError(f"frame {index} was not kept: it has no weights")
        return self.weights.variance_multiplier(index, frame.shape)


@dataclass(eq=False)
class _Place:
    """What is known of one frame on the way."""

    index: int
    shift: np.ndarray
    disc: Disc
    coefficients: np.ndarray | None = None
    level: tuple[float, float] = (1.0, 0.0)  # gain, offset against the picture


def register_planetary(
    sequence: Sequence[Frame],
    *,
    reference: int | str = "auto",
    keep: float | int | str = 1.0,
    spacing: float | None = None,
    amplitude: float = 1.5,
    length: float | None = None,
    quality: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
) -> PlanetaryRegistration:
    """Align the best frames of a clip of a planet, the Moon or the Sun.

    Frames are read one at a time, a few times each.

    Parameters
    ----------
    sequence : sequence of Frame
        All frames, of one shape. Give the whole clip with `keep` rather than the best frames alone: frames that
        are not kept still help to find the true geometry, since the atmosphere displaces by zero on average.
    reference : int or "auto"
        Frame that gives the overall position; the sharpest by default.
    keep : float, int or str
        Fraction, number or percentage (``"30%"``) of frames to keep, the sharpest. Others are left out.
    spacing : float, optional
        Pixels between the points of the warp's lattice. Default: 16, more for very large frames.
    amplitude : float
        Expected rms displacement per axis in pixels; only a first guess, measured on the way.
    length : float, optional
        Distance in pixels over which displacements stay alike. Default: 1.5 `spacing`.
    quality : ndarray, optional
        As from :func:`rank_quality`; measured if not given.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    PlanetaryRegistration
        Transforms are ``Chain((Displacement, Affine))``: the local warp in the reference's pixels, then the frame's
        shift. ``covariance`` is that of the displacement at the object's centre (row, column; pixels of the frame).

    Raises
    ------
    UsageError
        No frames, frames of different shapes, no such reference.
    UnreadableError
        No object found in any frame.
    """
    _check(sequence, reference)
    tell = progress or (lambda fraction: None)
    quality = rank_quality(sequence) if quality is None else np.asarray(quality, dtype=np.float64)
    if len(quality) != len(sequence):
        raise UsageError(f"{len(quality)} qualities for {len(sequence)} frames")
    if not quality.max(initial=0) > 0:
        raise UnreadableError(
            "no planet, Moon or Sun stands out in these frames", remedy="register by stars or phase instead"
        )
    tell(0.1)
    kept = best_frames(quality, keep).tolist()
    order = [k for k in best_frames(quality, 1.0).tolist() if k not in set(kept)]
    home = kept[0] if reference == "auto" else int(reference)
    used = [home, *(k for k in kept if k != home)]
    used += order[: max(0, _GEOMETRY_FRAMES - len(used))]
    work = _Lucky(sequence, home, used, spacing, amplitude, length, tell)
    return work.result(kept, quality)


def _check(sequence: Sequence[Frame], reference: int | str) -> None:
    if not len(sequence):
        raise UsageError("there are no frames to register")
    shapes = {frame.shape for frame in sequence}
    if len(shapes) > 1:
        raise UsageError(
            f"frames of a clip have one shape, these have {sorted(shapes)}", remedy="crop them to one"
        )
    if reference != "auto" and not (
        isinstance(reference, (int, np.integer)) and 0 <= reference < len(sequence)
    ):
        raise UsageError(
            f"reference {reference!r} is none of the {len(sequence)} frames", remedy="give an index or 'auto'"
        )


class _Lucky:
    """The steps of one registration; holds one frame at a time, a few pictures, and each frame's coefficients."""

    def __init__(
        self,
        sequence: Sequence[Frame],
        home: int,
        used: Sequence[int],
        spacing: float | None,
        amplitude: float,
        length: float | None,
        tell: Callable[[float], None],
    ) -> None:
        self.sequence, self.home, self.tell = sequence, home, tell
        self.left_out: dict[int, str] = {}
        self.amplitude = amplitude
        pixels = sequence[home].read()
        self.disc = find_disc(pixels.values, pixels.bad)
        self.values = pixels.values
        self.box, self.mask = _region(self.disc)
        self.spacing = spacing or max(16.0, max(self.box.shape) / 96)
        self.length = length or 1.5 * self.spacing
        self.lattice = Lattice(self.box.shape, self.spacing)
        self.picture, self.places = self._rough(used, CoarseAligner(pixels.values, pixels.bad))
        self._refine(coarse=True, span=(0.2, 0.5))
        self.picture = self._sharp()
        self.tell(0.55)
        self._refine(coarse=False, span=(0.55, 0.9))
        self.picture = self._sharp()

    # -- first: as a whole

    def _rough(self, used: Sequence[int], align: CoarseAligner) -> tuple[np.ndarray, list[_Place]]:
        places, total, weight = [], np.zeros(self.box.shape), np.zeros(self.box.shape)
        for count, k in enumerate(used):
            pixels = self.sequence[k].read()
            disc = self.disc if k == self.home else find_disc(pixels.values, pixels.bad)
            shift, correlation = (np.zeros(2), 1.0) if k == self.home else align(pixels.values, pixels.bad)
            if correlation < _LEAST_CORRELATION or disc.level <= 0:
                self.left_out[k] = f"does not look like the reference (correlation {correlation:.2f})"
                continue
            place = _Place(k, shift, disc)
            gain = disc.level / self.disc.level
            place.level = (gain, disc.zero - gain * self.disc.zero)
            places.append(place)
            if len(places) <= _PICTURE_FRAMES:
                self._add(place, pixels.values, pixels.bad, total, weight)
            self.tell(0.1 + 0.1 * count / len(used))
        return self._mean(total, weight), places

    # -- then: locally

    def _refine(self, *, coarse: bool, span: tuple[float, float]) -> None:
        noise = float(np.median([p.disc.noise / p.level[0] for p in self.places]))
        aligner = LocalAligner(
            self.picture,
            self.mask,
            self.box,
            self.lattice,
            noise=noise,
            amplitude=self.amplitude,
            length=self.length,
            coarse=coarse,
        )
        meter, found = SharpnessMeter(aligner), []
        for count, place in enumerate(self.places):
            pixels = self.sequence[place.index].read()
            fit = aligner(
                pixels.values,
                pixels.bad,
                place.shift,
                place.coefficients,
                iterations=8 if coarse else 4,
            )
            place.coefficients, place.level = fit.coefficients, self._level(place, fit, aligner)
            if not coarse:
                meter.add(place.index, fit)
            found.append(fit.correlation)
            self.tell(span[0] + (span[1] - span[0]) * count / len(self.places))
        self.places = self._judged(found)
        self.aligner, self.meter = aligner, meter
        self._centre()

    def _judged(self, found: Sequence[float]) -> list[_Place]:
        """Frames that came to match the picture; the others are left out, with the reason."""
        usual = float(np.median(found))
        good = []
        for place, correlation in zip(self.places, found, strict=True):
            if correlation > _USUAL_CORRELATION * usual:
                good.append(place)
            else:
                self.left_out[place.index] = (
                    f"its detail does not match the picture's (correlation {correlation:.2f}, usually {usual:.2f})"
                )
        return good

    def _level(self, place: _Place, fit: Fit, aligner: LocalAligner) -> tuple[float, float]:
        """Gain and offset from the light on the aligned object: blur, which moves light about, doesn't change it."""
        own = float(np.mean(fit.aligned[aligner.mask], dtype=np.float64)) * fit.gain + fit.offset
        picture = float(np.mean(aligner.reference[aligner.mask], dtype=np.float64))
        gain = (own - place.disc.zero) / (picture - self.disc.zero)
        if not gain > 0:
            return place.level
        return gain, place.disc.zero - gain * self.disc.zero

    def _centre(self) -> None:
        """Take the mean warp out: it is the reference picture's own. Its mean over the object stays at zero."""
        if not self.places:
            return
        mean = np.mean([p.coefficients for p in self.places], axis=0)
        inside = self.mask[:: self.aligner.stride, :: self.aligner.stride]
        drift = self.aligner.equations.field(mean)[:, inside].mean(axis=1)
        rms = []
        for place in self.places:
            place.coefficients = place.coefficients - (mean - drift)
            rms.append(np.mean(self.aligner.equations.field(place.coefficients)[:, inside] ** 2))
        self.amplitude = float(np.clip(np.sqrt(np.mean(rms)), 0.1, 10.0))

    def _sharp(self) -> np.ndarray:
        """Mean of the best frames with their warps undone."""
        total, weight = np.zeros(self.box.shape), np.zeros(self.box.shape)
        for place in self.places[:_PICTURE_FRAMES]:
            pixels = self.sequence[place.index].read()
            self._add(place, pixels.values, pixels.bad, total, weight)
        return self._mean(total, weight)

    def _add(
        self,
        place: _Place,
        values: np.ndarray,
        bad: np.ndarray | None,
        total: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        rows, columns = (
            np.arange(n, dtype=np.float64) + a for a, n in zip(self.box.start, self.box.shape, strict=True)
        )
        at = np.stack(np.meshgrid(rows, columns, indexing="ij")) + place.shift[:, None, None]
        if place.coefficients is not None:
            basis = self.lattice.basis(0), self.lattice.basis(1)
            at += np.stack([basis[0] @ place.coefficients[..., k] @ basis[1].T for k in (0, 1)])
        picture, seen = resampled(values, bad, at)
        gain, offset = place.level
        total += np.where(seen, (picture - offset) / gain, 0)
        weight += seen

    def _mean(self, total: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.where(weight > 0, total / np.maximum(weight, 1), self.values[self.box.slices]).astype(
            np.float32
        )

    # -- the answer

    def result(self, kept: Sequence[int], quality: np.ndarray) -> PlanetaryRegistration:
        start = tuple(a + self.lattice.origin for a in self.box.start)
        middle = tuple(c - a for c, a in zip(self.disc.centre, self.box.start, strict=True))
        covariance = self.aligner.equations.covariance_at(middle)
        frames: list[Registered | None] = [None] * len(self.sequence)
        for place in self.places:
            if place.index not in set(kept):
                continue
            nodes = self.lattice.nodes(place.coefficients)
            warp = Displacement(nodes, self.spacing, (float(start[0]), float(start[1])))
            k = place.index
            frames[k] = Registered(
                transform=Chain((warp, Affine.shift(*place.shift))),
                covariance=covariance,
                model="local",
                how="reference" if k == self.home else "disc",
                shape=self.sequence[k].shape,
                background=place.disc.sky,
                noise=place.disc.noise,
                name=self.sequence[k].name,
            )
        return PlanetaryRegistration(
            reference=self.home,
            frames=tuple(frames),
            left_out=tuple(self._reasons(frames, quality)),
            notes=(self._note(frames),),
            names=tuple(frame.name for frame in self.sequence),
            quality=quality,
            picture=self._whole_picture(),
            box=self.box,
            weights=self._weights([k for k, frame in enumerate(frames) if frame is not None]),
            not_kept=tuple(
                k
                for k, frame in enumerate(frames)
                if frame is None and k not in self.left_out and quality[k] > 0 and k not in set(kept)
            ),
            levels={p.index: p.level for p in self.places if frames[p.index] is not None},
        )

    def _weights(self, indices: list[int]) -> SharpnessWeights:
        return self.meter.weights(indices, {place.index: place.shift for place in self.places})

    def _reasons(self, frames: Sequence[Registered | None], quality: np.ndarray) -> list[tuple[int, str]]:
        count = sum(frame is not None for frame in frames)
        return [
            (k, self.left_out.get(k, f"sharpness {quality[k]:.3f} of the best: not among the {count} kept"))
            for k, frame in enumerate(frames)
            if frame is None
        ]

    def _note(self, frames: Sequence[Registered | None]) -> str:
        count = sum(frame is not None for frame in frames)
        return (
            f"lucky imaging: {count} of {len(frames)} frames, aligned by local warps of {self.amplitude:.2f} px rms "
            f"on a lattice of {self.spacing:.0f} px"
        )

    def _whole_picture(self) -> np.ndarray:
        whole = self.values.astype(np.float32)
        whole[self.box.slices] = self.picture
        return whole


def _region(disc: Disc) -> tuple[Box, np.ndarray]:
    """The object and a little sky around its edge: the box, and the mask in it."""
    from scipy.ndimage import binary_dilation, find_objects

    wide = disc.mask if disc.kind != "disc" else binary_dilation(disc.mask, iterations=6)
    around = find_objects(wide.astype(np.uint8))[0]
    margin = 10
    starts = [max(0, s.start - margin) for s in around]
    stops = [min(n, s.stop + margin) for s, n in zip(around, disc.mask.shape, strict=True)]
    box = Box((starts[0], starts[1]), (stops[0] - starts[0], stops[1] - starts[1]))
    return box, wide[box.slices]
