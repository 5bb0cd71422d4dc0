"""Pixel keywords other than the WCS: updated, or dropped and named; hardware facts stay."""

from __future__ import annotations

from fractions import Fraction

import pytest
from fits_samples import header_of
from hypothesis import given
from hypothesis import strategies as st

from scisr_astronomy.detector_keywords import pixel_keywords, refine_detector

factor = st.sampled_from([Fraction(1), Fraction(2), Fraction(3), Fraction(3, 2)])


def refine(cards: dict, sx: Fraction | int = 2, sy: Fraction | int = 2, **how: bool) -> tuple:
    return refine_detector(header_of(cards), [Fraction(sx), Fraction(sy)], **how)


@given(factor, factor, st.floats(-100, 100), st.floats(0.1, 8))
def test_physical_position_of_every_edge_stays(sx, sy, shift, step) -> None:
    cards = {"LTV1": shift, "LTV2": -shift, "LTM1_1": step, "LTM2_2": 1.0, "LTM1_2": 0.25}
    fine, _ = refine(cards, sx, sy)
    for physical in (0.5, 1.0, 17.25):
        x = step * physical + 0.25 * 3.0 + shift
        finer = fine["LTM1_1"] * physical + fine["LTM1_2"] * 3.0 + fine["LTV1"]
        assert finer == pytest.approx((x - 0.5) * float(sx) + 0.5)


def test_ltv_alone_gets_its_ltm() -> None:
    fine, notes = refine({"LTV1": 0.0})
    assert (fine["LTV1"], fine["LTM1_1"]) == (-0.5, 2.0)
    assert "LTV1" in notes[0]


def test_image_sections_grow_and_detector_sections_stay() -> None:
    cards = {
        "DATASEC": "[1:10,3:12]",
        "TRIMSECA": "[5:1,2:4]",
        "BIASSEC": "[11:12]",
        "CCDSEC": "[1:10,1:10]",
        "DETSEC": "[14341:16380,8197:12284]",
    }
    fine, _ = refine(cards, 2, 3)
    assert fine["DATASEC"] == "[1:20,7:36]"
    assert fine["TRIMSECA"] == "[10:1,4:12]"
    assert fine["BIASSEC"] == "[21:24]"
    assert (fine["CCDSEC"], fine["DETSEC"]) == (cards["CCDSEC"], cards["DETSEC"])


def test_a_section_that_falls_between_pixels_is_dropped_and_named() -> None:
    fine, notes = refine({"DATASEC": "[2:10,1:10]"}, Fraction(3, 2), Fraction(3, 2))
    assert "DATASEC" not in fine
    assert any("DATASEC" in note and "dropped" in note for note in notes)


def test_pixel_scales_and_areas_follow() -> None:
    cards = {
        "PIXSCAL1": 0.27,
        "PIXSCALE": 0.4,
        "PIXAR_SR": 4e-14,
        "PIXAR_A2": 9e-4,
        "XPIXSZ": 9.0,
        "IMAGEW": 100,
    }
    fine, _ = refine(cards, 2, 2)
    assert fine["PIXSCAL1"] == pytest.approx(0.135)
    assert fine["PIXSCALE"] == pytest.approx(0.2)
    assert fine["PIXAR_SR"] == pytest.approx(1e-14)
    assert fine["PIXAR_A2"] == pytest.approx(2.25e-4)
    assert (fine["XPIXSZ"], fine["IMAGEW"]) == (4.5, 200)


def test_one_scale_for_both_axes_is_dropped_where_they_differ() -> None:
    fine, notes = refine({"PIXSCALE": 0.4, "PIXSCAL1": 0.4, "PIXSCAL2": 0.4}, 2, 3)
    assert "PIXSCALE" not in fine
    assert (fine["PIXSCAL1"], fine["PIXSCAL2"]) == (pytest.approx(0.2), pytest.approx(0.4 / 3))
    assert "PIXSCALE" in notes[-1]


@pytest.mark.parametrize(("before", "after"), [("2 2", "1 1"), ("4 2", "2 1"), ("1 1", None)])
def test_binning_stays_whole_or_goes(before: str, after: str | None) -> None:
    fine, _ = refine({"CCDSUM": before})
    assert fine.get("CCDSUM") == after


def test_statistics_of_the_old_pixels_are_dropped_and_named() -> None:
    fine, notes = refine({"DATAMIN": 0.0, "GOODMAX": 3.0, "OBJECT": "M51", "DATAP01": 1.0})
    assert list(fine) == ["OBJECT"]
    assert all(name in notes[0] for name in ("DATAMIN", "GOODMAX", "DATAP01"))


def test_saturation_is_shared_out_with_totals_only() -> None:
    assert refine({"SATURATE": 60000})[0]["SATURATE"] == 60000
    assert refine({"SATURATE": 60000}, total=True)[0]["SATURATE"] == 15000


def test_strings_in_number_keywords_are_left_alone() -> None:
    assert refine({"PIXSCALE": "0.4 arcsec"})[0]["PIXSCALE"] == "0.4 arcsec"
    assert not pixel_keywords(header_of({"PIXSCALE": "0.4 arcsec", "OBJECT": "M51"}))
    assert pixel_keywords(header_of({"PIXSCAL1": 0.27}))
