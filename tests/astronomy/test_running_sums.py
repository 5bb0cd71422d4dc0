"""DATASUM is summed while blocks are put, in any order; put twice, or of pixels that share words, it is read back."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from hypothesis import given
from hypothesis import strategies as st

import sciSR
from scisr_astronomy.fits_adapter import FitsAdapter


@pytest.mark.filterwarnings("ignore:.*no unit tells")
@given(
    dtype=st.sampled_from(["f4", "f8", "i2", "u1", "i4"]),
    shape=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    seed=st.integers(0, 999),
    again=st.booleans(),
)
def test_sums_are_right_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: tuple[int, int], seed: int, again: bool
) -> None:
    rng = np.random.default_rng(seed)
    folder: Path = tmp_path_factory.mktemp("sums")
    source = folder / "a.fits"
    fits.PrimaryHDU(rng.integers(0, 200, shape).astype(dtype)).writeto(source)
    image = sciSR.read(source)
    cells = [(y, x) for y in range(0, shape[0], 2) for x in range(0, shape[1], 3)]
    rng.shuffle(cells)
    values = rng.integers(0, 200, shape).astype(dtype)
    with FitsAdapter().open_writer(folder / "b.fits", [image]) as writer:
        for y, x in [*cells, *(cells[:1] if again else ())]:
            place = (slice(y, min(y + 2, shape[0])), slice(x, min(x + 3, shape[1])))
            if again:  # first something else, which must leave no trace in the sum
                writer.put(0, place, values[place] // 2)
            writer.put(0, place, values[place])
        writer.commit([image])
    with (
        warnings.catch_warnings(action="error", category=AstropyWarning),
        fits.open(folder / "b.fits", checksum=True) as hdus,
    ):
        assert "DATASUM" in hdus[0].header
        np.testing.assert_array_equal(hdus[0].data, values)
