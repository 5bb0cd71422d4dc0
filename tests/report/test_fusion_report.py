"""The report page: self-contained, complete, and its numbers in JSON."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fused_samples import read_frames, shift_and_add, write_frames

from sciSR.errors import UsageError
from sciSR.fusion.product import Fused
from sciSR.metrics.resolution import frc_report
from sciSR.report.fusion_report import summary, write_report
from sciSR.sequence import LeftOut


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "action")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Fused:
    sequence = read_frames(write_frames(tmp_path_factory.mktemp("frames")))
    sequence = replace(sequence, left_out=(LeftOut("broken.fits", "truncated <at> 3 kB"),))
    made = shift_and_add(sequence, left_out={3: "a cloud"})
    image = np.nan_to_num(np.asarray(made.image.data))
    noise = np.random.default_rng(0).normal(0, 0.2, (2, *image.shape))
    frc = frc_report(image + noise[0], image + noise[1], factor=2)
    return replace(made, report={"frc": frc, "noise": {"scale": 1.02, "nothing": float("nan")}})


def test_a_frames_shift_is_that_of_the_fields_centre() -> None:
    from sciSR.fusion.transforms import Affine
    from sciSR.report.plots import shift_of

    turned = Affine.about((49.5, 59.5), 0.01, shift=(1.25, -2.5))
    record = {"matrix": tuple(turned.matrix.ravel())}
    assert shift_of(record, (100, 120)) == pytest.approx((1.25, -2.5))


def page_of(fused: Fused, folder: Path) -> str:
    return write_report(fused, folder / "r.html", folder / "r.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(fused: Fused, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fused, tmp_path_factory.mktemp("page"))


def test_the_page_needs_no_other_file_and_no_network(text: str) -> None:
    page = Page(text)
    assert page.open == [], "every tag is closed"
    assert len(page.references) == 4, "sheet, ring correlation, residuals, placements"
    for reference in page.references:
        kind, data = reference.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "http" not in re.sub(r'base64,[^"]*"', "", text)
    assert "<script" not in text


def test_the_page_names_every_frame_and_why_one_was_left_out(text: str) -> None:
    page = Page(text)
    for name in ("frame_0.fits", "frame_1.fits", "frame_2.fits"):
        assert name in page.text
    assert "frame_3.fits a cloud" in page.text
    assert "broken.fits truncated <at> 3 kB" in page.text


def test_the_page_tells_the_resolution_that_was_measured(fused: Fused, text: str) -> None:
    page = Page(text)
    found = fused.report["frc"]["resolution"]["1/7"]
    assert f"{found['period_px']:.4g}" in page.text


def test_without_half_sets_the_page_says_so(fused: Fused, tmp_path: Path) -> None:
    page = Page(page_of(replace(fused, report={}), tmp_path))
    assert "Not measured" in page.text
    assert len(page.references) == 3


def test_the_numbers_are_valid_json_and_the_pages(fused: Fused, tmp_path: Path) -> None:
    page_of(fused, tmp_path)
    document = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert document == summary(fused)
    assert document["shape_in"] == [24, 30]
    assert document["shape_out"] == [48, 60]
    assert [frame["used"] for frame in document["frames"]] == [True, True, True, False, False]
    assert document["measured"]["noise"] == {"scale": 1.02, "nothing": None}
    assert document["median_coverage"] == float(np.median(fused.coverage))
    assert document["settings"]["method"] == "mean"


def test_an_existing_report_is_replaced_only_when_asked(fused: Fused, tmp_path: Path) -> None:
    page_of(fused, tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        page_of(fused, tmp_path)
    write_report(fused, tmp_path / "r.html", tmp_path / "r.json", overwrite=True)


def test_a_fusion_in_which_no_frame_is_used_is_still_reported(fused: Fused, tmp_path: Path) -> None:
    records = tuple(replace(r, used=False, reason="nothing") for r in fused.records)
    assert "Left out" in page_of(replace(fused, records=records), tmp_path)
