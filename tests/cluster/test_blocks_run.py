"""Real worker processes fill one file: the bytes of one machine, whoever is killed, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from sciSR.errors import ResourceError, UnreadableError, UnsupportedError, UsageError
from sciSR.workflow.cluster import blocks_run
from sciSR.workflow.cluster.blocks_journal import Journal
from sciSR.workflow.cluster.blocks_pool import LocalWorkers
from sciSR.workflow.cluster.blocks_run import upscale_blocks
from sciSR.workflow.cluster.blocks_worker import answer
from sciSR.workflow.run import upscale_file

SETTINGS = {"model": "cubic", "tile": 32, "overwrite": True}
SIDE = 128


class Here:
    """Runs blocks in this process: what is tested is the run, not its workers."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.orders: list = []
        self.stop_after = stop_after

    def run(self, orders):
        for number, order in enumerate(orders):
            if number == self.stop_after:
                raise KeyboardInterrupt
            self.orders.append(json.loads(json.dumps(order)))
            yield answer(self.orders[-1])


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """Two images and a mask in one file, with a WCS, a unit and sums."""
    rng = np.random.default_rng(0)
    header = fits.Header()
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 90, "CRPIX2": 100})
    header.update({"CRVAL1": 10, "CRVAL2": 20, "CDELT1": -1e-4, "CDELT2": 1e-4, "BUNIT": "MJy/sr"})
    data = rng.normal(100, 5, (201, 187)).astype(np.float32)
    data[30:40, 50:60] = np.nan
    flags = (rng.random(data.shape) < 0.01).astype(np.uint8)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(data, header, name="SCI"),
        fits.ImageHDU(flags, name="DQ"),
        fits.ImageHDU(data[:50, :60] - 7, header, name="SIDE"),
    ]
    path = tmp_path / "mosaic.fits"
    fits.HDUList(hdus).writeto(path, checksum=True)
    return path


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


def one_machine(path: Path) -> bytes:
    target = path.with_name("one.fits")
    upscale_file(path, target, **SETTINGS)
    return target.read_bytes()


def test_processes_write_the_bytes_of_one_machine(mosaic):
    seen = []
    workers = LocalWorkers(2)
    outcome = upscale_blocks(
        mosaic, mosaic.with_name("b.fits"), block=SIDE, executor=workers, progress=seen.append, **SETTINGS
    )
    assert outcome.output.read_bytes() == one_machine(mosaic)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert hidden(mosaic.parent) == []
    assert workers.pids == []


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(mosaic):
    workers = LocalWorkers(2)
    killed: list[int] = []

    def kill(fraction: float) -> None:
        if not killed and fraction > 0.2 and workers.pids:
            killed.append(workers.pids[0])
            os.kill(killed[0], signal.SIGKILL)

    upscale_blocks(
        mosaic, mosaic.with_name("b.fits"), block=SIDE, executor=workers, progress=kill, **SETTINGS
    )
    assert killed
    assert mosaic.with_name("b.fits").read_bytes() == one_machine(mosaic)


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(mosaic):
    workers = LocalWorkers(2, timeout=12)
    stopped: list[int] = []

    def stop(fraction: float) -> None:
        if not stopped and fraction > 0.2 and workers.pids:
            stopped.append(workers.pids[0])
            os.kill(stopped[0], signal.SIGSTOP)

    upscale_blocks(
        mosaic, mosaic.with_name("b.fits"), block=SIDE, executor=workers, progress=stop, **SETTINGS
    )
    assert stopped
    assert not Path(f"/proc/{stopped[0]}").exists()
    assert mosaic.with_name("b.fits").read_bytes() == one_machine(mosaic)


RUN = """
import sys
from sciSR.workflow.cluster.blocks_run import upscale_blocks
def say(fraction):
    print(fraction, flush=True)
upscale_blocks(sys.argv[1], sys.argv[2], model="cubic", tile=32, overwrite=True, block=128, workers=2, progress=say)
"""


@pytest.mark.slow
def test_everything_killed_goes_on_where_it_was(mosaic):
    target = mosaic.with_name("b.fits")
    target.write_bytes(b"the old one")
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(mosaic), str(target)], stdout=subprocess.PIPE, start_new_session=True
    )
    for _ in range(5):
        assert run.stdout.readline()
    os.killpg(run.pid, signal.SIGKILL)  # the run and its workers at once
    run.wait()
    run.stdout.close()
    assert target.read_bytes() == b"the old one"
    [journal, _] = hidden(mosaic.parent)
    done = len((mosaic.parent / journal).read_text().splitlines()) - 1
    assert done >= 5
    here = Here()
    outcome = upscale_blocks(mosaic, target, block=SIDE, executor=here, **SETTINGS)
    numbers = [order["block"]["number"] for order in here.orders]
    assert len(numbers) == len(set(numbers))
    assert target.read_bytes() == one_machine(mosaic)
    assert hidden(mosaic.parent) == []
    assert outcome.parts[0].step["agreement"]["enforced"]
    fresh = Here()
    upscale_blocks(mosaic, target, block=SIDE, executor=fresh, **SETTINGS)
    assert len(fresh.orders) >= len(numbers) + done


def test_a_run_that_stops_anywhere_goes_on(mosaic):
    """In-process, at each block: what was done is not done again, and the bytes are the same."""
    target, expected, count = mosaic.with_name("b.fits"), one_machine(mosaic), 0
    for _ in range(100):
        here = Here(stop_after=3)
        try:
            upscale_blocks(mosaic, target, block=192, executor=here, **SETTINGS)
            break
        except KeyboardInterrupt:
            count += len(here.orders)
            assert not target.exists()
    count += len(here.orders)
    whole = Here()
    assert target.read_bytes() == expected
    upscale_blocks(mosaic, target, block=192, executor=whole, **SETTINGS)
    assert count == len(whole.orders)


