"""FITS files as frames: what is a frame, what is left out, and what each is called."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fits_samples import TAN, header_of, write

import sciSR
from sciSR.errors import SciSRError, SciSRWarning, UnreadableError, UnsupportedError, UsageError
from sciSR.sequence import FrameSequence

RNG = np.random.default_rng(7)


def image(name: Path, data: np.ndarray | None = None, **cards: Any) -> Path:
    data = RNG.normal(100, 3, (24, 32)).astype(np.float32) if data is None else data
    return write(name, fits.PrimaryHDU(data, header_of({"BUNIT": "adu", **cards})))


def quiet(paths: Any, **options: Any) -> FrameSequence:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SciSRWarning)
        return sciSR.read_sequence(paths, **options)


def names(sequence: FrameSequence) -> list[str]:
    return [frame.name for frame in sequence]


# Which files


def test_a_pattern_comes_by_name_and_a_list_as_given(tmp_path: Path) -> None:
    for name in ("b.fits", "c.fits", "a.fits"):
        image(tmp_path / name)
    assert names(quiet(tmp_path / "*.fits")) == ["a.fits", "b.fits", "c.fits"]
    assert names(quiet([tmp_path / "c.fits", tmp_path / "a.fits"])) == ["c.fits", "a.fits"]
    assert names(quiet([tmp_path / "c.fits", str(tmp_path / "*.fits")])) == ["c.fits", "a.fits", "b.fits"]


def test_one_file_counts_once_however_it_is_named(tmp_path: Path) -> None:
    path = image(tmp_path / "a.fits")
    (tmp_path / "link.fits").symlink_to(path)
    assert names(quiet([path, str(path), tmp_path / "." / "a.fits", tmp_path / "link.fits"])) == ["a.fits"]


def test_a_folder_gives_its_images_and_skips_what_is_none(tmp_path: Path) -> None:
    image(tmp_path / "b.fits")
    image(tmp_path / "a.FIT")
    (tmp_path / "notes.txt").write_text("clear, no moon")
    (tmp_path / ".hidden.fits").write_bytes((tmp_path / "b.fits").read_bytes())
    assert names(quiet(tmp_path)) == ["a.FIT", "b.fits"]
    with pytest.raises(UnreadableError, match="no file in this folder"):
        quiet(image(tmp_path / "c.fits").parent.joinpath("empty").mkdir() or tmp_path / "empty")


def test_a_name_with_brackets_is_a_name_if_it_exists(tmp_path: Path) -> None:
    path = image(tmp_path / "m13[1].fits")
    assert len(quiet(path)) == 1


def test_a_pattern_that_fits_nothing_and_an_empty_list_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\*.fits: no file fits this pattern"):
        quiet(tmp_path / "*.fits")
    with pytest.raises(UsageError, match="no frames"):
        quiet([])


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for night in ("night1", "night2"):
        (tmp_path / night).mkdir()
        image(tmp_path / night / "m13.fits")
    image(tmp_path / "other.fits")
    sequence = quiet([tmp_path / "night1", tmp_path / "night2", tmp_path / "other.fits"])
    assert names(sequence) == ["night1/m13.fits", "night2/m13.fits", "other.fits"]


def test_folders_of_one_name_are_told_apart_too(tmp_path: Path) -> None:
    for path in ("red/night1", "blue/night1", "blue/night2"):
        (tmp_path / path).mkdir(parents=True)
        image(tmp_path / path / "m13.fits")
    sequence = quiet([tmp_path / "red/night1", tmp_path / "blue/night1", tmp_path / "blue/night2"])
    assert names(sequence) == ["red/night1/m13.fits", "blue/night1/m13.fits", "blue/night2/m13.fits"]


# What can't be read


def broken(path: Path) -> Path:
    raw = image(path).read_bytes()
    path.write_bytes(raw[: len(raw) - 2880])
    return path


def test_a_corrupt_file_among_good_ones_is_named_and_left_out(tmp_path: Path) -> None:
    for k in range(3):
        image(tmp_path / f"a{k}.fits")
    broken(tmp_path / "a3.fits")
    (tmp_path / "a4.fits").write_bytes(b"")
    (tmp_path / "a5.fits").write_text("no image at all")
    sequence = quiet([*sorted(tmp_path.glob("*.fits")), tmp_path / "missing.fits"])
    assert names(sequence) == ["a0.fits", "a1.fits", "a2.fits"]
    reasons = {out.name: out.reason for out in sequence.left_out}
    assert list(reasons) == ["a4.fits", "a5.fits", "missing.fits", "a3.fits[0]"]
    assert "truncated" in reasons["a3.fits[0]"]
    assert "empty" in reasons["a4.fits"]
    assert "no such file" in reasons["missing.fits"]


def test_strict_stops_at_the_first(tmp_path: Path) -> None:
    image(tmp_path / "a.fits")
    broken(tmp_path / "b.fits")
    with pytest.raises(UnreadableError, match=r"b.fits.*truncated"):
        quiet(tmp_path / "*.fits", strict=True)


def test_nothing_readable_is_an_error_that_tells_why(tmp_path: Path) -> None:
    for k in range(4):
        broken(tmp_path / f"{k}.fits")
    with pytest.raises(UnreadableError, match=r"none of 4 files can be used; the first: .*0.fits.*truncated"):
        quiet(tmp_path)
    with pytest.raises(UnreadableError, match=r"^\S*0.fits.*truncated"):
        quiet(tmp_path / "0.fits")


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no option nonsense"):
        quiet(image(tmp_path / "a.fits"), nonsense=1)


def test_the_same_warning_about_many_files_is_told_once(tmp_path: Path) -> None:
    for k in range(9):
        write(tmp_path / f"{k}.fits", fits.PrimaryHDU(np.ones((20, 20), np.float32)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sequence = sciSR.read_sequence(tmp_path)
    unit = [str(w.message) for w in caught if "no unit tells" in str(w.message)]
    assert len(unit) == 1
    assert unit[0].startswith("0.fits[0], 1.fits[0], 2.fits[0] and 6 more: no unit tells")
    assert unit[0] in sequence.notes


def test_different_shapes_are_allowed_and_noted(tmp_path: Path) -> None:
    image(tmp_path / "a.fits", np.ones((24, 30), np.float32))
    image(tmp_path / "b.fits", np.ones((20, 30), np.float32))
    sequence = quiet(tmp_path)
    assert [frame.shape for frame in sequence] == [(24, 30), (20, 30)]
    assert any("2 different shapes" in note and "24x30" in note for note in sequence.notes)


def test_a_stale_checksum_warns_and_strict_refuses(tmp_path: Path) -> None:
    good = write(tmp_path / "good.fits", fits.PrimaryHDU(np.ones((20, 20), np.float32)), checksum=True)
    raw = bytearray(good.read_bytes())
    raw[2880 + 100] ^= 1
    (tmp_path / "edited.fits").write_bytes(raw)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sequence = sciSR.read_sequence(tmp_path)
    assert any(str(w.message).startswith("edited.fits[0]: DATASUM is wrong") for w in caught)
    assert names(sequence) == ["edited.fits", "good.fits"]
    assert any(note.startswith("edited.fits[0]: DATASUM is wrong") for note in sequence.notes)
    with pytest.raises(UnreadableError, match="DATASUM"):
        quiet(tmp_path, strict=True)
    with pytest.raises(UnreadableError, match="--ignore-checksum"):
        sciSR.read(tmp_path / "edited.fits")
    assert not any("DATASUM" in note for note in quiet(tmp_path, ignore_checksum=True).notes)


# What a frame is


@pytest.mark.parametrize("third", [{}, {"CTYPE3": "TIME", "CDELT3": 30.0}, {"CTYPE3": "UTC"}])
def test_each_plane_of_a_cube_is_a_frame_at_the_same_place_in_the_sky(
    tmp_path: Path, third: dict[str, Any]
) -> None:
    cube = RNG.normal(100, 3, (5, 24, 32)).astype(np.float32)
    cards = {**TAN, **third, "BUNIT": "adu", "EXPTIME": 2.0}
    path = write(tmp_path / "cube.fits", fits.PrimaryHDU(cube, header_of(cards)))
    with pytest.warns(
        SciSRWarning, match="cube.fits: a cube: each of its 5 planes is taken for one exposure"
    ):
        sequence = sciSR.read_sequence(path)
    assert names(sequence) == [f"cube.fits[{k}]" for k in range(5)]
    points = np.array([[0.0, 0.0], [7.25, 30.5]])
    sky = WCS(fits.getheader(path)).celestial.pixel_to_world_values(points[:, 1], points[:, 0])
    for frame, plane in zip(sequence, cube, strict=True):
        np.testing.assert_array_equal(frame.read().values, plane)
        np.testing.assert_allclose(frame.image.grid.world(points)[:, :2], np.transpose(sky), atol=1e-10)
        assert frame.exposure == 2.0


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("FREQ", "spectral"),
        ("WAVE-LOG", "spectral"),
        ("VRAD", "spectral"),
        ("STOKES", "polarisation"),
        ("RGB", "colour"),
    ],
)
def test_an_axis_that_is_plainly_not_time_is_refused(tmp_path: Path, kind: str, what: str) -> None:
    cards = {**TAN, "CTYPE3": kind, "CRVAL3": 5.0, "CDELT3": 1.0, "BUNIT": "adu"}
    path = write(tmp_path / "cube.fits", fits.PrimaryHDU(np.ones((4, 24, 32), np.float32), header_of(cards)))
    with pytest.raises(UnsupportedError, match=rf"cube.fits.*CTYPE3={kind}.*{what}, not time"):
        quiet(path)


def test_two_further_axes_are_refused_and_ones_of_length_one_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "four.fits", fits.PrimaryHDU(np.ones((3, 2, 24, 32), np.float32)))
    with pytest.raises(UnsupportedError, match="NAXIS4=3, NAXIS3=2"):
        quiet(path)
    flat = write(tmp_path / "flat.fits", fits.PrimaryHDU(np.ones((1, 1, 24, 32), np.float32)))
    assert [frame.shape for frame in quiet(flat)] == [(24, 32)]


def exposure(path: Path, chips: int = 2) -> Path:
    """An exposure of several detectors with errors and flags, as HST's."""
    hdus: list[Any] = [fits.PrimaryHDU(header=header_of({"EXPTIME": 500.0, "FILTER": "F606W"}))]
    for chip in range(1, chips + 1):
        data = np.full((24, 32), 10.0 * chip, np.float32)
        flags = np.zeros((24, 32), np.int16)
        flags[chip, 3] = 4096
        wcs = header_of({**TAN, "CRPIX1": 20.0 + 40 * chip, "BUNIT": "ELECTRONS"})
        for name, pixels, header in (("SCI", data, wcs), ("ERR", data / 5, None), ("DQ", flags, None)):
            hdu = fits.ImageHDU(pixels, header, name=name)
            hdu.ver = chip
            hdus.append(hdu)
    return write(path, *hdus)


