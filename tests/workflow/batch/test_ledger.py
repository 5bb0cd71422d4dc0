"""The ledger: what is done is known with its reasons, by content and not by name."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_tasks import NODES, expected, files_in, run, task, tasks
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import UnreadableError, UsageError
from sciSR.workflow.batch.filesystem import is_network, kind
from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.ledger_inputs import named_files
from sciSR.workflow.batch.ledger_shards import ledger_name
from sciSR.workflow.batch.lock import conflict
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.work import ItemResult, Task


@pytest.fixture
def one(tmp_path: Path) -> Task:
    """A task that is done."""
    each = task(tmp_path, "one")
    with Ledger.open(tmp_path / "out") as ledger:
        assert ledger.why(each) == "new"
        assert run(ledger, [each]) == ["one"]
    return each


def why(each: Task) -> str:
    """As a resumed run would find it; and a dry run, which takes no lock and writes nothing, must agree."""
    output = Path(each.output)
    with Ledger.read(output) as reader:
        read = reader.why(each)
    with Ledger.open(output) as ledger:
        assert ledger.why(each) == read
        assert (ledger.finished(each) is None) == (read != "done")
    return read


def changed(node: int, **parameters: Any) -> tuple[Node, ...]:
    nodes = list(NODES)
    nodes[node] = replace(nodes[node], parameters={**nodes[node].parameters, **parameters})
    return tuple(nodes)


def test_what_is_done_is_skipped_with_its_result(one: Task) -> None:
    with Ledger.open(one.output) as ledger:
        found = ledger.finished(one)
        assert found is not None
        assert found.status == "skipped"
        assert {file.path for file in found.outputs} == set(expected(one))
        assert [result.status for result in ledger.results()] == ["done"]


def test_reasons(one: Task) -> None:
    assert why(one) == "done"
    assert why(replace(one, nodes=changed(1, model="linear"))) == "parameters changed: upscale.model"
    assert why(replace(one, nodes=changed(1, scale=3))) == "parameters changed: upscale.scale"
    assert why(replace(one, nodes=NODES[:2])) == "parameters changed: steps"
    assert why(replace(one, name="{stem}_x2")) == "parameters changed: outputs.name"
    assert why(replace(one, seed=1)) == "parameters changed: seed"
    assert why(replace(one, sequence=True)) == "parameters changed: inputs.group"
    # What does not decide the outputs does not count.
    assert why(replace(one, overwrite=True, may_replace=("a",), facts={"stem": "one", "more": "1"})) == "done"


@pytest.mark.parametrize("name", ["one.txt", "more/one.txt"])
def test_outputs_are_verified_byte_for_byte(name: str, one: Task) -> None:
    path = Path(one.output) / name
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert why(one) == f"output changed: {name}"
    path.write_bytes(content)
    assert why(one) == "done"
    path.unlink()
    assert why(one) == f"output missing: {name}"
    elsewhere = Path(one.input) / "copy"
    elsewhere.write_bytes(content)
    path.symlink_to(elsewhere)
    assert why(one) == f"output changed: {name}"


def test_a_changed_input_is_seen(one: Task) -> None:
    path = Path(one.files[0])
    times = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 5))
    assert why(one) == "input changed"
    path.unlink()
    assert why(one) == "input can't be read"


def test_an_input_with_another_date_and_the_same_content_is_the_same(one: Task) -> None:
    os.utime(one.files[0], (1e9, 1e9))
    assert why(one) == "done"


def test_an_old_input_is_hashed_once_and_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sciSR.workflow.batch import ledger_inputs

    each = task(tmp_path, "one")
    monkeypatch.setattr(ledger_inputs, "_TICK", -1)  # as if it had lain there for long
    read: list[Path] = []
    real = ledger_inputs.file_sha256
    monkeypatch.setattr(ledger_inputs, "file_sha256", lambda path: read.append(path) or real(path))
    with Ledger.open(each.output) as ledger:
        run(ledger, [each])
    with Ledger.open(each.output) as ledger:
        assert ledger.why(each) == "done"
    assert len(read) == 1
    with Ledger.open(each.output, check_inputs=True) as ledger:
        assert ledger.why(each) == "done"
    assert len(read) == 2


def test_an_input_that_changes_during_the_work_is_done_again(tmp_path: Path) -> None:
    from batch_tasks import work

    each = task(tmp_path, "one")
    with Ledger.open(each.output) as ledger:
        ledger.started(each)
        result = work(each)
        Path(each.files[0]).write_bytes(b"another night")
        ledger.record(each, result)
        assert ledger.finished(each) is None


def test_failures_are_told_and_tried_again(tmp_path: Path) -> None:
    each = task(tmp_path, "one")
    error = {"kind": "UnreadableError", "message": "one.dat: truncated", "exit_code": 3, "step": "01-read"}
    with Ledger.open(each.output) as ledger:
        ledger.started(each)
        ledger.record(each, ItemResult("one", "failed", error=error))
        [result] = ledger.results()
        assert result.error == error
    assert why(each) == "failed before: one.dat: truncated"


def test_an_item_that_fails_before_it_begins_is_recorded_too(tmp_path: Path) -> None:
    each = replace(task(tmp_path, "gone"), files=(str(tmp_path / "in" / "gone.fits"),))
    with Ledger.open(each.output) as ledger:
        ledger.record(each, ItemResult("gone", "failed", error={"message": "no such file"}))
    assert why(each) == "failed before: no such file"


def test_replaced_results_leave_nothing_behind(one: Task) -> None:
    Path(one.files[0]).write_bytes(b"new")
    again = replace(one, nodes=changed(1, scale=3))
    with Ledger.open(one.output) as ledger:
        assert run(ledger, [again]) == ["one"]
        assert run(ledger, [again]) == []
        assert all(ledger.owns(name) for name in expected(again))
        assert not ledger.owns("other.txt")
    assert files_in(Path(one.output)) == set(expected(again))


def test_files_named_in_parameters_are_inputs_too(tmp_path: Path) -> None:
    """A dark that changes changes the result: which parameters are paths the step's annotations tell."""
    (tmp_path / "dark2.fits").write_bytes(b"2")
    (tmp_path / "dark1.fits").write_bytes(b"1")
    node = Node("02-calibrate", "calibrate", "calibrate", {"dark": "dark*.fits"})
    each = replace(task(tmp_path, "one"), nodes=(NODES[0], node, *NODES[1:]), input=str(tmp_path))
    assert [path.name for path in named_files(node, each)] == ["dark1.fits", "dark2.fits"]
    fields = replace(node, parameters={"dark": ["dark{number}.fits", "{nothing}.fits"], "flat": None})
    assert [path.name for path in named_files(fields, replace(each, facts={"number": "2"}))] == ["dark2.fits"]
    with Ledger.open(each.output) as ledger:
        run(ledger, [each])
    assert why(each) == "done"
    (tmp_path / "dark2.fits").write_bytes(b"3")
    assert why(each) == "input changed"


