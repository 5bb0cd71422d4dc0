"""Tests of OME-Zarr need zarr."""

import pytest

pytest.importorskip("zarr")
