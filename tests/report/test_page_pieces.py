"""What pages are made of: coded pixels, layouts as the formats have them, words and curves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.report.page_citations import WORKS, bibliography, of_model, software
from sciSR.report.page_layout import Layout, Screen, block_mean, reduced_plane
from sciSR.report.page_pixels import Coding, pack, unpack
from sciSR.report.page_render import policy, render, safe_json
from sciSR.report.page_scene import Sources, plane_scene
from sciSR.report.page_support import CutView
from sciSR.report.page_volume import volume_scene
from sciSR.report.page_words import number, shell


@given(arrays(np.uint16, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 65535)))
def test_packed_codes_come_back(codes: np.ndarray) -> None:
    assert np.array_equal(unpack(pack(codes), codes.shape), codes)
    narrow = codes % 256
    assert np.array_equal(unpack(pack(narrow), narrow.shape), narrow)


@given(
    arrays(np.float64, 50, elements=st.floats(-1e6, 1e6)),
    st.sampled_from([None, (0.0, 1.0), (10.0, 250.0)]),
    st.floats(0, 10),
)
def test_values_are_kept_to_half_a_step(
    values: np.ndarray, asinh: tuple[float, float] | None, noise: float
) -> None:
    coding = Coding.between(values.min(), values.max(), noise=noise, asinh=asinh)
    found = coding.decode(coding.encode(values))
    scaled = [np.arcsinh((v - coding.zero) / coding.softening) if asinh else v for v in (values, found)]
    # A float's own rounding is added where the step is as small as that.
    assert (
        np.abs(scaled[0] - scaled[1]).max()
        <= 0.5 * coding.step * (1 + 1e-6) + 1e-9 * np.abs(scaled[0]).max() + 1e-12
    )
    assert coding.codes <= 4097


def test_bad_pixels_have_no_value() -> None:
    coding = Coding.between(0, 1)
    assert np.array_equal(np.isnan(coding.decode(coding.encode([0.5, np.nan, np.inf]))), [False, True, True])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "PIL", "SLA", "RSP"])
def test_volumes_lie_as_radiologists_look_at_them(codes: str) -> None:
    """Against nibabel: slices to the feet, rows to the back, columns to the left, however they are stored."""
    nib = pytest.importorskip("nibabel")
    data = np.random.default_rng(0).normal(size=(5, 6, 7)).astype("f4")
    stored = nib.as_closest_canonical(nib.Nifti1Image(data, np.eye(4)))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    turned = stored.as_reoriented(turn)
    array = np.asarray(turned.dataobj)
    image = Image(
        data=array,
        axes=("x", "y", "z"),
        spatial=("x", "y"),
        domain="mr",
        grid=AffineGrid(array.shape, turned.affine),
    )
    screen = Screen(image, Layout.of(image))
    whole = screen.read(slice(None), slice(None), slice(None))
    assert np.array_equal(whole, data[::-1, ::-1, ::-1].transpose(2, 1, 0))  # RAS to left, back, feet
    assert np.array_equal(screen.read(slice(1, 3), slice(0, 2), slice(2, 4)), whole[1:3, 0:2, 2:4])
    for index in ((0, 0, 0), (1, 2, 3), tuple(n - 1 for n in array.shape)):
        z, y, x = (int(v) for v in Layout.of(image).place(index, array.shape))
        assert whole[z, y, x] == array[index]


def test_reduced_pictures_are_means_of_what_is_good() -> None:
    values = np.arange(30.0).reshape(5, 6).astype("f4")
    values[0, 0] = np.nan
    small = block_mean(values, 2, 3)
    assert small.shape == (3, 2)
    assert small[0, 0] == pytest.approx(np.nanmean(values[:2, :3]))
    assert small[2, 1] == pytest.approx(values[4, 3:].mean())
    image = Image.from_array(np.random.default_rng(0).normal(size=(90, 70)).astype("f4"))
    reduced, step = reduced_plane(Screen(image, Layout.of(image)), 0, 20)
    assert step == 5
    assert reduced == pytest.approx(block_mean(np.asarray(image.data), 5, 5), abs=1e-6)


def _sources(before: Image, after: Image) -> Sources:
    layout = Layout.of(after)
    factors = layout.factors([Fraction(a, b) for a, b in zip(after.shape, before.shape, strict=True)])
    return Sources(Screen(before, layout), Screen(after, layout), factors, domain=before.domain)


@pytest.mark.parametrize("budget", [4_000, 40_000, 400_000])
def test_a_scene_keeps_its_budget(budget: int) -> None:
    generator = np.random.default_rng(0)
    before = Image.from_array(generator.normal(size=(200, 240)).astype("f4"), domain="astronomy")
    after = Image.from_array(generator.normal(size=(400, 480)).astype("f4"), domain="astronomy")
    scene = plane_scene(_sources(before, after), budget)
    x, y, wide, high = scene.planes[0]["start"]["region"]
    assert 0 <= x <= x + wide <= 240
    assert 0 <= y <= y + high <= 200
    if budget > 100_000:  # below, the reduced picture alone may take more
        assert scene.size <= budget


def test_the_part_with_the_detail_is_shown() -> None:
    generator = np.random.default_rng(0)
    sky = generator.normal(0, 1, (600, 600))
    y, x = np.mgrid[:600, :600]
    for row, column in generator.uniform(420, 560, (60, 2)):
        sky += 60 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4)
    before = Image.from_array(sky.astype("f4"), domain="astronomy")
    after = Image.from_array(np.kron(sky, np.ones((2, 2))).astype("f4"), domain="astronomy")
    scene = plane_scene(_sources(before, after), 350_000)
    left, top, wide, high = scene.planes[0]["start"]["region"]
    assert wide < 400
    assert left + wide > 540
    assert top + high > 540


def test_volumes_show_the_same_place_in_all_planes() -> None:
    generator = np.random.default_rng(0)
    coarse = generator.normal(100, 20, (20, 24, 9)).astype("f4")
    fine = np.kron(coarse, np.ones((2, 2, 1), "f4"))
    grid = AffineGrid(coarse.shape, np.diag([-1.0, -1.0, 3.0, 1.0]))
    common = {"axes": ("x", "y", "z"), "spatial": ("x", "y"), "domain": "mr"}
    before = Image(data=coarse, grid=grid, **common)
    after = Image(data=fine, grid=grid.refine([2, 2, 1]), **common)
    scene = volume_scene(_sources(before, after), 1_000_000)
    assert [plane["name"] for plane in scene.planes] == ["axial", "coronal", "sagittal"]
    coding = scene.layers["after"]["code"]
    for number_, plane in enumerate(scene.planes):
        [block] = [
            b
            for b in scene.blocks
            if (b["layer"], b["plane"], b["slice"]) == ("after", number_, plane["start"]["slice"])
        ]
        extent = plane["levels"][1]["after"]
        found = coding.decode(unpack(block["data"][0], (extent["height"], extent["width"])))
        screen = Screen(after, Layout.of(after))
        whole = screen.read(slice(None), slice(None), slice(None))
        wanted = np.take(whole, plane["start"]["slice"], axis="zyx".index(plane["axis"]))
        assert found == pytest.approx(wanted, abs=0.51 * coding.step)


def test_a_cut_reads_what_it_stands_for() -> None:
    array = np.arange(60).reshape(5, 12)
    view = CutView(array, (1, 2), (3, 6))
    assert np.array_equal(view[...], array[1:4, 2:8])
    assert np.array_equal(view[1, 2:4], array[2, 4:6])
    assert view[-1, -1] == array[3, 7]


@given(st.text())
def test_json_cannot_leave_its_element(text: str) -> None:
    import json

    packed = safe_json({"a": text})
    assert not set("<>&") & set(packed)
    assert packed.isascii()
    assert json.loads(packed) == {"a": text}


def test_the_policy_names_this_script_and_no_other() -> None:
    assert policy("a", "b") != policy("a", "c")
    assert "unsafe" not in policy("a", "b")
    assert "connect-src" not in policy("a", "b")  # default-src 'none' holds


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), min_size=1, max_size=4))
def test_a_command_can_be_pasted(arguments: list[str]) -> None:
    import shlex

    assert shlex.split(shell(arguments)) == arguments


def test_numbers_are_for_people() -> None:
    assert [number(v) for v in (None, float("nan"), True, 3, 2.78e-08, -0.5)] == [
        "–",
        "–",
        "yes",
        "3",
        "2.78e−8",
        "−0.5",
    ]


def test_models_cite_what_they_are() -> None:
    assert of_model("ecbsr-mr-kspace-x2") is WORKS["ecbsr"]
    assert of_model("srgan-astro-x4") is WORKS["srresnet"]
    assert of_model("my-own") is None
    entries = bibliography([software("1.0"), *WORKS.values(), *WORKS.values()])
    assert entries.count("@") == 1 + len(WORKS)
    assert entries.count("{") == entries.count("}")


def test_a_name_can_not_turn_the_words_around_it() -> None:
    text = render(
        "index.html.j2",
        viewer=False,
        name="\u202egnp.stif",
        lead="",
        mood="good",
        verdict="",
        rows=[],
        notes=[],
    )
    assert "\u202e" not in text
    assert "\\u202egnp.stif" in text
