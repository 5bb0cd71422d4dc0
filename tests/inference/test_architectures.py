"""Every registered network runs in the engine: tiled like whole, fused like plain, within the memory it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sciSR
from networks import CONDITIONS, NAMES, random_network, scales_of, write_network
from scenes import brain, mr_image
from sciSR.inference.footprint import network_memory
from sciSR.inference.stages import to_network_memory
from sciSR.models.files import ARCHITECTURES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def test_every_architecture_is_tested() -> None:
    across_slices = {"ThroughPlane"}  # tests/throughplane
    assert set(ARCHITECTURES) - across_slices == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(data=st.data())
def test_tiled_equals_untiled(name: str, folder: Path, data: st.DataObject) -> None:
    scale = data.draw(st.sampled_from(scales_of(name)))
    shape = data.draw(st.tuples(st.integers(1, 60), st.integers(17, 60)))
    model = write_network(folder, name, scale)
    image = mr_image(brain(shape))
    whole, tiled = (
        np.asarray(sciSR.upscale(image, scale, model, tile=tile).data, np.float64)
        for tile in (4096, data.draw(st.integers(16, 40)))
    )
    assert whole.shape == (scale * shape[0], scale * shape[1])
    assert np.abs(tiled - whole).max() <= 4e-6 * np.abs(whole).max()


@pytest.mark.parametrize("name", NAMES)
def test_the_network_that_runs_is_the_network_that_was_trained(name: str) -> None:
    """Merged branches, folded batch normalisation, activations computed with their convolution."""
    scale = scales_of(name)[-1]
    model, spec = random_network(name, scale)
    x = torch.randn(1, 1, 13, 21, generator=torch.Generator().manual_seed(0))
    told = [torch.tensor([[0.1, 1.2, 0.0]])[:, : len(spec.conditions)]] if spec.conditions else []
    with torch.inference_mode():
        expected = model(x, *told)
        found = to_network_memory(model, torch.device("cpu"))(x, *told)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(exponent=st.floats(-6, 6), pedestal=st.floats(-20, 20))
def test_units_and_pedestals_change_nothing(
    name: str, folder: Path, exponent: float, pedestal: float
) -> None:
    """Nor do they change what a conditional network is told, but for the unit of the noise."""
    scale, a = scales_of(name)[0], 10.0**exponent
    model, data = write_network(folder, name, scale), brain((40, 36))
    data += np.random.default_rng(0).normal(0, 10, data.shape)
    one, other = (sciSR.upscale(mr_image(d), scale, model) for d in (data, a * data + a * pedestal))
    expected = a * np.asarray(one.data, np.float64) + a * pedestal
    difference = np.abs(np.asarray(other.data, np.float64) - expected).max()
    assert difference <= 2e-5 * np.ptp(expected) + 1.2e-7 * np.abs(expected).max()
    if name.startswith("Conditional"):
        first, second = (each.provenance.steps[-1]["conditions"] for each in (one, other))
        assert second["noise"]["value"] == pytest.approx(a * first["noise"]["value"], rel=1e-4)
        assert first["noise"]["value"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_network_on_fine_pixels_is_known_to_need_more_memory(name: str) -> None:
    few, many = (network_memory(*random_network(name, scale)) for scale in scales_of(name)[::2])
    ratio = (scales_of(name)[-1] / scales_of(name)[0]) ** 2
    assert many > 1.2 * few
    if name in ("SRCNN", "VDSR"):  # pre-upsampling: all of it is on the fine grid
        assert many == pytest.approx(ratio * few, rel=0.01)


def test_a_network_knows_best_what_it_needs() -> None:
    model, spec = random_network("ESPCN", 2)
    model.bytes_per_pixel = lambda: 12345
    assert network_memory(model, spec) == 12345


def test_conditions_change_the_result_and_are_recorded(folder: Path) -> None:
    model, image = write_network(folder, "ConditionalECBSR", 2), mr_image(brain((48, 40)))
    plain = sciSR.upscale(image, 2, model)
    told = sciSR.upscale(image, 2, model, noise=25.0, psf_fwhm=1.4, forward="gaussian")
    assert np.abs(np.asarray(plain.data) - np.asarray(told.data)).max() > 1e-3 * np.ptp(
        np.asarray(plain.data)
    )
    step = told.provenance.steps[-1]
    assert step["forward_model"] == "gaussian"
    assert step["conditions"] == {
        "noise": {"value": 25.0, "from": "given"},
        "fwhm": {"value": 1.4, "from": "given"},
        "kspace": {"value": 0.0, "from": "forward model"},
    }
    first = plain.provenance.steps[-1]["conditions"]
    assert [first[name]["from"] for name in CONDITIONS] == ["estimated", "default", "forward model"]
    assert first["kspace"]["value"] == 1.0


def test_one_weights_file_for_several_factors(folder: Path) -> None:
    model = write_network(folder, "VDSR", 3, seed=1, scales=(2, 3, 4))
    image = mr_image(brain((40, 36)))
    for scale in (2, 3, 4):
        whole, tiled = (np.asarray(sciSR.upscale(image, scale, model, tile=t).data) for t in (4096, 16))
        assert whole.shape == (40 * scale, 36 * scale)
        assert np.abs(tiled - whole).max() <= 4e-6 * np.abs(whole).max()
    with pytest.raises(sciSR.SciSRError, match="refines by 2, 3, 4 and can't make x5"):
        sciSR.upscale(image, 5, model)
    assert sciSR.upscale(image, 8, model).provenance.steps[-1]["applied"] == 3
