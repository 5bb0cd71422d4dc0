"""What slow networks are calibrated on: the middle of skies as they are in the whole, every kind in its share."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.models.files import list_models
from sciSR.training import error_cases
from sciSR.training.error_calibration import fewer, middle, related
from sciSR.training.error_cases import RIM
from sciSR.training.error_tasks import TASKS
from sciSR.training.sky import block_mean
from sciSR.uncertainty.loading import calibrations


@pytest.mark.parametrize("scale", [2, 4])
def test_the_middle_is_as_in_the_whole_and_its_rim_is_not_judged(scale):
    whole = error_cases.simulated(3_600_001, scale, size=64)
    part = middle(whole, scale, 32)
    assert part.coarse.shape == part.uncertainty.shape == (1, 32, 32)
    np.testing.assert_array_equal(part.coarse, whole.coarse[:, 16:48, 16:48])
    np.testing.assert_array_equal(
        part.truth, whole.truth[:, 16 * scale : 48 * scale, 16 * scale : 48 * scale]
    )
    z = (part.coarse[0] - block_mean(part.truth[0], scale)) / part.uncertainty[0]
    assert abs(z.mean()) < 0.3
    assert not part.good[:, :RIM].any()
    assert not part.good[:, :, -RIM:].any()
    assert part.good[:, RIM:-RIM, RIM:-RIM].all()


def test_what_is_smaller_stays_whole():
    whole = error_cases.simulated(3_600_002, 2, size=24)
    np.testing.assert_array_equal(middle(whole, 2, 96).truth, whole.truth)


def test_half_of_the_skies_with_every_kind_in_its_share():
    task = TASKS["error-astro-x2"]
    cases = [error_cases.simulated(3_600_001 + k, 2, resampled=k % 4 == 3, size=24) for k in range(16)]
    some = fewer(task, cases)
    assert len(some) == 8
    assert sum(case.uncertainty is None for case in some) == 2  # resampled mosaics


def test_an_automatic_method_is_related_to_itself():
    few = {"factor": 0.9, "interval_95": 2.1, "files": 4}
    every = {"factor": 1.1, "interval_95": 2.4, "files": 9}
    assert related(few, every, few) == {"factor": 1.1, "interval_95": 2.4, "files": 4}


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_shipped_network_of_a_task_has_its_own_calibration(task):
    listed = {
        spec.name
        for spec in list_models()
        if spec.domain == task.domain
        and spec.scale == task.scale
        and spec.architecture != "ThroughPlane"
        and (task.domain == "astronomy" or spec.forward_model == task.forward)
    }
    assert listed
    assert listed <= set(calibrations(task.name))
