"""What items took in earlier runs over the same folder: the best guess of what others like them will take."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sciSR.workflow.pipelines.work import Task

MOST = 2000
"""Items that are looked at, the latest ones."""


class Past:
    """Times and memory of items that are done, by their steps.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of a ledger.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._seen: dict[str, list[tuple[int, float, int]]] = {}
        rows = connection.execute(
            "SELECT request, inputs, result FROM items WHERE state = 'done' ORDER BY changed DESC LIMIT ?",
            (MOST,),
        )
        for request, inputs, result in rows:
            told = json.loads(result)
            size = sum(each[1] for each in json.loads(inputs))
            if told["seconds"] > 0:
                seen = self._seen.setdefault(_recipe(json.loads(request)["steps"]), [])
                seen.append((size, float(told["seconds"]), int(told["peak_bytes"])))

    def of(self, task: Task) -> tuple[float, int] | None:
        """Seconds and bytes of memory that a task will take; None where nothing like it is known.

        As long as the quickest one, and for what its input is larger as much more as others took for that.
        """
        seen = self._seen.get(_recipe(node.as_dict() for node in task.nodes))
        peaks = [peak for _, _, peak in seen or () if peak]
        if not seen or not peaks:
            return None
        smallest, quickest = min(size for size, _, _ in seen), min(seconds for _, seconds, _ in seen)
        larger = sum(size - smallest for size, _, _ in seen)
        slower = sum(seconds - quickest for _, seconds, _ in seen)
        ours = max(0, _bytes(task) - smallest)
        if larger < smallest:  # all alike: the mean
            return sum(seconds for _, seconds, _ in seen) / len(seen), max(peaks)
        return quickest + slower / larger * ours, max(peaks)


def _recipe(steps: Iterable[Mapping[str, Any]]) -> str:
    """Steps and parameters, whatever they are called."""
    return json.dumps([[step["step"], step["parameters"]] for step in steps], sort_keys=True, default=str)


def _bytes(task: Task) -> int:
    total = 0
    for file in task.files:
        path = Path(file)
        try:
            files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
            total += sum(os.stat(each).st_size for each in files)
        except OSError:
            continue
    return total
