"""From registered frames to prepared ones: levels, noise, defects and outliers, found and found again.

The first estimate of the scene is the median of the frames; later ones are the solver's. Against each, every frame is
matched anew (gain, background), its noise taken from what is expected in it, and its outliers found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sciSR.errors import SciSRError
from sciSR.fusion.border import dark_border
from sciSR.fusion.consensus import Consensus
from sciSR.fusion.map import FramePredictor
from sciSR.fusion.matching import (
    FIRST,
    MODEL,
    Background,
    Match,
    PersistentResiduals,
    SaturationCensus,
    Thresholds,
    estimate_background,
    find_outliers,
    find_trails,
    fit_noise,
    frame_variance,
    gradient_magnitude,
    guess_saturation,
    match_frame,
    median_stack,
    saturated_pixels,
    static_bad_pixels,
)
from sciSR.fusion.misfit import misfit, sharpness_error
from sciSR.fusion.prepared import PreparedFrame, Target
from sciSR.fusion.registration import Registered, Registration
from sciSR.fusion.store import Entry, FrameStore
from sciSR.fusion.threads import in_threads
from sciSR.sequence import Frame, FramePixels, FrameSequence

_UNLIKE = (0.036, 0.015)
"""Residuals on steep places, in units of the gradient, of frames that are unlike: against the frames' median, and
against a solution. Equal frames, however undersampled, differ by 0.032 from the one and hardly from the other."""
_TRAILS = 3
"""Trails in one frame, at most."""
_SAMPLED = 3.0
"""Pixels: stars of this width or more are well sampled by each frame alone."""
_SAME_GAIN = 0.006
"""Relative: below, a reference's gain is not told from the other frames'."""


@dataclass(eq=False)
class Preparation:
    """The frames of one fusion and what is known of them.

    Attributes
    ----------
    store : FrameStore
    target : Target
    reference : Entry
    background : Background
        Of the reference frame: taken from all frames, given back to the result.
    kind : str
        Of the backgrounds.
    home : int
        Index of the reference in the sequence.
    left_out : list of (int, str)
    notes : list of str
    """

    store: FrameStore
    target: Target
    background: Background
    kind: str
    home: int
    census: SaturationCensus
    left_out: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trails: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def reference(self) -> Entry:
        return next(e for e in self.store.entries if e.index == self.home)

    def first_pass(self, *, reject: bool = True) -> None:
        """Match all frames to their median, and mask what stands out of it (unless `reject` is False)."""
        stack = median_stack(self.store, self.target.native)
        self._match_all(lambda entry: stack.predict(entry.registered.transform, entry.frame.shape))
        if reject and len(self.store) > 2:
            self._compare(lambda entry: stack.predict(entry.registered.transform, entry.frame.shape))

            def judge(entry: Entry) -> None:
                predicted, unknown = stack.predict(entry.registered.transform, entry.frame.shape)
                self._judge(entry, predicted, unknown, FIRST)

            in_threads(judge, self.store.entries)
            self._agree()

    def against(self, image: np.ndarray, *, trails: bool = False, device: str = "cpu") -> None:
        """Match all frames to a solution, and mask what it can't explain.

        Parameters
        ----------
        image : ndarray, ``target.shape``
            Without background.
        trails : bool
            Also look for straight trails.
        """
        predict = FramePredictor(image, self.target, device=device)
        persistent = PersistentResiduals(self.target.native) if self._one_detector() else None
        self._match_all(lambda entry: predict(_bare(entry)))

        self._compare(lambda entry: predict(_bare(entry)))

        def judge(entry: Entry) -> None:
            predicted, unknown = predict(_bare(entry))
            self._judge(entry, predicted, unknown, MODEL, persistent=persistent, trails=trails)

        in_threads(judge, self.store.entries)
        self._agree()
        if persistent is not None and len(self.store) >= 4:
            self._mask_persistent(persistent)

    def _compare(self, predict: Callable[[Entry], tuple[np.ndarray, np.ndarray]]) -> None:
        """Find where frames misfit a prediction over whole neighbourhoods, and at least two of them do.

        A frame that differs alone was hit by something; where several do, it is the light that differs. Frames through
        several filters differ in their light from the beginning.
        """
        store = self.store
        mixed = len({e.frame.filter for e in store.entries if e.frame.filter}) > 1
        shared = Consensus(self.target.native, share=0.0, least=1 if mixed else 2)

        def mark(entry: Entry) -> None:
            predicted, unknown = predict(entry)
            values, variance = entry.match.to_reference(
                store.get(entry, "values"), store.get(entry, "variance")
            )
            assert variance is not None
            factor = misfit(values - predicted, variance, store.get(entry, "bad") | unknown)
            store.put(entry, "misfit", np.zeros(values.shape, bool) if factor is None else factor > 1)

        in_threads(mark, store.entries)
        for entry in store.entries:
            shared.add(entry.registered.transform, store.get(entry, "misfit"))
        for entry in store.entries:
            mask = store.get(entry, "misfit")
            store.put(entry, "misfit", shared.doubtful(entry.registered.transform, mask))

    def _agree(self) -> None:
        """Take back outliers that many frames have at the same place of the sky."""
        consensus = Consensus(self.target.native)
        for entry in self.store.entries:
            consensus.add(entry.registered.transform, self.store.get(entry, "outlier"))
        for entry in self.store.entries:
            found = self.store.get(entry, "outlier")
            doubtful = consensus.doubtful(entry.registered.transform, found)
            if doubtful.any():
                found = found & ~doubtful
                self.store.put(entry, "outlier", found)
                entry.rejected = int(found.sum())

    def _match_all(self, predict: Callable[[Entry], tuple[np.ndarray, np.ndarray]]) -> None:
        """Match every frame to a prediction, then all to the level of the reference.

        The prediction is softer than a frame, or its level off by a little: that shows in the reference's own match,
        by which all the others are corrected.
        """
        in_threads(lambda entry: self._match(entry, *predict(entry)), self.store.entries)
        home = self._home()
        for entry in self.store.entries:
            if entry is not self.reference:
                entry.match = _relative(entry.match, home, self.background)
        self.reference.match = replace(home, gain=1.0, background=self.background)

    def unlike(self, *, median: bool = False) -> bool:
        """Whether the frames differ in sharpness so much that it would pass for fine detail of the scene.

        Told from the last comparison: with their median, or with a solution.
        """
        softness = float(np.median([e.softness for e in self.store.entries]))
        return softness > _UNLIKE[0 if median else 1]

    def _one_detector(self) -> bool:
        return all(e.frame.shape == self.target.native for e in self.store.entries)

    def _mask_persistent(self, persistent: PersistentResiduals) -> None:
        mask = persistent.mask()
        if not mask.any() or mask.mean() > 0.02:
            return
        for entry in self.store.entries:
            bad = self.store.get(entry, "bad")
            self.store.put(entry, "bad", bad | mask)

    def _home(self) -> Match:
        """The reference's match to the prediction, its gain that of all frames where exposures explain their gains.

        One frame's gain against a prediction is wrong by up to half a per cent with its phase on the fine grid: where
        nothing else distinguishes the reference, all the frames tell it better.
        """
        home = self.reference.match
        ratios = [
            e.match.gain / _exposure_ratio(e.frame, self.reference.frame)[0]
            for e in self.store.entries
            if e.match.measured
        ]
        middle = float(np.median(ratios)) if ratios else home.gain
        if not home.measured or abs(home.gain / middle - 1) < _SAME_GAIN:
            return replace(home, gain=middle)
        return home

    def _match(self, entry: Entry, predicted: np.ndarray, unknown: np.ndarray) -> None:
        """New gain, background and variance of one frame."""
        store = self.store
        values, variance = store.get(entry, "values"), store.get(entry, "variance")
        bad = store.get(entry, "bad") | store.get(entry, "outlier")
        guess, trusted = _exposure_ratio(entry.frame, self.reference.frame)
        kind = "offset" if entry is self.reference and self.kind != "none" else self.kind
        entry.match = match_frame(
            values, bad, variance, predicted, unknown, kind, gain=guess if trusted else None
        )
        # Always from the file's own variance: what was made of it before must not be corrected twice.
        given = store.get(entry, "given") if entry.frame.image.uncertainty is not None else None
        pixels = FramePixels(values, bad, given)
        # Nothing is darker than the sky: beside stars a prediction may ring.
        expected = np.maximum(entry.match.expected(predicted), entry.match.background.evaluate())
        fit = None
        if entry.frame.noise is None and pixels.variance is None:
            # Nothing tells the photons' noise: it shows in the residuals, by level.
            fit = fit_noise(values - expected, expected, bad | unknown)
        noise = frame_variance(entry.frame, pixels, expected, fit=fit)
        if unknown.any():  # beyond the reference's field nothing is predicted
            noise = np.where(unknown, frame_variance(entry.frame, pixels), noise)
        store.put(entry, "variance", noise)

    def _judge(
        self,
        entry: Entry,
        predicted: np.ndarray,
        unknown: np.ndarray,
        thresholds: Thresholds,
        *,
        persistent: PersistentResiduals | None = None,
        trails: bool = False,
    ) -> None:
        """Outliers of one frame."""
        store = self.store
        values, variance = entry.match.to_reference(store.get(entry, "values"), store.get(entry, "variance"))
        assert variance is not None
        bad = store.get(entry, "bad") | unknown
        unlike = store.get(entry, "misfit")
        if unlike.any():
            factor = misfit(values - predicted, variance, bad)
            factor = np.float32(1) if factor is None else np.where(unlike, factor, np.float32(1))
            variance = variance * factor
            store.put(entry, "variance", store.get(entry, "variance") * factor)
        gradient = gradient_magnitude(predicted)
        slack = entry.softness = sharpness_error(values, variance, bad, predicted, gradient)
        found = find_outliers(
            values,
            variance,
            bad,
            predicted,
            gradient,
            snr=thresholds.snr,
            scale=(max(thresholds.scale[0], 5 * slack), max(thresholds.scale[1], 3 * slack)),
            faint=thresholds.faint,
            steps=thresholds.steps,
        )
        if persistent is not None:
            with self._lock:
                persistent.add(values - predicted, variance + np.square(slack * gradient), bad)
        if trails:
            mask, lines = find_trails(values - predicted, variance + np.square(slack * gradient), bad)
            # More than that is no traffic: the frame differs from the others in its light (colour, clouds).
            if len(lines) <= _TRAILS and mask.mean() < 0.05:
                found |= mask & ~bad
                with self._lock:
                    self.trails += len(lines)
        entry.rejected = int(found.sum())
        store.put(entry, "outlier", found)


def _bare(entry: Entry) -> PreparedFrame:
    """Only the shape and the transform: all that a prediction needs."""
    nothing = np.broadcast_to(np.float32(0), entry.frame.shape)
    return PreparedFrame(entry.frame.name, nothing, nothing, nothing.astype(bool), entry.registered.transform)


def _relative(match: Match, home: Match, background: Background) -> Match:
    """A match to a prediction as one to the reference, whose own match to the same prediction is `home`.

    ``frame = g p + b`` and ``reference = g0 p + b0`` give ``frame = (g/g0) (reference - B) + b + (g/g0) (B - b0)``.
    """
    gain = match.gain / home.gain
    shift = gain * (background.level - home.background.level)
    moved = match.background
    nodes = None if moved.nodes is None else moved.nodes + np.float32(shift)
    kind = "offset" if moved.kind == "none" and shift else moved.kind
    return replace(
        match, gain=gain, background=replace(moved, kind=kind, level=moved.level + shift, nodes=nodes)
    )


def _exposure_ratio(frame: Frame, reference: Frame) -> tuple[float, bool]:
    """Expected gain, and whether it is known: counts grow with the exposure, rates and magnitudes don't."""
    unit = (frame.image.unit or "").lower().replace(" ", "")
    rate = any(mark in unit for mark in ("/s", "s-1", "s**-1", "s^-1", "jy", "sr"))
    if rate:
        return 1.0, True
    if frame.exposure and reference.exposure:
        return frame.exposure / reference.exposure, frame.filter == reference.filter
    return 1.0, False


