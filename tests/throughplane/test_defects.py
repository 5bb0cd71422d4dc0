"""What went wrong once: each of these has been a crash, or a result that was not what it said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from phantoms import stack, texture, thick

from sciSR.errors import ResourceError, SciSRWarning, UsageError
from sciSR.forward.slice_sampling import SliceSampling
from sciSR.throughplane import isotropic, plan_isotropic
from sciSR.throughplane.running import scratch_array, slices_to_learn_from


@pytest.mark.parametrize("profile", ["gaussian", "rect", "sinc"])
@pytest.mark.parametrize("thickness", [1e-12, 1e-3, 0.03])
def test_a_profile_of_no_width_samples_the_slice_at_its_centre(profile, thickness):
    """It lay between the points that it was integrated over: all weights were zero."""
    matrix = SliceSampling(5, 15, thickness, profile).matrix
    expected = torch.zeros(5, 15, dtype=torch.float64)
    expected[range(5), range(1, 15, 3)] = 1
    torch.testing.assert_close(matrix, expected)


def test_a_table_that_adds_up_to_nothing_where_it_is_sampled_is_refused():
    lobes = ((-0.5, -0.4, 0.0, 0.4, 0.5), (-1.0, -1.0, 1.5, -1.0, -1.0))
    with pytest.raises(UsageError, match="add up to nothing"):
        SliceSampling(4, 16, 1.0, lobes).matrix  # noqa: B018


@pytest.mark.parametrize("profile", ["gaussian", "rect", "sinc"])
def test_wide_profiles_do_not_blow_noise_up_without_bounds(profile):
    """Slices three times as thick as they are apart: values were thirty times the range of the slices."""
    operator = SliceSampling(20, 80, 3.0, profile)
    gain = float(torch.linalg.matrix_norm(operator.smoothest, 2)) / 2  # a thick slice is four thin ones
    assert gain < 70


def test_slices_that_overlap_too_far_are_refused_and_far_ones_warned_of():
    data = thick(texture(), SliceSampling(12, 48)).astype(np.float32)
    image = stack(data, (1, 1, 4))
    with pytest.raises(UsageError, match="times as thick as they are apart"):
        plan_isotropic(image, model="smoothest", thickness=400)
    with pytest.warns(SciSRWarning, match="can't be undone exactly"):
        out = isotropic(image, model="smoothest", thickness=10)
    assert np.abs(out.data).max() < 10 * np.ptp(data)


def test_a_profile_with_a_width_of_its_own_leaves_the_headers_unsaid(tmp_path):
    path = tmp_path / "profile.txt"
    np.savetxt(path, [[-2, 0], [0, 1], [2, 0]])
    image = stack(thick(texture(), SliceSampling(12, 48)).astype(np.float32), (1, 1, 4))
    plan = plan_isotropic(image, model="smoothest", profile=str(path))
    assert not any("unknown" in message for message in plan.messages)
    assert any("2 mm wide" in message for message in plan.messages)


def test_a_full_disk_is_an_error_not_the_end_of_the_process():
    """Writing to the map of a file that has no space is a bus error."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ResourceError, match="temporary files is full"):
            scratch_array((20, 20, 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("empty", [np.nan, 0.0])
def test_a_series_that_begins_with_nothing_is_learned_from_later(empty):
    """The network learned from the first volume alone, whatever it held."""
    data = thick(texture(), SliceSampling(12, 48)).astype(np.float32)
    series = np.stack([np.full_like(data, empty), data], -1)
    plan = plan_isotropic(stack(series, (1, 1, 4)), model="scratch")
    slices = slices_to_learn_from(plan, plan.image)
    np.testing.assert_allclose(slices, np.moveaxis(plan.normaliser.forward(data), 2, 0))
