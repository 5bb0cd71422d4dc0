"""World coordinates stay where they are when pixels become finer; astropy.wcs is the judge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import TAN, header_of, landmarks, sky_error, wcs_of
from hypothesis import given
from hypothesis import strategies as st

from sciSR.errors import GeometryError
from sciSR.testing.tools import quiet
from scisr_astronomy.wcs_keywords import has_wcs, refine_wcs, wcs_only, without_wcs

SHAPE = (24, 36)  # rational factors below give whole sizes
factor = st.sampled_from([Fraction(1), Fraction(2), Fraction(3), Fraction(4), Fraction(3, 2), Fraction(5, 4)])
angle = st.floats(-180, 180)
pixel_scale = st.floats(1e-6, 1e-2)


def refine(header: fits.Header, sx: Fraction | int, sy: Fraction | int) -> fits.Header:
    return refine_wcs(header, [Fraction(sx), Fraction(sy)])


def check(cards: dict, sx: Fraction, sy: Fraction, alt: str = " ", tolerance: float = 1e-8) -> None:
    header = header_of(cards)
    before = header.tostring()
    with quiet():
        error = sky_error(wcs_of(header, alt=alt), wcs_of(refine(header, sx, sy), alt=alt), SHAPE, (sy, sx))
    assert error < tolerance
    assert header.tostring() == before  # a pure function


@given(
    factor,
    factor,
    angle,
    pixel_scale,
    st.floats(0.3, 3),
    st.floats(-40, 80),
    st.sampled_from(["TAN", "SIN", "ARC", "ZEA", "STG"]),
)
def test_cd_matrices_keep_corners_and_centres(sx, sy, rotation, step, ratio, reference, projection) -> None:
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    cards = TAN | {
        "CTYPE1": f"RA---{projection}",
        "CTYPE2": f"DEC--{projection}",
        "CRPIX1": reference,
        "CD1_1": -step * c,
        "CD1_2": step * ratio * s,
        "CD2_1": step * s,
        "CD2_2": step * ratio * c,
    }
    check(cards, sx, sy)


@given(factor, factor, angle, pixel_scale, st.floats(0.3, 3))
def test_pc_and_cdelt_keep_corners_and_centres_for_unequal_factors(sx, sy, rotation, step, ratio) -> None:
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    cards = {k: v for k, v in TAN.items() if not k.startswith("CD")}
    cards |= {"CDELT1": -step, "CDELT2": step * ratio, "PC1_1": c, "PC1_2": -s, "PC2_1": s, "PC2_2": c}
    check(cards, sx, sy)


@given(factor, factor, angle, pixel_scale, st.floats(0.3, 3))
def test_old_crota_keeps_corners_and_centres(sx, sy, rotation, step, ratio) -> None:
    cards = {k: v for k, v in TAN.items() if not k.startswith("CD")}
    check(cards | {"CDELT1": -step, "CDELT2": step * ratio, "CROTA2": rotation}, sx, sy)


@given(factor, factor, st.integers(2, 5), st.randoms(use_true_random=False))
def test_sip_keeps_corners_and_centres(sx, sy, order, random) -> None:
    cards = TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    for name in ("A", "B", "AP", "BP"):
        cards[f"{name}_ORDER"] = order
        for p in range(order + 1):
            for q in range(order + 1 - p):
                if p + q >= 2 or name.endswith("P"):
                    cards[f"{name}_{p}_{q}"] = random.uniform(-1, 1) * 0.5 / 30 ** (p + q)
    check(cards, sx, sy)
    # The inverse polynomials must follow too: from offsets to CRPIX to pixels (1-based), as astropy defines it.
    header = header_of(cards)
    with quiet():
        old, new = wcs_of(header), wcs_of(refine(header, sx, sy))
    offset, scale = landmarks(SHAPE) - [20.0, 11.0], np.array([float(sx), float(sy)])
    expected = (old.sip_foc2pix(offset, 1) - 0.5) * scale + 0.5
    assert np.allclose(new.sip_foc2pix(offset * scale, 1), expected, rtol=0, atol=1e-9)
    assert new.sip.a_order == order


@given(factor, factor)
def test_tpv_and_zpn_parameters_are_left_alone(sx, sy) -> None:
    tpv = TAN | {
        "CTYPE1": "RA---TPV",
        "CTYPE2": "DEC--TPV",
        "PV1_1": 1.01,
        "PV1_4": 0.02,
        "PV2_1": 0.99,
        "PV2_7": 0.03,
    }
    check(tpv, sx, sy)
    zpn = TAN | {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 42.0}
    check(zpn, sx, sy)
    for cards in (tpv, zpn):
        header = refine(header_of(cards), sx, sy)
        assert {k: header[k] for k in cards if k.startswith("PV")} == {
            k: cards[k] for k in cards if k.startswith("PV")
        }


def test_tnx_keeps_its_polynomial_of_intermediate_coordinates() -> None:
    text = 'wtype=tnx axtype=ra lngcor = "3. 4. 4. 2. -0.2 0.2 -0.2 0.2 1e-3"'
    cards = TAN | {"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX", "WAT0_001": "system=image", "WAT1_001": text}
    fine = refine(header_of(cards), 2, 3)
    assert fine["WAT1_001"] == text
    before, after = wcs_of(wcs_only(header_of(cards))), wcs_of(wcs_only(fine))
    pixel = landmarks(SHAPE)
    finer = (pixel + 0.5) * [2, 3] - 0.5
    a, b = before.wcs.p2s(pixel, 0)["imgcrd"], after.wcs.p2s(finer, 0)["imgcrd"]
    assert np.allclose(a, b, rtol=0, atol=1e-15)


def test_missing_crpix_cdelt_and_pc_take_their_defaults() -> None:
    check(
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 10.0, "CRVAL2": 0.0}, Fraction(2), Fraction(3)
    )
    check({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "PC1_2": 0.1}, Fraction(2), Fraction(3))
    check(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": 1e-4, "CD2_2": 1e-4}, Fraction(2), Fraction(3)
    )


@pytest.mark.parametrize("alt", ["A", "P", "Z"])
def test_alternate_descriptions_are_refined_each(alt: str) -> None:
    other = {
        "CTYPE1": "GLON-CAR",
        "CTYPE2": "GLAT-CAR",
        "CRPIX1": 7.0,
        "CRPIX2": 9.0,
        "CDELT1": -1e-3,
        "CDELT2": 2e-3,
    }
    cards = TAN | {f"{k}{alt}": v for k, v in other.items()} | {f"CRVAL1{alt}": 33.0, f"PC1_2{alt}": 0.2}
    check(cards, Fraction(2), Fraction(3), alt=alt)
    check(cards, Fraction(2), Fraction(3))


def test_physical_coordinates_of_ds9_stay_put() -> None:
    physical = {"WCSNAMEP": "PHYSICAL", "CTYPE1P": "x", "CTYPE2P": "y", "CRVAL1P": 3001.5, "CRVAL2P": 2500.5}
    cards = TAN | physical | {"CRPIX1P": 0.5, "CRPIX2P": 0.5, "CDELT1P": 2.0, "CDELT2P": 2.0}
    check(cards, Fraction(2), Fraction(3, 2), alt="P")


def test_old_pc_keywords_are_refined() -> None:
    cards = {k: v for k, v in TAN.items() if not k.startswith("CD")} | {"CDELT1": -1e-4, "CDELT2": 1e-4}
    header = refine(header_of(cards | {"PC001002": 0.5, "PC002001": -0.25}), 2, 4)
    assert header["PC001002"] == 0.25
    assert header["PC002001"] == -0.5


def test_spectral_axis_of_a_cube_stays() -> None:
    cards = TAN | {
        "CTYPE3": "FREQ",
        "CRVAL3": 1.4e9,
        "CRPIX3": 4.0,
        "CD3_3": 1e6,
        "CUNIT3": "Hz",
        "RESTFRQ": 1.42e9,
    }
    header = header_of(cards)
    fine = refine_wcs(header, [Fraction(2), Fraction(2), Fraction(1)])
    assert [fine[k] for k in ("CRPIX3", "CD3_3", "CRVAL3")] == [4.0, 1e6, 1.4e9]
    assert sky_error(wcs_of(header), wcs_of(fine), SHAPE, 2) < 1e-8


def test_linear_axes_in_either_order_and_swapped_sky() -> None:
    check(
        {"CTYPE1": "LAMBDA", "CTYPE2": "ANGLE", "CRPIX1": 5.0, "CRVAL1": 5000.0, "CD1_1": 2.0, "CD2_2": 0.1},
        Fraction(2),
        Fraction(3),
    )
    check(
        TAN | {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 47.0, "CRVAL2": 202.0},
        Fraction(2),
        Fraction(3),
    )


def test_two_refinements_in_a_row_are_one() -> None:
    header = header_of(
        TAN | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_2_0": 1e-4, "B_ORDER": 2}
    )
    once, twice = refine(header, 6, 6), refine(refine(header, 2, 3), 3, 2)
    for key in header:
        if isinstance(header[key], float):
            assert math.isclose(once[key], twice[key], rel_tol=1e-14), key


def test_dss_plate_solution_keeps_plate_positions() -> None:
    cards = {"AMDX1": 67.2, "PLTRAH": 1, "XPIXELSZ": 25.28, "YPIXELSZ": 25.28, "CNPIX1": 2000, "CNPIX2": 3000}
    fine = refine(header_of(cards), 2, 3)
    for axis, name, s in ((1, "X", 2), (2, "Y", 3)):
        p = 17.0
        plate = cards[f"{name}PIXELSZ"] * (p + cards[f"CNPIX{axis}"] - 0.5)
        finer = fine[f"{name}PIXELSZ"] * ((p - 0.5) * s + 0.5 + fine[f"CNPIX{axis}"] - 0.5)
        assert math.isclose(plate, finer, rel_tol=1e-14)


@pytest.mark.parametrize(
    ("cards", "named"),
    [
        ({"A_ORDER": 100000}, "A_ORDER"),
        ({"AP_ORDER": -1}, "AP_ORDER"),
        ({"WCSAXES": 999999}, "WCSAXES"),
        ({"CRPIX99": 1.0}, "CRPIX99"),
        ({"CRPIX1": "here"}, "CRPIX1"),
        ({"CD1_1": True}, "CD1_1"),
        ({"CQDIS1": "TPD"}, "CQDIS1"),
        ({"CPDIS1": "TPD"}, "CPDIS1"),
        ({"CTYPE1": "RA---ZPX"}, "ZPX"),
        ({"CPDIS1": "LOOKUP", "DP1.AXIS.1": 2.0}, "DP1.AXIS.1"),
        ({"WAT0_001": "system=multispec"}, "multispec"),
        ({"A_30_30": 1.0}, "A_30_30"),
    ],
)
def test_what_is_not_exact_is_refused_by_name(cards: dict, named: str) -> None:
    with pytest.raises(GeometryError, match=named):
        refine(header_of(TAN | cards), 2, 2)


def test_a_keyword_that_stands_twice_must_agree_with_itself() -> None:
    header = header_of(TAN)
    header.append(("CRPIX1", TAN["CRPIX1"]), end=True)
    fine = refine(header, 2, 2)
    assert fine.count("CRPIX1") == 1
    assert sky_error(wcs_of(header), wcs_of(fine), SHAPE, 2) < 1e-8
    header.append(("CRPIX1", 99.0), end=True)
    with pytest.raises(GeometryError, match="CRPIX1 stands several times"):
        refine(header, 2, 2)


def test_dropping_the_wcs_leaves_none_and_keeps_the_rest() -> None:
    sip = {"A_ORDER": 2, "A_0_2": 1e-6, "PV1_1": 1.0, "CPDIS1": "LOOKUP", "DP1.EXTVER": 1.0, "LONPOLE": 180.0}
    header = header_of(TAN | sip | {"OBJECT": "M51", "LTV1": 3.0, "CRPIX1A": 3.0, "PVALUE": 1.0})
    bare = without_wcs(header)
    assert list(bare) == ["OBJECT", "LTV1", "PVALUE"]
    assert has_wcs(header)
    assert not has_wcs(bare)
    assert "OBJECT" not in wcs_only(header)
    assert "DP1.EXTVER" in wcs_only(header)
