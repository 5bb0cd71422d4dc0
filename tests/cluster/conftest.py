"""What tests of clusters share."""

from __future__ import annotations

import sys
from importlib import invalidate_caches

import pytest

pytest.importorskip("distributed")

from real_cluster import Items, install_fault_step


@pytest.fixture(scope="session")
def _fault_step(tmp_path_factory):
    """The step `fault`, for this process and all that it starts."""
    from sciSR.plugins import load
    from sciSR.workflow.pipelines.registry import steps

    folder = str(install_fault_step(tmp_path_factory.mktemp("plugin")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", folder, prepend=":")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(sys, "path", [folder, *sys.path])
        invalidate_caches()
        for cache in (load, steps):
            cache.cache_clear()
        yield
    for cache in (load, steps):
        cache.cache_clear()


@pytest.fixture
def items(tmp_path, _fault_step) -> Items:
    """Items that upscale, or go wrong as their names say."""
    return Items(tmp_path)
