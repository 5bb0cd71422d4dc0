"""Stated uncertainties cover about what they promise where nothing was trained or calibrated."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from sciSR.evaluation import protocols
from sciSR.training import error_cases
from sciSR.training.error_calibration import judge
from sciSR.training.error_cases import Case
from sciSR.training.error_exams import Exam, examine, judged
from sciSR.training.error_tasks import SEEDS, TASKS, Task
from sciSR.training.sky import SCENES
from sciSR.uncertainty.conformal import ONE_SIGMA, TWO_SIGMA, covered
from sciSR.uncertainty.loading import load_error_model


def coverage(task: Task, cases: list[Case]) -> tuple[float, float]:
    """Of one and of two sigmas, each case alike, through the engine."""
    model = load_error_model(task.domain, task.forward, task.scale, task.automatic)
    assert model is not None
    rows = []
    for case in cases:
        exam = examine(case, task.scale, task.automatic, task.normalisation, model)
        assert exam is not None
        found = judge(exam, exam.noise, task.scale)
        one = covered(found.error, found.predicted, found.unseen)
        two = covered(found.error, found.predicted, found.unseen, 2.0, model.calibration.interval_95 / 2)
        rows.append((one.mean(), two.mean()))
    return tuple(np.mean(rows, axis=0))  # type: ignore[return-value]


def test_simulated_skies_with_noiseless_truth_are_covered():
    cases = [error_cases.simulated(SEEDS["test"] + 501 + k, 2, size=64) for k in range(6)]
    one, two = coverage(TASKS["error-astro-x2"], cases)
    assert one == pytest.approx(ONE_SIGMA, abs=0.1)
    assert two == pytest.approx(TWO_SIGMA, abs=0.05)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("head", "files"),
    [
        ("error-astro-x2", ("astro/check/vics82_test_i.fits", "astro/check/proba2_swap_full_disc.fits")),
        (
            "error-mr-kspace-x2",
            ("mri/check/sct_t2_cervical_0p8.nii.gz", "mri/check/openms_long_p19_study2_T1W.nii.gz"),
        ),
    ],
)
def test_real_files_never_used_are_covered(head: str, files: tuple[str, ...], shared_data: Path):
    task = TASKS[head]
    subjects = [protocols.check_file(shared_data / file) for file in files]
    cases = [error_cases.checked(each, task.forward, task.scale, planes=2, side=320) for each in subjects]
    one, two = coverage(task, cases)
    assert one == pytest.approx(ONE_SIGMA, abs=0.08)
    assert two == pytest.approx(TWO_SIGMA, abs=0.05)


def test_the_sets_of_files_and_seeds_are_apart():
    for task in TASKS.values():
        assert not set(task.files["train"]) & set(task.files["calibrate"])
    starts = sorted(start % SCENES for start in SEEDS.values())
    assert min(b - a for a, b in itertools.pairwise(starts)) > 10_000


def test_cases_are_the_same_in_every_run():
    a, b = (error_cases.simulated(2_400_004, 2, resampled=True, size=48) for _ in range(2))
    np.testing.assert_array_equal(a.coarse, b.coarse)
    assert (a.shared, a.unseen) == (b.shared, b.unseen)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("forward", ["detector", "kspace", "gaussian"])
def test_white_noise_is_found_for_what_it_is(scale, forward):
    g = np.random.default_rng(1)
    truth = 100 + 3.0 * g.standard_normal((1, 256, 256))
    expected = 3.0 * np.sqrt(1 - 1 / scale**2)
    assert error_cases.unseen_noise(truth, forward, scale) == pytest.approx(expected, rel=0.1)


def test_smooth_noise_is_not_mistaken_for_unknowable():
    from sciSR.training.sky import smooth_noise

    g = np.random.default_rng(1)
    truth = 3.0 * smooth_noise((256, 256), 5.0, g)[None]
    assert error_cases.unseen_noise(truth, "detector", 2) < 0.1


def test_what_truth_and_observation_share_cancels():
    one = np.ones((1, 4, 4), np.float32)
    exam = Exam("e", "m", one, one, one, one, one > 0, 0.8, 0.0)
    np.testing.assert_allclose(judged(one.astype(float), exam), 0.6)
    flat = Exam("e", "m", one, one, one, one, one > 0, 2.0, 0.0)
    np.testing.assert_allclose(judged(one.astype(float), flat), np.sqrt(0.05))
