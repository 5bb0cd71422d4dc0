"""Every method on one exam, scored as the image's kind demands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sciSR.evaluation import astronomy, mr, natural
from sciSR.evaluation.methods import Method, Sample
from sciSR.evaluation.subject import Subject
from sciSR.training.scenes import Scene

Scores = dict[str, dict[str, float]]
"""Method -> measure -> value, of one image."""

Report = Callable[[float], None]


def run_all(
    sample: Sample,
    scale: int,
    methods: Sequence[Method],
    score: Callable[[NDArray[np.float64]], dict[str, float]],
    known: Mapping[str, Mapping[str, float]] | None = None,
    report: Report | None = None,
) -> Scores:
    """Scores of every method on a sample, with its seconds for each megapixel of the result.

    Parameters
    ----------
    sample : Sample
    scale : int
    methods : sequence of Method
    score : callable
        ``score(planes) -> {measure: value}``.
    known : mapping, optional
        Scores from earlier, which are taken as they are.
    report : callable, optional
        Given the fraction done.
    """
    scores: Scores = {}
    for number, method in enumerate(methods):
        if known and method.name in known:
            scores[method.name] = dict(known[method.name])
        else:
            image, seconds = method.run(sample, scale)
            scores[method.name] = score(image) | {"s_per_mpix": seconds / (image.size / 1e6)}
        if report is not None:
            report((number + 1) / len(methods))
    return scores


def measure(
    subject: Subject,
    forward: str,
    scale: int,
    methods: Sequence[Method],
    known: Mapping[str, Mapping[str, float]] | None = None,
    report: Report | None = None,
    snr: float | None = None,
) -> Scores:
    """A real image, degraded by a forward model, with noise if a signal to noise is given: scored as MR, as sky, or
    plainly."""
    truth, sample = subject.degraded(forward, scale, snr)
    score: Callable[[NDArray[np.float64]], dict[str, float]]
    if subject.domain == "astronomy":
        score = astronomy.scorer(truth, sample, scale)
    elif subject.domain == "mr":
        score = mr.scorer(truth, scale)
    else:
        score = functools.partial(natural.score_plain, truth, scale=scale)
    return run_all(sample, scale, methods, score, known, report)


def measure_scene(
    scene: Scene,
    scale: int,
    methods: Sequence[Method],
    known: Mapping[str, Mapping[str, float]] | None = None,
) -> Scores:
    """A simulated sky with noiseless truth."""
    sample = Sample(scene.observed[None], "astronomy")
    return run_all(sample, scale, methods, astronomy.scene_scorer(scene, scale), known)


def measure_photograph(
    pixels: NDArray,
    scale: int,
    methods: Sequence[Method],
    known: Mapping[str, Mapping[str, float]] | None = None,
) -> Scores:
    """An 8-bit picture by the protocol of the literature."""
    truth, sample = natural.exam(pixels, scale)
    return run_all(sample, scale, methods, lambda image: natural.score(truth, image, scale), known)
