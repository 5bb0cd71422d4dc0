"""The conformance suite, damaged files, killed runs: one line or the right result, never anything between."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import derive, make_series, oblique, phantom
from pydicom import uid

import sciSR
from sciSR.errors import SciSRError, UsageError
from sciSR.testing import Subject, check_adapter
from sciSR.testing.killing import check_killing
from scisr_medical.dicom_adapter import adapter

DATED = (
    "InstanceCreationDate",
    "InstanceCreationTime",
    "SeriesDate",
    "SeriesTime",
    "ContentDate",
    "ContentTime",
)


def content(target: Path) -> bytes:
    """All bytes of a derived series but for the dates of its making."""
    out = []
    for file in sorted(target.iterdir()) if target.is_dir() else [target]:
        dataset = pydicom.dcmread(file)
        for keyword in DATED:
            delattr(dataset, keyword)
        for item in dataset.ContributingEquipmentSequence:
            del item.ContributionDateTime
        out.append(dataset.to_json().encode())
    return b"".join(out)


def test_the_adapter_keeps_every_promise_of_the_conformance_suite(tmp_path):
    make_series(tmp_path / "mr", stored=phantom((3, 9, 8)), orientation=oblique(0.3, 0.1, -0.2))
    make_series(tmp_path / "ct", modality="CT", stored=phantom((3, 8, 9)) + 200)
    make_series(tmp_path / "big", stored=phantom((2, 8, 9)), syntax=uid.ExplicitVRBigEndian)

    def volume(dataset, k):
        dataset.ImagePositionPatient[2] = 3.0 * (k % 2)
        dataset.TemporalPositionIdentifier = 1 + k // 2

    make_series(tmp_path / "time", stored=phantom((4, 6, 7)), edit=volume)
    subjects = [
        tmp_path / "mr",
        tmp_path / "ct",
        tmp_path / "big",
        tmp_path / "time",
        tmp_path / "mr" / "s000.dcm",
    ]
    (tmp_path / "work").mkdir()
    for number, subject in enumerate(subjects):
        check_adapter(adapter, [subject], tmp_path / "work" / str(number), content=content)


def test_loose_slices_and_chosen_echoes_conform_too(tmp_path):
    def tilt(dataset, k):
        dataset.ImageOrientationPatient = list(oblique(0.2 * k, 0.1, 0))

    make_series(tmp_path / "in", stored=phantom((3, 9, 8)), edit=tilt)
    check_adapter(adapter, [tmp_path / "in"], tmp_path / "work", content=content, read={"irregular": True})


MUTANTS = 150


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.RLELossless])
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path, syntax):
    """Seeded bit flips, cuts and swaps, mostly in the header; what is still read must also be writable."""

    def edit(dataset, k):
        dataset.add_new("PixelPaddingValue", "US", 0)
        dataset.ReferencedImageSequence = [pydicom.Dataset()]
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 1
        if syntax == uid.RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)

    native = uid.ExplicitVRLittleEndian if syntax == uid.RLELossless else syntax
    make_series(tmp_path / "in", stored=phantom((1, 6, 8)), edit=edit, syntax=native)
    whole = (tmp_path / "in" / "s000.dcm").read_bytes()
    rng = random.Random(f"dicom {syntax}")
    outcomes = {"read": 0, "refused": 0}
    for number in range(MUTANTS // 3):
        mutant = tmp_path / f"m{number}.dcm"
        mutant.write_bytes(mutate(whole, rng))
        refused = attempt(mutant, tmp_path / f"out{number}")
        outcomes["refused" if refused else "read"] += 1
        assert "\n" not in refused
        assert not refused or mutant.name in refused or f"out{number}" in refused
    assert min(outcomes.values()) > 0, "the mutations must reach both ends"


def attempt(file: Path, out: Path) -> str:
    """Read, derive, describe; the one-line refusal, or an empty string."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            derive(file, out, 2)
            adapter.describe(file)
        except SciSRError as error:
            return str(error)
    return ""


def mutate(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(132, len(out))
        kind = rng.randrange(5)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice([0, 255, 0x7F, 0x80])
        elif kind == 2:
            out[at : at + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\xff\xff\xff\x7f"]
            )
        elif kind == 3:
            del out[at : at + rng.choice([1, 2, 50])]
        else:
            out[at:at] = out[at - 20 : at]
    return bytes(out)


def test_a_series_goes_through_the_python_front_door_into_a_folder(tmp_path):
    make_series(tmp_path / "in", stored=phantom((2, 12, 14)))
    sharp = sciSR.upscale(sciSR.read(tmp_path / "in"), 2, model="linear", consistency="block", device="cpu")
    assert sciSR.write(sharp, tmp_path / "out") == tmp_path / "out"
    again = np.asarray(sciSR.read(tmp_path / "out"))
    assert np.abs(again - np.asarray(sharp)).max() <= 0.5
    means = again.reshape(2, 12, 2, 14, 2).mean(axis=(2, 4))
    assert np.abs(means - np.asarray(sciSR.read(tmp_path / "in"))).max() <= 0.5, (
        "agrees with what was measured"
    )
    with pytest.raises(UsageError, match="no adapter writes"):
        sciSR.write(sharp.replace(source=None), tmp_path / "other")


def test_a_message_about_a_header_never_quotes_the_patient(tmp_path, monkeypatch):
    from scisr_medical import dicom_attributes

    def stumble(dataset, modality):
        raise ValueError(f"With tag (0010,0010) got exception: {dataset.PatientName}")

    make_series(tmp_path / "in")
    monkeypatch.setattr(dicom_attributes, "fill_required", stumble)
    with pytest.raises(SciSRError) as caught:
        derive(tmp_path / "in", tmp_path / "out", 2)
    assert "(ValueError (0010,0010))" in str(caught.value)
    assert "Doe" not in str(caught.value)


def stopped_halfway(target: Path, images: list) -> None:
    with adapter.open_writer(target, images, overwrite=True) as writer:
        writer.put(0, (0, slice(None), slice(None)), np.zeros((10, 12), np.float32))
        raise RuntimeError("stop")


def test_a_failing_write_leaves_the_old_result(tmp_path):
    make_series(tmp_path / "in")
    before = {f.name: f.read_bytes() for f in sorted((tmp_path / "in").iterdir())}
    derive(tmp_path / "in", tmp_path / "out", 2)
    old = content(tmp_path / "out")
    images = adapter.read(tmp_path / "in")
    with pytest.raises(RuntimeError, match="stop"):
        stopped_halfway(tmp_path / "out", images)
    assert content(tmp_path / "out") == old
    with pytest.raises(UsageError, match="exists already"):
        derive(tmp_path / "in", tmp_path / "out", 2)
    assert {f.name: f.read_bytes() for f in sorted((tmp_path / "in").iterdir())} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_a_write_killed_at_any_moment_leaves_the_old_series_the_new_one_or_none(tmp_path):
    make_series(tmp_path / "in", stored=phantom((3, 6, 7)))
    subject = Subject(adapter, tmp_path / "in", content=content)
    check_killing(subject, tmp_path / "work", "scisr_medical.dicom_adapter:adapter", moments=5)


def test_loading_the_adapter_imports_nothing_heavy():
    script = (
        "import sys, scisr_medical.dicom_adapter as a; a.adapter.sniff(__import__('pathlib').Path('.'));"
        "print([m for m in ('torch', 'pydicom', 'highdicom', 'scipy', 'nibabel') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == "[]"
