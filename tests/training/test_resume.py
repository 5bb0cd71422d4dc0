"""A run that was stopped or killed goes on to the same bytes as one that was left alone."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from toy_training import ToyPatches, toy_config, write_patch_file

from sciSR.errors import UnreadableError, UsageError
from sciSR.training import checkpoint
from sciSR.training.config import AdversarialConfig
from sciSR.training.loop import train

TIMES = ("ms_per_step",)
CASES = {
    "muon, noise and changes": {
        "optimizer__kind": "muon",
        "forward__noise": "gaussian",
        "augment__gain": (0.5, 2.0),
        "augment__mixup": 0.5,
    },
    "bf16, one cycle": {"training__precision": "bf16", "schedule__kind": "one_cycle"},
    "discriminator": {"loss__adversarial": AdversarialConfig(start=2), "training__batch": 2},
    "several scales": {
        "model__architecture": "VDSR",
        "model__arguments": {"depth": 3, "width": 8},
        "model__scales": (2, 3),
    },
}
ORDER = """
import sys
from pathlib import Path

BLOCKED = {"astropy", "nibabel", "pydicom", "pydantic", "ruamel", "click", "tensorboard"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from sciSR.training.train import main

sys.exit(main(sys.argv[1:]))
"""


def rows(folder) -> list[dict[str, str]]:
    """The history without what depends on the clock."""
    with folder.metrics.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def assert_same(one, other) -> None:
    """The same weights, averages, optimisers and history, bit for bit."""
    saved, expected = (torch.load(folder.checkpoint, weights_only=True) for folder in (one, other))
    assert saved.keys() == expected.keys()
    for key in saved.keys() - {"state"}:
        torch.testing.assert_close(saved[key], expected[key], rtol=0, atol=0, equal_nan=True)
    assert one.weights.read_bytes() == other.weights.read_bytes()
    assert rows(one) == rows(other)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_run_stopped_by_ctrl_c_goes_on_bit_identically(tmp_path, changes):
    config = toy_config(
        training__steps=7, training__validate_every=3, training__checkpoint_every=100, **changes
    )
    patches = ToyPatches(config.model.scales or (2,), patch=16)
    whole, _ = train(config, patches, tmp_path / "whole", device="cpu", show=str)

    def interrupt(step: int, ms: float) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    part, ended = train(config, patches, tmp_path / "part", device="cpu", show=str, tick=interrupt)
    assert not ended
    assert torch.load(part.checkpoint, weights_only=True)["state"]["step"] == 4
    lines: list[str] = []
    part, ended = train(config, patches, tmp_path / "part", device="cpu", resume=True, show=lines.append)
    assert ended
    assert lines[0] == "goes on after step 4"
    assert_same(part, whole)


def test_handlers_of_signals_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(toy_config(training__steps=1), ToyPatches(), tmp_path, device="cpu", show=str)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_run_that_is_over_stays_as_it_is(tmp_path):
    config = toy_config(training__steps=2, training__validate_every=2)
    run, _ = train(config, ToyPatches(), tmp_path, device="cpu", show=str)
    run.card.write_text("name: toy\nsummary: written by hand\n")
    before = run.weights.read_bytes()
    again, ended = train(config, ToyPatches(), tmp_path, device="cpu", resume=True, show=str)
    assert ended
    assert again.weights.read_bytes() == before
    assert "written by hand" in again.card.read_text()


def test_resume_without_a_run_begins_one(tmp_path):
    config = toy_config(training__steps=1, training__validate_every=1)
    run, ended = train(config, ToyPatches(), tmp_path, device="cpu", resume=True, show=str)
    assert ended
    assert run.weights.exists()


def test_changed_values_are_told_when_a_run_goes_on(tmp_path):
    train(toy_config(training__steps=2), ToyPatches(), tmp_path, device="cpu", show=str)
    lines: list[str] = []
    config = toy_config(training__steps=3, optimizer__lr=5e-4)
    train(config, ToyPatches(), tmp_path, device="cpu", resume=True, show=lines.append)
    assert "changed since: optimizer.lr: 0.001 -> 0.0005" in lines


def test_checkpoint_of_another_network_is_refused(tmp_path):
    train(toy_config(training__steps=1), ToyPatches(), tmp_path, device="cpu", show=str)
    other = toy_config(training__steps=2, model__architecture="FSRCNN")
    with pytest.raises(UsageError, match="another network"):
        train(other, ToyPatches(), tmp_path, device="cpu", resume=True, show=str)


def test_damaged_checkpoint_is_refused(tmp_path):
    run, _ = train(toy_config(training__steps=1), ToyPatches(), tmp_path, device="cpu", show=str)
    content = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableError, match="no readable checkpoint"):
        train(toy_config(training__steps=2), ToyPatches(), tmp_path, device="cpu", resume=True, show=str)


def test_checkpoint_that_would_run_code_is_refused(tmp_path):
    torch.save({"version": 1, "model": Path("x")}, tmp_path / "bad.pt")
    with pytest.raises(UnreadableError, match="no readable checkpoint"):
        checkpoint.load(tmp_path / "bad.pt")


def test_killed_process_goes_on_bit_identically_with_torch_alone(tmp_path):
    """SIGKILL in the middle of a step, in a process that has no more than a training machine may have."""
    config = toy_config(training__steps=400, training__validate_every=50, training__checkpoint_every=20)
    write_patch_file(tmp_path / "patches.npz", config)
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(ORDER))
    command = [
        sys.executable,
        str(program),
        str(tmp_path / "patches.npz"),
        "--threads",
        "1",
        "--device",
        "cpu",
    ]

    def start(out: str, *more: str, **given):
        return subprocess.Popen(
            [*command, "--out", str(tmp_path / out), *more], stdout=subprocess.PIPE, text=True, **given
        )

    process = start("killed")
    assert process.stdout is not None
    first = process.stdout.readline()  # the first validation
    process.kill()
    process.communicate()
    assert first.startswith("step 50/400")
    killed = tmp_path / "killed" / "toy"
    assert torch.load(killed / "checkpoint.pt", weights_only=True)["state"]["step"] < 400
    resumed, _ = start("killed", "--resume").communicate()
    assert resumed.startswith("goes on after step")
    whole, _ = start("whole").communicate()
    assert whole.splitlines()[-1].endswith("toy.safetensors")
    assert (killed / "toy.safetensors").read_bytes() == (
        tmp_path / "whole" / "toy" / "toy.safetensors"
    ).read_bytes()