def test_each_detector_of_an_exposure_is_a_frame_with_its_errors_and_flags(tmp_path: Path) -> None:
    path = exposure(tmp_path / "j8_flt.fits")
    sequence = quiet(path)
    assert names(sequence) == ["j8_flt.fits[SCI,1]", "j8_flt.fits[SCI,2]"]
    with fits.open(path) as hdus:
        for chip, frame in enumerate(sequence, start=1):
            pixels = frame.read()
            np.testing.assert_array_equal(pixels.values, hdus["SCI", chip].data)
            np.testing.assert_array_equal(pixels.bad, hdus["DQ", chip].data != 0)
            np.testing.assert_allclose(pixels.variance[~pixels.bad], hdus["ERR", chip].data[~pixels.bad] ** 2)
            assert (frame.exposure, frame.filter, frame.noise) == (500.0, "F606W", None)
            sky = WCS(hdus["SCI", chip].header).pixel_to_world_values(5.0, 9.0)
            np.testing.assert_allclose(frame.image.grid.world(np.array([9.0, 5.0])), sky, atol=1e-10)


def test_hdu_and_dq_bits_are_heeded(tmp_path: Path) -> None:
    path = exposure(tmp_path / "j8_flt.fits")
    assert names(quiet(path, hdu="SCI,2")) == ["j8_flt.fits[SCI,2]"]
    assert not quiet(path, dq_bits="1,2")[0].read().bad.any()


