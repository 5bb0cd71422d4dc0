"""Shards: every item in exactly one, the same one whatever else lies in the folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UsageError
from sciSR.workflow.cluster.shard import Shard, parse_shard

keys = st.text(min_size=1, max_size=40)


@given(key=keys, count=st.integers(1, 200))
def test_every_item_belongs_to_exactly_one_shard(key, count):
    assert sum(Shard(number, count).holds(key) for number in range(1, count + 1)) == 1


@given(number=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_what_is_printed_is_read_again(number, more):
    shard = Shard(number, number + more)
    assert parse_shard(str(shard)) == shard
    assert parse_shard(f" {shard.number} / {shard.count} ") == shard


def test_the_parts_are_about_even():
    # 6,400 items over 64: a binomial distribution's standard deviation is 10.
    shards = [Shard(number, 64) for number in range(1, 65)]
    held = [sum(shard.holds(f"item-{n:04d}") for n in range(6400)) for shard in shards]
    assert sum(held) == 6400
    assert min(held) > 50
    assert max(held) < 150


def test_the_assignment_never_changes():
    """Jobs of an array may be started with different versions of sciSR: these are the numbers of all of them."""
    assert [n for n in range(1, 8) if Shard(n, 7).holds("m51")] == [3]
    assert [n for n in range(1, 65) if Shard(n, 64).holds("sub-01_T1w")] == [43]


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.5/3", "٣/٤"])
def test_what_is_no_shard_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"64"):
        parse_shard(text)


def test_each_shard_has_a_ledger_of_its_own():
    assert Shard(3, 64).ledger_name == "ledger-3-of-64"
