"""The learning rate is a function of the step, positive, and never above its peak."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.training.config import ScheduleConfig
from sciSR.training.schedules import RISE, START, rate

KINDS = ("cosine", "one_cycle", "constant")


@given(st.sampled_from(KINDS), st.integers(1, 5000), st.integers(0, 500), st.floats(1e-4, 1), st.data())
def test_rate_is_positive_and_at_most_the_peak(kind, steps, warmup, floor, data):
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < rate(ScheduleConfig(kind, warmup, floor), step, steps) <= 1 + 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_rate_rises_through_the_warmup(kind):
    rates = [rate(ScheduleConfig(kind, 50), step, 1000) for step in range(50)]
    assert all(after > before for before, after in itertools.pairwise(rates))


def test_cosine_falls_from_the_peak_through_its_middle_to_the_floor():
    config = ScheduleConfig("cosine", 0, 0.1)
    assert rate(config, 0, 1000) == 1
    assert rate(config, 500, 1000) == pytest.approx(0.55)
    assert rate(config, 1000, 1000) == pytest.approx(0.1)


def test_one_cycle_peaks_after_its_rise():
    config = ScheduleConfig("one_cycle", 0, 1e-3)
    rates = [rate(config, step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(START)
    assert rates.index(max(rates)) == RISE * 1000
    assert rates[-1] == pytest.approx(1e-3)


def test_constant_is_the_peak_after_the_warmup():
    assert {rate(ScheduleConfig("constant", 10), step, 100) for step in range(10, 100)} == {1.0}
