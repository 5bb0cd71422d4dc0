"""Preparing patch files: from configuration and files to everything a training needs."""

from __future__ import annotations

import hashlib
import itertools
import json

import numpy as np
import pytest
import torch
from sample_files import config_of, with_data, write_picture, write_sky, write_volume

from sciSR.cli.main import main
from sciSR.errors import SciSRWarning, UsageError
from sciSR.inference.normalise import fit
from sciSR.training import prepare as module
from sciSR.training.config import ForwardConfig
from sciSR.training.config_file import dump
from sciSR.training.dataset import FilePatches
from sciSR.training.luminance import read_luminance
from sciSR.training.patch_file import LIMIT, PatchFile
from sciSR.training.prepare import prepare, sha256, summary


@pytest.fixture
def volumes(tmp_path):
    for k in range(3):
        write_volume(tmp_path / f"data/sub-{k}_T1.nii.gz", seed=k)
    return tmp_path / "data"


def arrays_of(path):
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def test_a_file_holds_what_was_asked_for_and_where_it_came_from(tmp_path, volumes):
    config = config_of(volumes, model={"conditions": ("noise", "kspace")}, patches=22)
    about = prepare(config, tmp_path / "p.npz")
    patches = PatchFile(tmp_path / "p.npz")
    assert about["pairs"] == {"x2": 22} == patches.about["pairs"]
    assert patches.count(2) == 22
    assert patches.config == config
    assert len(patches.validation().input) == 6
    assert about["bytes"] == (tmp_path / "p.npz").stat().st_size < 60e6
    batch = next(patches.batches(0, 5, 1))
    assert batch.input.shape == (5, 1, 12, 12)
    assert batch.truth.shape == (5, 1, 24, 24)
    assert batch.condition.tolist() == [[0, 1]] * 5
    for each in about["files"]:
        assert each["sha256"] == hashlib.sha256((volumes / each["name"]).read_bytes()).hexdigest()
    assert sorted(each["role"] for each in about["files"]) == ["train", "train", "validation"]
    assert any("22 pairs x2" in line for line in summary(about))


def test_prepared_patches_are_those_that_files_give(tmp_path, volumes):
    """The same observations, rounded to half floats."""
    config = config_of(volumes, patches=8)
    prepare(config, tmp_path / "p.npz")
    stored = arrays_of(tmp_path / "p.npz")["train_x2_truth"].astype(np.float32)
    straight = FilePatches(config)
    drawn = torch.cat([batch.truth for batch in itertools.islice(straight.batches(0, 2, 1), 4)])[:, 0].numpy()
    for patch in stored:
        assert np.abs(drawn - patch).max((1, 2)).min() < 2e-3


def test_processes_change_nothing(tmp_path, volumes):
    config = config_of(volumes)
    prepare(config, tmp_path / "one.npz")
    prepare(with_data(config, workers=2), tmp_path / "two.npz")
    one, two = arrays_of(tmp_path / "one.npz"), arrays_of(tmp_path / "two.npz")
    assert all(np.array_equal(one[key], two[key]) for key in one if key != "about")