def test_of_jwsts_flags_only_do_not_use_counts(tmp_path: Path) -> None:
    flags = np.zeros((24, 32), np.uint32)
    flags[2, 3], flags[4, 5] = 4, 5  # a jump that was found; the same and do not use
    path = write(
        tmp_path / "jw_cal.fits",
        fits.PrimaryHDU(header=header_of({"TELESCOP": "JWST"})),
        fits.ImageHDU(np.ones((24, 32), np.float32), header_of({"BUNIT": "MJy/sr"}), name="SCI"),
        fits.ImageHDU(flags, name="DQ"),
    )
    assert [tuple(p) for p in np.argwhere(quiet(path)[0].read().bad)] == [(4, 5)]
    assert quiet(path, dq_bits="all")[0].read().bad.sum() == 2


def test_of_rubins_masks_a_detected_star_is_not_bad(tmp_path: Path) -> None:
    flags = np.zeros((24, 32), np.int32)
    flags[2, 3], flags[4, 5], flags[6, 7] = 1 << 5, 1 << 3, (1 << 5) | (1 << 1)
    planes = header_of({"HIERARCH MP_SAT": 1, "HIERARCH MP_CR": 3, "HIERARCH MP_DETECTED": 5})
    path = write(
        tmp_path / "calexp.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(np.ones((24, 32), np.float32), header_of({"BUNIT": "adu"}), name="IMAGE"),
        fits.ImageHDU(flags, planes, name="MASK"),
        fits.ImageHDU(np.full((24, 32), 9, np.float32), name="VARIANCE"),
    )
    pixels = quiet(path)[0].read()
    assert [tuple(p) for p in np.argwhere(pixels.bad)] == [(4, 5), (6, 7)]
    np.testing.assert_allclose(pixels.variance[~pixels.bad], 9)


