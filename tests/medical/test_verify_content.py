"""The displacement of content is measured, whatever symmetric kernel made it; and nothing is measured where none is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import shift as shifted
from scipy.ndimage import zoom
from volume_faults import blobs

from sciSR.image import Image
from scisr_medical.verify_affine import local_matrix
from scisr_medical.verify_content import DISPLACED, content_checks

AXES = ("x", "y", "z")


def image(data: np.ndarray, **fields: object) -> Image:
    return Image(data=data, axes=AXES, spatial=("x", "y"), **fields)


def found(before: np.ndarray, after: np.ndarray, **fields: object) -> dict:
    factors = [n / m for n, m in zip(after.shape, before.shape, strict=True)]
    mapping = np.linalg.inv(local_matrix(factors))
    checks = content_checks(image(before, **fields), image(after, **fields), mapping, slices=2)
    return {c.name: c for c in checks}


COARSE = blobs((40, 36, 16))


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("factors", [(2, 2, 1), (2, 2, 2), (1, 1, 3), (1.5, 1.5, 1)])
def test_edge_aligned_kernels_displace_nothing(order, factors):
    checks = found(COARSE, zoom(COARSE, factors, order=order, grid_mode=True, mode="nearest"))
    assert checks["content in place"].status == "passed"
    assert all(c.status == "passed" for c in checks.values())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("amount", [-0.4, -0.15, 0.15, 0.25])
def test_a_shift_is_measured(axis, amount):
    """`amount` in input voxels."""
    fine = zoom(COARSE, 2, order=3, grid_mode=True, mode="nearest")
    moved = shifted(fine, [2 * amount if k == axis else 0 for k in range(3)], order=3, mode="nearest")
    check = found(COARSE, moved)["content in place"]
    assert check.status == "failed"
    assert check.value == pytest.approx(abs(amount), rel=0.25)
    assert f"of {AXES[axis]}" in check.message


def test_corner_aligned_kernels_are_found():
    check = found(COARSE, zoom(COARSE, (2, 2, 1), order=1))["content in place"]
    assert check.status == "failed"
    assert DISPLACED < check.value < 0.3


def test_noise_alone_is_not_displaced():
    noise = np.random.default_rng(5).normal(100, 20, (40, 36, 16))
    check = found(noise, zoom(noise, (2, 2, 1), order=1, grid_mode=True, mode="nearest"))["content in place"]
    assert check.status in ("passed", "skipped")


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_shows_no_place(value):
    constant = np.full((12, 11, 10), value)
    checks = found(constant, constant.repeat(2, 0).repeat(2, 1))
    assert checks["content in place"].status == "skipped"
    assert checks["scale of values"].status == "passed"


def test_unknown_voxels_do_not_count():
    before = COARSE.copy()
    before[:6] = np.nan
    after = before.repeat(2, 0).repeat(2, 1)
    assert all(c.status == "passed" for c in found(before, after).values())


def test_labels_are_compared_by_their_outline():
    labels = (COARSE > 120).astype(np.int16) * 3
    fine = labels.repeat(2, 0).repeat(2, 1)
    assert found(labels, fine, kind="labels")["content in place"].status == "passed"
    assert found(labels, np.roll(fine, 1, 0), kind="labels")["content in place"].status == "failed"
