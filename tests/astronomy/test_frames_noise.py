"""A noise model is used where it is true of the pixels; saturation where pixels hold less than the truth."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import header_of, write

import sciSR
from sciSR.image import Image
from sciSR.sequence import Frame, FrameSequence
from scisr_astronomy.noise import counted, sample_sky

GAIN, READ, SKY = 2.5, 7.0, 400.0
SHAPE = (128, 128)


def stars() -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    random = np.random.default_rng(5)
    image = np.zeros(SHAPE)
    for _ in range(60):
        row, column = random.uniform(0, 128, 2)
        image += 10 ** random.uniform(2, 4) * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 3)
    return image


def adu(pedestal: float = 0.0, gain: float = GAIN, seed: int = 1) -> np.ndarray:
    """Stars over a sloping sky, in ADU."""
    random = np.random.default_rng(seed)
    light = SKY + stars() + 0.5 * np.arange(SHAPE[1])
    return random.poisson(light * gain) / gain + random.normal(0, READ / gain, SHAPE) + pedestal


def read(path: Path, data: np.ndarray, **cards: Any) -> tuple[Frame, FrameSequence]:
    write(path, fits.PrimaryHDU(data, header_of(cards)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sequence = sciSR.read_sequence(path)
    return sequence[0], sequence


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("whole", [False, True])
def test_the_skys_noise_is_measured_beside_stars_and_slopes(step: int, whole: bool) -> None:
    data = np.rint(adu()).astype(np.int32) if whole else adu().astype(np.float32)
    sky = sample_sky(Image.from_array(data), step=step)
    true = np.sqrt(sky.level / GAIN + (READ / GAIN) ** 2 + whole / 12)
    assert abs(sky.noise / true - 1) < 0.06
    assert SKY < sky.level < SKY + 64


def test_masked_and_infinite_pixels_do_not_count() -> None:
    data = adu()
    mask = np.zeros(SHAPE, bool)
    data[:, :60], mask[:, :60] = 1e6, True
    data[:, 60:64] = np.nan
    sky = sample_sky(Image.from_array(data, mask=mask))
    assert abs(sky.noise / np.sqrt(sky.level / GAIN + (READ / GAIN) ** 2) - 1) < 0.06
    assert np.isnan(sample_sky(Image.from_array(np.full(SHAPE, np.nan))).noise)


def test_the_headers_model_is_used_where_the_sky_is_in(tmp_path: Path) -> None:
    frame, sequence = read(
        tmp_path / "a.fits", adu().astype(np.float32), GAIN=GAIN, RDNOISE=READ, BUNIT="adu"
    )
    assert (frame.noise.gain, frame.noise.read_noise, frame.noise.pedestal) == (GAIN, READ, 0)
    assert sequence.notes == ()


def test_a_subtracted_sky_leaves_no_model_and_is_told(tmp_path: Path) -> None:
    data = (adu() - SKY).astype(np.float32)
    frame, sequence = read(tmp_path / "a.fits", data, GAIN=GAIN, RDNOISE=READ, BUNIT="adu")
    assert frame.noise is None
    assert any("do not fit the noise of the pixels" in note for note in sequence.notes)


@pytest.mark.parametrize("knob", [100, 0.02])
def test_a_gain_that_is_a_knob_is_not_believed(tmp_path: Path, knob: float) -> None:
    frame, _ = read(tmp_path / "a.fits", adu().astype(np.float32), GAIN=knob, RDNOISE=READ, BUNIT="adu")
    assert frame.noise is None


def test_a_raw_frames_level_without_light_is_found(tmp_path: Path) -> None:
    data = np.rint(adu(pedestal=600)).astype(np.uint16)
    frame, sequence = read(tmp_path / "a.fits", data, GAIN=GAIN, RDNOISE=READ, BUNIT="adu")
    assert abs(frame.noise.pedestal - 600) < 40
    assert any("level without light" in note for note in sequence.notes)


@pytest.mark.parametrize("told", [-100, 100])
def test_maxims_and_pixinsights_pedestal_is_heeded(tmp_path: Path, told: int) -> None:
    data = np.rint(adu(pedestal=100)).astype(np.uint16)
    frame, _ = read(tmp_path / "a.fits", data, EGAIN=GAIN, RDNOISE=READ, PEDESTAL=told, BUNIT="adu")
    assert frame.noise.pedestal == 100


def test_an_untold_read_noise_is_found(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    data = (random.poisson(20 * GAIN, SHAPE) / GAIN + random.normal(0, 20 / GAIN, SHAPE)).astype(np.float32)
    frame, sequence = read(tmp_path / "a.fits", data, GAIN=GAIN, BUNIT="adu")
    assert abs(frame.noise.read_noise - 20) < 1.5
    assert any("read noise is not told" in note for note in sequence.notes)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("electron", GAIN), ("electron/s", GAIN / 30), ("adu", 1), ("DN/s", 1 / 30), ("counts", 1), (None, 1)],
)
def test_the_model_is_in_the_datas_unit(tmp_path: Path, unit: str | None, factor: float) -> None:
    data = (adu() * factor).astype(np.float32)
    cards = {"GAIN": GAIN, "RDNOISE": READ, "EXPTIME": 30.0} | ({} if unit is None else {"BUNIT": unit})
    frame, _ = read(tmp_path / "a.fits", data, **cards)
    level = (SKY + 30) * factor
    expected = ((SKY + 30) / GAIN + (READ / GAIN) ** 2) * factor**2
    assert float(frame.noise.variance(level)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("unit", ["Jy", "MJy/sr", "nanomaggy", "erg/s/cm2/Angstrom", "K", "W/m^2"])
def test_what_was_not_counted_has_no_model(tmp_path: Path, unit: str) -> None:
    assert counted(unit) is None
    frame, _ = read(tmp_path / "a.fits", adu().astype(np.float32), GAIN=GAIN, RDNOISE=READ, BUNIT=unit)
    assert frame.noise is None


@pytest.mark.parametrize(
    ("dtype", "top", "bad"),
    [(np.uint16, 65535, True), (np.int16, 4095, True), (np.uint16, 16383, True), (np.uint8, 255, True),
     (np.uint16, 50000, False), (np.float32, 4095, False)],
)  # fmt: skip
def test_the_largest_number_of_a_converter_is_saturated(
    tmp_path: Path, dtype: Any, top: int, bad: bool
) -> None:
    data = np.full(SHAPE, 40, dtype)
    data[9, 8] = data[20, 30] = top
    frame, _ = read(tmp_path / "a.fits", data, BUNIT="adu")
    assert (frame.saturation == top) == bad
    assert frame.read().bad.sum() == (2 if bad else 0)


def test_a_told_saturation_is_heeded_unless_it_is_nonsense(tmp_path: Path) -> None:
    data = adu().astype(np.float32)
    frame, _ = read(tmp_path / "a.fits", data, SATURATE=3000.0, BUNIT="adu")
    np.testing.assert_array_equal(frame.read().bad, data >= 3000)
    frame, _ = read(tmp_path / "b.fits", data, SATURATE=1.0, BUNIT="adu")
    assert frame.saturation is None


def test_a_frame_with_its_own_errors_needs_no_model(tmp_path: Path) -> None:
    data = adu().astype(np.float32)
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(header=header_of({"GAIN": GAIN, "RDNOISE": READ})),
        fits.ImageHDU(data, header_of({"BUNIT": "adu"}), name="SCI"),
        fits.ImageHDU(np.sqrt(data / GAIN), name="ERR"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (frame,) = sciSR.read_sequence(path)
    assert frame.noise is None
    np.testing.assert_allclose(frame.read().variance, data / GAIN, rtol=1e-6)