def test_new_weights_are_a_change(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"old")
    each = replace(task(tmp_path, "one"), nodes=changed(1, model=str(weights)))
    with Ledger.open(each.output) as ledger:
        run(ledger, [each])
    assert why(each) == "done"
    weights.write_bytes(b"new weights")
    assert why(each) == f"parameters changed: weights of {weights}"


def test_the_run_is_on_record(tmp_path: Path) -> None:
    each = replace(task(tmp_path, "one"), nodes=changed(1, model="ecbsr-astro-x2"))
    with Ledger.open(each.output) as ledger:
        ledger.begin({"pipeline": "night"}, command=["run"])
        run(ledger, [each])
    connection = sqlite3.connect(tmp_path / "out" / ".scisr" / "ledger.sqlite")
    [(started, ended, config, software, weights)] = connection.execute(
        "SELECT started, ended, configuration, software, weights FROM runs"
    )
    connection.close()
    assert started < ended
    assert json.loads(config) == {"pipeline": "night"}
    assert {"sciSR", "python", "numpy", "torch", "command"} <= json.loads(software).keys()
    assert len(json.loads(weights)["ecbsr-astro-x2"]) == 64


def test_no_name_of_a_patient_gets_into_the_ledger(tmp_path: Path) -> None:
    """A DICOM file named after its patient: neither its path nor messages that name it are kept."""
    pydicom = pytest.importorskip("pydicom")
    sample = next((Path(__file__).parents[3] / "data_samples" / "phantom_dicom").iterdir())
    dataset = pydicom.dcmread(sample)
    dataset.PatientName, dataset.PatientIdentityRemoved = "Doe^Jane", "NO"
    path = tmp_path / "in" / "Doe_Jane.dcm"
    path.parent.mkdir()
    dataset.save_as(path)
    each = replace(task(tmp_path, "series-1"), files=(str(path),))
    error = {"kind": "UnreadableError", "message": f"{path}: truncated", "exit_code": 3, "step": ""}
    with Ledger.open(each.output) as ledger:
        ledger.started(each)
        warned = ("Doe_Jane.dcm: a face may be recognisable",)
        ledger.record(each, ItemResult("series-1", "failed", error=error, warnings=warned))
    for part in (tmp_path / "out" / ".scisr").iterdir():
        assert not part.is_file() or b"Doe" not in part.read_bytes()


# -- two runs, shards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [False, True])
def test_a_second_run_is_refused_and_told_who_holds_it(network: bool, tmp_path: Path) -> None:
    with Ledger.open(tmp_path, network=network), pytest.raises(UsageError) as refused:
        Ledger.open(tmp_path, network=network)
    assert f"process {os.getpid()} on " in str(refused.value)
    Ledger.open(tmp_path, network=network).close()