def test_another_input_begins_anew(mosaic):
    target = mosaic.with_name("b.fits")
    with pytest.raises(KeyboardInterrupt):
        upscale_blocks(mosaic, target, block=SIDE, executor=Here(stop_after=4), **SETTINGS)
    assert len(hidden(mosaic.parent)) == 2
    with fits.open(mosaic, mode="update") as hdus:
        hdus["SCI"].data[5, 5] = 1234
        hdus["SCI"].add_checksum()
    upscale_blocks(mosaic, target, block=SIDE, executor=Here(), **SETTINGS)
    assert hidden(mosaic.parent) == []
    assert target.read_bytes() == one_machine(mosaic)


def test_a_torn_journal_line_is_done_again(mosaic):
    target = mosaic.with_name("b.fits")
    with pytest.raises(KeyboardInterrupt):
        upscale_blocks(mosaic, target, block=SIDE, executor=Here(stop_after=4), **SETTINGS)
    [journal] = [mosaic.parent / name for name in hidden(mosaic.parent) if name.endswith(".jsonl")]
    journal.write_bytes(journal.read_bytes()[:-5])
    with Journal(journal) as found:
        assert len(found.done) == 3
    upscale_blocks(mosaic, target, block=SIDE, executor=Here(), **SETTINGS)
    assert target.read_bytes() == one_machine(mosaic)


def test_a_lost_temporary_begins_anew(mosaic):
    target = mosaic.with_name("b.fits")
    with pytest.raises(KeyboardInterrupt):
        upscale_blocks(mosaic, target, block=SIDE, executor=Here(stop_after=4), **SETTINGS)
    [temporary] = [mosaic.parent / name for name in hidden(mosaic.parent) if name.endswith(".tmp")]
    temporary.unlink()
    upscale_blocks(mosaic, target, block=SIDE, executor=Here(), **SETTINGS)
    assert target.read_bytes() == one_machine(mosaic)


def test_two_runs_of_one_output_are_refused(mosaic):
    target = mosaic.with_name("b.fits")

    class Rival(Here):
        def run(self, orders):
            with pytest.raises(UsageError, match="another run"):
                upscale_blocks(mosaic, target, block=SIDE, executor=Here(), **SETTINGS)
            yield from super().run(orders)

    upscale_blocks(mosaic, target, block=SIDE, executor=Rival(), **SETTINGS)
    assert target.read_bytes() == one_machine(mosaic)


def test_an_input_that_changes_on_the_way_is_refused(mosaic):
    class Changing(Here):
        def run(self, orders):
            os.utime(mosaic, (1, 1))
            for each in super().run(orders):
                kind, what, *_ = each["error"]
                assert kind == "UnreadableError"
                raise UnreadableError(what)

    with pytest.raises(UnreadableError, match="changed"):
        upscale_blocks(mosaic, mosaic.with_name("b.fits"), block=SIDE, executor=Changing(), **SETTINGS)
    assert hidden(mosaic.parent) == []
    assert not mosaic.with_name("b.fits").exists()


def test_a_block_that_kills_its_workers_ends_the_run(mosaic, monkeypatch):
    """One line, no hang; each try is a new process, and no more than three."""
    monkeypatch.setattr("sciSR.workflow.cluster.blocks_pool.sys.executable", "/bin/false")
    with pytest.raises(ResourceError, match="3 times"):
        upscale_blocks(mosaic, mosaic.with_name("b.fits"), block=SIDE, workers=2, **SETTINGS)
    assert hidden(mosaic.parent) == []


@pytest.mark.parametrize(
    ("output", "settings", "error"),
    [
        ("b.fits.gz", {}, UsageError),
        ("b.fits", {"uncertainty": True}, UnsupportedError),
        ("missing/b.fits", {}, UsageError),
    ],
)
def test_what_can_not_be_done_is_said_early(mosaic, output, settings, error):
    with pytest.raises(error) as caught:
        upscale_blocks(mosaic, mosaic.parent / output, executor=Here(), **SETTINGS, **settings)
    assert "\n" not in str(caught.value)
    assert hidden(mosaic.parent) == []


def test_an_existing_output_is_refused(mosaic):
    target = mosaic.with_name("b.fits")
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        upscale_blocks(mosaic, target, executor=Here(), **SETTINGS | {"overwrite": False})
    assert target.read_bytes() == b"mine"


def test_a_full_disk_is_said_before_any_work(mosaic, monkeypatch):
    import shutil

    usage = shutil.disk_usage(mosaic.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ResourceError, match="MB are free"):
        upscale_blocks(mosaic, mosaic.with_name("b.fits"), executor=Here(), **SETTINGS)
    assert hidden(mosaic.parent) == []


def test_planning_happens_once(mosaic, monkeypatch):
    """Reading all pixels of a huge file again only to go on would take as long as much of the work."""
    target = mosaic.with_name("b.fits")
    with pytest.raises(KeyboardInterrupt):
        upscale_blocks(mosaic, target, block=SIDE, executor=Here(stop_after=4), **SETTINGS)
    monkeypatch.setattr(blocks_run, "plan_upscale", None)
    upscale_blocks(mosaic, target, block=SIDE, executor=Here(), **SETTINGS)
    monkeypatch.undo()
    assert target.read_bytes() == one_machine(mosaic)