def test_a_weight_map_in_the_file_is_heeded(tmp_path: Path) -> None:
    weight = np.full((24, 32), 1 / 9, np.float32)
    weight[7, 8] = 0
    path = write(
        tmp_path / "des.fits",
        fits.PrimaryHDU(),
        fits.ImageHDU(
            RNG.normal(100, 3, (24, 32)).astype(np.float32), header_of({"BUNIT": "adu"}), name="SCI"
        ),
        fits.ImageHDU(np.zeros((24, 32), np.int16), name="MSK"),
        fits.ImageHDU(weight, name="WGT"),
    )
    (frame,) = quiet(path)
    assert [tuple(p) for p in np.argwhere(frame.read().bad)] == [(7, 8)]
    np.testing.assert_allclose(frame.read().variance[weight > 0], 9, rtol=1e-5)


def test_raw_unsigned_integers_are_read_as_astropy_reads_them(tmp_path: Path) -> None:
    data = RNG.integers(0, 65536, (24, 32)).astype(np.uint16)
    path = write(tmp_path / "raw.fits", fits.PrimaryHDU(data))
    pixels = quiet(path)[0].read()
    np.testing.assert_array_equal(pixels.values, fits.getdata(path).astype(np.float32))


@pytest.mark.parametrize("name", ["DQ", "WHT", "ERR"])
def test_a_mask_or_weight_alone_is_no_frame_unless_asked_for(tmp_path: Path, name: str) -> None:
    data = np.ones((24, 32), np.int16 if name == "DQ" else np.float32)
    path = write(tmp_path / "lonely.fits", fits.PrimaryHDU(), fits.ImageHDU(data, name=name))
    with pytest.raises(UnsupportedError, match=r"lonely.fits\[\w+\]: holds (flags|weights)"):
        quiet(path)
    if name == "WHT":
        assert len(quiet(path, hdu="WHT")) == 1