def prepare(
    sequence: FrameSequence,
    registration: Registration,
    target: Target,
    *,
    background: str = "auto",
    strict: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Preparation:
    """Read all registered frames into a store, with their first levels, noise and known defects.

    A frame that can't be read after all, or has no good pixel, is left out and named.

    Raises
    ------
    SciSRError
        A frame can't be read and `strict` is set; or the reference can't.
    """
    places = registration.frames
    chosen = [k for k, place in enumerate(places) if place is not None]
    frames = [sequence[k] for k in chosen]
    shape = sequence[registration.reference].shape
    same = [k for k in chosen if sequence[k].shape == shape]
    static = static_bad_pixels([sequence[k] for k in same], [_transform(places[k]) for k in same])
    ceiling = None if all(f.saturation is not None for f in frames) else guess_saturation(frames)
    store = FrameStore(len(chosen), shape[0] * shape[1])
    census = SaturationCensus(target)
    known = Background("none", shape)
    out = Preparation(store, target, known, background, registration.reference, census)
    if static.note:
        out.notes.append(static.note)
    if ceiling is not None:
        out.notes.append(f"no saturation level in the headers: {ceiling:g} by the look of bright stars")
    order = [registration.reference, *(k for k in chosen if k != registration.reference)]
    try:
        for done, k in enumerate(order):
            frame, place = sequence[k], places[k]
            assert place is not None
            try:
                pixels, saturated = _read(frame, static.mask if frame.shape == shape else None, ceiling)
            except SciSRError as error:
                if strict or k == registration.reference:
                    raise
                out.left_out.append((k, str(error)))
                continue
            if not (~pixels.bad).any():
                out.left_out.append((k, "has no good pixel"))
                continue
            census.add(place.transform, saturated)
            sky = estimate_background(
                pixels, kind="offset" if background in ("auto", "mesh", "plane") else background
            )  # type: ignore[arg-type]
            if k == registration.reference:
                out.background = sky
            gain, _ = _exposure_ratio(frame, sequence[registration.reference])
            match = Match(gain, float("inf"), sky, False, float("nan"), 0)
            entry = Entry(frame, k, place, match)
            store.add(entry, pixels.values, frame_variance(frame, pixels), pixels.bad)
            if frame.image.uncertainty is not None and pixels.variance is not None:
                store.put(entry, "given", pixels.variance.astype(np.float32, copy=False))
            if progress is not None:
                progress((done + 1) / len(order))
    except BaseException:  # an interruption too: nobody else knows of the temporary files yet
        store.close()
        raise
    store.entries.sort(key=lambda entry: entry.index)
    return out


def _transform(place: Registered | None) -> Any:
    return None if place is None else place.transform


def _read(frame: Frame, static: np.ndarray | None, ceiling: float | None) -> tuple[FramePixels, np.ndarray]:
    """Pixels with static defects and saturation marked; and where it is saturated."""
    level = frame.saturation if frame.saturation is not None else ceiling
    pixels = frame.read()
    saturated = np.zeros(pixels.bad.shape, dtype=bool)
    if level is not None:
        alone = static if static is not None else np.zeros_like(saturated)
        saturated = saturated_pixels(np.where(alone, 0, pixels.values), level)
    bad = pixels.bad | saturated | dark_border(pixels.values, pixels.bad)
    if static is not None:
        bad = bad | static
    return FramePixels(pixels.values, bad, pixels.variance), saturated


def fwhm_of(places: Sequence[Registered | None]) -> float | None:
    """Width of the fused stars to expect, pixels; None where no frame has stars.

    The median over all frames. Where stars are hardly sampled and their widths differ from frame to frame (seeing,
    guiding), twice the scatter more: what one frame shows sharper than another at another phase of the pixels would
    else be taken for fine detail. Well-sampled frames have no such phases, and would lose resolution.
    """
    widths = [p.fwhm_px for p in places if p is not None and np.isfinite(p.fwhm_px)]
    if not widths:
        return None
    middle = float(np.median(widths))
    coarse = len(widths) > 2 and middle < _SAMPLED
    return middle + (2 * float(np.std(widths, ddof=1)) if coarse else 0.0)
