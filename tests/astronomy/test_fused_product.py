"""The file of a fused image: what it holds, and that others can read it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, header_of, sky_error, wcs_of
from fused_samples import SHAPE, read_frames, scene, shift_and_add, write_frames, write_product
from ser_samples import TICKS_2014, write_ser

import sciSR
from sciSR.errors import UsageError
from sciSR.fusion.product import FrameRecord, Fused
from sciSR.grid import PixelGrid
from sciSR.image import Image
from sciSR.sequence import Frame, FrameSequence, LeftOut


def product(
    folder: Path, *, extension: bool = False, world: dict | None = None, **how: object
) -> tuple[Fused, Path]:
    fused = shift_and_add(read_frames(write_frames(folder, extension=extension, world=world)), **how)
    return fused, write_product(fused, folder / "fused.fits")


def faults(path: Path) -> str:
    """What fitsverify says against a file; empty where it is content."""
    done = subprocess.run(["fitsverify", "-q", str(path)], capture_output=True, text=True)
    return "" if done.returncode == 0 and done.stdout.startswith("verification OK") else done.stdout


@pytest.mark.parametrize("extension", [False, True])
@pytest.mark.parametrize("name", ["fused.fits", "fused.fits.gz"])
def test_the_product_holds_image_error_weight_coverage_context_frames_and_record(
    tmp_path: Path, extension: bool, name: str
) -> None:
    fused = shift_and_add(read_frames(write_frames(tmp_path, extension=extension)), context=True)
    path = write_product(fused, tmp_path / name)
    with fits.open(path, checksum=True) as hdus, warnings.catch_warnings():
        warnings.simplefilter("error")  # a wrong checksum is a warning
        assert [hdu.name for hdu in hdus] == [
            "PRIMARY",
            "SCI",
            "ERR",
            "WHT",
            "COV",
            "CTX",
            "FRAMES",
            "SCISR_PROV",
        ]
        np.testing.assert_array_equal(hdus["SCI"].data, fused.image.data)
        np.testing.assert_array_equal(hdus["ERR"].data, fused.image.uncertainty)
        np.testing.assert_array_equal(hdus["WHT"].data, fused.weight)
        np.testing.assert_array_equal(hdus["COV"].data, fused.coverage)
        np.testing.assert_array_equal(hdus["CTX"].data, fused.context[0])
        assert hdus["COV"].data.dtype == np.dtype(">i2")
        assert "fuse" in hdus["SCISR_PROV"].data["PROVENANCE"][0]


@pytest.mark.parametrize("extension", [False, True])
def test_fitsverify_finds_no_fault(tmp_path: Path, extension: bool) -> None:
    _, path = product(tmp_path, extension=extension, left_out={2: "a satellite's trail ± " + "long " * 60})
    assert faults(path) == ""


SIP = {
    "A_ORDER": 2,
    "B_ORDER": 3,
    "A_2_0": 2e-4,
    "A_1_1": -3e-5,
    "B_0_3": 4e-6,
    "B_2_0": 1e-4,
    "AP_ORDER": 2,
    "BP_ORDER": 2,
    "AP_2_0": -2e-4,
    "BP_2_0": -1e-4,
}
TPV = {"PV1_0": 1e-5, "PV1_1": 1.001, "PV1_4": 0.02, "PV2_1": 0.999, "PV2_7": 0.3}


@pytest.mark.parametrize(
    ("kind", "extra"), [("TAN", {}), ("TAN-SIP", SIP), ("TPV", TPV), ("CDELT", {}), ("alternate", {})]
)
@pytest.mark.parametrize("extension", [False, True])
def test_world_coordinates_of_all_pixels_edges_stay(
    tmp_path: Path, kind: str, extra: dict, extension: bool
) -> None:
    world = dict(TAN, **extra)
    if kind in ("TAN-SIP", "TPV"):
        world |= {"CTYPE1": f"RA---{kind}", "CTYPE2": f"DEC--{kind}"}
    elif kind == "CDELT":
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            del world[key]
        world |= {"CDELT1": -1e-5, "CDELT2": 1.2e-5, "PC1_2": 0.1, "PC2_1": -0.1}
    elif kind == "alternate":
        world |= {
            "CTYPE1P": "PX",
            "CTYPE2P": "PY",
            "CRPIX1P": 3.0,
            "CRPIX2P": 4.0,
            "CDELT1P": 2.0,
            "CDELT2P": 2.0,
        }
    _, path = product(tmp_path, extension=extension, world=world)
    with fits.open(tmp_path / "frame_0.fits") as before, fits.open(path) as after:
        old = wcs_of(before[-1].header)
        for name in ("SCI", "ERR", "WHT", "COV"):
            assert sky_error(old, wcs_of(after[name].header), SHAPE, 2) < 1e-10
        if kind == "alternate":
            alternates = (wcs_of(h.header, alt="P") for h in (before[-1], after["SCI"]))
            assert sky_error(*alternates, SHAPE, 2) < 1e-10


def test_a_look_up_distortion_is_carried_to_the_fine_grid(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    paths = []
    for path in write_frames(tmp_path, extension=True):
        with fits.open(path) as hdus:
            header = hdus["SCI"].header
            for n in (1, 2):
                header[f"CPDIS{n}"] = "LOOKUP"
                for field, value in (("EXTVER", n), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
                    header[f"DP{n}.{field}"] = float(value)
            tables = []
            for version in (1, 2):
                table = fits.ImageHDU(
                    generator.normal(0, 0.3, (7, 8)).astype(np.float32), name="WCSDVARR", ver=version
                )
                cards = {
                    "CRPIX1": 1.0,
                    "CRPIX2": 1.0,
                    "CRVAL1": 1.0,
                    "CRVAL2": 1.0,
                    "CDELT1": 5.0,
                    "CDELT2": 5.0,
                }
                table.header.update(header_of(cards))
                tables.append(table)
            new = fits.HDUList([hdus[0].copy(), fits.ImageHDU(hdus["SCI"].data, header), *tables])
            target = path.with_name("lut_" + path.name)
            new.writeto(target)
            paths.append(target)
    fused = shift_and_add(read_frames(paths))
    written = write_product(fused, tmp_path / "fused.fits")
    with fits.open(paths[0]) as before, fits.open(written) as after:
        assert (
            sky_error(wcs_of(before[1].header, before), wcs_of(after["SCI"].header, after), SHAPE, 2) < 1e-10
        )
        plain = wcs_of(header_of(dict(TAN)))
        assert sky_error(plain, wcs_of(after["SCI"].header, after), SHAPE, 2) > 1e-7, "the distortion matters"


def test_totals_of_fine_pixels_sum_to_the_native_value_and_densities_keep_it(tmp_path: Path) -> None:
    paths = write_frames(tmp_path)
    for quantity, level in (("total", 4.0), ("density", 1.0)):
        fused = shift_and_add(read_frames(paths, quantity=quantity))
        path = write_product(fused, tmp_path / f"{quantity}.fits")
        native = np.mean(fits.getdata(paths[0]))
        assert np.nanmean(fits.getdata(path, "SCI")) * level == pytest.approx(native, rel=0.02)
        comments = str(fits.getheader(path, "SCI")["COMMENT"])
        assert ("sum to its value" in comments) == (quantity == "total")


def test_scisr_reads_and_upscales_its_own_product(tmp_path: Path) -> None:
    _, path = product(tmp_path)
    [image] = sciSR.read_all(path)
    assert image.part == "SCI"
    assert image.unit == "electron"
    np.testing.assert_array_equal(np.asarray(image.uncertainty[...]), fits.getdata(path, "ERR"))
    assert image.provenance.steps[-1]["step"] == "fuse"


def test_the_frame_table_has_a_row_for_every_frame_given(tmp_path: Path) -> None:
    sequence = read_frames(write_frames(tmp_path))
    sequence = replace(sequence, left_out=(LeftOut("broken.fits", "truncated"),))
    fused = shift_and_add(sequence, left_out={1: "cloud"}, context=True)
    table = fits.getdata(write_product(fused, tmp_path / "fused.fits"), "FRAMES")
    assert list(table["NAME"]) == [*(f"frame_{k}.fits" for k in range(4)), "broken.fits"]
    assert list(table["USED"]) == [True, False, True, True, False]
    assert list(table["REFERENCE"]) == [True, False, False, False, False]
    assert list(table["REASON"]) == ["", "cloud", "", "", "truncated"]
    assert list(table["CTXBIT"]) == [0, -1, 1, 2, -1]
    np.testing.assert_allclose(table["MATRIX"][2], fused.records[2].matrix)
    context = fits.getdata(tmp_path / "fused.fits", "CTX")
    coverage = fits.getdata(tmp_path / "fused.fits", "COV")
    bits = sum((context >> bit) & 1 for bit in table["CTXBIT"] if bit >= 0)
    np.testing.assert_array_equal(bits, coverage)


def test_every_number_of_a_record_stands_in_the_table(tmp_path: Path) -> None:
    fused, _ = product(tmp_path)
    record = FrameRecord(
        name="frame_0.fits",
        used=True,
        reference=True,
        model="affine",
        how="stars",
        matrix=(1.1, 0.2, -3.0, 0.4, 0.9, 7.5),
        error_px=0.011,
        rms_px=0.12,
        n_stars=13,
        fwhm_px=2.14,
        background=15.5,
        gain=1.16,
        noise=17.5,
        weight=0.18,
        rejected=19,
        bad=20,
        exposure=21.5,
        start="2026-01-01T00:00:00.022",
        quality=0.23,
    )
    fused = replace(fused, records=(record, *fused.records[1:]))
    row = fits.getdata(write_product(fused, tmp_path / "again.fits"), "FRAMES")[0]
    names = ("ERRPOS", "RMSPOS", "NSTARS", "FWHM", "BACKGND", "GAIN", "NOISE", "WEIGHT", "NREJECT", "NBAD")
    values = [row[name] for name in (*names, "EXPOSURE", "QUALITY")]
    assert values == [0.011, 0.12, 13, 2.14, 15.5, 1.16, 17.5, 0.18, 19, 20, 21.5, 0.23]
    assert (row["MODEL"], row["HOW"], row["START"]) == ("affine", "stars", "2026-01-01T00:00:00.022")
    assert tuple(row["MATRIX"]) == record.matrix


def test_more_than_32_frames_make_planes_of_bits(tmp_path: Path) -> None:
    fused, _ = product(tmp_path)
    context = np.zeros((2, *fused.image.shape), np.int32)
    context[0] = -1  # all of the first 32 frames
    context[1, 3, 4] = 0b101
    path = write_product(replace(fused, context=context), tmp_path / "many.fits")
    np.testing.assert_array_equal(fits.getdata(path, "CTX"), context)
    assert faults(path) == ""


def test_partial_coverage_is_not_rounded(tmp_path: Path) -> None:
    fused, _ = product(tmp_path)
    coverage = fused.coverage + np.float32(0.25)
    path = write_product(replace(fused, coverage=coverage), tmp_path / "part.fits")
    np.testing.assert_array_equal(fits.getdata(path, "COV"), coverage)


def bare(count: int = 4) -> Fused:
    """Frames without any header, as from a video."""
    arrays = [np.asarray(scene(SHAPE, seed)[: SHAPE[0], : SHAPE[1]], np.float32) for seed in range(count)]
    frames = tuple(
        Frame(Image.from_array(a), f"jupiter.ser[{k}]", 0.01, f"2026-01-01T00:00:00.{k}0")
        for k, a in enumerate(arrays)
    )
    return shift_and_add(FrameSequence(frames))


def test_frames_without_any_header_make_a_valid_product(tmp_path: Path) -> None:
    fused = bare()
    assert isinstance(fused.image.grid, PixelGrid)
    path = write_product(fused, tmp_path / "jupiter.fits")
    assert faults(path) == ""
    header = fits.getheader(path, "SCI")
    assert header["EXPTIME"] == pytest.approx(0.04)
    assert header["EXPREF"] == pytest.approx(0.01)
    assert (header["LTM1_1"], header["LTV1"]) == (2.0, -0.5), "the original pixels are still told"


def test_a_clips_observer_and_times_stand_in_the_header(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(100, 200, (4, *SHAPE)).astype(np.uint16)
    ticks = [TICKS_2014 + 10_000_000 * k for k in range(4)]  # a second apart
    source = write_ser(tmp_path / "jupiter.ser", frames, ticks=ticks)
    path = write_product(shift_and_add(read_frames([source])), tmp_path / "jupiter.fits")
    header = fits.getheader(path)
    assert [header[k] for k in ("OBSERVER", "INSTRUME", "TELESCOP")] == [
        "Galileo",
        "Cannocchiale",
        "Perspicillum",
    ]
    assert header["DATE-BEG"] == "2014-02-06T12:00:00.000"
    assert header["TELAPSE"] == pytest.approx(3.0)
    assert faults(path) == ""


def test_planes_of_a_cube_make_a_plane_with_the_cubes_sky(tmp_path: Path) -> None:
    fine = scene()
    cube = np.stack([fine[: 2 * SHAPE[0], : 2 * SHAPE[1]].reshape(24, 2, 30, 2).sum(axis=(1, 3))] * 4)
    time = {"CTYPE3": "TIME", "CRPIX3": 1.0, "CRVAL3": 0.0, "CUNIT3": "s", "CD3_3": 5.0}
    header = header_of({**TAN, **time, "WCSAXES": 3, "BUNIT": "electron"})
    source = tmp_path / "cube.fits"
    fits.PrimaryHDU(cube.astype(np.float32), header).writeto(source)
    fused = shift_and_add(read_frames([source]), shifts=((0, 0),) * 4)
    path = write_product(fused, tmp_path / "fused.fits")
    after = fits.getheader(path, "SCI")
    assert after["NAXIS"] == 2
    assert not [key for key in after if key.endswith("3") and key != "NAXIS3"], list(after)
    assert sky_error(wcs_of(header_of(TAN)), wcs_of(after), SHAPE, 2) < 1e-10
    assert faults(path) == ""


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    fused, path = product(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        fused.write(path)
    assert path.read_bytes() == before
    assert fused.write(path, overwrite=True) == path
    assert not list(tmp_path.glob(".*"))


def test_a_format_without_fused_products_is_refused_by_name(tmp_path: Path) -> None:
    fused, _ = product(tmp_path)
    with pytest.raises(UsageError, match=r"nifti.*\.fits"):
        fused.write(tmp_path / "fused.nii.gz")


def test_maps_of_another_shape_are_refused(tmp_path: Path) -> None:
    fused, _ = product(tmp_path)
    for wrong in (
        {"weight": fused.weight[1:]},
        {"coverage": fused.coverage[:, 1:]},
        {"context": np.zeros((1, 3, 3), np.int32)},
    ):
        with pytest.raises(UsageError, match="shape"):
            replace(fused, **wrong).write(tmp_path / "wrong.fits")
    assert not (tmp_path / "wrong.fits").exists()


def test_a_run_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    _, path = product(tmp_path)
    before = path.read_bytes()
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from fused_samples import read_frames, shift_and_add
        import scisr_astronomy.fused_product as writer
        fused = shift_and_add(read_frames(sorted(Path({str(tmp_path)!r}).glob("frame_*.fits"))))
        write = writer._write_hdu
        def dying(stream, hdu):
            write(stream, hdu)
            stream.flush()
            if hdu.header.get("EXTNAME") == "ERR":
                os.kill(os.getpid(), signal.SIGKILL)
        writer._write_hdu = dying
        fused.write({str(path)!r}, overwrite=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=dict(os.environ), capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == before
