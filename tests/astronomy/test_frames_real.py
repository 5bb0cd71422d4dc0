"""Real sequences are read without options; odd files that hold no frame are refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import sciSR
from sciSR.errors import SciSRError, SciSRWarning
from scisr_astronomy.noise import sample_sky

pytestmark = pytest.mark.realdata


def quiet(paths: Path) -> sciSR.sequence.FrameSequence:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        return sciSR.read_sequence(paths)


@pytest.mark.parametrize(
    ("folder", "count", "bands"),
    [
        ("exotic_hatp32", 6, {"Clear"}),
        ("orion_microobs", 3, {"Red", "Blue", "Green"}),
        ("decam_i_obs04", 5, {"i DECam SDSS c0003 7835.0 1470.0"}),
        ("decam_186p257", 9, None),
    ],
)
def test_real_sequences_are_read_whole(
    shared_data: Path, folder: str, count: int, bands: set[str] | None
) -> None:
    sequence = quiet(shared_data / "astro" / "sequence" / folder)
    assert len(sequence) == count
    assert sequence.left_out == ()
    for frame in sequence:
        pixels = frame.read()
        assert pixels.values.shape == frame.shape
        assert np.isfinite(pixels.values).all()
        assert pixels.bad.mean() < 0.02
        assert frame.exposure > 50
        assert "2015" <= frame.start < frame.end
    if bands is not None:
        assert {frame.filter for frame in sequence} == bands


def test_pixels_are_those_of_astropy(shared_data: Path) -> None:
    for path in sorted((shared_data / "astro" / "sequence").glob("*/*")):
        if "_ood_" in path.name or "_oow_" in path.name:
            continue
        with fits.open(path) as hdus:
            expected = next(hdu.data for hdu in hdus if hdu.data is not None)
        np.testing.assert_array_equal(quiet(path)[0].read().values, expected.astype(np.float32))


def test_local_time_becomes_utc(shared_data: Path) -> None:
    for frame in quiet(shared_data / "astro" / "sequence" / "exotic_hatp32"):
        header = fits.getheader(frame.image.source)
        assert frame.start == header["UT-OBS"][:23]


def test_decams_weights_are_inverse_variances_of_the_skys_noise(shared_data: Path) -> None:
    sequence = quiet(shared_data / "astro" / "sequence" / "decam_186p257")
    assert not any("inverse variance" in note for note in sequence.notes)
    for frame in sequence:
        pixels = frame.read()
        told = np.sqrt(np.median(pixels.variance[~pixels.bad]))
        assert abs(told / sample_sky(frame.image).noise - 1) < 0.06
        flags = fits.getdata(str(frame.image.source).replace("_ooi_", "_ood_"), 1)
        assert pixels.bad[flags != 0].all()


def test_edited_cutouts_are_read_and_told(shared_data: Path) -> None:
    sequence = quiet(shared_data / "astro" / "sequence" / "decam_i_obs04")
    assert any("DATASUM is wrong" in note for note in sequence.notes)
    with pytest.raises(SciSRError, match="DATASUM"):
        sciSR.read_sequence(shared_data / "astro" / "sequence" / "decam_i_obs04", strict=True)


@pytest.mark.filterwarnings("ignore")
def test_odd_files_are_read_or_refused_in_one_line(shared_data: Path) -> None:
    refused = {}
    for path in sorted((shared_data / "astro" / "odd").iterdir()):
        try:
            frames = sciSR.read_sequence(path)
        except SciSRError as error:
            refused[path.name] = str(error)
        else:
            assert all(frame.read().values.shape == frame.shape for frame in frames)
    assert all(name in text and "\n" not in text for name, text in refused.items())
    assert len(refused) >= 10
    assert {"snr_events.fits.bz2", "wheel_astropy_random_groups.fits", "wheel_astropy_zerowidth.fits"} <= set(
        refused
    )
