"""Who is told what happens to items while they are worked on."""

from __future__ import annotations

from typing import Protocol

from sciSR.workflow.pipelines.work import ItemResult


class Watch(Protocol):
    """Told of each item, in the thread that asks for the results; must return quickly."""

    def expected(self, total: int) -> None:
        """So many items in all; said by who knows, before the first."""

    def started(self, key: str) -> None:
        """A worker has the item."""

    def progress(self, key: str, fraction: float) -> None:
        """So much of the item is done, 0 to 1; 0 again where it is tried a second time."""

    def finished(self, result: ItemResult) -> None:
        """The item is done, failed or skipped. May be said twice of one item, by the executor and by who records."""


class NoWatch:
    """Tells nobody; a start for watches that need not hear all."""

    def expected(self, total: int) -> None:
        """Nothing."""

    def started(self, key: str) -> None:
        """Nothing."""

    def progress(self, key: str, fraction: float) -> None:
        """Nothing."""

    def finished(self, result: ItemResult) -> None:
        """Nothing."""
