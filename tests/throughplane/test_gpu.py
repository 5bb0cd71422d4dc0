"""The same volume on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import stack, texture, thick

from sciSR.forward.slice_sampling import SliceSampling
from sciSR.throughplane import isotropic


@pytest.mark.gpu
@pytest.mark.parametrize("learning", ["0", "fast"])
def test_a_gpu_gives_the_same_volume(learning):
    data = thick(texture((64, 64, 64)), SliceSampling(16, 64)).astype(np.float32)
    options = {"self_training": learning}
    cpu = np.asarray(isotropic(stack(data, (1, 1, 4)), device="cpu", **options).data)
    gpu = np.asarray(isotropic(stack(data, (1, 1, 4)), device="cuda", **options).data)
    # Two hundred steps of training drift apart, as they do between processors.
    most = 1e-4 if learning == "0" else 0.1
    assert np.abs(gpu - cpu).max() < most * np.ptp(data)
