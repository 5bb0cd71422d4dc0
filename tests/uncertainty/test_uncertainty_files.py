"""--uncertainty end to end: FITS extensions, a NIfTI beside the image, a Parametric Map; all or nothing."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import sciSR
from sciSR.cli.main import main
from sciSR.errors import UsageError

WCS_CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 12.0, "CRPIX2": 10.0,
    "CDELT1": -1e-4, "CDELT2": 1e-4, "BUNIT": "MJy/sr",
}  # fmt: skip


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str


def run(*arguments, code=0):
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        got = main(["upscale", *map(str, arguments)])
    assert got == code, said.getvalue()
    return Done(out.getvalue(), said.getvalue())


def sky(shape=(20, 24), seed=0):
    return (10 + np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def science(name="SCI", version=1, seed=0):
    hdu = fits.ImageHDU(sky(seed=seed), fits.Header(WCS_CARDS), name=name)
    hdu.header["EXTVER"] = version
    return hdu


def companion(name, value, version=1):
    hdu = fits.ImageHDU(np.full((20, 24), value, np.float32), fits.Header(WCS_CARDS), name=name)
    hdu.header["EXTVER"] = version
    return hdu


def write_fits(path, *hdus, primary=None):
    fits.HDUList([primary or fits.PrimaryHDU(), *hdus]).writeto(path, checksum=True)
    return path


def opened(path):
    with fits.open(path, checksum=True) as hdus:
        for hdu in hdus:
            hdu.data  # noqa: B018  (loaded, and its sum checked)
        return [hdu.copy() for hdu in hdus]


def fitsverified(path):
    tool = shutil.which("fitsverify")
    return tool is None or subprocess.run([tool, "-q", path], capture_output=True).returncode == 0


def test_a_simple_image_gets_an_extension_err_on_its_own_grid(tmp_path) -> None:
    source = write_fits(tmp_path / "a.fits", primary=fits.PrimaryHDU(sky(), fits.Header(WCS_CARDS)))
    document = json.loads(run(source, "-m", "cubic", "--uncertainty", "--json").stdout)
    [result] = document["results"]
    assert result["uncertainty_files"] == [str(tmp_path / "a_x2.fits")]
    record = result["parts"][0]["uncertainty"]
    hdus = opened(tmp_path / "a_x2.fits")
    [error] = [hdu for hdu in hdus if hdu.name == "ERR"]
    assert np.median(error.data) == pytest.approx(record["median"], rel=0.05)
    assert error.header["EXTVER"] == 1
    assert error.header["BUNIT"] == "MJy/sr"
    assert error.header["ERRCONF"] == 68.27
    assert error.header["ERRCALIB"] == record["calibrated"]
    assert error.header["ERR95"] == pytest.approx(record.get("interval_95", 2.0), rel=1e-3)
    places = np.array([[-0.5, -0.5], [47.5, 39.5], [20.0, 7.0]])
    assert WCS(error.header).wcs_pix2world(places, 0) == pytest.approx(
        WCS(hdus[0].header).wcs_pix2world(places, 0), abs=1e-11
    )
    assert fitsverified(tmp_path / "a_x2.fits")


def test_errors_in_the_file_are_used_and_replaced_in_their_own_form(tmp_path) -> None:
    hdus = [science(), companion("ERR", 0.5), companion("VAR", 0.25), companion("DQ", 0)]
    source = write_fits(tmp_path / "a.fits", *hdus)
    run(source, "-s", 3, "-m", "nearest", "--uncertainty")
    out = {hdu.name: hdu for hdu in opened(tmp_path / "a_x3.fits")}
    assert list(out)[1:5] == ["SCI", "ERR", "VAR", "DQ"]
    assert out["ERR"].data == pytest.approx(np.full((60, 72), 0.5))
    assert out["VAR"].data == pytest.approx(np.full((60, 72), 0.25))
    assert "found anew" in str(out["ERR"].header["HISTORY"])
    assert fitsverified(tmp_path / "a_x3.fits")


def test_an_inverse_variance_stays_one_and_parts_of_a_sum_stay_the_inputs(tmp_path) -> None:
    source = write_fits(tmp_path / "a.fits", science(), companion("IVAR", 4.0))
    run(source, "-s", 3, "-m", "nearest", "--uncertainty")
    assert opened(tmp_path / "a_x3.fits")[2].data == pytest.approx(np.full((60, 72), 4.0))
    parts = [companion("ERR", 0.5), companion("VAR_POISSON", 0.2), companion("VAR_RNOISE", 0.05)]
    source = write_fits(tmp_path / "b.fits", science(), *parts)
    run(source, "-m", "cubic", "--uncertainty")
    out = {hdu.name: hdu for hdu in opened(tmp_path / "b_x2.fits")}
    assert "ERRCONF" in out["ERR"].header
    assert "ERRCONF" not in out["VAR_POISSON"].header
    assert out["VAR_POISSON"].data == pytest.approx(np.full((40, 48), 0.2))


def test_a_constant_array_of_errors_gives_way_to_pixels(tmp_path) -> None:
    constant = fits.ImageHDU(name="ERR")
    constant.header.update({"NPIX1": 24, "NPIX2": 20, "PIXVALUE": 0.0, "EXTVER": 1})
    source = write_fits(tmp_path / "a.fits", science(), constant, companion("DQ", 0))
    run(source, "-m", "cubic", "--uncertainty")
    hdus = opened(tmp_path / "a_x2.fits")
    assert [hdu.name for hdu in hdus][1:4] == ["SCI", "ERR", "DQ"]
    assert hdus[2].data.shape == (40, 48)
    assert fitsverified(tmp_path / "a_x2.fits")


def test_compressed_cubes_have_a_deviation_in_each_plane(tmp_path) -> None:
    cube = fits.CompImageHDU(
        np.stack([sky(seed=k) for k in range(3)]), fits.Header({"BUNIT": "Jy/beam"}), name="SCI"
    )
    source = write_fits(tmp_path / "a.fits", cube)
    run(source, "-m", "cubic", "--uncertainty")
    [error] = [hdu for hdu in opened(tmp_path / "a_x2.fits") if hdu.name == "ERR"]
    assert error.data.shape == (3, 40, 48)
    assert np.isfinite(error.data).all()
    assert fitsverified(tmp_path / "a_x2.fits")


def test_each_of_several_images_has_its_own(tmp_path) -> None:
    hdus = [science(version=1), companion("ERR", 0.5), science(version=2, seed=1)]
    source = write_fits(tmp_path / "a.fits", *hdus)
    run(source, "-s", 3, "-m", "nearest", "--uncertainty")
    errors = [hdu for hdu in opened(tmp_path / "a_x3.fits") if hdu.name == "ERR"]
    assert [hdu.header["EXTVER"] for hdu in errors] == [1, 2]
    assert np.median(errors[1].data) == pytest.approx(1, rel=0.3)


def test_images_of_one_extver_keep_their_own_when_read_again(tmp_path) -> None:
    blue, red = science("B"), science("R", seed=1)
    red.data = 100 * red.data
    run(write_fits(tmp_path / "a.fits", blue, red), "-s", 3, "-m", "nearest", "--uncertainty")
    assert [hdu.name for hdu in opened(tmp_path / "a_x3.fits")][1:5] == ["B", "ERR", "R", "ERR"]
    again = sciSR.read_all(tmp_path / "a_x3.fits")
    assert np.median(again[1].uncertainty[:, :]) > 30 * np.median(again[0].uncertainty[:, :])


def test_what_was_written_is_read_again_as_the_images_uncertainty(tmp_path) -> None:
    source = write_fits(tmp_path / "a.fits", primary=fits.PrimaryHDU(sky(), fits.Header(WCS_CARDS)))
    run(source, "-m", "cubic", "--uncertainty")
    [again] = sciSR.read_all(tmp_path / "a_x2.fits")
    [error] = [hdu for hdu in opened(tmp_path / "a_x2.fits") if hdu.name == "ERR"]
    assert np.asarray(again.uncertainty[:, :]) == pytest.approx(error.data)
    assert again.provenance.steps[-1]["uncertainty"]["probes"] == 4


def test_gain_and_read_noise_of_a_header_that_the_pixels_confirm_are_used(tmp_path) -> None:
    rng = np.random.default_rng(2)
    counts = np.rint((rng.poisson(400.0, (64, 64)) + 5 * rng.standard_normal((64, 64))) / 2)
    cards = WCS_CARDS | {"GAIN": 2.0, "RDNOISE": 5.0, "BUNIT": "adu", "EXPTIME": 10.0}
    source = write_fits(
        tmp_path / "a.fits", primary=fits.PrimaryHDU(counts.astype(np.float32), fits.Header(cards))
    )
    [result] = json.loads(
        run(source, "-s", 3, "-m", "nearest", "--uncertainty", "--json", "--quantity", "density").stdout
    )["results"]
    assert result["parts"][0]["uncertainty"]["noise"] == {
        "from": "header", "gain": 2.0, "read_noise": 5.0, "pedestal": 0.0,
    }  # fmt: skip
    [error] = [hdu for hdu in opened(tmp_path / "a_x3.fits") if hdu.name == "ERR"]
    assert error.data[::3, ::3] == pytest.approx(np.sqrt(counts / 2 + 6.25), rel=1e-5)


def test_a_given_gain_is_used_and_one_without_uncertainty_is_refused(tmp_path) -> None:
    source = write_fits(tmp_path / "a.fits", primary=fits.PrimaryHDU(sky(), fits.Header(WCS_CARDS)))
    result = run(source, "--gain", 2.0, code=2)
    assert "give --uncertainty too" in result.stderr
    run(source, "-s", 3, "-m", "nearest", "--uncertainty", "--gain", 2.0, "--read-noise", 4.0)
    [error] = [hdu for hdu in opened(tmp_path / "a_x3.fits") if hdu.name == "ERR"]
    assert error.data[::3, ::3] == pytest.approx(np.sqrt(sky() / 2 + 4), rel=1e-5)


def nifti(path, values=None):
    import nibabel

    values = np.abs(sky((20, 24, 3), seed=4)) * 20 if values is None else values
    image = nibabel.Nifti1Image(values.astype(np.float32), np.diag([2, 2, 4, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def test_a_nifti_has_its_deviation_beside_it_on_the_same_grid(tmp_path) -> None:
    import nibabel

    source = nifti(tmp_path / "t1.nii.gz")
    [result] = json.loads(run(source, "-m", "cubic", "--uncertainty", "--json").stdout)["results"]
    assert result["uncertainty_files"] == [str(tmp_path / "t1_x2_std.nii.gz")]
    image, error = (nibabel.load(tmp_path / name) for name in ("t1_x2.nii.gz", "t1_x2_std.nii.gz"))
    assert error.shape == image.shape
    assert (error.affine == image.affine).all()
    assert error.header.get_zooms() == image.header.get_zooms()
    assert error.get_data_dtype() == np.float32
    assert np.median(error.get_fdata()) == pytest.approx(
        result["parts"][0]["uncertainty"]["median"], rel=0.05
    )
    assert sciSR.read(tmp_path / "t1_x2_std.nii.gz").provenance.steps[-1]["step"] == "upscale"


def test_neither_is_written_where_one_exists(tmp_path) -> None:
    source = nifti(tmp_path / "t1.nii.gz")
    (tmp_path / "t1_x2_std.nii.gz").write_bytes(b"mine")
    assert "exists already" in run(source, "-m", "cubic", "--uncertainty", code=2).stderr
    assert (tmp_path / "t1_x2_std.nii.gz").read_bytes() == b"mine"
    assert not (tmp_path / "t1_x2.nii.gz").exists()
    run(source, "-m", "cubic", "--uncertainty", "--overwrite")
    assert (tmp_path / "t1_x2_std.nii.gz").read_bytes() != b"mine"
    assert {p.name for p in tmp_path.iterdir()} == {"t1.nii.gz", "t1_x2.nii.gz", "t1_x2_std.nii.gz"}


def test_a_failure_on_the_way_leaves_neither(tmp_path) -> None:
    image = sciSR.read(nifti(tmp_path / "t1.nii.gz"))

    class Broken:
        shape, dtype = image.shape, np.dtype(np.float32)

        def __getitem__(self, index):
            raise OSError(28, "No space left on device")

    with pytest.raises(sciSR.errors.SciSRError):
        sciSR.write(image.replace(uncertainty=Broken()), tmp_path / "out.nii.gz", uncertainty=True)
    assert [p.name for p in tmp_path.iterdir()] == ["t1.nii.gz"]


def test_an_isotropic_volume_has_one_too(tmp_path) -> None:
    source = nifti(tmp_path / "t2.nii.gz", np.abs(sky((24, 24, 8), seed=5)) * 20)
    run(source, "--isotropic", "-m", "smoothest", "--uncertainty")
    out = sciSR.read(tmp_path / "t2_iso_std.nii.gz")
    assert out.shape == (24, 24, 16)
    assert np.nanmin(out.data[:, :, :]) > 0


def test_a_dicom_series_has_a_parametric_map(tmp_path) -> None:
    import pydicom
    from dicom_samples import make_series

    make_series(tmp_path / "in")
    result = run(tmp_path / "in", "-o", tmp_path / "out", "-m", "cubic", "--uncertainty", "--json")
    [path] = json.loads(result.stdout)["results"][0]["uncertainty_files"]
    assert Path(path) == tmp_path / "out" / "SD_0001.dcm"
    assert pydicom.dcmread(path).SOPClassUID.name == "Parametric Map Storage"


def test_formats_without_a_place_for_it_say_so_before_any_work(tmp_path) -> None:
    from PIL import Image

    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(tmp_path / "a.png")
    result = run(tmp_path / "a.png", "-m", "cubic", "--uncertainty", code=2)
    assert "no place for an uncertainty" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(UsageError, match="no place for an uncertainty"):
        sciSR.write(sciSR.read(tmp_path / "a.png"), tmp_path / "b.png", uncertainty=True)


def test_without_the_option_nothing_of_it_is_written(tmp_path) -> None:
    source = write_fits(tmp_path / "a.fits", science(), companion("ERR", 0.5))
    run(source, "-m", "cubic")
    assert "ERRCONF" not in opened(tmp_path / "a_x2.fits")[2].header


@pytest.mark.realdata
def test_a_real_file_with_errors_and_flags_has_them_replaced_over_the_same_footprint(
    tmp_path, shared_data
) -> None:
    source = shared_data / "astro" / "check" / "hst_nicmos_f222m.fits"
    run(source, "-m", "linear", "-s", 3, "--uncertainty", "-o", tmp_path / "out.fits")
    [before] = sciSR.read_all(source)
    out = {hdu.name: hdu for hdu in opened(tmp_path / "out.fits")}
    assert list(out)[:6] == ["PRIMARY", "SCI", "ERR", "DQ", "SAMP", "TIME"]
    flagged = np.asarray(before.mask[:, :]) | ~(np.asarray(before.uncertainty[:, :]) >= 0)
    assert (np.isnan(out["ERR"].data) == np.kron(flagged, np.ones((3, 3), dtype=bool))).all()
    good = ~flagged
    assert (
        before.quantity == "total"
    )  # a ninth of it in each of nine, which the measured sum makes a little noisier
    ratio = 9 * np.median(out["ERR"].data[1::3, 1::3][good] / np.asarray(before.uncertainty[:, :])[good])
    assert 1 < ratio < 1.6
    assert fitsverified(tmp_path / "out.fits")
