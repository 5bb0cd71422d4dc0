"""What the tests of hostile files share: seeing a refusal, and what it cost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from sciSR.errors import SciSRError
from sciSR.testing.tools import quiet

MODEST = 64 << 20
"""Bytes that may be taken to refuse a file of some kilobytes."""


def refusal(attempt: Callable[[], object], *, memory: int = MODEST) -> str:
    """The one line in which something is refused, within `memory` bytes."""
    tracemalloc.start()
    try:
        with quiet(), pytest.raises(SciSRError) as caught:
            attempt()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert "\n" not in text
    assert peak <= memory, f"{peak} bytes were taken to say: {text}"
    return text


def read(path: Path) -> list[object]:
    """Pixels and all, as a user does."""
    import numpy as np

    from sciSR.api import read_all

    return [np.asarray(image.data[(slice(None),) * len(image.shape)]) for image in read_all(path)]
