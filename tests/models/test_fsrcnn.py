"""FSRCNN as published, its transposed convolution aligned at the edges."""

from __future__ import annotations

import pytest
import torch

from sciSR.models.fsrcnn import FSRCNN


def test_number_of_parameters_is_that_of_the_paper():
    """12,464 weights for FSRCNN(56, 12, 4) and 3,937 for FSRCNN-s = (32, 5, 1), table 1 and section 4."""
    for arguments, number in (({}, 12_464), ({"d": 32, "s": 5, "m": 1}, 3_937)):
        weights = [p for p in FSRCNN(**arguments).parameters() if p.ndim > 1]
        assert sum(p.numel() for p in weights) == number
    slopes = [m.weight for m in FSRCNN().modules() if isinstance(m, torch.nn.PReLU)]
    assert sum(p.numel() for p in FSRCNN().parameters()) == 12_464 + 173 + sum(s.numel() for s in slopes)


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_a_straight_line_goes_on_as_the_same_line(scale):
    """Output pixel ``s i + p`` lies at ``i + (p + 1/2) / s - 1/2``; no shift by half a pixel."""
    model, n = FSRCNN(scale), 24
    with torch.no_grad():
        model.tail.weight[2:] = 0  # only the channels that carry the image
        line = torch.arange(n, dtype=torch.float32).expand(1, 1, n, n)
        across, along = model(line)[0, 0], model(line.mT)[0, 0].mT
    expected = (torch.arange(scale * n) + 0.5) / scale - 0.5
    rim = slice(3 * scale, -3 * scale)
    for out in (across, along):
        assert (out[scale * n // 2] - expected)[rim].abs().max() < 1e-4


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 9])
def test_no_output_pixel_is_left_out(scale):
    """The nine taps cover all fine pixels of an input pixel, in the middle and at the borders."""
    model = FSRCNN(scale, d=4, s=2, m=1)
    with torch.no_grad():
        model.tail.weight.fill_(1)
        features = torch.ones(1, 4, 3, 3)
        assert (model.tail(features) > 0).all()
        features = torch.zeros(1, 4, 5, 5)
        features[..., 2, 2] = 1
        touched = model.tail(features)[0, 0].any(0).nonzero()[:, 0] - 2 * scale
    assert int(touched.min()) <= 0
    assert int(touched.max()) >= scale - 1
