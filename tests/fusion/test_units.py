"""Units in which a variance leaves single precision."""

from __future__ import annotations

import numpy as np
import pytest
from matching_scene import Scene

import sciSR
from sciSR.errors import UnreadableError
from sciSR.fusion.units import comfortable, in_own_unit, multiplied
from sciSR.sequence import Frame, FrameSequence, NoiseModel

SHIFTS = [(0.0, 0.0), (0.5, -1.5), (1.5, 0.5), (-1.0, 1.0)]


def frames(unit: float, *, noise: bool = False) -> FrameSequence:
    """Four dithered frames of the same field, in a unit so large."""
    scene, random = Scene(size=64, number=25, faintest=3.0), np.random.default_rng(3)
    arrays = [scene.observe(random, shift).astype(np.float64) * unit for shift in SHIFTS]
    return FrameSequence.from_arrays(arrays, **({"noise": NoiseModel(1 / unit, 5.0)} if noise else {}))


@pytest.mark.parametrize("unit", [1e-20, 1e-30, 1e25])
def test_the_unit_of_the_pixels_changes_nothing_but_the_unit(unit: float) -> None:
    plain, scaled = (sciSR.fuse(frames(u, noise=True), 2, "map", reference=0) for u in (1.0, unit))
    image, std = np.asarray(plain.image.data), np.asarray(plain.image.uncertainty)
    far = np.abs(np.asarray(scaled.image.data, dtype=np.float64) / unit - image)
    assert np.nanmax(far / std) < 0.1
    assert np.nanmax(np.abs(np.asarray(scaled.image.uncertainty, dtype=np.float64) / unit / std - 1)) < 0.02
    weight = np.asarray(scaled.weight, dtype=np.float64) * unit**2
    assert np.median(weight) == pytest.approx(np.median(plain.weight), rel=0.01)
    for one, other in zip(plain.records, scaled.records, strict=True):
        assert other.noise / unit == pytest.approx(one.noise, rel=0.01)
        assert other.background / unit == pytest.approx(one.background, rel=0.01)


def test_a_unit_that_fits_is_left_alone() -> None:
    sequence = frames(1e-3)
    same, factor = comfortable(sequence)
    assert same is sequence
    assert factor == 1


def test_what_is_known_of_a_frame_goes_into_the_other_unit_with_it() -> None:
    values = np.full((8, 8), 2e-20)
    frame = Frame(sciSR.Image.from_array(values), "a", noise=NoiseModel(1e20, 5.0, 1e-20), saturation=3e-20)
    frame = frame.replace(image=frame.image.replace(uncertainty=values / 4))
    other = multiplied(frame, 2.0**66)
    pixels = other.read()
    assert pixels.values[0, 0] == np.float32(2e-20 * 2.0**66)
    assert pixels.variance is not None
    assert pixels.variance[0, 0] == pytest.approx((0.5e-20 * 2.0**66) ** 2)
    assert not pixels.bad.any()
    assert other.noise is not None
    assert other.noise.variance(2e-20 * 2.0**66) == pytest.approx((1.0 + 25.0) * (1e-20 * 2.0**66) ** 2)
    assert other.saturation == 3e-20 * 2.0**66


def test_the_first_frame_that_can_be_read_tells_the_unit() -> None:
    class Broken:
        shape, dtype = (64, 64), np.dtype(np.float64)

        def __getitem__(self, index: object) -> np.ndarray:
            raise UnreadableError("gone")

    sequence = frames(1e-20)
    bad = sequence[0].replace(image=sequence[0].image.replace(data=Broken()))
    _, factor = comfortable(FrameSequence((bad, *sequence.frames)))
    assert 1e18 < factor < 1e20


def test_results_in_a_unit_that_fits_are_given_back_as_they_are() -> None:
    sequence = frames(1.0)
    fused = sciSR.fuse(sequence, 2, "mean", reference=0)
    assert in_own_unit(fused, sequence, 1.0) is fused
