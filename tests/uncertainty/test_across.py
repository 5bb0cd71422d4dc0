"""The uncertainty of isotropic volumes: calibrated for what it was found with, the same in tiles, and it covers."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.throughplane import plan_isotropic
from sciSR.throughplane.spread import SpreadModel, smoothed
from sciSR.training import across_cases, error_across
from sciSR.uncertainty.conformal import covered
from sciSR.uncertainty.interface import Calibration, Uncertain


def stack(ratio: int = 4, domain: str = "mr") -> Image:
    """Thick slices of a smooth texture with noise."""
    from scipy.ndimage import gaussian_filter

    g = np.random.default_rng(5)
    values = gaussian_filter(g.normal(size=(26, 24, 9)), (2, 2, 0.7))
    values = 200 + 300 * values / values.std() + g.normal(size=values.shape)
    return Image(
        data=np.maximum(values, 0).astype(np.float32),
        axes=("x", "y", "z"),
        spatial=("x", "y"),
        grid=AffineGrid(values.shape, np.diag([1.0, 1.0, float(ratio), 1.0])),
        domain=domain,
        slice_thickness=float(ratio),
    )


def found(image: Image, **settings) -> tuple[np.ndarray, np.ndarray, dict]:
    plan = plan_isotropic(image, **{"self_training": "0", "uncertainty": True, "device": "cpu"} | settings)
    out = np.empty(plan.output.shape, np.float32)
    done = plan.run(lambda index, block: out.__setitem__(index, block))
    told = done.provenance.steps[-1].get("uncertainty")
    return out, None if told is None else np.asarray(done.uncertainty[:, :, :]), told


def test_it_is_calibrated_and_the_image_is_the_same_to_the_bit():
    sharp, std, told = found(stack())
    assert told["calibrated"] is True
    assert told["model"] == "error-mr-across"
    assert told["interval_95"] > 1
    assert std.shape == sharp.shape
    assert (std > 0).all()
    np.testing.assert_array_equal(sharp, found(stack(), uncertainty=False)[0])


def test_it_is_the_same_in_tiles():
    whole, tiled = found(stack())[1], found(stack(), tile=11)[1]
    np.testing.assert_allclose(tiled, whole, rtol=2e-3)


def test_noise_alone_is_a_lower_limit():
    alone = found(stack(), uncertainty=Uncertain(model=None))
    assert alone[2]["calibrated"] is False
    assert np.median(alone[1]) < np.median(found(stack())[1])


@pytest.mark.parametrize(
    ("ratio", "domain", "settings"),
    [(4, "mr", {"model": "smoothest"}), (9, "mr", {}), (4, "ct", {"model": "throughplane-mr"})],
)
def test_what_it_was_not_found_for_is_not_called_calibrated(ratio, domain, settings):
    assert found(stack(ratio, domain), **settings)[2]["calibrated"] is False


def test_another_unit_changes_nothing():
    image = stack()
    other = image.replace(data=(1e-3 * image.data).astype(np.float32))
    np.testing.assert_allclose(found(other)[1], 1e-3 * found(image)[1], rtol=1e-2)


def test_noise_and_spread_add_in_quadrature_and_the_mean_spread_is_kept():
    g = np.random.default_rng(1)
    noise, spread = g.uniform(1, 2, (5, 6, 8)), g.uniform(0, 3, (5, 6, 8))
    model = SpreadModel(2.0, 1.0, Calibration(1.5))
    np.testing.assert_allclose(model.total(noise, spread, 3.0), 1.5 * np.sqrt(noise**2 + 6 * spread))
    np.testing.assert_allclose(smoothed(np.full((5, 6, 8), 7.0), 4), 7.0)


@pytest.mark.realdata
def test_a_volume_never_used_is_covered(shared_data):
    path = shared_data / "mri/check/sct_t2_cervical_0p8.nii.gz"
    exam = error_across.examine(across_cases.case(path, 0), "0")
    from sciSR.throughplane.spread import load_spread

    model = load_spread("mr", exam.ratio, exam.method)
    judged = exam.judged(model)
    assert 0.6 < covered(judged.error, judged.predicted, judged.unseen).mean() < 0.85
    wide = covered(judged.error, judged.predicted, judged.unseen, 2.0, model.calibration.interval_95 / 2)
    assert wide.mean() > 0.92
