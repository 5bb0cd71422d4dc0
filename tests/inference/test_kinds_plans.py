"""Any plan maker serves all kinds of voxels; quantitative maps keep their unit and their sign."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kinds_samples import complex_values, last_step, probabilities, smooth, wrapped
from scenes import sky
from sciSR.image import Image
from sciSR.inference import upscale
from sciSR.inference.kinds import plan_kind
from sciSR.inference.kinds_parts import Kept

F = Fraction
METHODS = ["linear", "cubic", "lanczos", "fourier", "nearest"]


# -- any plan maker: here one that refines all three axes at once, in blocks of its own order -------------------------


class WholePlan:
    """Linear interpolation along every axis by SciPy, with an overshoot, handed over column by column."""

    def __init__(self, image: Image, factors: tuple[Fraction, ...], gain: float = 1.0) -> None:
        from sciSR.inference.upscaling import Promise

        self.image, self.factors, self.gain, self.messages = image, factors, gain, ["whole"]
        grid = image.grid.refine(factors)
        self.output = image.replace(grid=grid, data=Promise(grid.shape, np.dtype(np.float32)))

    def run(self, put: Any, progress: Any = None) -> Image:
        from scipy.ndimage import map_coordinates

        at = [
            np.clip((np.arange(m) + 0.5) / float(f) - 0.5, 0, n - 1)
            for m, n, f in zip(self.output.shape, self.image.shape, self.factors, strict=True)
        ]
        data = np.asarray(self.image).astype(np.float64)
        fine = map_coordinates(data, np.meshgrid(*at, indexing="ij"), order=1)
        fine = (fine.mean() + self.gain * (fine - fine.mean())).astype(np.float32)
        for column in range(fine.shape[2]):
            put((slice(None), slice(None), slice(column, column + 1)), fine[:, :, column : column + 1])
            if progress is not None:
                progress((column + 1) / fine.shape[2])
        step = {"step": "isotropic", "agreement": {"operator": "own", "enforced": True, "max_abs": 0.5}}
        return self.output.replace(provenance=self.image.provenance.add(**step))


FACTORS = (F(13, 5), F(2), F(1))


def run_plan(plan: Any) -> Image:
    out = np.empty(plan.output.shape, plan.output.dtype)
    seen: list[float] = []

    def put(index: Any, block: np.ndarray) -> None:
        out[index] = block

    final = plan.run(put, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    return final.replace(data=out)


def test_a_phase_through_any_plan_is_joined_and_measured_along_all_axes() -> None:
    data = wrapped(smooth((5, 6, 7), 0) * 2, 2 * np.pi)
    result = run_plan(plan_kind(Image.from_array(data, kind="phase"), lambda im: WholePlan(im, FACTORS)))
    assert result.shape == (13, 12, 7)
    z = np.exp(1j * np.asarray(result.data, np.float64)).reshape(13, 6, 2, 7).mean(2)
    weights = np.array([[max(0, min(13 * (c + 1), 5 * (o + 1)) - max(13 * c, 5 * o)) for o in range(13)]
                        for c in range(5)]) / 13  # fmt: skip
    mean = np.angle(np.einsum("co,oij->cij", weights, z))
    step = last_step(result)
    assert step["agreement"]["max_abs"] == pytest.approx(
        np.abs(wrapped(mean - data, 2 * np.pi)).max(), rel=5e-3
    )
    assert step["step"] == "isotropic"


def test_complex_voxels_through_any_plan() -> None:
    data = complex_values((5, 6, 7), 0)
    result = run_plan(plan_kind(Image.from_array(data), lambda im: WholePlan(im, FACTORS)))
    for part in ("real", "imag"):
        alone = run_plan(WholePlan(Image.from_array(getattr(data, part).copy()), FACTORS))
        assert np.array_equal(getattr(np.asarray(result.data), part), alone.data)
    assert last_step(result)["agreement"]["operator"] == "own"


@pytest.mark.parametrize("gain", [1.0, 1.4])
def test_a_probability_through_any_plan_is_measured_again_if_it_was_clipped(gain: float) -> None:
    data = probabilities((5, 6, 7), 0)
    image = Image.from_array(data, kind="probability")
    result = run_plan(plan_kind(image, lambda im: WholePlan(im, FACTORS, gain)))
    assert 0 <= result.data.min() <= result.data.max() <= 1
    step = last_step(result)
    assert step["agreement"]["operator"] == ("own" if gain == 1 else "block mean")
    assert ("largest_change" in step["kind"]) == (gain != 1)


def test_plain_intensities_go_to_the_plan_maker_as_they_are() -> None:
    image = Image.from_array(np.zeros((4, 4)))
    assert plan_kind(image, lambda im: im) is image


def test_what_is_kept_on_disk_is_read_back() -> None:
    for limit in (0, 1 << 20):
        kept = Kept((3, 40, 50), np.float32, limit)
        values = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)
        for column in range(50):
            kept.put((slice(None), slice(None), column), values[:, :, column])
        assert np.array_equal(kept[1, 5:9, :], values[1, 5:9])
        kept.close()


# -- quantitative maps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["auto", "cubic", "fourier"])
@pytest.mark.parametrize(("domain", "factor"), [("mr", 1e-3), ("mr", 1e6), ("ct", 1e-3)])
def test_another_unit_scales_the_result(model: str, domain: str, factor: float) -> None:
    """Milliseconds or seconds: no normalisation, gate or clipping depends on the unit."""
    data = 1200 + 300 * smooth((40, 44), 5)
    one, other = (
        np.asarray(upscale(Image.from_array(d, domain=domain, unit="ms"), 2, model).data, np.float64)
        for d in (data, data * factor)
    )
    assert np.abs(other / factor - one).max() <= 1e-6 * np.abs(one).max()


@pytest.mark.parametrize("domain", ["mr", "ct"])
def test_negative_values_survive(domain: str) -> None:
    """A field map in Hz, Hounsfield units."""
    data = 150 * smooth((40, 44), 6) - 400
    image = Image.from_array(data, domain=domain, unit="Hz")
    result = upscale(image, 2)
    assert result.unit == "Hz"
    means = np.asarray(result.data, np.float64).reshape(40, 2, 44, 2).mean((1, 3))
    assert np.abs(means - data).max() < 0.1 * np.ptp(data)
    assert result.data.min() < data.min() + 0.1 * np.ptp(data)


def test_a_sign_is_no_matter_to_classical_methods() -> None:
    data = sky((20, 22), 0) - 500
    for model in METHODS:
        one, other = (upscale(Image.from_array(s * data), 2, model).data for s in (1, -1))
        assert np.allclose(one, -np.asarray(other), rtol=0, atol=1e-6 * np.abs(data).max())
