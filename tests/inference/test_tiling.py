"""Tiled output equals untiled output, for every method, tile size and image size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sciSR
from scenes import assert_same_to_rounding, astro_image, brain, mr_image, sky
from sciSR.inference import planes, runner
from sciSR.inference.tiles import Span, mirror

METHODS = ["nearest", "linear", "cubic", "lanczos", "fourier", "espcn-astro-x2", "espcn-mr-kspace-x2"]


def stretched(image: sciSR.Image) -> np.ndarray:
    """Where float32 rounds: between the network and the inverse of its asinh stretch."""
    return np.arcsinh(np.asarray(image.data, np.float64) / 2)


@pytest.mark.parametrize("method", METHODS)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.integers(16, 80),
    scale=st.sampled_from([2, "3/2", 3, 1.37, "2,3"]),
)
def test_tiled_equals_untiled(method: str, height: int, width: int, tile: int, scale: object) -> None:
    scale = 2 if method.startswith("espcn") else scale
    image = mr_image(brain((height, width))) if "mr" in method else astro_image(sky((height, width)))
    whole = sciSR.upscale(image, scale, method, tile=4096)
    tiled = sciSR.upscale(image, scale, method, tile=tile)
    assert_same_to_rounding(stretched(tiled), stretched(whole))


@given(height=st.integers(9, 60), width=st.integers(9, 60), tile=st.integers(16, 40))
def test_tiled_equals_untiled_when_a_network_is_applied_twice(height: int, width: int, tile: int) -> None:
    image = astro_image(sky((height, width)))
    whole = sciSR.upscale(image, 4, "espcn-astro-x2", tile=4096)
    tiled = sciSR.upscale(image, 4, "espcn-astro-x2", tile=tile)
    assert whole.shape == (4 * height, 4 * width)
    assert_same_to_rounding(stretched(tiled), stretched(whole))


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(1, 9))
def test_mirror_is_numpys_symmetric_padding(start: int, length: int, size: int) -> None:
    values = np.arange(size)
    padded = np.pad(values, (50, 120), mode="symmetric")
    assert np.array_equal(mirror(Span(start, start + length), size), padded[50 + start : 50 + start + length])


def test_running_out_of_memory_halves_the_tile_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = astro_image(sky((120, 90)))
    whole = sciSR.upscale(image, 2, "espcn-astro-x2")
    compute, refused = runner.Runner._compute, []

    def short_of_memory(self, stage, source, rows, columns):
        if len(rows) * len(columns) > 70 * 70:
            refused.append(len(rows) * len(columns))
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return compute(self, stage, source, rows, columns)

    monkeypatch.setattr(runner.Runner, "_compute", short_of_memory)
    small = sciSR.upscale(image, 2, "espcn-astro-x2")
    assert refused
    assert_same_to_rounding(np.asarray(whole.data), np.asarray(small.data))


def test_no_memory_at_all_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self, stage, source, rows, columns):
        raise MemoryError

    monkeypatch.setattr(runner.Runner, "_compute", no_memory)
    with pytest.raises(sciSR.SciSRError, match="out of memory") as caught:
        sciSR.upscale(astro_image(sky()), 2, "cubic")
    assert caught.value.exit_code == 5


def test_same_input_same_bytes() -> None:
    image = mr_image(sky())
    first, second = (np.asarray(sciSR.upscale(image, 2, "espcn-mr-kspace-x2").data) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_scratch_planes_on_disk_give_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = astro_image(sky((64, 48)))
    expected = {m: np.asarray(sciSR.upscale(image, "3/2", m).data) for m in ("fourier",)}
    twice = np.asarray(sciSR.upscale(image, 4, "espcn-astro-x2").data)
    monkeypatch.setattr(planes, "SCRATCH_IN_MEMORY", 1000)
    monkeypatch.setattr(planes.Scratch.__init__, "__defaults__", (1000, np.float32))
    assert_same_to_rounding(np.asarray(sciSR.upscale(image, "3/2", "fourier").data), expected["fourier"])
    assert_same_to_rounding(np.asarray(sciSR.upscale(image, 4, "espcn-astro-x2").data), twice)