def test_seeds_give_other_patches(tmp_path, volumes):
    for seed in (1, 2):
        prepare(config_of(volumes, seed=seed), tmp_path / f"{seed}.npz")
    one, two = (arrays_of(tmp_path / f"{seed}.npz")["train_x2_truth"] for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_files_share_the_patches_evenly(tmp_path):
    for k in range(12):
        values = np.full((40, 44, 2), 100.0, np.float32)
        values[::2, ::3] += 10 * (k + 2)  # zero, in units of its range, tells the file
        write_volume(tmp_path / f"data/sub-{k}.nii", values=values)
    config = config_of(
        tmp_path / "data", forward=ForwardConfig("gaussian"), patches=88, validation_share=0.08
    )
    prepare(config, tmp_path / "p.npz")
    zeros = arrays_of(tmp_path / "p.npz")["train_x2_noise"][:, 2]
    _, counts = np.unique(zeros, return_counts=True)
    assert counts.tolist() == [8] * 11


def test_photographs_are_stored_in_their_own_levels(tmp_path):
    paths = [write_picture(tmp_path / f"data/t{k}.png", seed=k) for k in range(4)]
    config = config_of(tmp_path / "data", "natural", patches=40, validation_share=0.5)
    prepare(config, tmp_path / "p.npz")
    stored = arrays_of(tmp_path / "p.npz")
    assert stored["train_x2_truth"].dtype == np.uint8
    pictures = [np.round(255 * read_luminance(path)).astype(np.uint8) for path in paths]
    for patch in stored["train_x2_truth"][::5]:
        assert any(
            (np.lib.stride_tricks.sliding_window_view(picture, (24, 24)) == patch).all((-1, -2)).any()
            for picture in pictures
        )
    batch = next(PatchFile(tmp_path / "p.npz").batches(0, 40, 1))
    assert -0.3 < batch.input.min() < batch.input.max() < 1.3
    normaliser = fit(pictures[0].ravel() / 255, "unit")
    assert (normaliser.offset, normaliser.scale) == pytest.approx((0, 1), abs=0.01)


def test_several_scales_stand_in_one_file(tmp_path):
    for k in range(3):
        write_picture(tmp_path / f"data/t{k}.png", (120, 110), seed=k)
    config = config_of(
        tmp_path / "data",
        "natural",
        model={"scale": 2, "scales": (2, 3, 4)},
        patches=30,
        validation_share=0.3,
    )
    about = prepare(config, tmp_path / "p.npz")
    assert about["pairs"] == {"x2": 10, "x3": 10, "x4": 10}
    sides = [
        batch.truth.shape[-1] for batch in itertools.islice(PatchFile(tmp_path / "p.npz").batches(0, 4, 1), 3)
    ]
    assert sides == [24, 24, 32]


def test_simulated_and_real_skies_mix(tmp_path):
    for k in range(3):
        write_sky(tmp_path / f"data/f{k}.fits", seed=k, centre=(10.0 * k, 5.0))
    forward = ForwardConfig("detector", noise="poisson")
    config = config_of(
        tmp_path / "data", "astronomy", forward=forward, patches=48, simulated=0.5, resampled=0.5
    )
    prepare(config, tmp_path / "p.npz")
    noise = arrays_of(tmp_path / "p.npz")["train_x2_noise"]
    assert 0.2 < (noise[:, 0] > 0).mean() < 0.8


def test_stored_skies_keep_the_flux_of_bright_stars(tmp_path):
    for k in range(2):
        values = np.random.default_rng(k).normal(100, 2, (90, 90)).astype(np.float32)
        values[20::40, 20::40] += 1e6
        write_sky(tmp_path / f"data/f{k}.fits", centre=(10.0 * k, 5.0), values=values)
    prepare(config_of(tmp_path / "data", "astronomy", patch=36, patches=4), tmp_path / "p.npz")
    batch = next(PatchFile(tmp_path / "p.npz").batches(0, 4, 1))
    flux = torch.nn.functional.avg_pool2d(batch.truth.double().sinh(), 2)
    given = batch.input.double().sinh()
    assert given.max() > 1e4
    assert ((flux - given).abs() / (1 + given.abs())).max() < 1e-3  # half floats: 4e-3


def test_what_is_too_much_is_reduced_with_a_line(tmp_path, volumes, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 60_000)
    with pytest.warns(SciSRWarning, match=r"data\.patches is 5000"):
        about = prepare(config_of(volumes, patches=5000), tmp_path / "p.npz")
    assert 20 < about["pairs"]["x2"] < 200
    assert LIMIT == 60_000_000


def test_one_subject_alone_is_validated_on_with_a_warning(tmp_path):
    write_volume(tmp_path / "data/sub-1_T1.nii")
    with pytest.warns(SciSRWarning, match=r"data\.validation"):
        about = prepare(config_of(tmp_path / "data"), tmp_path / "p.npz")
    assert about["validation_pairs"] == 6


def test_an_existing_file_is_kept(tmp_path, volumes):
    (tmp_path / "p.npz").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        prepare(config_of(volumes), tmp_path / "p.npz")
    assert (tmp_path / "p.npz").read_text() == "mine"
    prepare(config_of(volumes), tmp_path / "p.npz", overwrite=True)
    assert PatchFile(tmp_path / "p.npz").count(2) == 24


def test_a_failed_run_leaves_nothing(tmp_path, volumes):
    with pytest.raises(UsageError, match=r"data\.patch"):
        prepare(config_of(volumes, patch=100), tmp_path / "p.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_s_hash_is_that_of_its_files(tmp_path):
    for name, text in (("a/1", "x"), ("a/2", "y"), ("b/1", "x"), ("b/2", "y"), ("c/1", "x"), ("c/3", "y")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_the_command_prepares_and_tells(tmp_path, volumes, capsys):
    dump(config_of(volumes), tmp_path / "c.yaml")
    arguments = [
        "prepare",
        str(tmp_path / "c.yaml"),
        "-o",
        str(tmp_path / "p.npz"),
        "--set",
        "data.patches=12",
    ]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == {"x2": 12}
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--data", str(volumes)]) == 0
    assert "12 pairs x2" in capsys.readouterr().out
    assert main([*arguments, "--overwrite", "--set", "data.pach=3"]) == 2
    assert "pach" in capsys.readouterr().err


def test_the_command_goes_on_without_missing_files(tmp_path, volumes, capsys):
    dump(config_of(volumes, train=("*.nii.gz", "gone/*.nii")), tmp_path / "c.yaml")
    assert main(["prepare", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "p.npz")]) == 0
    told = capsys.readouterr()
    assert told.err.count("gone/*.nii") == 1
    assert (
        main(["prepare", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "q.npz"), "--data", str(tmp_path)])
        == 2
    )
    assert "data.train" in capsys.readouterr().err


@pytest.mark.realdata
def test_real_volumes_and_a_dicom_series(shared_data, tmp_path):
    import tarfile

    with tarfile.open(shared_data / "dicom/d2n_siemens_anatomical_001.tar.xz") as archive:
        archive.extractall(tmp_path / "data", filter="data")
    for name in ("pymskt_knee_mese_echo1", "openms_long_p20_study2_FLAIR"):
        (tmp_path / f"data/{name}.nii.gz").symlink_to(shared_data / f"mri/train/{name}.nii.gz")
    config = config_of(tmp_path / "data", train=("*",), patch=48, patches=48, validation_share=0.3)
    about = prepare(config, tmp_path / "p.npz")
    assert {each["group"] for each in about["files"]} == {0, 1, 2}
    assert any(each["name"] == "d2n_siemens_anatomical_001" for each in about["files"])
    batch = next(PatchFile(tmp_path / "p.npz").batches(0, 48, 1))
    assert 0.1 < batch.input.mean() < 0.9
    assert ((batch.input > 0.1).float().mean((1, 2, 3)) >= 0.29).all()
