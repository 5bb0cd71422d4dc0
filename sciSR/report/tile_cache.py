"""A cache of arrays that never holds more bytes than it may: the oldest go first. Safe for many threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ByteCache:
    """Least recently used arrays are dropped once all together exceed `limit` bytes.

    Parameters
    ----------
    limit : int
        Bytes. An array that is larger alone is handed out, but not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> np.ndarray | None:
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
            return array

    def put(self, key: Hashable, array: np.ndarray) -> None:
        with self._lock:
            before = self._arrays.pop(key, None)
            self.size -= 0 if before is None else before.nbytes
            if array.nbytes > self.limit:
                return
            self._arrays[key] = array
            self.size += array.nbytes
            while self.size > self.limit:
                _, oldest = self._arrays.popitem(last=False)
                self.size -= oldest.nbytes

    def drop(self, wanted: Callable[[Hashable], bool]) -> None:
        """Forget all arrays whose key is `wanted`."""
        with self._lock:
            for key in [key for key in self._arrays if wanted(key)]:
                self.size -= self._arrays.pop(key).nbytes

    def __len__(self) -> int:
        return len(self._arrays)
