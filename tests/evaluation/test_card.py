"""Cards: what was measured goes in, what may not be shipped stays out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from networks import write_network
from sciSR.cli.main import main
from sciSR.errors import UsageError
from sciSR.evaluation import card
from sciSR.evaluation.cache import ScoreCache
from sciSR.evaluation.prose import forward, limits
from sciSR.evaluation.terms import Terms, read_terms, refuse_unstated, terms_of
from sciSR.models.files import load_card, load_spec, shipped_paths
from sciSR.models.spec import ModelSpec
from sciSR.provenance import file_sha256

TABLES = {
    "medical.tsv": (
        "file\trepo\tcommit\tpath_in_repo\tlicence\tdescription\n"
        "mri/train/a.nii.gz\tx/y\tabc\ta.nii\tCC BY (README)\thead\n"
        "mri/train/b.nii.gz\tx/y\tabc\tb.nii\tno LICENSE file in repo; see note\thead\n"
    ),
    "natural.tsv": (
        "dir\trepo\tcommit\tpath_in_repo\tlicence\tfiles\tnote\n"
        "yang91\tx/z\tdef\tdata\trepo code MIT; no explicit licence, research use\t91\tT91\n"
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with two small check volumes."""
    folder = tmp_path / "data"
    (folder / "mri/check").mkdir(parents=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    for number in range(2):
        yy, xx, zz = np.mgrid[:32, :36, :3]
        values = 300 + 200 * np.cos(yy / (2 + number)) * np.sin(xx / 3) + 10 * zz
        values *= ((yy - 16) / 15) ** 2 + ((xx - 18) / 16) ** 2 < 1
        image = nibabel.Nifti1Image(values.astype(np.float32), np.diag([1, 1, 5, 1]))
        nibabel.save(image, folder / f"mri/check/v{number}.nii.gz")
    return folder


def draft(*files: str) -> dict[str, object]:
    entries = [{"name": name, "role": "train", "sha256": "0" * 64, "group": "g"} for name in files]
    return {
        "name": "net",
        "summary": "(say in one sentence what it is for)",
        "forward_model": {"name": "kspace", "kind": "kspace", "noise": "rician", "snr": [20.0, 200.0]},
        "limits": ["Not evaluated yet.", "Knees only."],
        "data": {"files": entries},
        "training": {"steps": 5, "commit": "abc", "seed": 1},
        "recipe": {
            "optimizer": {"lr": 0.001},
            "model": {"start": "/home/me/runs/first.safetensors"},
            "data": {"root": "/home/me", "train": ["mri/train/*.nii.gz"]},
        },
    }


def finished(root: Path, *files: str, **fields: object) -> dict[str, object]:
    weights = Path(write_network(root.parent, "FSRCNN", 2, **fields))
    tables = card.measure_all(weights, root)
    return card.complete(draft(*files), weights, tables, root)


def test_a_card_tells_data_recipe_measurement_and_limits(root: Path, tmp_path: Path) -> None:
    found = finished(root, "mri/train/a.nii.gz")
    [file] = found["data"]["files"]
    assert file == {
        "file": "mri/train/a.nii.gz",
        "licence": "CC BY (README)",
        "origin": "x/y @ abc: a.nii",
        "role": "train",
        "sha256": "0" * 64,
    }
    assert "rician noise, signal to noise 20 to 200" in found["forward_model"]["description"]
    assert found["training"]["commit"] == "abc"
    assert found["recipe"]["model"]["start"] == "first.safetensors", "no path of one machine"
    assert found["recipe"]["data"] == {"train": ["mri/train/*.nii.gz"]}
    assert found["limits"][0] == "Research use only, not for diagnosis."
    assert "Knees only." in found["limits"]
    assert not any("Not evaluated" in text or "(say" in text for text in [*found["limits"], found["summary"]])
    table = found["measured"]["tables"]["mr-kspace"]
    gains = table["gain_db"]
    assert set(gains["files"]) == {"v0.nii.gz", "v1.nii.gz"}
    for name, row in table["rows"].items():
        assert row["network"][0] - row["classical"][0] == pytest.approx(gains["files"][name], abs=0.011)
    # A network with random weights is worse than interpolation, and its card says on which images.
    assert any("v0.nii.gz" in text for text in found["limits"] if text.startswith("Measured:"))


def test_a_card_is_read_back_as_it_was_written_and_is_small(root: Path, tmp_path: Path) -> None:
    found = finished(root, "mri/train/a.nii.gz")
    weights = Path(write_network(root.parent, "FSRCNN", 2))
    card.write_card(weights.with_suffix(".yaml"), found)
    assert load_card(weights) == found
    assert weights.with_suffix(".yaml").stat().st_size < 12_000
    again = card.complete(load_card(weights), weights, card.measure_all(weights, root), root)
    assert {k: v for k, v in again.items() if k != "measured"} == {
        k: v for k, v in found.items() if k != "measured"
    }
    for part in ("means", "rows"):
        assert (
            again["measured"]["tables"]["mr-kspace"][part] == found["measured"]["tables"]["mr-kspace"][part]
        )


@pytest.mark.parametrize("name", ["mri/train/b.nii.gz", "mri/train/unknown.nii.gz", "natural/yang91/t1.bmp"])
def test_weights_from_files_without_stated_terms_are_not_shipped(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        finished(root, "mri/train/a.nii.gz", name)


def test_weights_that_do_not_say_what_they_were_trained_on_are_not_shipped(root: Path) -> None:
    with pytest.raises(UsageError, match="names no file"):
        finished(root)


def test_adversarial_networks_say_that_they_invent(root: Path) -> None:
    found = finished(root, "mri/train/a.nii.gz", adversarial=True)
    text = " ".join(found["limits"])
    assert "invents texture" in text
    assert "not for measurement" in text
    assert found["adversarial"] is True


def test_the_command_measures_writes_and_ships(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    weights = Path(write_network(tmp_path, "FSRCNN", 2))
    card.write_card(weights.with_suffix(".yaml"), draft("mri/train/a.nii.gz"))
    words = ["card", str(weights), "--data", str(root), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*words, "--cache", str(tmp_path / "scores.json")])
    assert card.main() == 0
    shipped = tmp_path / "out" / "toy-FSRCNN.safetensors"
    assert shipped.read_bytes() == weights.read_bytes()
    assert load_spec(shipped).name == load_card(shipped)["name"] == "toy-FSRCNN"
    assert "mr-kspace" in capsys.readouterr().out
    assert main(["models", str(shipped)]) == 0
    shown = capsys.readouterr().out
    assert "gain over the best classical method in each image" in shown
    assert "v1.nii.gz" in shown
    card.write_card(weights.with_suffix(".yaml"), draft("natural/yang91/t1.bmp"))
    assert card.main() == 2
    assert "yang91" in capsys.readouterr().err


def test_kept_scores_are_the_measured_ones(root: Path, tmp_path: Path) -> None:
    weights = Path(write_network(tmp_path, "FSRCNN", 2))
    path = tmp_path / "scores.json"
    one = card.measure_all(weights, root, ScoreCache(path))["mr-kspace"]
    assert "toy-FSRCNN" not in path.read_text()
    two = card.measure_all(weights, root, ScoreCache(path))["mr-kspace"]
    for name, row in one.rows.items():
        untimed = {key: value for key, value in row["cubic"].items() if key != "s_per_mpix"}
        assert two.rows[name]["cubic"] == untimed, "it was not run again, so it has no time"
        assert two.rows[name]["toy-FSRCNN"]["psnr"] == row["toy-FSRCNN"]["psnr"]
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "version": -1}))
    assert ScoreCache(path).known(next(iter(stored["scores"]))) == {}


