"""What the fuzz harness found, one test a defect, so that it stays mended."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from dicom_samples import make_series, phantom
from fits_samples import TAN, header_of, write
from fuzz_geometry import judge
from fuzz_seeds import make as make_seed
from fuzz_seeds import seeds
from hostile import read, refusal
from nifti_samples import make as make_nifti

from sciSR.errors import SciSRWarning
from sciSR.plugins import adapter_for
from sciSR.training.config_file import load_config
from sciSR.workflow.degrade_settings import settings_of
from sciSR.workflow.run import upscale_file
from sciSR.yaml_file import parse


def upscale(source: Path, target: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return upscale_file(source, target, model="linear", device="cpu").output


def sky(path: Path, **more: object) -> Path:
    data = np.random.default_rng(1).normal(100, 9, (10, 12)).astype("f4")
    return write(path, fits.PrimaryHDU(data, header_of(TAN | {"BUNIT": "Jy/sr"} | more)))


def test_a_size_that_stands_twice_stands_once_in_the_result(tmp_path: Path) -> None:
    path = sky(tmp_path / "a.fits", OBSERVER="x")
    card = fits.Card("NAXIS2", 10).image.encode()
    path.write_bytes(re.sub(rb"OBSERVER= .{70}", card, path.read_bytes()))
    assert path.read_bytes().count(b"NAXIS2  =") == 2
    out = upscale(path, tmp_path / "b.fits")
    assert fits.getheader(out).count("NAXIS2") == 1
    judge("fits", path, out)


def test_an_hdu_of_two_kinds_is_refused(tmp_path: Path) -> None:
    image = fits.ImageHDU(np.ones((10, 12), "f4"), header_of(TAN | {"OBSERVER": "x"}))
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), image)
    card = fits.Card("XTENSION", "BINTABLE").image.encode()
    path.write_bytes(re.sub(rb"OBSERVER= .{70}", card, path.read_bytes()))
    assert "XTENSION stands twice" in refusal(lambda: read(path))


@pytest.mark.parametrize("lost", [("CD1_1", "CD1_2", "CD2_1"), ("CD2_2", "CD1_2", "CD2_1")])
def test_an_axis_without_a_number_in_its_cd_matrix_stays_where_it_is(
    tmp_path: Path, lost: tuple[str]
) -> None:
    kept = {key: value for key, value in TAN.items() if key not in lost and not key.startswith("CTYPE")}
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(np.ones((10, 12), "f4"), header_of(kept)))
    judge("fits", path, upscale(path, tmp_path / "b.fits"))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (b"OBSERVER= NaN".ljust(80), "OBSERVER can't be parsed"),
        (b"OBSERVER= 'M\xff1'".ljust(80), "characters that FITS forbids"),
    ],
)
def test_a_header_that_others_refuse_is_not_read_in_silence(tmp_path: Path, card: bytes, said: str) -> None:
    path = sky(tmp_path / "a.fits", OBSERVER="x")
    path.write_bytes(re.sub(rb"OBSERVER= .{70}", card, path.read_bytes()))
    with pytest.warns(SciSRWarning, match=said):
        read(path)


@pytest.mark.parametrize("codec", ["RICE_1", "GZIP_1", "GZIP_2"])
def test_each_of_many_compressed_images_is_that_which_astropy_reads(tmp_path: Path, codec: str) -> None:
    rng = np.random.default_rng(2)
    images = [
        fits.CompImageHDU(
            rng.integers(0, 999, (10, 12)).astype("i2"), header_of(TAN), name=f"D{k}", compression_type=codec
        )
        for k in range(4)
    ]
    path = write(tmp_path / "a.fits.fz", fits.PrimaryHDU(), *images)
    with fits.open(path) as hdus:
        expected = [np.array(hdu.data) for hdu in hdus[1:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read(path)
    assert len(found) == 4
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    judge("fits", path, upscale(path, tmp_path / "b.fits"))


def tiff(path: Path, code: int, **changes: int) -> Path:
    """A picture with one directory entry changed: its type or its value."""
    pixels = np.random.default_rng(3).integers(0, 60_000, (32, 48)).astype("u2")
    tifffile.imwrite(path, pixels, resolution=(72, 72), resolutionunit=2, tile=(16, 16))
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags[code].offset
    for name, value in changes.items():
        place = {"kind": slice(at + 2, at + 4), "value": slice(at + 8, at + 10)}[name]
        raw[place] = value.to_bytes(2, "little")
    path.write_bytes(raw)
    return path


def test_a_tiff_whose_pixels_lie_at_a_fraction(tmp_path: Path) -> None:
    assert "a.tif" in refusal(lambda: read(tiff(tmp_path / "a.tif", 324, kind=11)))


def test_a_tiff_in_pixels_for_an_unknown_length(tmp_path: Path) -> None:
    out = upscale(tiff(tmp_path / "a.tif", 296, value=32767), tmp_path / "b.tif")
    assert tifffile.imread(out).shape == (64, 96)


@pytest.mark.parametrize(
    "keyword", ["SliceThickness", "SpacingBetweenSlices", "PixelSpacing", "ImagePositionPatient"]
)
def test_lengths_beyond_any_body(tmp_path: Path, keyword: str) -> None:
    def edit(dataset: object, k: int) -> None:
        value = {"PixelSpacing": ["1e300", "1e300"], "ImagePositionPatient": ["1e300", "0", "0"]}
        setattr(dataset, keyword, value.get(keyword, "1e300"))

    make_series(tmp_path / "mr", stored=phantom((1, 6, 8)), edit=edit)
    path = tmp_path / "mr" / "s000.dcm"
    assert f"{keyword} is" in refusal(lambda: read(path))
    assert f"{keyword} is" in refusal(lambda: adapter_for(path).describe(path))


def test_nifti_extensions_that_were_lost_are_said(tmp_path: Path) -> None:
    path = make_nifti(tmp_path / "a.nii", extensions=((6, b"a comment"),))
    raw = bytearray(path.read_bytes())
    raw[352:384] = bytes(32)
    path.write_bytes(raw)
    with pytest.warns(SciSRWarning, match=r"a\.nii: .* zero bytes"):
        read(path)


def test_described_files_are_json(tmp_path: Path) -> None:
    for name in ("dicom/series", "fits/mef", "nifti/4d", "ser/mono"):
        seed = seeds()[name]
        path = make_seed(seed, tmp_path) / seed.opened
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            json.dumps(adapter_for(path).describe(path), allow_nan=False)


@pytest.mark.parametrize(
    "text", [": 12:30:45\n", "? [a, b]\n: 1\n", "3: 4\n", "null: 1\n", "? {a: 1}\n: 1\n"]
)
def test_keys_that_are_no_names(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert "a.yaml" in refusal(lambda: settings_of(path))
    assert "a.yaml" in refusal(lambda: load_config(path))


def test_an_empty_configuration_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert "no configuration" in refusal(lambda: parse(path))
