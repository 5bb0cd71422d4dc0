"""One part of a run's items, for arrays of jobs that know nothing of each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from sciSR.errors import UsageError
from sciSR.workflow.batch import ledger_shards


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, from 1.

    An item belongs to the shard that the SHA-256 of its key says. Its place in the list would not do: jobs of an array
    start hours apart, and a file that arrives in between would move all items behind it to other shards, so that some
    were done twice and some never. Shards are as even as chance makes them: of N items each holds about
    ``N / count``, give or take the square root of that.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"shard {self.number}/{self.count}: there are shards 1 to {self.count}",
                remedy="numbers begin with 1, as in --shard 1/64",
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def ledger_name(self) -> str:
        """Name of the ledger and lock of its own."""
        return ledger_shards.ledger_name((self.number, self.count))

    def holds(self, key: str) -> bool:
        """Whether the item of this key belongs here; of all shards of one count exactly one says so."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """``"3/64"`` -> shard 3 of 64.

    Raises
    ------
    UsageError
        No two numbers with a stroke between them, or a number that there is not.
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
    if found is None:
        raise UsageError(f"{text!r} is no shard", remedy="give its number and how many there are, as in 3/64")
    return Shard(int(found[1]), int(found[2]))