def test_a_dark_among_the_frames_is_noticed(tmp_path: Path) -> None:
    image(tmp_path / "a.fits", IMAGETYP="Dark Frame")
    with pytest.warns(SciSRWarning, match=r"IMAGETYP is 'Dark Frame': is it meant as a frame"):
        sciSR.read_sequence(tmp_path)


def test_a_bayer_mosaic_is_noticed(tmp_path: Path) -> None:
    image(tmp_path / "a.fits", BAYERPAT="RGGB")
    with pytest.warns(SciSRWarning, match="mosaic of colour filters"):
        sciSR.read_sequence(tmp_path)


def test_a_mask_image_of_bad_pixels_is_heeded_by_detector(tmp_path: Path) -> None:
    path = exposure(tmp_path / "j8_flt.fits")
    mask = np.zeros((24, 32), np.uint8)
    mask[20, 21] = 1
    one = write(tmp_path / "bad.fits", fits.PrimaryHDU(mask))
    assert [f.read().bad[20, 21] for f in quiet(path, bad_pixels=one)] == [True, True]
    hdus = [fits.PrimaryHDU()]
    for chip, pixels in ((1, mask), (2, mask * 0)):
        hdu = fits.ImageHDU(pixels, name="SCI")
        hdu.ver = chip
        hdus.append(hdu)
    two = write(tmp_path / "bad2.fits", *hdus)
    assert [f.read().bad[20, 21] for f in quiet(path, bad_pixels=two)] == [True, False]
    small = write(tmp_path / "small.fits", fits.PrimaryHDU(mask[:10]))
    with pytest.raises(UsageError, match=r"small.fits: the mask has 10x32 pixels"):
        quiet(exposure(tmp_path / "one_flt.fits", 1), bad_pixels=small)


# Many


def test_neither_open_files_nor_memory_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    import tracemalloc

    data = RNG.poisson(900, (256, 256)).astype(np.uint16)
    one = write(tmp_path / "f000.fits", fits.PrimaryHDU(data, header_of(TAN)))
    for k in range(1, 60):
        (tmp_path / f"f{k:03}.fits").write_bytes(one.read_bytes())
    quiet(one)
    before = len(os.listdir("/proc/self/fd"))
    tracemalloc.start()
    sequence = quiet(tmp_path)
    held = tracemalloc.get_traced_memory()[0]
    for frame in sequence:
        frame.read(slice(0, 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sequence) == 60
    assert len(os.listdir("/proc/self/fd")) == before
    assert held < 60 * 60_000  # a frame's pixels alone are 131,072 bytes
    assert peak < held + 16_000_000


@pytest.mark.parametrize("suffix", ["gz", "fz"])
def test_compressed_frames_are_frames(tmp_path: Path, suffix: str) -> None:
    data = RNG.normal(100, 3, (24, 32)).astype(np.float32)
    path = tmp_path / f"a.fits.{suffix}"
    if suffix == "gz":
        write(path, fits.PrimaryHDU(data))
    else:
        write(path, fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="GZIP_1", quantize_level=0))
    np.testing.assert_array_equal(quiet(path)[0].read().values, data)


def test_every_refusal_is_ours(tmp_path: Path) -> None:
    for k, text in enumerate(
        (b"SIMPLE  =", b"SIMPLE  =                    T" + b" " * 2850, b"\x1f\x8b\x08junk")
    ):
        path = tmp_path / f"{k}.fits"
        path.write_bytes(text)
        with pytest.raises(SciSRError):
            quiet(path)
