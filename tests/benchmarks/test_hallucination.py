"""Counting what is invented: the phantom is known to the pixel, and one truth vouches for one feature only."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import hallucination
from hallucination_phantom import APART, head


def test_phantom_follows_from_its_seed_and_shows_its_lesions() -> None:
    one, same = head(3, side=128, lesions=8), head(3, side=128, lesions=8)
    assert np.array_equal(one.truth, same.truth)
    assert not np.array_equal(one.truth, head(4, side=128, lesions=8).truth)
    for a in one.lesions:
        assert all(a is b or math.dist((a.y, a.x), (b.y, b.x)) > APART for b in one.lesions)
    without = head(3, side=128, lesions=0).truth
    changed = one.truth - without
    assert np.count_nonzero(changed) < sum(math.pi * (each.radius + 1.5) ** 2 for each in one.lesions)
    strongest = max(one.lesions, key=lambda each: abs(each.contrast))
    assert changed[round(strongest.y), round(strongest.x)] * strongest.contrast > 0


def test_one_truth_vouches_for_one_feature() -> None:
    truth = np.array([[10.0, 10.0], [30.0, 30.0]])
    points = np.array([[10.2, 10.0], [10.9, 10.0], [30.0, 31.0], [50.0, 50.0]])
    assert hallucination.matched(points, truth, 2.0).tolist() == [True, False, True, False]
    assert hallucination.missing(truth, points[:2], 2.0) == 1
    assert hallucination.missing(truth, np.zeros((0, 2)), 2.0) == 2


def test_painted_sources_are_counted_as_invented_and_flagged() -> None:
    found = hallucination.run_sky(2, ["cubic", f"cubic{hallucination.PAINTED}"], seeds=1, frames=1)
    plain, painted = found["cubic"], found[f"cubic{hallucination.PAINTED}"]
    more = painted.invented - plain.invented
    assert more > 30
    assert painted.invented3 - plain.invented3 > 0.9 * more
    assert painted.real3 <= 0.02 * painted.real + 1
