"""Coarser files, fusions, fractional factors and chosen options under verify; and what it costs in memory."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from astropy.io import fits
from fits_faults import SHAPE, counts, cube, edited, header, keys, scene, surface
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

import sciSR
from sciSR.cli.main import main
from sciSR.verify.result import Verification
from sciSR.workflow.run import upscale_file


def failed(found: Verification) -> list[str]:
    return [f"{c.group}: {c.name}: {c.message}" for c in found.checks if c.status == "failed"] + [
        k.key for k in found.keys if not k.allowed
    ]


def upscaled(source: Path, target: Path, **settings: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upscale_file(source, target, device="cpu", **settings)  # type: ignore[arg-type]
    return target


@pytest.mark.parametrize(
    ("scale", "model"), [("3/2", "cubic"), ("2,3", "lanczos"), (4, "nearest"), ("5/3", "linear")]
)
def test_any_factor_passes(tmp_path: Path, scale: str, model: str) -> None:
    source = surface(tmp_path / "in.fits")
    out = upscaled(source, tmp_path / "out.fits", scale=scale, model=model)
    assert failed(sciSR.verify_files(source, out)) == []


def test_no_claim_of_agreement_is_a_warning_and_still_a_true_record(tmp_path: Path) -> None:
    source = cube(tmp_path / "in.fits")
    out = upscaled(source, tmp_path / "out.fits", scale=2, model="linear", consistency="none")
    found = sciSR.verify_files(source, out)
    assert failed(found) == []
    assert any(c.name == "chi-square of the residual" and c.status == "warning" for c in found.checks)
    assert any(c.name == "recorded agreement" and c.status == "passed" for c in found.checks)


@pytest.mark.parametrize(
    ("name", "options"),
    [("surface", {"wcs": "none"}), ("surface", {"quantity": "total"}), ("surface", {"dq_bits": "none"})],
)
def test_options_that_an_output_was_made_with(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    source = {"surface": surface, "counts": counts}[name](tmp_path / "in.fits")
    out = upscaled(source, tmp_path / "out.fits", scale=2, model="cubic", options=options)
    assert failed(sciSR.verify_files(source, out, **options)) == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_are_held_to_their_integers(tmp_path: Path, suffix: str) -> None:
    """Eight bits take half a step of every pixel, and what lies beyond their ends."""
    from skimage import io

    levels = np.clip(scene(7, 60.0), 0, 255).astype(np.uint8)
    io.imsave(tmp_path / "in.png", levels, check_contrast=False)
    out = upscaled(tmp_path / "in.png", tmp_path / f"out{suffix}", scale=2, model="cubic")
    assert failed(sciSR.verify_files(tmp_path / "in.png", out)) == []
    darker = io.imread(out).astype(int)
    darker[10:14, 10:14] -= 4
    io.imsave(tmp_path / f"bad{suffix}", np.clip(darker, 0, 255).astype(np.uint8), check_contrast=False)
    found = sciSR.verify_files(tmp_path / "in.png", tmp_path / f"bad{suffix}")
    assert any(c.name == "flux per original pixel" and (c.value or 0) > 3 for c in found.checks)


def test_a_coarser_file_keeps_place_unit_and_record(tmp_path: Path) -> None:
    source = surface(tmp_path / "in.fits")
    assert main(["degrade", str(source), "-o", str(tmp_path / "low.fits"), "-q"]) == 0
    found = sciSR.verify_files(source, tmp_path / "low.fits")
    assert failed(found) == []
    assert any(c.name == "scale" and c.status == "passed" for c in found.checks)
    for change in (header(CRPIX1=21.3), header(BUNIT=None), keys(lambda v: v / 2, "A_2_0", "B_0_2")):
        bad = edited(tmp_path / "low.fits", tmp_path / "bad.fits", change)
        assert not sciSR.verify_files(source, bad).passed


def test_a_coarser_file_may_leave_out_a_rest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fits.PrimaryHDU(rng.normal(5, 1, (23, 29)).astype(np.float32)).writeto(tmp_path / "in.fits")
    volume = (
        rng.normal(100, 10, (23, 29, 4)).astype(np.float32)
        + 10 * np.arange(23, dtype=np.float32)[:, None, None]
    )
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1, 3, 1])), tmp_path / "in.nii.gz")
    for name in ("fits", "nii.gz"):
        source, low = tmp_path / f"in.{name}", tmp_path / f"low.{name}"
        assert main(["degrade", str(source), "-o", str(low), "-q", "--scale", "3"]) == 0
        assert failed(sciSR.verify_files(source, low)) == []
    image = nib.load(tmp_path / "low.nii.gz")
    nib.save(image.slicer[:-1], tmp_path / "cropped.nii.gz")
    assert not sciSR.verify_files(tmp_path / "in.nii.gz", tmp_path / "cropped.nii.gz").passed


def test_slices_thinner_than_pixels_are_compared_plane_by_plane(tmp_path: Path) -> None:
    """Of a nearly cubic voxel a reader may call other axes the plane than of the thick slices it was made from."""
    rng = np.random.default_rng(3)
    volume = gaussian_filter(rng.normal(100, 20, (24, 24, 9)), 1).astype(np.float32)
    tilted = np.eye(4)
    tilted[:3, :3] = Rotation.from_euler("zx", [20, 12], degrees=True).as_matrix() * [0.43, 0.43, 4.42]
    nib.save(nib.Nifti1Image(volume, tilted), tmp_path / "in.nii.gz")
    options = ["--isotropic", "--model", "linear", "-o", str(tmp_path / "iso.nii.gz"), "-q"]
    assert main(["upscale", str(tmp_path / "in.nii.gz"), *options]) == 0
    [before], [after] = (sciSR.read_all(tmp_path / name) for name in ("in.nii.gz", "iso.nii.gz"))
    assert before.spatial != after.spatial  # else this test says nothing
    assert failed(sciSR.verify_files(tmp_path / "in.nii.gz", tmp_path / "iso.nii.gz")) == []


def frames(folder: Path, count: int = 3) -> list[Path]:
    rng = np.random.default_rng(0)
    out = []
    for number in range(count):
        hdu = fits.PrimaryHDU((scene(5) + rng.normal(0, 1, SHAPE)).astype(np.float32))
        hdu.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CRVAL2": 2.2})
        hdu.header.update({"CRPIX1": 21.3, "CRPIX2": 17.8, "CDELT1": -1e-4, "CDELT2": 1e-4, "EXPTIME": 12.5})
        hdu.header.update({"OBJECT": "FIELD", "BUNIT": "MJy/sr"})
        out.append(folder / f"frame{number}.fits")
        hdu.writeto(out[-1])
    return out


def test_a_fusion_is_held_against_its_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = frames(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sciSR.fuse(sciSR.read_sequence(paths), 2, "mean").write(tmp_path / "fused.fits")
    found = sciSR.verify_files(paths[0], tmp_path / "fused.fits")
    assert failed(found) == []
    assert any(c.name == "residual" and c.status == "skipped" for c in found.checks)
    bad = edited(tmp_path / "fused.fits", tmp_path / "bad.fits", keys(lambda v: v + 0.5, "CRPIX2"))
    assert any("geometry" in each for each in failed(sciSR.verify_files(paths[0], bad)))
    assert main(["verify", str(paths[1]), str(tmp_path / "fused.fits")]) == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "frame0.fits" in said[0]


def test_a_fusion_of_frames_in_extensions_speaks_of_all_in_the_primary_header(tmp_path: Path) -> None:
    """As DECam writes them: what is true of one exposure stands in a header without an image."""
    paths = []
    for number, path in enumerate(frames(tmp_path)):
        with fits.open(path) as old:
            one = {"EXPTIME": 30.0 + number, "EXPREQ": 30.0, "OBSID": f"n{number}", "TELESCOP": "Any"}
            primary = fits.PrimaryHDU(header=fits.Header(one))
            image = fits.ImageHDU(old[0].data, old[0].header, name="N3")
            paths.append(path.with_name(f"mef{number}.fits"))
            fits.HDUList([primary, image]).writeto(paths[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sciSR.fuse(sciSR.read_sequence(paths), 2, "mean").write(tmp_path / "fused.fits")
    found = sciSR.verify_files(paths[0], tmp_path / "fused.fits")
    assert failed(found) == []
    fates = {key.key: key.fate for key in found.keys}
    assert fates["TELESCOP"] == "kept"
    assert fates["EXPTIME"] == "changed"


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """The second image has sixteen times the pixels of the first."""
    peaks = []
    for side in (256, 1024):
        source, out = tmp_path / f"in{side}.fits", tmp_path / f"out{side}.fits"
        pixels = np.random.default_rng(0).normal(100, 1, (side, 256)).astype(np.float32)
        head = fits.Header({"BUNIT": "MJy/sr"})
        fits.PrimaryHDU(np.tile(pixels, (4, 1)) if side == 1024 else pixels, head).writeto(source)
        fine = np.tile(pixels, (4, 1)) if side == 1024 else pixels
        fits.PrimaryHDU(fine.repeat(2, 0).repeat(2, 1), head).writeto(out)
        sciSR.verify_files(source, out)
        tracemalloc.start()
        assert sciSR.verify_files(source, out).passed
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 64e6


def test_images_of_other_shapes_are_failures_not_errors(tmp_path: Path) -> None:
    source = cube(tmp_path / "in.fits")
    fits.PrimaryHDU(scene().astype(np.float32)).writeto(tmp_path / "plane.fits")
    found = sciSR.verify_files(source, tmp_path / "plane.fits")
    assert any("axes" in each for each in failed(found))
    fits.PrimaryHDU(np.zeros((3, *SHAPE), np.float32)).writeto(tmp_path / "zero.fits")
    assert not sciSR.verify_files(source, tmp_path / "zero.fits").passed


@pytest.mark.parametrize(
    "settings", [{"consistency": "kspace"}, {"consistency": "gaussian", "psf_fwhm": 1.3}]
)
def test_agreement_with_other_operators_is_measured_with_them(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    source = cube(tmp_path / "in.fits")
    out = upscaled(source, tmp_path / "out.fits", scale=2, model="cubic", **settings)
    found = sciSR.verify_files(source, out)
    assert failed(found) == []
    [chi2] = [c for c in found.checks if c.name == "chi-square of the residual"]
    assert chi2.value is not None
    assert chi2.value < 1e-6

    def change(hdus: fits.HDUList) -> None:
        hdus[0].data[1] += np.linspace(0, 3, hdus[0].data.shape[-1], dtype=np.float32)

    bad = edited(out, tmp_path / "bad.fits", change)
    assert any("recorded agreement" in each for each in failed(sciSR.verify_files(source, bad)))
