"""What is written: whole or not at all, standard FITS, everything of the input carried in its place."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, faults, header_of, read, refined, save, upscaled, write

from sciSR.errors import ResourceError, UsageError
from sciSR.image import Image
from scisr_astronomy.fits_adapter import adapter

RNG = np.random.default_rng(4)
DATA = RNG.normal(100, 5, size=(12, 16)).astype(np.float32)


def simple(path: Path, **cards: object) -> Path:
    return write(path, fits.PrimaryHDU(DATA, header_of(TAN | {"BUNIT": "MJy/sr"} | cards)))


def test_a_simple_image_becomes_float32_with_sums_history_and_provenance(tmp_path: Path) -> None:
    path = simple(tmp_path / "m51.fits", OBJECT="M51", DATAMAX=3.0)
    target = upscaled(path, adapter.default_output(path, "2"))
    assert target.name == "m51_x2.fits"
    assert faults(target) == (0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a wrong checksum is a warning
        with fits.open(target, checksum=True) as hdus:
            header = hdus[0].header
            assert hdus[0].data.dtype == np.dtype(">f4")
            assert np.array_equal(hdus[0].data, DATA.repeat(2, 0).repeat(2, 1))
            assert header["OBJECT"] == "M51"
            assert "DATAMAX" not in header
            assert len(hdus[0].header["CHECKSUM"]) == 16
            history = "\n".join(header["HISTORY"])
            assert "DATAMAX" in history
            assert "nearest" in history
            assert hdus["SCISR_PROV"].data["PROVENANCE"][0].startswith('[{"software"')


def test_reading_our_own_file_keeps_its_provenance_through_another_round(tmp_path: Path) -> None:
    once = upscaled(simple(tmp_path / "a.fits"), tmp_path / "b.fits")
    image = read(once)[0]
    assert [step["model"] for step in image.provenance.steps] == ["nearest"]
    twice = upscaled(once, tmp_path / "c.fits")
    assert len(read(twice)[0].provenance.steps) == 2
    with fits.open(twice) as hdus:
        assert len(hdus) == 2


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.fits")
    first, second = upscaled(path, tmp_path / "1.fits"), upscaled(path, tmp_path / "2.fits")
    assert first.read_bytes() == second.read_bytes()
    zipped = [upscaled(path, tmp_path / f"{n}.fits.gz").read_bytes() for n in (3, 4)]
    assert zipped[0] == zipped[1]
    assert gzip.decompress(zipped[0]) == first.read_bytes()


def test_blocks_of_any_shape_in_any_order_give_the_same_file(tmp_path: Path) -> None:
    cube = RNG.normal(size=(3, 10, 14)).astype(np.float32)
    path = write(tmp_path / "cube.fits", fits.PrimaryHDU(cube, header_of({"BUNIT": "K"})))
    result = [refined(image, 2) for image in read(path)]
    whole = save(result, tmp_path / "whole.fits").read_bytes()
    pieces = [
        (n, slice(y, y + 7), slice(x, x + 9))
        for n in range(3)
        for y in range(0, 20, 7)
        for x in range(0, 28, 9)
    ]
    RNG.shuffle(pieces)
    with adapter.open_writer(tmp_path / "tiles.fits", result) as writer:
        for n, ys, xs in pieces:
            index = (int(n), slice(ys.start, min(ys.stop, 20)), slice(xs.start, min(xs.stop, 28)))
            writer.put(0, index, result[0].data[index])
        writer.commit(result)
    assert (tmp_path / "tiles.fits").read_bytes() == whole


def test_leaving_early_failing_or_missing_pixels_leaves_nothing(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.fits")
    result = [refined(image, 2) for image in read(path)]
    target = tmp_path / "out.fits.gz"
    with adapter.open_writer(target, result) as writer:
        writer.put(0, (slice(0, 5),), result[0].data[:5])
    with pytest.raises(RuntimeError, match="engine"), adapter.open_writer(target, result) as writer:
        raise RuntimeError("engine")
    with adapter.open_writer(target, result) as writer:
        writer.put(0, (slice(0, 5),), result[0].data[:5])
        with pytest.raises(UsageError, match="only part"):
            writer.commit(result)
    assert os.listdir(tmp_path) == ["a.fits"]


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.fits")
    target = upscaled(path, tmp_path / "b.fits")
    before = target.read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        upscaled(path, target, 3)
    assert target.read_bytes() == before
    save([refined(image, 3) for image in read(path)], target, overwrite=True)
    assert read(target)[0].shape == (36, 48)
    save([refined(image, 2) for image in read(path)], path, overwrite=True)  # over its own input
    assert np.array_equal(read(path)[0].data[::1, ::1], DATA.repeat(2, 0).repeat(2, 1))


def test_a_killed_run_leaves_the_old_file(tmp_path: Path) -> None:
    path = simple(tmp_path / "a.fits")
    target = upscaled(path, tmp_path / "b.fits")
    before = target.read_bytes()
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from fits_samples import *
        result = [refined(image, 3) for image in read(Path({str(path)!r}))]
        with adapter.open_writer(Path({str(target)!r}), result, overwrite=True) as writer:
            writer.put(0, (slice(0, 20),), result[0].data[:20])
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == before


def test_a_full_disk_is_told_before_any_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    path = simple(tmp_path / "a.fits")
    result = [refined(image, 2) for image in read(path)]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ResourceError, match="nothing was written"):
        adapter.open_writer(tmp_path / "b.fits", result)
    assert os.listdir(tmp_path) == ["a.fits"]


def test_tables_and_other_hdus_are_carried_byte_by_byte_in_place(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("T", "D", array=np.arange(7.0)),
            fits.Column("V", "PJ()", array=[np.arange(n) for n in range(7)]),
        ],
        name="EVENTS",
    )
    hdus = [
        fits.PrimaryHDU(header=header_of({"TELESCOP": "HST", "NEXTEND": 4})),
        fits.TableHDU.from_columns([fits.Column("A", "A5", array=["x", "yy"])], name="TEXT"),
        fits.ImageHDU(DATA, header_of(TAN | {"BUNIT": "K"}), name="SCI"),
        fits.ImageHDU(np.arange(9.0), name="SPECTRUM"),
        table,
    ]
    path = write(tmp_path / "a.fits", *hdus)
    target = upscaled(path, tmp_path / "b.fits")
    assert faults(target) == (0, 0)
    with fits.open(path) as old, fits.open(target) as new:
        assert [h.name for h in new] == [*(h.name for h in old), "SCISR_PROV"]
        assert new[0].header["NEXTEND"] == 5
        raw_old, raw_new = path.read_bytes(), target.read_bytes()
        for index in (1, 3, 4):
            a, b = old[index], new[index]
            size = a._data_offset + a._data_size - a._header_offset
            assert raw_old[a._header_offset :][:size] == raw_new[b._header_offset :][:size]


def test_a_compressed_image_is_written_plain(tmp_path: Path) -> None:
    header = header_of(TAN | {"BUNIT": "K", "OBJECT": "M51"})
    data = DATA.astype(np.int16)
    path = write(tmp_path / "a.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(data, header, name="SCI"))
    target = upscaled(path, adapter.default_output(path, "2"))
    assert target.name == "a_x2.fits"
    assert faults(target) == (0, 0)
    with fits.open(target, disable_image_compression=True) as hdus:
        assert isinstance(hdus["SCI"], fits.ImageHDU)
        assert hdus["SCI"].header["OBJECT"] == "M51"
        assert not [key for key in hdus["SCI"].header if key.startswith("Z")]
        assert np.array_equal(hdus["SCI"].data, data.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "bool"])
def test_every_dtype_survives_writing(tmp_path: Path, dtype: str) -> None:
    info = None if dtype in ("f4", "f8", "bool") else np.iinfo(dtype)
    data = (
        RNG.normal(size=(5, 6))
        if info is None
        else RNG.integers(info.min, info.max, size=(5, 6), dtype=dtype, endpoint=True)
    ).astype(dtype)
    target = save([Image.from_array(data)], tmp_path / "a.fits")
    assert faults(target) == (0, 0)
    with fits.open(target) as hdus:
        assert np.array_equal(hdus[0].data, data)
        if info is not None:
            assert hdus[0].data.dtype.kind == np.dtype(dtype).kind


def test_images_made_in_memory_are_written_with_their_uncertainty_and_mask(tmp_path: Path) -> None:
    image = Image.from_array(DATA, unit="mJy", uncertainty=np.sqrt(DATA), mask=DATA > 100, part="M51")
    target = save([refined(image, Fraction(3, 2))], tmp_path / "a.fits")
    assert faults(target) == (0, 0)
    back = read(target)[0]
    assert back.unit == "mJy"
    assert back.shape == (18, 24)
    assert back.uncertainty is not None
    assert np.array_equal(back.mask[...], np.asarray(refined(image, Fraction(3, 2)).mask[...]))
    # Without a WCS, LTV and LTM still say where the original pixels are.
    assert np.allclose(back.grid.world(np.array([[-0.5, -0.5], [17.5, 23.5]])), [[-0.5, -0.5], [11.5, 15.5]])


def test_several_images_made_in_memory_become_extensions(tmp_path: Path) -> None:
    images = [Image.from_array(DATA, part="SCI"), Image.from_array(DATA * 2, part="SCI")]
    target = save(images, tmp_path / "a.fits")
    assert faults(target) == (0, 0)
    assert [image.part for image in read(target)] == ["SCI,1", "SCI,2"]


def test_images_of_different_files_are_not_mixed(tmp_path: Path) -> None:
    one, two = simple(tmp_path / "a.fits"), simple(tmp_path / "b.fits")
    with pytest.raises(UsageError, match="one FITS file"):
        adapter.open_writer(tmp_path / "c.fits", [*read(one), *read(two)])
    with pytest.raises(UsageError, match="twice"):
        adapter.open_writer(tmp_path / "c.fits", read(one) * 2)
    with pytest.raises(UsageError, match="no image"):
        adapter.open_writer(tmp_path / "c.fits", [])


def test_a_shape_that_contradicts_the_grid_is_refused(tmp_path: Path) -> None:
    image = read(simple(tmp_path / "a.fits"))[0]
    wrong = Image(**{**image.__dict__, "data": np.zeros((24, 32), "f4"), "grid": image.grid.refine([2, 2])})
    with pytest.raises(UsageError, match="its grid says"):
        adapter.open_writer(
            tmp_path / "b.fits", [wrong.replace(data=np.zeros((25, 32), "f4"), grid=_Grid((25, 32)))]
        )
    assert save([wrong], tmp_path / "b.fits").exists()


class _Grid:
    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape, self.factors = shape, (Fraction(2), Fraction(2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m51.fits", "m51_x2.fits"),
        ("m51.fits.gz", "m51_x2.fits"),
        ("m51.fits.fz", "m51_x2.fits"),
        ("m51.fz", "m51_x2.fits"),
        ("HATP.FITS", "HATP_x2.fits"),
        ("a.b.fit.bz2", "a.b_x2.fits"),
        ("raw", "raw_x2.fits"),
    ],
)
def test_default_names(name: str, expected: str) -> None:
    assert adapter.default_output(Path("d") / name, "2") == Path("d") / expected
