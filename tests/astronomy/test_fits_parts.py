"""Which HDUs are science, what goes with them, and how it follows to finer pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, faults, header_of, read, refined, save, sky_error, upscaled, wcs_of, write

import sciSR
from sciSR.errors import GeometryError, UnreadableError, UnsupportedError, UsageError
from scisr_astronomy.carry import companion_factor
from scisr_astronomy.fits_adapter import adapter

RNG = np.random.default_rng(6)
SHAPE = (10, 12)


def extension(name: str, data: np.ndarray, version: int = 1, **cards: object) -> fits.ImageHDU:
    hdu = fits.ImageHDU(data, header_of(TAN | cards), name=name)
    hdu.ver = version
    return hdu


def camera(unit: str = "electron") -> list:
    """Two chips with everything a camera delivers."""
    hdus = [fits.PrimaryHDU(header=header_of({"PIXSCAL1": 0.27, "PIXSCAL2": 0.27}))]
    for version in (1, 2):
        hdus += [
            extension("SCI", RNG.normal(100, 5, SHAPE).astype("f4"), version, BUNIT=unit),
            extension("ERR", RNG.uniform(1, 2, SHAPE).astype("f4"), version, BUNIT=unit),
            extension("VAR_POISSON", RNG.uniform(1, 2, SHAPE).astype("f8"), version),
            extension("DQ", RNG.choice([0, 0, 0, 1, 4, 4096], SHAPE).astype("i2"), version),
            extension("IVAR", RNG.uniform(1, 2, SHAPE).astype("f4"), version),
            extension("TIME", RNG.uniform(1, 2, SHAPE).astype("f4"), version, BUNIT="s"),
        ]
    return hdus


def test_science_is_found_and_companions_go_with_their_own_version(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *camera())
    images = read(path)
    assert [image.part for image in images] == ["SCI,1", "SCI,2"]
    with fits.open(path) as hdus:
        for image, version in zip(images, (1, 2), strict=True):
            assert image.quantity == "total"
            assert image.domain == "astronomy"
            assert np.array_equal(image.uncertainty[...], hdus["ERR", version].data)
            assert np.array_equal(image.mask[...], hdus["DQ", version].data != 0)


@pytest.mark.parametrize(("unit", "total"), [("electron", True), ("MJy/sr", False)])
def test_companions_follow_to_finer_pixels(tmp_path: Path, unit: str, total: bool) -> None:
    path = write(tmp_path / "a.fits", *camera(unit))
    target = upscaled(path, tmp_path / "b.fits", (2, 3))
    assert faults(target) == (0, 0)
    product = 6 if total else 1
    with fits.open(path) as old, fits.open(target) as new:
        assert [(h.name, h.ver) for h in new][:-1] == [(h.name, h.ver) for h in old]
        for version in (1, 2):
            for name, factor in (
                ("ERR", 1 / product),
                ("VAR_POISSON", product**-2),
                ("IVAR", product**2),
                ("TIME", 1),
            ):
                expected = old[name, version].data.repeat(2, 0).repeat(3, 1) * factor
                assert np.allclose(new[name, version].data, expected, rtol=1e-6), name
            dq = new["DQ", version]
            assert dq.data.dtype == np.dtype(">i2")
            assert np.array_equal(dq.data, old["DQ", version].data.repeat(2, 0).repeat(3, 1))
            for name in ("SCI", "ERR", "DQ", "TIME"):
                before, after = wcs_of(old[name, version].header), wcs_of(new[name, version].header)
                assert sky_error(before, after, SHAPE, (2, 3)) < 1e-8
        assert new[0].header["PIXSCAL1"] == pytest.approx(0.09)
        assert new[0].header["PIXSCAL2"] == pytest.approx(0.135)


def test_fully_correlated_noise_adds_up_to_the_original() -> None:
    """A block's sum of shared totals has the original's variance: P fine pixels, all correlated."""
    factors = (Fraction(2), Fraction(3))
    sigma = companion_factor("sigma", factors, total=True)
    assert sigma * 6 == 1
    assert companion_factor("variance", factors, total=True) == sigma**2
    assert companion_factor("inverse", factors, total=True) == 1 / sigma**2
    for kind in ("sigma", "variance", "inverse", "mask", "map"):
        assert companion_factor(kind, factors, total=False) == 1
    assert companion_factor("map", factors, total=True) == 1


@pytest.mark.parametrize(
    ("option", "bits"), [("all", 0xFFFF), ("1,4", 5), ("4096", 4096), ("0x5", 5), ("1+4", 5)]
)
def test_chosen_dq_bits_make_pixels_bad(tmp_path: Path, option: str, bits: int) -> None:
    path = write(tmp_path / "a.fits", *camera())
    image = read(path, dq_bits=option, hdu="SCI,1")[0]
    with fits.open(path) as hdus:
        assert np.array_equal(image.mask[...], (hdus["DQ", 1].data.astype(int) & bits) != 0)


def test_no_dq_bits_mean_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *camera())
    assert read(path, dq_bits="none", hdu="SCI,1")[0].mask is None
    with pytest.raises(UsageError, match="dq_bits"):
        read(path, dq_bits="some")


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ("SCI", ["SCI,1", "SCI,2"]),
        ("sci,2", ["SCI,2"]),
        (1, ["SCI,1"]),
        ("7", ["SCI,2"]),
        (("SCI,1", 7), ["SCI,1", "SCI,2"]),
        ("ERR,1", ["ERR,1"]),
    ],
)
def test_hdus_are_chosen_by_name_version_or_number(tmp_path: Path, wanted: object, parts: list[str]) -> None:
    path = write(tmp_path / "a.fits", *camera())
    assert [image.part for image in read(path, hdu=wanted)] == parts


def test_what_was_not_chosen_stays_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *camera())
    target = upscaled(path, tmp_path / "b.fits", hdu="SCI,2")
    with fits.open(path) as old, fits.open(target) as new:
        for name in ("SCI", "ERR", "DQ"):
            assert np.array_equal(old[name, 1].data, new[name, 1].data)
            assert new[name, 2].data.shape == (20, 24)
        assert new[0].header["PIXSCAL1"] == 0.27  # still true of chip 1


def test_a_wrong_choice_is_refused_with_what_there_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *camera(), fits.ImageHDU(np.zeros(9), name="SPEC"))
    with pytest.raises(UsageError, match="has no HDU 'SCI,3'; it holds 0, SCI,1"):
        read(path, hdu="SCI,3")
    with pytest.raises(UnsupportedError, match=r"a\.fits\[SPEC\]: is one-dimensional"):
        read(path, hdu="SPEC")
    with pytest.raises(UsageError, match="no HDU 99"):
        read(path, hdu=99)


def test_variances_alone_give_the_uncertainty(tmp_path: Path) -> None:
    variance = RNG.uniform(1, 9, SHAPE)
    for name, data in (("STAT", variance), ("IVAR", 1 / variance)):
        path = write(
            tmp_path / f"{name}.fits", fits.PrimaryHDU(), extension("DATA", variance), extension(name, data)
        )
        image = read(path, quantity="density")[0]
        assert np.allclose(image.uncertainty[...], np.sqrt(variance))


def test_ccddata_of_astropy_is_understood(tmp_path: Path) -> None:
    from astropy.nddata import CCDData, VarianceUncertainty

    values, variance, mask = RNG.normal(size=SHAPE), RNG.uniform(1, 2, SHAPE), RNG.random(SHAPE) > 0.8
    path = tmp_path / "ccd.fits"
    CCDData(values, unit="adu", uncertainty=VarianceUncertainty(variance), mask=mask).write(path)
    image = read(path)[0]
    assert np.allclose(image.uncertainty[...], np.sqrt(variance))
    assert np.array_equal(image.mask[...], mask)
    target = save([refined(image, 2)], tmp_path / "out.fits")
    back = CCDData.read(target)
    assert np.allclose(back.uncertainty.array, variance.repeat(2, 0).repeat(2, 1) / 16)
    assert np.array_equal(back.mask, mask.repeat(2, 0).repeat(2, 1))


def test_constant_arrays_of_hst_keep_their_place(tmp_path: Path) -> None:
    """ERR and DQ of one value have no pixels, only NPIX and PIXVALUE."""
    err = fits.ImageHDU(name="ERR")
    err.ver = 1
    err.header.update({"NPIX1": 12, "NPIX2": 10, "PIXVALUE": 3.0})
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), extension("SCI", np.ones(SHAPE, "f4"), BUNIT="COUNTS"), err
    )
    target = upscaled(path, tmp_path / "b.fits")
    with fits.open(target) as hdus:
        assert [hdus["ERR"].header[k] for k in ("NPIX1", "NPIX2", "PIXVALUE")] == [24, 20, 0.75]


def test_a_weight_map_alone_in_its_file_is_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), extension("WHT", np.ones(SHAPE, "f4")))
    assert [image.part for image in read(path)] == ["WHT"]


@pytest.mark.parametrize(("name", "product"), [("N3", "dqmask"), ("SEGMAP", "image"), ("DQ", None)])
def test_flags_and_labels_alone_in_a_file_are_never_averaged(
    tmp_path: Path, name: str, product: str | None
) -> None:
    labels = RNG.integers(0, 2**20, SHAPE).astype("i4")
    head = fits.PrimaryHDU(header=header_of({"PRODTYPE": product} if product else {}))
    path = write(tmp_path / "a.fits", head, extension(name, labels))
    image = read(path)[0]
    assert (image.kind, image.quantity) == ("labels", "density")
    assert image.data.dtype == np.int32
    kept = refined(image, 2).replace(data=labels.repeat(2, 0).repeat(2, 1))
    target = save([kept], tmp_path / "b.fits")
    assert faults(target) == (0, 0)
    assert np.array_equal(read(target)[0].data[...], kept.data)


def test_labels_can_be_asked_for_and_must_be_integers(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(np.ones(SHAPE, "i4")), fits.ImageHDU(np.ones(SHAPE, "f4"))
    )
    assert read(path, hdu=0)[0].kind == "intensity"
    assert read(path, hdu=0, labels=True)[0].kind == "labels"
    with pytest.raises(UsageError, match=r"a\.fits\[1\]: labels must be integers"):
        read(path, hdu=1, labels=True)


def test_temporary_copies_go_when_nothing_needs_them(tmp_path: Path) -> None:
    import gc

    path = write(tmp_path / "a.fits.gz", fits.PrimaryHDU(RNG.normal(size=SHAPE).astype("f4")))
    image = read(path)[0]
    copy = image.metadata.file.plain
    section = image.data
    del image
    gc.collect()
    assert copy.exists()
    assert section[...].shape == SHAPE
    del section
    gc.collect()
    assert not copy.parent.exists()


def test_scaled_and_blank_masks_are_repeated_bit_by_bit(tmp_path: Path) -> None:
    dq = RNG.integers(0, 60000, SHAPE).astype("u2")
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), extension("SCI", np.ones(SHAPE, "f4")), extension("DQ", dq)
    )
    target = upscaled(path, tmp_path / "b.fits")
    assert faults(target) == (0, 0)
    with fits.open(target) as hdus:
        assert hdus["DQ"].data.dtype == np.uint16
        assert np.array_equal(hdus["DQ"].data, dq.repeat(2, 0).repeat(2, 1))


def test_compressed_companions_are_unpacked_and_carried(tmp_path: Path) -> None:
    dq = RNG.integers(0, 200, SHAPE).astype("i4")
    sci = fits.CompImageHDU(np.ones(SHAPE, "i2"), header_of({"BUNIT": "ct"}), name="SCI")
    path = write(tmp_path / "a.fits.fz", fits.PrimaryHDU(), sci, fits.CompImageHDU(dq, name="DQ"))
    target = upscaled(path, tmp_path / "b.fits")
    assert faults(target) == (0, 0)
    with fits.open(target) as hdus:
        assert np.array_equal(hdus["DQ"].data, dq.repeat(2, 0).repeat(2, 1))


def test_a_broken_wcs_of_a_companion_is_named_with_the_way_out(tmp_path: Path) -> None:
    err = extension("ERR", np.ones(SHAPE, "f4"), A_ORDER=100000)
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), extension("SCI", np.ones(SHAPE, "f4"), BUNIT="K"), err
    )
    with pytest.raises(GeometryError, match=r"a\.fits\[ERR\].*A_ORDER.*--wcs none"):
        upscaled(path, tmp_path / "b.fits")
    assert not (tmp_path / "b.fits").exists()
    assert upscaled(path, tmp_path / "b.fits", wcs="none").exists()


def test_jwst_asdf_is_dropped_and_named(tmp_path: Path) -> None:
    asdf = fits.BinTableHDU.from_columns(
        [fits.Column("ASDF_METADATA", "B", array=np.zeros(4, "u1"))], name="ASDF"
    )
    path = write(
        tmp_path / "a.fits", fits.PrimaryHDU(), extension("SCI", np.ones(SHAPE, "f4"), BUNIT="MJy/sr"), asdf
    )
    with fits.open(upscaled(path, tmp_path / "b.fits")) as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "SCI", "SCISR_PROV"]
        assert "ASDF dropped" in " ".join(hdus["SCI"].header["HISTORY"])


def test_cubes_name_their_axes_and_keep_the_spectral_one(tmp_path: Path) -> None:
    cards = TAN | {
        "CTYPE3": "FREQ",
        "CRVAL3": 1e9,
        "CDELT3": 1e6,
        "CRPIX3": 1.0,
        "CD3_3": 1e6,
        "BUNIT": "Jy/beam",
    }
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(
            np.zeros((1, 4, *SHAPE), "f4"), header_of(cards | {"CTYPE4": "STOKES", "CD4_4": 1.0})
        ),
    )
    image = read(path)[0]
    assert image.axes == ("stokes", "freq", "y", "x")
    assert image.spatial == ("y", "x")
    target = save([refined(image, 2)], tmp_path / "b.fits")
    with fits.open(target) as hdus:
        assert hdus[0].data.shape == (1, 4, 20, 24)
        assert hdus[0].header["CRPIX3"] == 1.0


def test_a_cube_with_the_spectrum_first_upscales_the_sky(tmp_path: Path) -> None:
    cards = {
        "CTYPE1": "WAVE",
        "CTYPE2": "RA---TAN",
        "CTYPE3": "DEC--TAN",
        "CDELT1": 1e-10,
        "CDELT2": -1e-4,
        "CDELT3": 1e-4,
    }
    path = write(
        tmp_path / "a.fits",
        fits.PrimaryHDU(np.zeros((6, 7, 8), "f4"), header_of(cards | {"BUNIT": "K", "CRVAL1": 5e-7})),
    )
    image = read(path)[0]
    assert image.axes == ("y", "x", "wave")
    result = refined(image, 2)
    assert result.shape == (12, 14, 8)
    index = np.array([[2.0, 3.0, 4.0]])
    assert np.allclose(
        result.grid.world((index + 0.5) * [2, 2, 1] - 0.5), image.grid.world(index), rtol=1e-14
    )


def test_describe_is_json_and_names_every_part(tmp_path: Path) -> None:
    import json

    path = write(tmp_path / "a.fits", *camera())
    text = json.loads(json.dumps(adapter.describe(path), allow_nan=False))
    roles = {part["part"]: part["role"] for part in text["parts"]}
    assert roles["SCI,1"] == "science"
    assert roles["ERR,2"] == "sigma"
    assert roles["IVAR,1"] == "inverse"
    science = next(part for part in text["parts"] if part["part"] == "SCI,1")
    assert science["quantity"] == "total"
    assert science["grid"]["ctype"] == ["RA---TAN", "DEC--TAN"]


def test_importing_the_adapter_imports_no_heavy_library() -> None:
    import subprocess
    import sys

    code = "import sys, scisr_astronomy.fits_adapter; print({'astropy', 'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("card", "error"), [("CRPIX1", GeometryError), ("CD1_2", GeometryError), ("BZERO", UnreadableError)]
)
def test_a_value_that_can_not_be_parsed_is_no_default(card: str, error: type, tmp_path: Path) -> None:
    """``CRPIX1 = NaN`` must not be taken for a missing card, whose value would be 0."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 5.5, "CD1_1": 1e-4})
    header.update({"CD1_2": 2e-5, "CD2_1": 2e-5, "CD2_2": 1e-4, "BUNIT": "MJy/sr", "QZERO": 3.25})
    path = tmp_path / "a.fits"
    fits.writeto(path, np.ones((20, 21), np.int16), header)
    content = path.read_bytes().replace(b"QZERO", b"BZERO")  # astropy would apply it
    start = content.index(f"{card:8}=".encode())
    path.write_bytes(content[: start + 10] + b"NaN".rjust(20) + content[start + 30 :])
    with pytest.raises(error, match=rf"{card} can't be parsed"):
        sciSR.read(path)
    if error is GeometryError:
        assert sciSR.read(path, wcs="none").shape == (20, 21)
