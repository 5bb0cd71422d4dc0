"""``scisr verify`` finds every planted fault in NIfTI files; right results of other tools pass, wrong ones do not."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import patch, raw_header
from volume_faults import Edit, Good, everything, failures, failures_told, make_good, voxels_changed

import sciSR
from sciSR.cli.main import main


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Good]:
    return make_good(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("name", ["volume", "diffusion"])
def test_good_output_passes(good, name):
    found = sciSR.verify_files(good[name].input, good[name].output)
    assert failures(found) == []
    assert found.passed


def test_free_text_is_not_shown(good):
    found = sciSR.verify_files(good["volume"].input, good["volume"].output)
    said = {each.key: each.before for each in found.keys}
    assert said["intent_name"] == said["aux_file"] == "(not shown)"


# -- faults -----------------------------------------------------------------------------------------------------------


def fields(**values) -> Edit:
    return lambda path: patch(path, **values)


def moved(amount: float) -> Edit:
    """Both transforms shifted along the first axis, in voxels of the output."""

    def edit(path: Path) -> None:
        header = raw_header(path)
        step = np.array([header[f"srow_{a}"][0] for a in "xyz"], np.float64) * amount
        for axis, offset in zip("xyz", step, strict=True):
            row = header[f"srow_{axis}"].copy()
            row[3] += offset
            patch(path, **{f"srow_{axis}": row, f"qoffset_{axis}": header[f"qoffset_{axis}"] + offset})

    return edit


def sform_moved(path: Path) -> None:
    patch(path, srow_x=raw_header(path)["srow_x"] + np.array([0, 0, 0, 1.5], np.float32))


def origin_kept(path: Path) -> None:
    """The classical mistake: voxel sizes divided, the first centre left where it was."""
    source = raw_header(path.parent / "source.nii")
    header = raw_header(path)
    for axis in "xyz":
        row = header[f"srow_{axis}"].copy()
        row[3] = source[f"srow_{axis}"][3]
        patch(path, **{f"srow_{axis}": row, f"qoffset_{axis}": source[f"qoffset_{axis}"]})


def affine_mirrored(path: Path) -> None:
    """First axis turned around in the affines, not in the voxels."""
    header, image = raw_header(path), nib.load(path)
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = image.shape[0] - 1
    new = image.header.get_sform() @ turn
    patch(path, **{f"srow_{a}": new[k].astype(np.float32) for k, a in enumerate("xyz")})
    assert header["sform_code"] > 0


def sidecar(**values) -> Edit:
    def edit(path: Path) -> None:
        file = path.with_suffix(".json")
        record = json.loads(file.read_text()) | values
        file.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))

    return edit


def no_extension(path: Path) -> None:
    """The second extension cut out; the voxels begin where they did."""
    image = nib.load(path)
    kept = [e for e in image.header.extensions if e.get_code() != 44]
    image.header.extensions[:] = kept
    content = np.array(image.dataobj.get_unscaled())  # no map of the file that is overwritten
    new = nib.Nifti1Image(content, None, image.header)
    new.header.set_slope_inter(1, 0)
    nib.save(new, path)


def turned_gradients(path: Path) -> None:
    """Rotated by 10 degrees about z although the axes are the same."""
    file = path.with_suffix(".bvec")
    angle = np.radians(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    np.savetxt(file, turn @ np.loadtxt(file))


def fewer_volumes(path: Path) -> None:
    image = nib.load(path)
    offset, kept = int(raw_header(path)["vox_offset"]), int(np.prod(image.shape[:3])) * 4 * 3
    path.write_bytes(path.read_bytes()[: offset + kept])
    patch(path, dim={4: 3})


def without(ending: str) -> Edit:
    return lambda path: path.with_suffix(ending).unlink()


def shifted_content(values: np.ndarray) -> np.ndarray:
    return np.roll(values, 1, axis=0)


def corner_aligned(values: np.ndarray) -> np.ndarray:
    """What scipy.ndimage.zoom makes by default, under the affine of an edge-aligned grid."""
    from scipy.ndimage import zoom

    coarse = values.reshape(28, 2, 24, 2, 14).mean(axis=(1, 3))
    return zoom(coarse, (2, 2, 1), order=3)


def swapped_slices(values: np.ndarray) -> np.ndarray:
    values[:, :, [4, 9]] = values[:, :, [9, 4]]
    return values


VOLUME: dict[str, tuple[Edit, str]] = {
    "qform lost": (fields(qform_code=0), "geometry: qform there"),
    "sform lost": (fields(sform_code=0), "geometry: sform there"),
    "sform and qform disagree": (sform_moved, "geometry: sform and qform agree"),
    "half a voxel off": (moved(0.5), "geometry: corners by sform"),
    "origin kept": (origin_kept, "geometry: voxel centres by qform"),
    "pixdim stale": (fields(pixdim={1: 0.9, 2: 1.1}), "geometry: voxel sizes"),
    "sform_code changed": (fields(sform_code=4), "key sform_code"),
    "affine mirrored": (affine_mirrored, "geometry: handedness"),
    "units lost": (fields(xyzt_units=0), "key xyzt_units: lost"),
    "millimetres called metres": (fields(xyzt_units=9), "geometry: corners by sform"),
    "slope applied twice": (fields(scl_slope=0.015, scl_inter=30.0), "values: scale of values"),
    "slice_duration lost": (fields(slice_duration=0), "key slice_duration: lost"),
    "slice_code lost": (fields(slice_code=0), "key slice_code: lost"),
    "dim_info lost": (fields(dim_info=0), "key dim_info: lost"),
    "toffset lost": (fields(toffset=0), "key toffset: lost"),
    "intent lost": (fields(intent_code=0, intent_name=b""), "key intent_code: lost"),
    "cal_max changed": (fields(cal_max=20.0), "key cal_max: changed"),
    "aux_file lost": (fields(aux_file=b""), "key aux_file: lost"),
    "extension lost": (no_extension, "key extension 2 (MRS): lost"),
    "content one voxel off": (voxels_changed(shifted_content), "geometry: content in place"),
    "corners aligned": (voxels_changed(corner_aligned), "geometry: content in place"),
    "content flipped": (voxels_changed(lambda v: v[::-1]), "is flipped along x"),
    "slices swapped": (voxels_changed(swapped_slices), "geometry: order of slices"),
    "values normalised": (voxels_changed(lambda v: v / v.max()), "values: scale of values"),
    "sidecar lost": (without(".json"), "key file .json: lost"),
    "echo time changed": (sidecar(EchoTime=30.0), "key .json EchoTime: changed"),
    "readout time stale": (sidecar(TotalReadoutTime=0.023), "key .json TotalReadoutTime: kept"),
    "slice timing lost": (sidecar(SliceTiming=None), "key .json SliceTiming: lost"),
    "NaN in pixdim": (fields(pixdim={3: np.nan}), "geometry"),
}
DIFFUSION: dict[str, tuple[Edit, str]] = {
    "gradients rotated": (turned_gradients, "key file .bvec: changed"),
    "gradients lost": (without(".bvec"), "key file .bvec: lost"),
    "fourth dimension truncated": (fewer_volumes, "4"),
    "repetition time lost": (fields(pixdim={4: 1.0}), "key pixdim[4]: changed"),
}


@pytest.mark.parametrize("name", VOLUME)
def test_fault_is_found(good, tmp_path, name, capsys):
    planted(good["volume"], tmp_path, *VOLUME[name], capsys)


@pytest.mark.parametrize("name", DIFFUSION)
def test_fault_in_a_series_is_found(good, tmp_path, name, capsys):
    planted(good["diffusion"], tmp_path, *DIFFUSION[name], capsys)


def planted(one: Good, folder: Path, edit: Edit, words: str, capsys: pytest.CaptureFixture) -> None:
    """Plant a fault; the command exits with 6 and says what is wrong."""
    bad = one.copy(folder)
    (folder / "source.nii").write_bytes(one.input.read_bytes())
    edit(bad.output)
    assert main(["verify", str(bad.input), str(bad.output), "--json"]) == 6
    told = failures_told(capsys.readouterr().out)
    assert any(words in line for line in told), told


# -- privacy ----------------------------------------------------------------------------------------------------------


def test_no_free_text_is_shown(good):
    said = everything(sciSR.verify_files(good["volume"].input, good["volume"].output))
    for secret in ("Doe", "scanner", "atlas", "a comment"):
        assert secret not in said


# -- results of other tools -------------------------------------------------------------------------------------------


def written(source: Path, target: Path, voxels: np.ndarray, local: np.ndarray) -> Path:
    """Header of the source with both transforms refined, codes kept."""
    image = nib.load(source)
    header = image.header.copy()
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    new = nib.Nifti1Image(voxels.astype(np.float32), None, header)
    new.header.set_sform(image.header.get_sform() @ local, int(header["sform_code"]))
    new.header.set_qform(image.header.get_qform() @ local, int(header["qform_code"]))
    nib.save(new, target)
    for file in source.parent.glob(f"{source.stem}.*"):
        if file.suffix in (".json", ".bval", ".bvec"):
            target.with_suffix(file.suffix).write_bytes(file.read_bytes())
    return target


def finer(offset: float = -0.25, scale: float = 0.5) -> np.ndarray:
    local = np.diag([scale, scale, scale, 1.0])
    local[:3, 3] = offset
    return local


@pytest.fixture
def plain(tmp_path) -> Path:
    """A volume whose header says little, for tools that keep little."""
    from nifti_samples import make, rotation_affine
    from volume_faults import blobs

    return make(tmp_path / "plain.nii", data=blobs((24, 22, 20)).astype(np.float32), affine=rotation_affine())


def test_scipy_zoom_in_grid_mode_passes(plain, tmp_path):
    from scipy.ndimage import zoom

    fine = zoom(nib.load(plain).get_fdata(), 2, order=3, grid_mode=True, mode="nearest")
    found = sciSR.verify_files(plain, written(plain, tmp_path / "fine.nii", fine, finer()))
    assert failures(found) == []


@pytest.mark.parametrize(("local", "words"), [
    (finer(), "geometry: content in place"),
    (finer(0.0), "geometry: corners by sform"),
], ids=["affine of an edge-aligned grid", "affine divided by two"])  # fmt: skip
def test_scipy_zoom_by_default_is_found(plain, tmp_path, local, words):
    from scipy.ndimage import zoom

    fine = zoom(nib.load(plain).get_fdata(), 2, order=3)
    found = sciSR.verify_files(plain, written(plain, tmp_path / "fine.nii", fine, local))
    assert any(line.startswith(words) for line in failures(found)), failures(found)


def test_an_affine_that_tells_of_the_corners_is_found_by_the_field_only(plain, tmp_path):
    """The content is where the header says; the field of view is half a voxel short."""
    from scipy.ndimage import zoom

    image = nib.load(plain)
    local = np.diag([*((n - 1) / (2 * n - 1) for n in image.shape), 1.0])
    fine = zoom(image.get_fdata(), 2, order=3)
    found = failures(sciSR.verify_files(plain, written(plain, tmp_path / "fine.nii", fine, local)))
    assert not any("content in place" in line for line in found)
    assert any("field of view: edge to edge" in line for line in found)


def test_simpleitk_expand_keeps_the_grid_but_not_the_codes(plain, tmp_path):
    SimpleITK = pytest.importorskip("SimpleITK")
    target = tmp_path / "expanded.nii"
    fine = SimpleITK.Expand(SimpleITK.ReadImage(str(plain)), [2, 2, 2], SimpleITK.sitkLinear)
    SimpleITK.WriteImage(fine, str(target))
    found = sciSR.verify_files(plain, target)
    assert not any(
        c.group == "geometry" and "corners" in c.name and c.status == "failed" for c in found.checks
    )
    assert next(c for c in found.checks if c.name == "content in place").status == "passed"


def test_nibabel_resample_to_output_is_found(plain, tmp_path):
    """It keeps the first centre, drops obliqueness, and with it the field."""
    from nibabel.processing import resample_to_output

    target = tmp_path / "resampled.nii"
    nib.save(resample_to_output(nib.load(plain), (0.45, 0.55, 1.25), order=1), target)
    found = failures(sciSR.verify_files(plain, target))
    assert any("corners by nibabel's affine" in line for line in found)
    assert any("qform there" in line for line in found)
