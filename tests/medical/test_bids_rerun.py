"""A second run over a BIDS dataset: finished results stay, others are told, and redone only when asked."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pytest
from bids_samples import BVAL, QUICK, dataset, rich_dataset, run, snapshot, volume, write_json

NAME = "sub-01/anat/sub-01_res-x2_desc-sciSR_T2w.nii.gz"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return dataset(tmp_path / "raw")


def test_a_changed_input_is_said_and_redone_only_when_asked(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ("participant", "--participant-label", "01", *QUICK)
    assert run(raw, out, *words) == 0
    before = snapshot(out)
    volume(raw / "sub-01/anat/sub-01_T2w.nii.gz", (12, 10, 5))
    capsys.readouterr()
    assert run(raw, out, *words) == 2
    assert "the input has changed" in capsys.readouterr().out
    assert snapshot(out) == before
    assert run(raw, out, *words, "--overwrite") == 0
    assert nib.load(out / NAME).shape == (24, 20, 5)
    assert run(raw, out, *words) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--model", "cubic"), "a result with other settings is there (scale 2, model linear)"),
        (("--dtype", "keep"), "other settings"),
    ],
)
def test_other_settings_are_said(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    assert run(raw, out, "participant", *QUICK) == 0
    capsys.readouterr()
    assert run(raw, out, "participant", *QUICK, *change) == 4
    assert said in capsys.readouterr().out
    assert run(raw, out, "participant", *QUICK, *change, "--overwrite") == 0
    assert run(raw, out, "participant", *QUICK, *change) == 0


def test_settings_that_change_nothing_are_no_other_settings(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(raw, out, "participant", *QUICK) == 0
    before = snapshot(out)
    words = ("--device", "cpu", "--tile", "64", "--consistency", "auto", "--scale", "2.0")
    assert run(raw, out, "participant", *QUICK, *words) == 0
    assert snapshot(out) == before


def test_changed_metadata_and_tables_count_as_a_changed_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = rich_dataset(tmp_path / "raw"), tmp_path / "out"
    words = ("participant", "--suffix", "dwi", "--participant-label", "01", *QUICK)
    assert run(raw, out, *words) == 0
    write_json(raw / "dwi.json", EchoTime=0.08)
    assert run(raw, out, *words) == 2
    assert "metadata have changed" in capsys.readouterr().out
    (raw / "dwi.json").unlink()
    (raw / "dwi.bval").write_text(BVAL.replace("1000", "900"))
    assert run(raw, out, *words) == 2
    assert "the .bval file" in capsys.readouterr().out
    assert run(raw, out, *words, "--overwrite") == 0


def test_a_result_that_lost_its_tables_is_completed(tmp_path: Path) -> None:
    raw, out = rich_dataset(tmp_path / "raw"), tmp_path / "out"
    words = ("participant", "--suffix", "dwi", "--participant-label", "01", *QUICK)
    assert run(raw, out, *words) == 0
    [table] = out.rglob("*.bval")
    table.unlink()
    assert run(raw, out, *words) == 0
    assert table.read_text() == BVAL


@pytest.mark.parametrize("how", ["cut", "flipped", "other sidecar"])
def test_a_damaged_result_is_found_out(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    out, words = tmp_path / "out", ("participant", "--participant-label", "01", *QUICK)
    assert run(raw, out, *words) == 0
    image = out / NAME
    content = bytearray(image.read_bytes())
    if how == "cut":
        image.write_bytes(content[:-7])
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        image.write_bytes(content)
    else:
        image.with_name(image.name.replace(".nii.gz", ".json")).write_text("{}")
    assert run(raw, out, *words) == 2
    assert "not what its record says" in capsys.readouterr().out
    assert run(raw, out, *words, "--overwrite") == 0


def test_what_is_up_to_date_stays_even_with_overwrite(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(raw, out, "participant", *QUICK) == 0
    before = snapshot(out)
    assert run(raw, out, "participant", *QUICK, "--overwrite") == 0
    assert snapshot(out) == before
