"""Blocks give the bits of one machine: whatever the method, the scale, the bad pixels, and where the edges fall."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sciSR.errors import UnsupportedError
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.inference.plan import upscale
from sciSR.workflow.cluster.blocks import plan_blocks
from sciSR.workflow.cluster.blocks_compute import compute_block, merged
from sciSR.workflow.cluster.blocks_state import models_from, plan_from, shape_of, state_of


def field(shape: tuple[int, ...], seed: int = 0, *, bad: bool = True, mask: bool = False, **fields) -> Image:
    """Noise with bright spots, NaN, infinities and masked pixels."""
    rng = np.random.default_rng(seed)
    data = rng.normal(100, 5, shape).astype(np.float32)
    data[..., ::17, ::13] += 300
    if bad:
        data[..., 20:24, 30:37] = np.nan
        data[..., 0, 0] = np.nan
        data[..., 50, :] = np.inf
    flags = rng.random(shape) < 0.01 if mask else None
    return Image.from_array(data, **({"domain": "astronomy", "mask": flags} | fields))


def by_blocks(image: Image, scale, model: str, side: tuple[int, int], **options):
    """The pixels, how often each was put, the agreement, the number of blocks."""
    plan = plan_upscale(image, scale, model, **options)
    shape = shape_of(plan)
    state = state_of(plan, shape.tile)
    planes = int(np.prod([n for a, n in enumerate(image.shape) if a not in image.spatial_axes]))
    blocks = plan_blocks([shape], [planes], side)
    out, times = np.zeros(plan.output.shape, plan.output.dtype), np.zeros(plan.output.shape, int)

    def put(index, values):
        out[index] = values
        times[index] += 1

    models = models_from(state, image.domain)
    order = np.random.default_rng(1).permutation(len(blocks))  # whoever comes first
    found = [compute_block(image, state, blocks[n], put, models=models) for n in order]
    agreement = merged(plan.factors, plan.operator, float(plan.share), found)
    whole = plan_from(state, image)
    report = whole.replicated(agreement) if whole.is_replication else whole.measured(agreement)
    return out, times, report, len(blocks)


def check(image: Image, scale, model: str, side: tuple[int, int], **options) -> int:
    """Compare with the one-machine result; the number of blocks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = upscale(image, scale, model, **options)
        out, times, report, count = by_blocks(image, scale, model, side, **options)
    assert (times == 1).all(), "each pixel is put once"
    np.testing.assert_array_equal(out, np.asarray(one))
    assert one.provenance.steps[-1].get("agreement") == (None if report is None else dict(report))
    return count


@pytest.mark.parametrize(
    "model", ["espcn-astro-x2", "fsrcnn-astro-x2", "lapsrn-astro-x2", "conditional-astro-x2", "span-astro-x2"]
)
def test_networks(model):
    assert check(field((75, 90), mask=True), 2, model, (64, 64), tile=32) > 4


@pytest.mark.parametrize("tile", [17, 32])
def test_a_network_applied_twice(tile):
    """The first stage's tiles must be the same, too."""
    assert check(field((70, 60)), 4, "espcn-astro-x2", (64, 200), tile=tile) > 2


@pytest.mark.parametrize(
    ("model", "scale", "shape"),
    [
        ("cubic", 2, (101, 107)),
        ("cubic", 3, (101, 107)),
        ("lanczos", 1.5, (100, 106)),
        ("linear", "3/2,2", (100, 107)),
        ("nearest", 2, (61, 67)),
        ("nearest", 1.5, (100, 66)),
    ],
)
def test_classical_methods(model, scale, shape):
    assert check(field(shape, mask=True), scale, model, (48, 96), tile=32) > 2


def test_an_odd_size_refined_by_one_and_a_half_is_one_block():
    """Its tiles share pixels everywhere, so it is exact as a whole."""
    assert check(field((101, 107)), 1.5, "lanczos", (48, 96), tile=32) == 1


def test_totals_are_shared_out():
    assert check(field((64, 70), quantity="total"), 2, "cubic", (40, 40), tile=16) > 4


def test_labels_are_repeated():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, (61, 67), dtype=np.int16)
    assert check(Image.from_array(labels, kind="labels"), 2, "auto", (40, 40)) > 4


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("fourier", {}),
        ("ecbsr-mr-kspace-x2", {}),
        ("cubic", {"consistency": "gaussian"}),
    ],
)
def test_operators_of_a_whole_plane_run_by_planes(model, options):
    image = field((3, 60, 66), bad=False, domain="mr")
    assert check(image, 2, model, (32, 32), tile=32, **options) == 3
    assert "whole plane" in shape_of(plan_upscale(image, 2, model, **options)).whole


def test_statistics_of_the_whole_image_are_used():
    """A block of another level would be normalised otherwise by itself."""
    image = field((96, 96), bad=False)
    np.asarray(image.data)[:48] += 5000
    assert check(image, 2, "espcn-astro-x2", (64, 64), tile=32) > 4


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.integers(1, 160),
    columns=st.integers(1, 160),
    height=st.integers(25, 80),
    width=st.integers(25, 80),
    tile=st.integers(16, 40),
    scale=st.sampled_from([2, 3, "2,3", 1.5]),
)
def test_edges_anywhere(rows, columns, height, width, tile, scale):
    image = field((height, width), seed=rows, bad=False, mask=True)
    check(image, scale, "cubic", (rows, columns), tile=tile)


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.integers(1, 160),
    columns=st.integers(1, 160),
    height=st.integers(52, 90),
    width=st.integers(40, 90),
    tile=st.integers(16, 40),
)
def test_edges_anywhere_of_a_network(rows, columns, height, width, tile):
    check(field((height, width), seed=rows), 2, "espcn-astro-x2", (rows, columns), tile=tile)


def test_a_block_reads_only_what_it_depends_on():
    class Counted:
        def __init__(self, data):
            self.data, self.shape, self.dtype, self.pixels = data, data.shape, data.dtype, 0

        def __getitem__(self, index):
            block = self.data[index]
            self.pixels += block.size
            return block

    image = field((600, 600), bad=False)
    plan = plan_upscale(image, 2, "espcn-astro-x2", tile=32)
    shape = shape_of(plan)
    [*_, block] = plan_blocks([shape], [1], (64, 64))
    data = Counted(np.asarray(image.data))
    state = state_of(plan, shape.tile)
    compute_block(
        image.replace(data=data), state, block, lambda *_: None, models=models_from(state, "astronomy")
    )
    assert data.pixels < 0.05 * 600 * 600


def test_what_is_not_for_blocks_says_so():
    image = field((40, 40), bad=False)
    for plan in (
        plan_upscale(image, 2, "cubic", uncertainty=True),
        plan_upscale(image.replace(kind="phase", value_range=(-200.0, 600.0)), 2, "cubic"),
    ):
        with pytest.raises(UnsupportedError, match="by blocks"):
            shape_of(plan)


def test_other_weights_are_refused():
    plan = plan_upscale(field((40, 40), bad=False), 2, "espcn-astro-x2")
    state = state_of(plan, 32) | {"weights_sha256": "0" * 64}
    with pytest.raises(UnsupportedError, match="same version"):
        models_from(state, "astronomy")
