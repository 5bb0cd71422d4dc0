"""The store keeps frames as they were given, in memory or on disk, and leaves nothing behind."""

from __future__ import annotations

import gc
import tempfile
import weakref
from pathlib import Path

import core_frames as core
import numpy as np
import pytest
import solver_frames as sim
import torch

import sciSR
from sciSR.errors import SciSRError
from sciSR.fusion import store as module
from sciSR.fusion.matching import Background, Match
from sciSR.fusion.registration import Registered
from sciSR.fusion.store import Entry, FrameStore
from sciSR.fusion.transforms import Affine
from sciSR.image import Image
from sciSR.sequence import Frame, FrameSequence, NoiseModel

torch.set_num_threads(1)

SIZE = 48


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary files go during a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def entry(index: int, shape: tuple[int, int] = (8, 9), gain: float = 2.0, level: float = 10.0) -> Entry:
    frame = Frame(Image.from_array(np.zeros(shape, np.float32)), f"frame {index}", exposure=3.0)
    place = Registered(Affine.shift(index, 0), np.zeros((2, 2)), "shift", "stars", shape)
    match = Match(gain, 0.0, Background("offset", shape, level), True, 1.0, 10)
    return Entry(frame, index, place, match)


def filled(on_disk: bool, monkeypatch) -> tuple[FrameStore, list[np.ndarray]]:
    monkeypatch.setattr(module, "IN_MEMORY", 0 if on_disk else 1 << 30)
    random, store, given = np.random.default_rng(1), FrameStore(3, 72), []
    for k, shape in enumerate([(8, 9), (5, 7), (8, 9)]):
        values = random.normal(100, 10, shape).astype(np.float32)
        variance = random.uniform(1, 2, shape).astype(np.float32)
        bad = random.random(shape) < 0.2
        store.add(entry(k, shape), values, variance, bad)
        given.append((values, variance, bad))
    return store, given


@pytest.mark.parametrize("on_disk", [False, True])
def test_planes_come_back_as_they_were_given(on_disk, monkeypatch, temporary):
    store, given = filled(on_disk, monkeypatch)
    with store:
        assert bool(list(temporary.rglob("*.values"))) is on_disk
        for one, planes in zip(store.entries, given, strict=True):
            for name, plane in zip(("values", "variance", "bad"), planes, strict=True):
                np.testing.assert_array_equal(store.get(one, name), plane)
            assert not store.get(one, "outlier").any()
            assert one.known_bad == planes[2].sum()
        mask = np.ones((5, 7), dtype=bool)
        store.put(store.entries[1], "outlier", mask)
        np.testing.assert_array_equal(store.get(store.entries[1], "outlier"), mask)


@pytest.mark.parametrize("on_disk", [False, True])
def test_frames_come_out_at_the_level_of_the_reference_with_zero_where_bad(on_disk, monkeypatch, temporary):
    store, given = filled(on_disk, monkeypatch)
    with store:
        outlier = np.zeros((8, 9), dtype=bool)
        outlier[2, 3] = True
        store.put(store.entries[0], "outlier", outlier)
        store.entries[0].multiplier = 4.0
        frame = next(iter(store))
        values, variance, bad = given[0]
        np.testing.assert_array_equal(frame.bad, bad | outlier)
        np.testing.assert_allclose(frame.values, np.where(frame.bad, 0, (values - 10) / 2), rtol=1e-6)
        np.testing.assert_allclose(frame.variance, variance / 4 * 4, rtol=1e-6)
        assert frame.exposure == 3.0
        assert len(list(store)) == len(list(store)) == 3


def test_a_part_of_the_frames_goes_through_the_same_store(monkeypatch, temporary):
    store, _ = filled(True, monkeypatch)
    with store:
        part = store.some([2, 0])
        assert len(part) == 2
        assert [f.name for f in part] == ["frame 2", "frame 0"]


