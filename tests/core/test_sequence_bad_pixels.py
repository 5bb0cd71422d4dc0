"""Lists of bad pixels mean the pixels that the programs which write them mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sciSR.bad_pixels import BadPixels
from sciSR.errors import UnreadableError, UsageError
from sciSR.image import Image
from sciSR.sequence import Frame

ROWS, COLUMNS = 60, 80


def frame(rows: int = ROWS, columns: int = COLUMNS) -> Frame:
    return Frame(Image.from_array(np.zeros((rows, columns))), "m13.fits")


def bad(tmp_path: Path, text: str) -> set[tuple[int, int]]:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    mask = BadPixels(path).of(frame())
    assert mask.shape == (ROWS, COLUMNS)
    return {(int(row), int(column)) for row, column in np.argwhere(mask)}


@pytest.mark.parametrize(
    "text", ["21 11\n4 56\n", "21,11\n4,56", "x,y\n21,11\n4, 56\n", "# hot\n21\t11 # bright\n\n4 56"]
)
def test_column_and_row_count_from_one(tmp_path: Path, text: str) -> None:
    assert bad(tmp_path, text) == {(10, 20), (55, 3)}


def test_four_numbers_are_irafs_rectangle(tmp_path: Path) -> None:
    assert bad(tmp_path, "3 4 7 9") == {(row, column) for row in (6, 7, 8) for column in (2, 3)}


def test_sirils_list_counts_from_zero_and_from_the_top(tmp_path: Path) -> None:
    # As Siril 1.0.6 wrote it (find_hot) for a 60x80 dark with hot pixels in FITS rows 10 and 55, columns 20 and 3.
    assert bad(tmp_path, "P 20 49 H\nP 3 4 C\n") == {(10, 20), (55, 3)}


def test_sirils_columns_and_lines(tmp_path: Path) -> None:
    assert bad(tmp_path, "C 5 0 H\n") == {(row, 5) for row in range(ROWS)}
    assert bad(tmp_path, "L 0 0 H\n") == {(ROWS - 1, column) for column in range(COLUMNS)}


@pytest.mark.parametrize("text", ["81 1", "1 61", "0 1", "P 80 0 H", "4 3 1 1"])
def test_a_pixel_outside_is_named_by_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"bad.txt: line 1 lies outside m13.fits"):
        bad(tmp_path, text)


@pytest.mark.parametrize("text", ["circle(10,20,3)", "1 2\nnone here", "1.5 2", "1 2 3"])
def test_what_is_no_list_is_refused_with_the_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnreadableError, match=r"bad.txt: line \d is"):
        bad(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(b"\xff\xfe\x00\x01" * 50)
    with pytest.raises(UnreadableError, match="neither an image"):
        BadPixels(path)


def test_frames_of_one_detector_share_one_mask(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("1 1\n")
    known = BadPixels(path)
    assert known.of(frame()) is known.of(frame())
    assert known.of(frame(10, 10)).shape == (10, 10)


def test_listed_pixels_are_bad_when_a_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("21 11\n")
    pixels = frame().replace(bad=BadPixels(path).of(frame())).read(slice(8, 12))
    assert [tuple(p) for p in np.argwhere(pixels.bad)] == [(2, 20)]
