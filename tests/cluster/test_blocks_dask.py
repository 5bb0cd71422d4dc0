"""Blocks over a real Dask cluster: the bytes of one machine, with a worker killed on the way."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from astropy.io import fits

from sciSR.errors import ResourceError, UsageError
from sciSR.workflow.cluster.blocks_run import upscale_blocks
from sciSR.workflow.run import upscale_file


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker(tmp_path):
    pytest.importorskip("distributed")
    from sciSR.workflow.cluster.blocks_dask import DaskBlocks
    from sciSR.workflow.cluster.connect import Connection

    data = np.random.default_rng(0).normal(10, 1, (200, 170)).astype(np.float32)
    fits.PrimaryHDU(data, fits.Header({"BUNIT": "MJy/sr"})).writeto(tmp_path / "m.fits")
    settings = {"model": "cubic", "tile": 32}
    one = upscale_file(tmp_path / "m.fits", tmp_path / "one.fits", **settings).output
    with Connection("local:2") as connection:
        killed: list[int] = []

        def kill(fraction: float) -> None:
            if not killed and fraction > 0.1:
                killed.extend(connection.client.run(os.getpid).values())
                os.kill(killed[0], signal.SIGKILL)

        two = upscale_blocks(
            tmp_path / "m.fits",
            tmp_path / "two.fits",
            block=64,
            executor=DaskBlocks(connection.client, threads=1),
            progress=kill,
            **settings,
        ).output
    assert killed
    assert two.read_bytes() == one.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_cluster_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("distributed")
    fits.PrimaryHDU(np.ones((40, 40), np.float32)).writeto(tmp_path / "m.fits")
    with pytest.raises(UsageError):
        upscale_blocks(tmp_path / "m.fits", model="cubic", cluster="nonsense")
    assert [p.name for p in tmp_path.iterdir()] == ["m.fits"]


def test_a_scheduler_that_goes_away_is_said_and_finished_blocks_are_kept(tmp_path):
    distributed = pytest.importorskip("distributed")
    from sciSR.workflow.cluster.blocks_dask import DaskBlocks

    fits.PrimaryHDU(np.ones((200, 200), np.float32)).writeto(tmp_path / "m.fits")
    settings = {"model": "cubic", "tile": 32, "block": 64}
    here = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**here) as cluster:
        client = distributed.Client(cluster)
        with pytest.raises(ResourceError, match="the scheduler is gone"):
            upscale_blocks(
                tmp_path / "m.fits",
                executor=DaskBlocks(client, threads=1),
                progress=lambda fraction: client.close(),
                **settings,
            )
    assert list(tmp_path.glob(".*.blocks.jsonl"))
    upscale_blocks(tmp_path / "m.fits", workers=1, **settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.fits", "m_x2.fits"]