@pytest.mark.parametrize(
    ("licence", "note", "stated"),
    [
        ("MIT", "", True),
        ("CC BY (README)", "", True),
        ("PDDL-1.0", "", True),
        ("BSD-3-Clause (repo)", "", True),
        ("MIT (repo); data public archive, see note", "", True),
        ("no LICENSE file in repo; NASA/ESA solar mission open data", "", True),
        ("no LICENSE file in repo; see note", "2MASS data free to use with acknowledgement", True),
        ("no LICENSE file in repo; see note", "a nice galaxy", False),
        ("no LICENSE file in repo (JS9 itself is MIT); see note", "", False),
        ("repo code MIT; no explicit licence, research use", "", False),
        ("repo code MIT; non-commercial research", "", False),
        ("CC BY-NC 4.0", "", False),
        ("see repo LICENSE/README (mixed, public test files)", "", False),
        ("", "", False),
    ],
)
def test_terms_are_read_with_care(licence: str, note: str, stated: bool) -> None:
    terms = Terms(licence, "x", note)
    assert (terms.stated is not None) is stated
    if stated:
        refuse_unstated(["f"], {"f": terms})


@pytest.mark.realdata
def test_the_shipped_networks_were_trained_on_files_that_allow_it(shared_data: Path) -> None:
    table = read_terms(shared_data)
    assert terms_of("natural/yang91/t1.bmp", table) is not None
    for path in sorted(shipped_paths().values()):
        files = load_card(path)["data"]["files"]
        refuse_unstated([row["file"] for row in files if row.get("role", "train") == "train"], table)


def test_shipped_weights_have_finished_cards_and_are_small() -> None:
    weights = sorted(card.WEIGHTS.glob("*.safetensors"))
    cards = [path.with_suffix(".yaml") for path in weights]
    assert sum(path.stat().st_size for path in [*weights, *cards]) < 40e6
    assert sum(path.stat().st_size for path in cards) < 1.5e6
    for path in shipped_paths().values():
        found = load_card(path)
        assert found["sha256"] == file_sha256(path), f"{path.name} changed since its card was made"
        assert found["name"] == path.stem == load_spec(path).name
        assert found["measured"]["tables"]
        for table in found["measured"]["tables"].values():
            assert set(table["gain_db"]["files"]) == set(table["rows"])
        assert "Research use" in " ".join(found["limits"])
        assert not any("Not evaluated" in text for text in found["limits"])


def test_forward_models_are_told_with_their_parameters() -> None:
    spec = ModelSpec("n", "ESPCN", forward_model="detector", receptive_field=1)
    text = forward(spec, {"fwhm": [1.0, 3.0], "psf": ["moffat"], "noise": "poisson", "hot_pixels": 0.001})
    assert "moffat PSF of 1 to 3 coarse pixels" in text
    assert "photon" in text
    assert "0.001" in text
    assert limits(spec, ["Research use only.", "Mine."], {}) == ["Research use only.", "Mine."]
