"""The same uncertainty on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from sciSR.image import Image
from sciSR.inference import upscale


@pytest.mark.gpu
@pytest.mark.parametrize(("domain", "model"), [("astronomy", "espcn-astro-x2"), ("mr", "ecbsr-mr-kspace-x2")])
def test_a_gpu_gives_the_same_deviation(domain, model):
    # The noise is drawn on the processor from seed and place, so that every device carries the same probes.
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    values = 200 + 900 * np.exp(-((y - 40) ** 2 + (x - 52) ** 2) / 60) + 3 * rng.standard_normal((96, 96))
    image = Image.from_array(values.astype(np.float32), domain=domain)
    cpu, gpu = (
        np.asarray(upscale(image, 2, model, uncertainty=True, device=device).uncertainty)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, rtol=1e-2)
