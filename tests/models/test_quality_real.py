"""The shipped networks beat the classical methods on real and simulated images never trained on."""

from __future__ import annotations

import pytest

from sciSR.evaluation import methods, protocols
from sciSR.evaluation.measure import Scores, measure, measure_scene
from sciSR.models.files import list_models
from sciSR.models.spec import ModelSpec
from sciSR.training.scenes import simulate

RIVALS = [methods.classical(name) for name in ("linear", "cubic", "lanczos", "fourier")]
HONEST = [spec for spec in list_models() if not spec.adversarial]
"""Adversarial networks trade PSNR for texture, as their cards say."""


def shipped(protocol: str, scale: int = 2) -> list[ModelSpec]:
    return [spec for spec in HONEST if spec.scale == scale and protocol in protocols.protocols_of(spec)]


def gain(scores: Scores, network: str) -> float:
    return scores[network]["psnr"] - max(scores[rival.name]["psnr"] for rival in RIVALS)


@pytest.mark.realdata
@pytest.mark.parametrize(("forward", "least"), [("kspace", 1.0), ("gaussian", 2.5)])
def test_mr_volume_of_another_site(shared_data, forward, least):
    subject = protocols.check_file(shared_data / "mri/check/sct_t2_cervical_1mm.nii.gz")
    networks = [methods.trained(spec.name) for spec in shipped(f"mr-{forward}")]
    scores = measure(subject, forward, 2, [*RIVALS, *networks])
    gains = {network.name: gain(scores, network.name) for network in networks}
    assert max(gains.values()) > least
    assert min(gains.values()) > 0, gains


@pytest.mark.realdata
def test_infrared_map_of_another_instrument(shared_data):
    subject = protocols.check_file(shared_data / "astro/check/msx_gc_e.fits")
    networks = [methods.trained(spec.name) for spec in shipped("astro-real")]
    scores = measure(subject, "detector", 2, [*RIVALS, *networks, methods.automatic()])
    assert max(gain(scores, network.name) for network in networks) > 0.5
    assert gain(scores, "auto") > 0.5


def test_undersampled_simulated_sky():
    scene = simulate(9_200_001, size=96, fixed={"fwhm": 1.3, "frames": 300, "sky": 200, "read_noise": 5})
    networks = [methods.trained(spec.name) for spec in shipped("astro-simulated")]
    scores = measure_scene(scene, 2, [*RIVALS, *networks])
    assert max(gain(scores, network.name) for network in networks) > 1
    for network in networks:
        if network.spec.consistency == "none":  # takes the noise out, and does not promise to keep the flux
            continue
        assert abs(scores[network.name]["bias"]) <= max(1.0, abs(scores["cubic"]["bias"]))
