"""Three hundred damaged and hostile inputs in every run; and the harness itself sees what it is there to see."""

from __future__ import annotations

import shutil
from pathlib import Path

import fuzz_seeds
import nibabel as nib
import numpy as np
import pytest
from astropy.io import fits
from fuzz_geometry import Refused, WrongGrid, judge
from fuzz_mutations import Case, build
from fuzz_running import DEFECTS, fuzz, main, table
from fuzz_watching import Watched

import sciSR

INPUTS = 300
SEED = 20_261_121

SPOILT = """
import json, os, signal, sys
for line in sys.stdin:
    request = json.loads(line)
    kind = request.get("case", "").split(":")[1:2]
    if kind == ["hang"]:
        signal.pause()
    if kind == ["crash"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == ["memory"]:
        held = bytearray(os.urandom(1)) * (400 << 20)
        signal.pause()
    print(json.dumps({"outcome": "same" if kind else "honest", "peak": 100_000, "detail": ""}), flush=True)
"""


@pytest.mark.slow
def test_no_input_brings_it_down_or_moves_a_pixel() -> None:
    results = fuzz(INPUTS, SEED, jobs=2)
    faults = [
        f"{case}: {found['outcome']} {found['detail']}"
        for case, found in results
        if found["outcome"] in DEFECTS
    ]
    assert len(results) == INPUTS
    assert not faults, "\n".join(["replay with: python -m tests.fuzz --replay CASE", *faults])
    outcomes = [found["outcome"] for _, found in results]
    assert outcomes.count("refused") > INPUTS // 4  # the mutations do damage,
    assert outcomes.count("refused") < INPUTS * 3 // 4  # and not so much that nothing is read
    assert f"| all ({INPUTS}) |" in table(results, lambda case: case.name.split("/")[0])


@pytest.mark.parametrize("kind", ["hang", "crash", "memory"])
def test_what_an_input_does_to_a_worker_is_laid_at_its_door(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "worker.py"
    script.write_text(SPOILT)
    watched = Watched(tmp_path, script=script, seconds=0.3 if kind == "hang" else 60.0)
    try:
        assert watched.run(Case(1, "good", 0))["outcome"] == "same"
        assert watched.run(Case(1, kind, 0))["outcome"] == kind
        assert watched.run(Case(1, "good", 1))["outcome"] == "same"  # in a new worker
    finally:
        watched.stop()


def test_an_input_is_the_same_in_every_run(tmp_path: Path) -> None:
    seed = fuzz_seeds.seeds()["ser/mono"]
    honest = fuzz_seeds.make(seed, tmp_path / "honest")
    made = set()
    for number in (0, 1, 2, 0, 1, 2):
        path, what = build(Case(3, seed.name, number), seed, honest, tmp_path / "in", [honest / seed.victim])
        made.add((number, what, path.read_bytes()))
    assert len(made) == 3
    assert Case.parse(str(Case(3, "fits/mef", 17))) == Case(3, "fits/mef", 17)


def test_one_input_is_replayed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", "1:yaml/degrade:3", "--keep", str(tmp_path), "--jobs", "1"]) == 0
    assert "1:yaml/degrade:3: " in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["degrade.yaml"]


def _upscaled(name: str, folder: Path) -> tuple[Path, Path]:
    seed = fuzz_seeds.seeds()[name]
    source = fuzz_seeds.make(seed, folder) / seed.opened
    target = folder / f"out{source.suffix}"
    sciSR.write(sciSR.upscale(sciSR.read(source), 2, "linear", device="cpu"), target)
    return source, target


def test_the_judge_sees_a_sky_that_moved(tmp_path: Path) -> None:
    source, target = _upscaled("fits/frame", tmp_path)
    judge("fits", source, target)
    with fits.open(target, mode="update") as hdus:
        hdus[0].header["CRPIX1"] += 0.01
    with pytest.raises(WrongGrid, match="was at"):
        judge("fits", source, target)
    shutil.copy(source, target)
    target.write_bytes(b"no FITS")
    with pytest.raises(WrongGrid, match="can't be read"):
        judge("fits", source, target)
    with pytest.raises(Refused):
        judge("fits", target, source)


def test_the_judge_sees_a_body_that_moved(tmp_path: Path) -> None:
    source, target = _upscaled("nifti/nii", tmp_path)
    judge("nifti", source, target)
    image = nib.load(target)
    moved = image.affine + np.array([[0, 0, 0, 0.05], [0] * 4, [0] * 4, [0] * 4])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), target)
    with pytest.raises(WrongGrid, match="became"):
        judge("nifti", source, target)
