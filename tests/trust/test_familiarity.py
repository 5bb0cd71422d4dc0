"""Familiar images pass in silence; what was done to others is named, recorded, and stops a strict run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import sciSR
from sciSR.cli.main import main
from sciSR.errors import SciSRWarning, UnsupportedError
from sciSR.image import Image
from sciSR.inference import plan_upscale
from sciSR.models.files import list_models, load_spec
from sciSR.models.spec import ModelSpec
from sciSR.training.scenes import simulate
from sciSR.trust.familiarity import Familiarity, assess
from sciSR.trust.ranges import between, distance, key_of, known_of, point, reach_of

NETWORK = "espcn-astro-x2"
FIXED = {"sky": 100, "read_noise": 5, "frames": 1, "fwhm": 2.0, "stars": 150, "galaxies": 5, "nebula": 0,
         "faint": 20, "bright": 1e4}  # fmt: skip


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return simulate(9_400_002, size=160, fixed=dict(FIXED)).observed


@pytest.fixture(scope="module")
def upsampled(field: np.ndarray) -> np.ndarray:
    return ndimage.zoom(field, 2, order=3, mode="reflect", grid_mode=True)


def sky(data: np.ndarray, **fields: object) -> Image:
    return Image.from_array(data, domain="astronomy", **fields)


def test_simulated_fields_are_familiar(field: np.ndarray) -> None:
    found = assess(sky(field), load_spec(NETWORK))
    assert found.is_familiar
    assert found.lines() == []
    assert found.network == NETWORK
    assert found.ranges["width"][0] < found.measured["width"] < found.ranges["width"][1]


@pytest.mark.parametrize("network", [NETWORK, "ecbsr-astro-x4", "conditional-astro-x2"])
def test_upsampled_images_are_called_so(upsampled: np.ndarray, network: str) -> None:
    found = assess(sky(upsampled), load_spec(network))
    assert any("already upsampled by about 2" in note for note in found.notes)
    assert all(network in line for line in found.lines())


@settings(max_examples=10, deadline=None)
@given(gain=st.floats(-8, 8).map(lambda e: 10.0**e), level=st.floats(-20, 20))
def test_units_do_not_matter(field: np.ndarray, upsampled: np.ndarray, gain: float, level: float) -> None:
    for data in (field, upsampled):
        plain = assess(sky(data), load_spec(NETWORK))
        other = assess(sky(gain * (data + level * float(np.ptp(data)))), load_spec(NETWORK))
        assert len(other.notes) == len(plain.notes)
        assert other.measured == pytest.approx(plain.measured, rel=1e-4, abs=1e-4)


def test_anatomy_that_was_zero_filled_is_unfamiliar() -> None:
    import torch

    from sciSR.forward.kspace import KSpaceCrop

    g = np.random.default_rng(4)
    texture = ndimage.gaussian_filter(g.standard_normal((128, 128)), 1.0)
    y, x = np.mgrid[:128, :128]
    head = (np.hypot((y - 63.5) / 55, (x - 63.5) / 45) < 1) * (1 + 0.4 * texture)
    coarse = np.abs(head + 0.02 * g.standard_normal(head.shape))
    volume = Image.from_array(
        np.repeat(KSpaceCrop(2).pinv(torch.from_numpy(coarse)).numpy()[None], 3, 0), domain="mr"
    )
    notes = assess(volume, load_spec("ecbsr-mr-kspace-x2")).notes
    assert any("upsampled" in note for note in notes)


def test_every_shipped_network_in_the_plane_knows_its_training() -> None:
    for spec in list_models():
        if spec.forward_model == "slice_profile" or spec.name.startswith("error-"):
            continue
        known = known_of(spec)
        assert known is not None, spec.name
        assert len(known.points) > 50
        assert known.reach > 0


def test_nothing_is_known_of_a_strangers_network(upsampled: np.ndarray) -> None:
    stranger = ModelSpec("nobody-astro-x2", "ESPCN")
    assert known_of(stranger) is None
    assert assess(sky(upsampled), stranger) == Familiarity()


def test_images_without_content_are_not_judged() -> None:
    for data in (np.zeros((64, 64)), np.full((64, 64), np.nan), np.ones((4, 4))):
        assert assess(sky(data), load_spec(NETWORK)).is_familiar


def test_the_provenance_keeps_it_and_messages_say_it(upsampled: np.ndarray) -> None:
    plan = plan_upscale(sky(upsampled), 2, NETWORK)
    assert any("already upsampled" in message for message in plan.messages)
    step = sciSR.upscale(sky(upsampled), 2, NETWORK).provenance.steps[-1]
    assert any("already upsampled" in note for note in step["familiarity"]["notes"])
    assert set(step["familiarity"]["measured"]) >= {"signal_to_noise", "correlation", "width"}


def test_classical_methods_have_learned_nothing(upsampled: np.ndarray) -> None:
    made = sciSR.upscale(sky(upsampled), 2, "cubic", strict=True)
    assert "familiarity" not in made.provenance.steps[-1]


def test_strict_refuses_by_name(field: np.ndarray, upsampled: np.ndarray) -> None:
    plan_upscale(sky(field), 2, NETWORK, strict=True)
    for model in (NETWORK, "auto"):
        with pytest.raises(
            UnsupportedError, match=rf"m51\.fits: unlike what {NETWORK} .*upsampled by about 2"
        ):
            plan_upscale(sky(upsampled, source=Path("m51.fits")), 2, model, strict=True)


def test_strict_run_exits_with_3_and_writes_nothing(
    upsampled: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "up.fits"
    fits.writeto(path, upsampled.astype(np.float32))
    words = ["upscale", str(path), "--model", NETWORK]
    assert main([*words, "--strict"]) == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == ["up.fits"]
    assert "already upsampled by about 2" in capsys.readouterr().err
    assert main(words) == 0
    assert "already upsampled by about 2" in capsys.readouterr().err
    header = sciSR.read(tmp_path / "up_x2.fits").provenance.steps[-1]
    assert any("already upsampled" in note for note in header["familiarity"]["notes"])


def test_ranges_hold_all_but_the_tails() -> None:
    g = np.random.default_rng(1)
    rows = [{"width": float(v), "correlation": float("nan")} for v in g.normal(3, 0.5, 400)]
    low, high = between(rows)["width"]
    assert 1.3 < low < 2.2
    assert 3.8 < high < 4.7
    assert "correlation" not in between(rows)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_points_among_others_are_near_and_far_ones_are_far(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(60, 7))
    reach = reach_of(points)
    assert distance(points[0], points) <= reach
    assert distance(points.max(0) + 2 * reach + 5, points) > reach


def test_distance_does_not_need_a_width() -> None:
    measured = dict.fromkeys(
        ("signal_to_noise", "noise_1", "noise_2", "noise_3", "noise_4", "noise_axes"), 1.0
    )
    place = point(measured)
    assert np.isnan(place[1])
    assert distance(place, np.array([point({**measured, "width": 2.0})] * 4)) == 0


def test_recipes_are_told_apart() -> None:
    keys = {key_of("mr", ("kspace",), 2, ()), key_of("mr", ("kspace",), 4, ()), key_of("mr", ("gaussian",), 2, ()),
            key_of("mr", ("kspace", "gaussian"), 2, ("noise",))}  # fmt: skip
    assert len(keys) == 4


@pytest.mark.realdata
def test_most_real_images_are_familiar(shared_data: Path) -> None:
    said = []
    for path in sorted((shared_data / "astro" / "check").glob("*.fits")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SciSRWarning)
            image = sciSR.read_all(path, ignore_checksum=True)[0]
        said.append(bool(assess(image, load_spec(NETWORK)).notes))
    assert sum(said) <= 0.2 * len(said)
