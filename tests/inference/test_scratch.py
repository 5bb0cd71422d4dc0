"""Planes that are too large for memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sciSR.errors import ResourceError
from sciSR.inference.planes import Scratch
from sciSR.inference.tiles import Span


def test_a_file_holds_what_memory_would() -> None:
    values = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    planes = [Scratch(values.shape), Scratch(values.shape, limit=0)]
    for plane in planes:
        plane.write(Span(0, 25), values[:25])
        plane.write(Span(25, 40), values[25:])
    for rows, columns in ((Span(0, 40), Span(0, 30)), (Span(-7, 3), Span(20, 45))):
        assert np.array_equal(planes[0].region(rows, columns), planes[1].region(rows, columns))
    for plane in planes:
        plane.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **fields: open("/dev/full", "r+b"))  # noqa: SIM115
    plane = Scratch((64, 64), limit=0)
    with pytest.raises(ResourceError, match="TMPDIR"):
        plane.write(Span(0, 64), np.ones((64, 64), dtype=np.float32))
    plane.close()
