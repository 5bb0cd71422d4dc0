"""The literature's protocol proves itself on the literature's images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from sciSR.errors import UnreadableError, VerificationError
from sciSR.evaluation import natural, protocols


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "scale"), list(natural.PUBLISHED_BICUBIC))
def test_published_bicubic_figures_come_out_to_a_hundredth(shared_data: Path, name: str, scale: int) -> None:
    found = natural.prove(shared_data / "natural" / name, name, scale)
    assert found == pytest.approx(natural.PUBLISHED_BICUBIC[name, scale], abs=0.01)


@pytest.mark.realdata
def test_published_ssim_comes_out(shared_data: Path) -> None:
    table = protocols.run("set5", [], shared_data, 2)
    assert table.mean("bicubic", "ssim").mean == pytest.approx(0.9299, abs=5e-5)


def test_other_images_under_the_same_name_are_found_out(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    imsave(tmp_path / "img.png", pixels, check_contrast=False)
    with pytest.raises(VerificationError, match=r"33\.66"):
        natural.prove(tmp_path, "set5", 2)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no images"):
        natural.photographs(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(UnreadableError, match=r"a\.png"):
        natural.read_photograph(tmp_path / "a.png")
