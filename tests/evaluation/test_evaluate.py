"""`sciSR.evaluate` on files: the same numbers as by hand, nothing written, failures told."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from astropy.io import fits

import sciSR
from networks import write_network
from sciSR.evaluation import methods
from sciSR.evaluation.measure import measure
from sciSR.evaluation.subject import subject_of
from sciSR.training.scenes import simulate


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    yy, xx, zz = np.mgrid[:36, :40, :5]
    values = 400 + 200 * np.cos(yy / 2.5) * np.sin(xx / 3) + 20 * zz
    inside = ((yy - 18) / 16) ** 2 + ((xx - 20) / 18) ** 2 < 1
    image = nibabel.Nifti1Image(np.where(inside, values, 0).astype(np.int16), np.diag([1, 1, 5, 1]))
    nibabel.save(image, tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


@pytest.fixture
def field(tmp_path: Path) -> Path:
    scene = simulate(9_200_002, size=48, fixed={"stars": 80, "fwhm": 1.4, "frames": 200})
    header = fits.Header({"BUNIT": "MJy/sr"})
    fits.writeto(tmp_path / "field.fits", scene.truth.astype(np.float32), header)
    return tmp_path / "field.fits"


def test_scores_are_those_of_the_image_degraded_by_hand(volume: Path) -> None:
    found = sciSR.evaluate("espcn-mr-kspace-x2", volume, device="cpu")
    [table] = found.tables
    assert (table.name, table.scale) == ("mr kspace", 2)
    network, rival = methods.trained("espcn-mr-kspace-x2"), methods.classical("cubic")
    by_hand = measure(subject_of(sciSR.read(volume)), "kspace", 2, [network, rival])
    for method in (network.name, "cubic"):
        for key in ("psnr", "ssim", "nrmse", "bias"):
            assert table.rows["head.nii.gz"][method][key] == by_hand[method][key]
    assert set(methods.CLASSICAL) < set(table.methods)
    assert found.exit_code == 0


def test_each_image_meets_the_networks_of_its_domain(volume: Path, field: Path) -> None:
    before = sorted(volume.parent.iterdir())
    found = sciSR.evaluate("all-x2", [volume, field], device="cpu")
    assert sorted(volume.parent.iterdir()) == before, "nothing is written"
    tables = {table.name: table for table in found.tables}
    assert set(tables["astronomy detector"].rows) == {"field.fits"}
    assert set(tables["mr kspace"].rows) == set(tables["mr gaussian"].rows) == {"head.nii.gz"}
    assert "espcn-astro-x2" in tables["astronomy detector"].methods
    scores = tables["astronomy detector"].rows["field.fits"]["espcn-astro-x2"]
    assert {"psnr", "ssim", "nrmse", "bias", "scatter", "s_per_mpix"} <= set(scores)
    assert "IBP (known PSF)" in tables["mr gaussian"].methods


def test_a_volume_of_another_domain_is_no_network_s_of_a_group(volume: Path) -> None:
    found = sciSR.evaluate("all-astro-x2", volume)
    assert found.tables == ()
    assert "mr images" in str(found.failures[0].error)
    assert found.exit_code == 2
    insisted = sciSR.evaluate("espcn-astro-x2", volume, device="cpu")
    assert insisted.tables[0].name == "mr detector"


def test_a_network_for_photographs_is_scored_plainly(field: Path, tmp_path: Path) -> None:
    told = {"domain": "natural", "forward_model": "bicubic", "normalisation": "unit"}
    weights = write_network(tmp_path, "FSRCNN", 2, **told)
    [table] = sciSR.evaluate(weights, field, device="cpu").tables
    assert table.name == "generic bicubic"
    assert "scatter" not in table.measures


def test_classical_methods_alone_at_any_scale_and_forward_model(volume: Path) -> None:
    [table] = sciSR.evaluate("classical", volume, forward="gaussian", scale=3).tables
    assert (table.name, table.scale) == ("mr gaussian", 3)
    assert table.of_kind("trained") == []
    assert table.of_kind("oracle")


def test_one_bad_file_does_not_stop_the_others(volume: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(volume.read_bytes()[:200])
    found = sciSR.evaluate("classical", [volume, bad])
    assert set(found.tables[0].rows) == {"head.nii.gz"}
    assert [failure.input for failure in found.failures] == [bad]
    assert found.exit_code == 4
    assert sciSR.evaluate("classical", bad).exit_code == 3


@pytest.mark.parametrize(
    ("value", "shape", "said"),
    [
        (np.nan, (36, 40, 2), "no finite pixel"),
        (7, (36, 40, 2), "no value but 7"),
        (None, (36, 2, 2), "too small"),
    ],
)
def test_an_image_without_anything_to_score_fails_by_name(volume, tmp_path, value, shape, said) -> None:
    """It was an unexpected IndexError for MR, success with an empty table for the sky, or told without its name."""
    values = np.random.default_rng(1).random(shape) if value is None else np.full(shape, value)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / "empty.nii")
    found = sciSR.evaluate("classical", [volume, tmp_path / "empty.nii"], planes=1)
    assert set(found.tables[0].rows) == {"head.nii.gz"}
    assert found.exit_code == 4
    assert "empty.nii" in str(found.failures[0].error)
    assert said in str(found.failures[0].error)


def test_two_files_of_one_name_are_two_rows(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(volume, tmp_path / "other")
    [table] = sciSR.evaluate("classical", [volume, tmp_path / "other" / volume.name]).tables
    assert list(table.rows) == ["head.nii.gz", "head.nii.gz (2)"]


def test_progress_reaches_the_end_of_each_input(volume: Path) -> None:
    said: list[tuple[str, float]] = []
    sciSR.evaluate("classical", volume, progress=lambda name, done: said.append((name, done)))
    assert {name for name, _ in said} == {"head.nii.gz"}
    done = [fraction for _, fraction in said]
    assert done == sorted(done)
    assert done[-1] == 1
