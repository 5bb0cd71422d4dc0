"""Raw frames are calibrated as ccdproc calibrates them, and their noise stays right."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

import sciSR
from sciSR.errors import SciSRWarning, UsageError
from sciSR.sequence import FrameSequence

ccdproc = pytest.importorskip("ccdproc")

N = 96
GAIN, READ = 2.0, 6.0
HOT = (5, 6)


class Camera:
    """A simulated camera: uneven bias, dark current with a hot pixel, vignetting."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = np.random.default_rng(20)
        y, x = np.mgrid[:N, :N]
        self.bias = 300 + self.random.normal(0, 2, (N, N))
        self.current = self.random.gamma(1, 0.02, (N, N))
        self.current[HOT] = 30.0
        flat = 1 - 0.4 * ((x - N / 2) ** 2 + (y - N / 2) ** 2) / (N**2 / 2)
        self.flat = flat / flat.mean()
        self.light = 20 + 500 * np.exp(-((x - 30) ** 2 + (y - 60) ** 2) / 4)

    def expose(self, name: str, light: Any, seconds: float, **cards: Any) -> Path:
        electrons = self.random.poisson((light * self.flat + self.current) * seconds * GAIN)
        level = electrons / GAIN + self.bias + self.random.normal(0, READ / GAIN, (N, N))
        path = self.folder / name
        header = fits.Header({"EXPTIME": seconds, **cards})
        fits.writeto(path, np.clip(np.rint(level), 0, 65535).astype("u2"), header, overwrite=True)
        return path


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    camera = Camera(tmp_path_factory.mktemp("night"))
    for k in range(7):
        camera.expose(f"bias{k}.fits", 0, 0)
        camera.expose(f"dark{k}.fits", 0, 120)
        camera.expose(f"flat{k}.fits", 5000 + 300 * k, 4, FILTER="R")
    for k in range(2):
        camera.expose(f"light{k}.fits", camera.light, 60, FILTER="R", GAIN=GAIN, RDNOISE=READ)
    camera.expose("dark60.fits", 0, 60)
    return camera


def read(camera: Camera, what: str = "light*.fits", **kinds: Any) -> FrameSequence:
    folder = camera.folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sciSR.read_sequence(folder / what, **{k: folder / v for k, v in kinds.items()})


def ccd(path: Path) -> CCDData:
    return CCDData(fits.getdata(path).astype(np.float64), unit="adu", meta=dict(fits.getheader(path)))


def test_the_arithmetic_is_ccdprocs(camera: Camera) -> None:
    folder = camera.folder
    frames = read(camera, bias="bias0.fits", dark="dark0.fits", flat="flat0.fits")
    bias, dark, flat = (ccd(folder / f"{kind}0.fits") for kind in ("bias", "dark", "flat"))
    dark = ccdproc.subtract_bias(dark, bias)
    scaled = {"exposure_time": "EXPTIME", "exposure_unit": u.second, "scale": True}
    flat = ccdproc.subtract_dark(ccdproc.subtract_bias(flat, bias), dark, **scaled)
    for frame in frames:
        raw = ccdproc.subtract_bias(ccd(folder / frame.name), bias)
        expected = ccdproc.flat_correct(ccdproc.subtract_dark(raw, dark, **scaled), flat).data
        pixels = frame.read()
        np.testing.assert_allclose(pixels.values[~pixels.bad], expected[~pixels.bad], rtol=2e-6, atol=2e-3)
        assert pixels.bad.sum() <= 3


def test_several_exposures_are_combined_as_ccdproc_combines_them(camera: Camera) -> None:
    struck = camera.folder / "struck"
    struck.mkdir()
    for k in range(7):
        data = fits.getdata(camera.folder / f"dark{k}.fits")
        data[50 + k, 20] += 9000  # a cosmic ray in each
        fits.writeto(struck / f"d{k}.fits", data, fits.getheader(camera.folder / f"dark{k}.fits"))
    stack = [ccd(struck / f"d{k}.fits") for k in range(7)]
    plain = ccdproc.combine(stack, method="average").data
    expected = ccdproc.combine(
        stack, method="average", sigma_clip=True, sigma_clip_func=np.ma.median, sigma_clip_dev_func="mad_std",
        sigma_clip_low_thresh=5, sigma_clip_high_thresh=5,
    ).data  # fmt: skip
    light = camera.expose("long.fits", camera.light, 120)
    frames = read(camera, light.name, dark="struck/*.fits")
    master = fits.getdata(light).astype(np.float64) - frames[0].read().values
    assert np.abs(master - expected)[50:57, 20].max() < 15
    assert np.abs(plain - expected)[50:57, 20].max() > 900
    # Elsewhere ours clips less: of seven whole numbers the median deviation is often too small by chance.
    assert np.abs(master - plain)[:40].max() < 20
    assert np.median(np.abs(master - plain)[:40]) < 1e-3


def test_calibrated_pixels_are_the_sky_and_their_noise_is_told_right(camera: Camera) -> None:
    for frame in read(camera, bias="bias*.fits", dark="dark[0-9].fits", flat="flat*.fits"):
        pixels = frame.read()
        truth = camera.light * 60
        z = (pixels.values - truth) / np.sqrt(frame.noise.variance(truth.astype(np.float32)))
        z = z[~pixels.bad]
        assert abs(np.median(z)) < 0.05
        assert 0.97 < z.std() < 1.04
        assert 0.66 < (np.abs(z) < 1).mean() < 0.70


