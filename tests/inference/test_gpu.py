"""The same pixels on a GPU; run with `pytest -m gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sciSR
from networks import NAMES, scales_of, write_network
from scenes import assert_same_to_rounding, astro_image, brain, mr_image, sky
from sciSR.inference import plan_upscale
from sciSR.inference.batches import compute_in_batches
from sciSR.inference.workers import Workers

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "lanczos", "fourier", "espcn-astro-x2"])
@pytest.mark.parametrize("scale", [2, 4])
def test_gpu_and_cpu_agree_to_rounding(method: str, scale: int) -> None:
    image = astro_image(sky((301, 277)))
    cpu, gpu = (np.asarray(sciSR.upscale(image, scale, method, device=d).data) for d in ("cpu", "cuda"))
    assert_same_to_rounding(np.arcsinh(gpu / 2.0), np.arcsinh(cpu / 2.0), eps=1e-4)


def test_gpu_keeps_flux_and_kspace() -> None:
    sharp = sciSR.upscale(astro_image(sky((200, 200)), quantity="total"), 2, "espcn-astro-x2", device="cuda")
    assert sharp.provenance.steps[-1]["agreement"]["max_relative_to_range"] < 1e-6
    sharp = sciSR.upscale(mr_image(brain((200, 180))), 2, "espcn-mr-kspace-x2", device="cuda")
    assert sharp.provenance.steps[-1]["agreement"]["max_relative_to_range"] < 1e-6


def test_tiles_do_not_show_on_a_gpu() -> None:
    image = astro_image(sky((301, 277)))
    whole, tiled = (
        np.asarray(sciSR.upscale(image, 2, "espcn-astro-x2", device="cuda", tile=t).data) for t in (4096, 64)
    )
    assert_same_to_rounding(np.arcsinh(tiled / 2.0), np.arcsinh(whole / 2.0), eps=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["espcn-astro-x2", "conditional-astro-x2"])
def test_batches_and_recorded_graphs_give_the_same_tiles(model: str, precision: str) -> None:
    plan = plan_upscale(astro_image(sky((400, 400))), 2, model, device="cuda", precision=precision, tile=40)
    [stage], runner = plan.stages(), plan.runner()
    source = plan.source_plane((slice(None), slice(None)))
    alone = [values for _, values in runner.compute(stage, runner.tiles(stage, source), lambda *both: both)]
    with Workers(4) as workers:
        tiles = runner.tiles(stage, source)
        batches = compute_in_batches(runner, stage, tiles, lambda _, v: v.copy(), workers, most=20_000)
        eps = 1e-4 if precision == "fp32" else 0.05
        for one, same in zip(alone, batches, strict=True):
            assert_same_to_rounding(np.arcsinh(same / 2), np.arcsinh(one / 2), eps=eps)


def test_bf16_on_a_gpu_agrees_to_its_precision() -> None:
    data = brain((256, 256))
    fp32, bf16 = (
        np.asarray(sciSR.upscale(mr_image(data), 2, "espcn-mr-kspace-x2", device="cuda", precision=p).data)
        for p in ("fp32", "bf16")
    )
    assert 0 < np.sqrt(np.mean((fp32 - bf16) ** 2)) / data.max() < 10 ** (-50 / 20)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_gives_the_same_on_a_gpu(name: str, tmp_path: Path) -> None:
    scale = scales_of(name)[-1]
    model, image = write_network(tmp_path, name, scale), mr_image(brain((90, 74)))
    cpu, gpu = (np.asarray(sciSR.upscale(image, scale, model, device=d).data, float) for d in ("cpu", "cuda"))
    assert np.abs(gpu - cpu).max() <= 2e-3 * np.ptp(cpu)  # TF32 or not