def test_shards_carry_over(tmp_path: Path) -> None:
    """What shards did, a run over all treats as done, and a run of another division too; failures as failed."""
    todo = tasks(tmp_path, 6)
    for number in (1, 2, 3):
        with Ledger.open(tmp_path / "out", name=ledger_name((number, 3))) as ledger:
            run(ledger, todo[2 * number - 2 : 2 * number])
    with Ledger.read(tmp_path / "out") as reader:
        assert [reader.why(each) for each in todo] == ["done"] * 6
        assert len(reader.results()) == 6
    with Ledger.open(tmp_path / "out") as ledger:
        assert ledger.carried == 6
        assert run(ledger, todo) == []
    Path(todo[0].files[0]).write_bytes(b"changed")
    with Ledger.open(tmp_path / "out", name=ledger_name((1, 2))) as ledger:
        assert run(ledger, todo) == ["item-000"]
    with Ledger.open(tmp_path / "out") as ledger:
        assert ledger.carried == 1
        assert run(ledger, todo) == []


def test_shards_of_one_division_run_together_and_all_others_wait(tmp_path: Path) -> None:
    with (
        Ledger.open(tmp_path, name=ledger_name((1, 3))),
        Ledger.open(tmp_path, name=ledger_name((2, 3))),
    ):
        for name in (ledger_name((1, 3)), ledger_name((1, 2)), ledger_name()):
            with pytest.raises(UsageError, match="another run is at work"):
                Ledger.open(tmp_path, name=name)
    Ledger.open(tmp_path).close()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_conflicts_are_mutual(a: int, m: int, b: int, n: int) -> None:
    one, other = f"ledger-{a}-of-{m}", f"ledger-{b}-of-{n}"
    assert conflict(one, other) == conflict(other, one) == (m != n or a == b)
    assert conflict(one, "ledger")
    assert conflict("ledger", one)


# -- where it lies --------------------------------------------------------------------------------------------------


def test_wal_on_local_disks_and_a_rollback_journal_on_network_ones(tmp_path: Path) -> None:
    for network, mode in ((False, "wal"), (True, "delete"), (False, "wal")):
        with Ledger.open(tmp_path, network=network) as ledger:
            assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
            assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_kind_of_file_system(tmp_path: Path) -> None:
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("the system does not tell its mounts")
    for path in (tmp_path, Path("/proc"), Path("/dev/shm")):
        told = subprocess.run(
            ["df", "--output=fstype", str(path)], capture_output=True, text=True, check=True
        )
        assert kind(path) == told.stdout.split()[-1]
    assert kind(tmp_path / "not" / "there" / "yet") == kind(tmp_path)
    assert not is_network("/proc")


@pytest.mark.parametrize("how", ["garbage", "truncated", "flipped", "version"])
def test_a_damaged_ledger_is_told_in_one_line_and_outputs_stay(how: str, one: Task) -> None:
    path = Path(one.output) / ".scisr" / "ledger.sqlite"
    content = path.read_bytes()
    if how == "version":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        damaged = {
            "garbage": b"no database" * 500,
            "truncated": content[: len(content) // 2],
            "flipped": content[:4096] + bytes(byte ^ 255 for byte in content[4096:]),
        }
        path.write_bytes(damaged[how])
    for opened in (Ledger.open, Ledger.read):
        with pytest.raises(UnreadableError) as told:
            opened(one.output)
        assert "ledger.sqlite" in str(told.value)
        assert "\n" not in str(told.value)
    assert files_in(Path(one.output)) == set(expected(one))


def test_a_dry_run_writes_nothing(one: Task) -> None:
    output = Path(one.output)

    def seen() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in output.rglob("*")}

    before = seen()
    with Ledger.read(output) as ledger:
        assert ledger.why(one) == "done"
    assert seen() == before
    with Ledger.read(output / "not" / "there") as ledger:
        assert ledger.why(one) == "new"
        assert ledger.results() == []
    assert seen() == before


def test_a_dry_run_beside_a_run_at_work(one: Task) -> None:
    with Ledger.open(one.output) as ledger:
        other = task(Path(one.input).parent, "other")
        run(ledger, [other])
        with Ledger.read(one.output) as reader:
            assert reader.why(other) == "done"
            assert len(reader.results()) == 2


def test_the_state_folder_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".scisr").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        Ledger.open(tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_ledger_needs_neither_torch_nor_astropy() -> None:
    code = "import sys, sciSR.workflow.batch.ledger, sciSR.workflow.batch.summary; print(sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"'torch'", "'astropy'", "'jinja2'", "'scipy'"} & set(said.strip("[]\n").split(", "))