def test_without_a_bias_the_noise_is_told_right_too(camera: Camera) -> None:
    (frame,) = read(camera, "light0.fits", dark="dark60.fits")
    pixels = frame.read()
    truth = camera.light * camera.flat * 60
    ratio = (pixels.values - truth)[~pixels.bad] / np.sqrt(
        np.median(frame.noise.variance(truth.astype(np.float32)))
    )
    assert 0.85 < 1.4826 * np.median(np.abs(ratio)) < 1.15


def test_rows_are_calibrated_like_the_whole_frame(camera: Camera) -> None:
    (frame,) = read(camera, "light0.fits", bias="bias*.fits", flat="flat*.fits")
    whole, part = frame.read(), frame.read(slice(10, 30))
    np.testing.assert_array_equal(whole.values[10:30], part.values)
    np.testing.assert_array_equal(whole.bad[10:30], part.bad)


def test_a_dark_of_another_exposure_needs_a_bias(camera: Camera) -> None:
    with pytest.raises(UsageError, match=r"light0.fits: lasts 60 s, the dark 120 s; .* or --bias too"):
        read(camera, "light0.fits", dark="dark0.fits")


def test_the_dark_of_the_same_exposure_is_chosen(camera: Camera) -> None:
    both = read(camera, "light0.fits", dark="dark*.fits")[0].read().values
    alone = read(camera, "light0.fits", dark="dark60.fits")[0].read().values
    np.testing.assert_array_equal(both, alone)


def test_flats_are_chosen_by_filter(camera: Camera) -> None:
    camera.expose("vflat.fits", 4000, 4, FILTER="V")
    camera.expose("vlight.fits", camera.light, 60, FILTER="V")
    only = read(camera, "vlight.fits", bias="bias*.fits", flat="vflat.fits")[0].read().values
    chosen = read(camera, "vlight.fits", bias="bias*.fits", flat="*flat*.fits")[0].read().values
    np.testing.assert_array_equal(only, chosen)
    camera.expose("blight.fits", camera.light, 60, FILTER="B")
    with pytest.raises(UsageError, match=r"blight.fits: is of filter B, the flats are of R, V"):
        read(camera, "blight.fits", flat="*flat*.fits")


def test_another_shape_is_refused_by_name(camera: Camera) -> None:
    fits.writeto(camera.folder / "small.fits", np.ones((10, 12), "u2"), overwrite=True)
    with pytest.raises(UsageError, match=r"light0.fits: has 96x96 pixels .* the bias 10x12"):
        read(camera, "light0.fits", bias="small.fits")


def test_bad_pixels_of_masters_and_saturated_raw_pixels_become_bad(camera: Camera) -> None:
    dark = fits.getdata(camera.folder / "dark60.fits").astype(np.float32)
    dark[3, 4] = np.nan
    fits.writeto(camera.folder / "nan_dark.fits", dark, fits.Header({"EXPTIME": 60.0}), overwrite=True)
    flat = camera.flat.astype(np.float32)
    flat[7, 8] = 0
    fits.writeto(camera.folder / "dead_flat.fits", flat, overwrite=True)
    raw = fits.getdata(camera.folder / "light0.fits")
    raw[20, 21] = 65535
    header = fits.getheader(camera.folder / "light0.fits")
    fits.writeto(camera.folder / "full.fits", raw, header, overwrite=True)
    (frame,) = read(camera, "full.fits", dark="nan_dark.fits", flat="dead_flat.fits")
    bad = {(int(row), int(column)) for row, column in np.argwhere(frame.read().bad)}
    assert bad == {(3, 4), (7, 8), (20, 21)}
    assert np.isfinite(frame.read().values).all()


def test_a_normalised_flat_is_not_darkened_again(camera: Camera) -> None:
    fits.writeto(camera.folder / "master_flat.fits", camera.flat.astype(np.float32), overwrite=True)
    (frame,) = read(camera, "light0.fits", bias="bias*.fits", flat="master_flat.fits")
    (plain,) = read(camera, "light0.fits", bias="bias*.fits")
    np.testing.assert_allclose(
        frame.read().values, plain.read().values / camera.flat / np.float32(1), rtol=1e-4, atol=1e-2
    )


def test_calibration_frames_are_no_frames_though_the_pattern_fits_them(camera: Camera) -> None:
    frames = read(camera, "[bl]i[ag][sh]*.fits", bias="bias*.fits")
    assert {frame.name[:5] for frame in frames} == {"light"}


def test_what_was_done_stands_in_notes_and_provenance(camera: Camera) -> None:
    frames = read(camera, bias="bias*.fits", dark="dark[0-9].fits")
    assert "bias: 7 exposures combined" in frames.notes
    assert "dark: 7 of 120 s" in frames.notes
    assert frames[0].image.provenance.steps[-1]["step"] == "calibrate"


def test_without_ccdproc_the_remedy_is_named(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "ccdproc":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"needs ccdproc; pip install 'sciSR\[ccd\]'"):
        read(camera, bias="bias*.fits")


def test_a_missing_dark_stops_the_run(camera: Camera) -> None:
    with pytest.raises(sciSR.SciSRError, match=r"nothere.fits.*given as dark|no such file"):
        read(camera, "light0.fits", dark="nothere.fits")


def test_a_frame_that_no_master_fits_is_left_out_by_name(camera: Camera) -> None:
    fits.writeto(camera.folder / "little.fits", np.ones((10, 12), "u2"), overwrite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        frames = sciSR.read_sequence(
            [camera.folder / "light0.fits", camera.folder / "little.fits"], bias=camera.folder / "bias*.fits"
        )
    assert len(frames) == 1
    assert frames.left_out[0].name == "little.fits"
    assert "10x12" in frames.left_out[0].reason
