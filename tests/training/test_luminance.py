"""Photographs as luminance."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sciSR.errors import SciSRError
from sciSR.training.luminance import luminance, read_luminance


def test_black_white_and_primaries_are_bt601_in_studio_range():
    colours = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    assert np.round(255 * luminance(colours)).tolist() == [16, 235, 81, 145, 41]  # MATLAB's rgb2ycbcr


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_colours_are_rounded_to_eight_bits(tmp_path, suffix):
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / f"a.{suffix}")
    y = read_luminance(tmp_path / f"a.{suffix}")
    assert y.shape == (7, 9)
    assert np.allclose(255 * y, np.round(255 * y), atol=1e-4)
    assert np.allclose(y, luminance(rgb / 255.0), atol=0.5 / 255 + 1e-6)


def test_grey_pictures_keep_their_values(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "g.png")
    assert np.allclose(read_luminance(tmp_path / "g.png") * 255, grey)
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    assert np.allclose(read_luminance(tmp_path / "d.png") * 65535, deep, atol=0.01)


def test_a_palette_is_looked_up(tmp_path):
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:2] = (255, 0, 0)
    Image.fromarray(rgb).convert("P").save(tmp_path / "p.bmp")
    assert read_luminance(tmp_path / "p.bmp")[0, 0] == pytest.approx(81 / 255)


def test_transparency_is_refused_unless_there_is_none(tmp_path):
    rgba = np.full((4, 4, 4), 255, np.uint8)
    Image.fromarray(rgba).save(tmp_path / "o.png")
    assert read_luminance(tmp_path / "o.png").max() == pytest.approx(235 / 255)
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "t.png")
    with pytest.raises(SciSRError, match="transparent"):
        read_luminance(tmp_path / "t.png")


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(SciSRError, match=r"x\.png"):
        read_luminance(tmp_path / "x.png")
