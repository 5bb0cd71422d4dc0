"""OME-Zarr in and out by blocks: each worker its own chunks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr_samples import make

import sciSR
from sciSR.workflow.cluster.blocks_pool import LocalWorkers
from sciSR.workflow.cluster.blocks_run import upscale_blocks
from sciSR.workflow.cluster.blocks_worker import answer
from sciSR.workflow.run import upscale_file


class Here:
    """Runs blocks in this process."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.written: list[set[Path]] = []

    def run(self, orders):
        for number, order in enumerate(orders):
            if number == self.stop_after:
                raise KeyboardInterrupt
            folder = Path(order["ticket"]["path"])
            before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
            yield answer(order)
            self.written.append(
                {p for p in folder.rglob("*") if p.is_file() and before.get(p) != p.stat().st_mtime_ns}
            )


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("scale", "tile"), [("3/2,2", 32), (3, 21)])
def test_pixels_of_one_machine(scale, tile, tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.5", (2, 64, 90), "cyx", "f4", labels=("nuclei",))
    settings = {"model": "cubic", "scale": scale, "tile": tile}
    one = upscale_file(path, tmp_path / "one.zarr", **settings).output
    here = Here()
    two = upscale_blocks(path, tmp_path / "two.zarr", block=60, executor=here, **settings).output
    np.testing.assert_array_equal(np.asarray(sciSR.read(one)), np.asarray(sciSR.read(two)))
    assert sciSR.read(one).provenance.steps[-1] == sciSR.read(two).provenance.steps[-1]
    assert len(here.written) > 4
    assert sum(len(each) for each in here.written) == len(set().union(*here.written)), (
        "a chunk has one writer"
    )
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_stopped_anywhere_it_goes_on(tmp_path):
    path = make(tmp_path / "a.ome.zarr", "0.4", (70, 90), "yx", "f4", labels=("nuclei",))
    settings = {"model": "cubic", "tile": 32, "block": 64}
    whole = upscale_blocks(path, tmp_path / "whole.zarr", executor=Here(), **settings).output
    target = tmp_path / "parts.zarr"
    for _ in range(50):
        try:
            upscale_blocks(path, target, executor=Here(stop_after=3), **settings)
            break
        except KeyboardInterrupt:
            assert not target.exists()
    assert content(whole) == content(target)


@pytest.mark.slow
def test_fits_to_ome_zarr_over_processes(tmp_path):
    from astropy.io import fits

    data = np.random.default_rng(0).normal(10, 1, (150, 170)).astype(np.float32)
    data[20:25, 30:40] = np.nan
    header = fits.Header({"BUNIT": "MJy/sr"})
    fits.PrimaryHDU(data, header).writeto(tmp_path / "m.fits")
    settings = {"model": "espcn-astro-x2", "tile": 32}
    one = upscale_file(tmp_path / "m.fits", tmp_path / "one.zarr", **settings).output
    workers = LocalWorkers(2)
    two = upscale_blocks(tmp_path / "m.fits", tmp_path / "two.zarr", block=128, executor=workers, **settings)
    np.testing.assert_array_equal(np.asarray(sciSR.read(one)), np.asarray(sciSR.read(two.output)))
    assert workers.pids == []
    assert os.path.isdir(two.output / "1") == os.path.isdir(one / "1")
    assert zarr.open_group(str(two.output), mode="r").attrs["sciSR"]["unit"] == "MJy/sr"