@pytest.mark.parametrize("on_disk", [False, True])
def test_nothing_remains_once_it_is_left(on_disk, monkeypatch, temporary):
    store, _ = filled(on_disk, monkeypatch)
    with store:
        pass
    assert not list(temporary.iterdir())
    assert all(not e.planes for e in store.entries)
    store.close()  # twice is no harm


class Alive:
    """Counts the frames' pixels that are in memory at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def born(self, array: np.ndarray) -> np.ndarray:
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(array, self.gone)
        return array

    def gone(self) -> None:
        self.now -= 1


class Lazy:
    """Pixels that exist only while somebody holds them."""

    dtype = np.dtype(np.float32)

    def __init__(self, scene: sim.Blobs, index: int, move: np.ndarray, alive: Alive) -> None:
        self.given, self.shape = (scene, index, move), (SIZE, SIZE)
        self.alive = alive

    def __getitem__(self, index: object) -> np.ndarray:
        scene, k, move = self.given
        return self.alive.born(core.exposures(scene, [move], SIZE, seed=100 + k)[0][index])


def lazy(count: int, alive: Alive) -> FrameSequence:
    scene, moves = sim.sky(SIZE, seed=3, stars=25), sim.shifts(count, seed=4, reach=2)
    return FrameSequence(
        tuple(
            Frame(
                Image(Lazy(scene, k, move, alive), ("y", "x"), ("y", "x")),
                f"frame {k}",
                noise=NoiseModel(1.0, core.READ_NOISE),
            )
            for k, move in enumerate(moves)
        )
    )


def test_forty_frames_on_disk_are_never_in_memory_together(monkeypatch, temporary):
    monkeypatch.setattr(module, "IN_MEMORY", 1000)
    alive, stored = Alive(), Alive()
    get = FrameStore.get
    monkeypatch.setattr(
        FrameStore,
        "get",
        lambda self, e, name: stored.born(get(self, e, name)) if name == "values" else get(self, e, name),
    )
    out = sciSR.fuse(lazy(40, alive), 2, reference=0, device="cpu")
    gc.collect()
    assert sum(r.used for r in out.records) == 40
    # Registration looks at several frames at a time, the store at one, whatever their number.
    assert alive.most <= 8
    assert stored.most <= 3
    assert alive.now == stored.now == 0
    assert not list(temporary.iterdir())


def test_disk_and_memory_give_the_same_result(monkeypatch, temporary):
    frames = core.frames_of(core.exposures(sim.sky(SIZE, seed=3), sim.shifts(4, seed=4), SIZE, seed=5))
    in_memory = sciSR.fuse(frames, 2, reference=0, device="cpu")
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    on_disk = sciSR.fuse(frames, 2, reference=0, device="cpu")
    np.testing.assert_array_equal(core.values(in_memory), core.values(on_disk))
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("reads", [1, 2])
def test_temporary_files_go_after_an_error_too(reads, monkeypatch, temporary):
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    frames = core.frames_of(core.exposures(sim.sky(SIZE, seed=3), sim.shifts(4, seed=4), SIZE, seed=5))
    broken = core.breaking(frames, 3, reads)
    with pytest.raises(SciSRError, match="ends in the middle"):
        sciSR.fuse(broken, 2, reference=0, device="cpu", strict=True)
    assert not list(temporary.iterdir())


def test_temporary_files_go_after_an_interruption(monkeypatch, temporary):
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    frames = core.frames_of(core.exposures(sim.sky(SIZE, seed=3), sim.shifts(4, seed=4), SIZE, seed=5))

    def stop(fraction: float) -> None:
        if fraction > 0.45:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sciSR.fuse(frames, 2, reference=0, device="cpu", progress=stop)
    assert not list(temporary.iterdir())

    def while_reading(fraction: float) -> None:
        if fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sciSR.fuse(frames, 2, reference=0, device="cpu", progress=while_reading)
    gc.collect()
    assert not list(temporary.iterdir())
