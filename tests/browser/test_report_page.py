"""A report in a real browser: what moves, what is shown, and that it asks nobody for anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=2">\'&{{7*7}}<!--'
PART = (0.62, 0.78)  # of the width: result at first, input once the divider has gone past


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of the star field, with its uncertainty."""
    from sciSR.report import write_page
    from sciSR.workflow.run import upscale_file

    folder = tmp_path_factory.mktemp("sky")
    given = shutil.copy(SAMPLES / "star_field.fits", folder)
    output = folder / "star_field_x2.fits"
    upscale_file(given, output, model="cubic", uncertainty=True)
    return write_page(given, output)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of the phantom."""
    from sciSR.report import write_page
    from sciSR.workflow.run import upscale_file

    folder = tmp_path_factory.mktemp("volume")
    given = shutil.copy(SAMPLES / "phantom.nii.gz", folder)
    output = folder / "phantom_x2.nii.gz"
    upscale_file(given, output, model="fourier")
    return write_page(given, output)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of a file whose name and header are an attack."""
    from astropy.io import fits

    from sciSR.report import write_page
    from sciSR.workflow.run import upscale_file

    folder = tmp_path_factory.mktemp("hostile")
    given = folder / "<img src=x onerror=alert(1)>\"'&{{7*7}}.fits"
    data = np.random.default_rng(0).normal(10, 1, (40, 48)).astype("f4")
    header = fits.Header({"BUNIT": "<b>Jy</b>"})
    header["OBJECT"] = HOSTILE[:60]
    header["TELESCOP"] = "</script><svg onload=alert(2)>"
    fits.PrimaryHDU(data, header).writeto(given)
    output = folder / "<script>alert(3)<!--.fits"
    upscale_file(given, output, model="cubic")
    return write_page(given, output, folder / "page.html")


def drag(seen: Any, to: float) -> None:
    """The divider, by mouse."""
    box = seen.tab.locator(".handle").first.bounding_box()
    stage = seen.tab.locator(".stage").first.bounding_box()
    y = box["y"] + box["height"] / 2
    seen.tab.mouse.move(box["x"] + box["width"] / 2, y)
    seen.tab.mouse.down()
    seen.tab.mouse.move(stage["x"] + to * stage["width"], y, steps=4)
    seen.tab.mouse.up()
    seen.settle()


def divider(seen: Any) -> int:
    return int(seen.tab.locator(".handle").first.get_attribute("aria-valuenow"))


def test_the_mouse_moves_the_divider_over_the_result(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    seen.tab.locator(".stage").first.scroll_into_view_if_needed()
    result, beyond = seen.pixels(*PART), seen.pixels(0.92, 0.98)
    drag(seen, 0.85)
    assert divider(seen) == 85
    given = seen.pixels(*PART)
    assert given != result  # the input's pixels are there now
    assert seen.pixels(0.92, 0.98) == beyond
    drag(seen, 0.5)
    assert seen.pixels(*PART) == result
    seen.assert_clean()


def test_the_keyboard_moves_the_divider(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    handle = seen.tab.locator(".handle").first
    handle.focus()
    result = seen.pixels(*PART)
    for key, where in (("ArrowRight", 51), ("ArrowLeft", 50), ("Shift+ArrowLeft", 40), ("End", 100)):
        seen.tab.keyboard.press(key)
        seen.settle()
        assert divider(seen) == where
    given = seen.pixels(*PART)
    assert given != result
    assert handle.get_attribute("aria-valuetext") == "100 % Input, 0 % Result"
    seen.tab.keyboard.press("Home")
    seen.settle()
    assert divider(seen) == 0
    assert seen.pixels(*PART) == result
    seen.assert_clean()


def test_a_finger_moves_the_divider_and_two_fingers_zoom(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky, width=390, height=800, has_touch=True, is_mobile=True)
    seen.tab.locator(".stage").first.scroll_into_view_if_needed()
    stage = seen.tab.locator(".stage").first.bounding_box()
    wire = seen.tab.context.new_cdp_session(seen.tab)
    y = stage["y"] + stage["height"] / 2

    def touch(kind: str, *places: float) -> None:
        points = [{"x": stage["x"] + p * stage["width"], "y": y, "id": k} for k, p in enumerate(places)]
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    result = seen.pixels(*PART)
    touch("touchStart", 0.5)
    for place in (0.6, 0.75, 0.9):
        touch("touchMove", place)
    touch("touchEnd")
    seen.settle()
    assert divider(seen) == pytest.approx(90, abs=1)
    assert seen.pixels(*PART) != result
    zoom = seen.tab.evaluate("document.querySelector('.pane').pane.view.zoom")
    touch("touchStart", 0.45, 0.55)
    for wide in (0.1, 0.15, 0.2):
        touch("touchMove", 0.5 - wide, 0.5 + wide)
    touch("touchEnd")
    seen.settle()
    assert seen.tab.evaluate("document.querySelector('.pane').pane.view.zoom") > 1.5 * zoom
    assert seen.tab.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth"
    )  # nothing sticks out
    seen.screenshot("sky-phone")
    seen.assert_clean()


def test_pixels_are_the_files_own_edge_to_edge(sky: Path, see: Callable[..., Any]) -> None:
    """Each pixel of either picture is where the grid says, with the grey of its value, enlarged without mixing."""
    import sciSR
    from sciSR.report.page_layout import Layout, Screen
    from sciSR.report.page_pixels import Coding
    from sciSR.report.page_stretch import grey

    seen = see(sky)
    before, after = sciSR.read(sky.parent / "star_field.fits"), sciSR.read(sky.parent / "star_field_x2.fits")
    told = seen.tab.evaluate("JSON.parse(document.querySelector('#pixels').textContent).layers.after")
    coding = Coding(**told["coding"])
    look = (
        "([x, y, end]) => { const pane = document.querySelector('.pane').pane;"
        " [pane.page.divider, pane.page.showFeatures] = [end, false];"
        " pane.show([x - 20, y - 20, 40, 40]); pane.paint();"
        " const [u, v] = pane.toScreen(x, y), ratio = window.devicePixelRatio;"
        " return copyOf(pane.canvas).getImageData(Math.floor(u * ratio), Math.floor(v * ratio), 1, 1).data[0]; }"
    )
    left, top, wide, high = seen.tab.evaluate("document.querySelector('.pane').pane.about.start.region")
    generator = np.random.default_rng(0)
    assert before.quantity == "total"  # electrons: an input pixel is shown with the share of each fine pixel
    for image, factor, end, share in ((before, 1, 1, 0.25), (after, 2, 0, 1)):
        values = Screen(image, Layout.of(image)).plane(0) * share
        shown = grey(coding.decode(coding.encode(values)), told["shown"]).astype(int)
        for x, y in generator.uniform((left, top), (left + wide, top + high), (40, 2)):
            row, column = int(y * factor), int(x * factor)
            middle = [(column + 0.5) / factor, (row + 0.5) / factor, end]
            assert abs(seen.tab.evaluate(look, middle) - shown[row, column]) <= 1
    seen.assert_clean()


def test_the_stretch_is_one_for_both_and_live(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    left, right = seen.pixels(0.25, 0.45), seen.pixels(*PART)
    seen.tab.get_by_role("button", name="zscale").click()
    seen.settle()
    assert seen.pixels(0.25, 0.45) != left
    assert seen.pixels(*PART) != right
    said = seen.tab.locator(".said").text_content()
    seen.tab.get_by_role("slider", name="White").press("ArrowLeft")
    seen.tab.get_by_role("checkbox", name="Invert").check()
    seen.settle()
    assert seen.tab.locator(".said").text_content() != said
    seen.tab.get_by_role("combobox", name="Curve").select_option("sqrt")
    seen.tab.get_by_role("checkbox", name="Invert").uncheck()
    seen.tab.get_by_role("button", name="asinh").click()
    seen.settle()
    assert seen.pixels(*PART) == right
    seen.assert_clean()


def test_maps_stand_right_of_the_divider(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    result = seen.pixels(*PART)
    for name in ("Standard deviation", "Consistency residual"):
        seen.tab.get_by_text(name, exact=True).first.click()
        seen.settle()
        shown = np.array(seen.pixels(*PART)).reshape(-1, 4)
        assert (shown[:, 0] != shown[:, 2]).any()  # in colour
        assert seen.tab.locator("#legend canvas").is_visible()
    seen.tab.get_by_text("Result", exact=True).last.click()
    seen.settle()
    assert seen.pixels(*PART) == result
    seen.assert_clean()


def test_slices_and_the_crosshair_link_three_planes(volume: Path, see: Callable[..., Any]) -> None:
    seen = see(volume)
    assert seen.tab.locator(".pane").count() == 3
    first = [seen.pixels(0.3, 0.7, pane) for pane in range(3)]
    slider = seen.tab.get_by_role("slider", name="Axial slice")
    start = int(slider.input_value())
    slider.press("ArrowRight")
    seen.settle()
    assert int(slider.input_value()) == start + 1
    assert seen.pixels(0.3, 0.7, 0) != first[0]
    planes = "[...document.querySelectorAll('.pane')].map((p) => p.pane.slice)"
    before = seen.tab.evaluate(planes)
    stage = seen.tab.locator(".stage").first.bounding_box()
    seen.tab.mouse.click(stage["x"] + 0.3 * stage["width"], stage["y"] + 0.4 * stage["height"])
    seen.settle()
    after = seen.tab.evaluate(planes)
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert after[2] != before[2]
    assert seen.pixels(0.3, 0.7, 1) != first[1]
    seen.screenshot("volume", full_page=True)
    seen.assert_clean()


def test_every_slice_shows_something_native_or_reduced(volume: Path, see: Callable[..., Any]) -> None:
    seen = see(volume)
    for axis in "zyx":
        for share in (0.25, 0.5, 0.75):
            seen.tab.evaluate(
                "([axis, share]) => { const page = document.querySelector('.pane').pane.page;"
                " const about = page.source.planes.find((p) => p.axis === axis);"
                " page.moveTo(axis, Math.floor(share * about.slices)); }",
                [axis, share],
            )
            seen.settle()
            number = "zyx".index(axis)
            assert len(set(seen.pixels(0.3, 0.7, number)[::4])) > 8
    seen.assert_clean()


def test_themes(sky: Path, see: Callable[..., Any]) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    for scheme in ("light", "dark"):
        seen = see(sky, color_scheme=scheme)
        first = seen.tab.evaluate(paper)
        seen.tab.locator("#theme").click()
        assert seen.tab.evaluate(paper) != first
        seen.screenshot(f"sky-toggled-from-{scheme}")
        seen.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(sky: Path, see: Callable[..., Any], scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for each colour of text on each ground it stands on."""
    seen = see(sky, color_scheme=scheme)
    pairs = [
        ("ink", "paper"),
        ("ink", "card"),
        ("soft", "paper"),
        ("soft", "card"),
        ("first", "paper"),
        ("card", "first"),
    ]
    pairs += [(m, g) for m in ("good", "caution", "bad", "unknown") for g in ("paper", f"{m}-bg")]
    pairs += [("ink", f"{m}-bg") for m in ("good", "caution", "bad", "unknown")]
    find = "(n) => getComputedStyle(document.documentElement).getPropertyValue(`--${n}`).trim()"
    for text, ground in pairs:
        found = sorted(_luminance(seen.tab.evaluate(find, name)) for name in (text, ground))
        assert (found[1] + 0.05) / (found[0] + 0.05) >= 4.5, (text, ground)


def _luminance(colour: str) -> float:
    colour = colour.lstrip("#")
    colour = "".join(2 * c for c in colour) if len(colour) == 3 else colour
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_hostile_names_and_headers_are_text(hostile: Path, see: Callable[..., Any]) -> None:
    seen = see(hostile)
    assert seen.tab.locator("h1").text_content() == "<script>alert(3)<!--.fits"
    assert seen.tab.evaluate("window.hacked") is None
    assert seen.tab.locator("main img:not([src^='data:'])").count() == 0
    seen.tab.locator("#metadata summary").click()
    assert "window.hacked=1" in seen.tab.locator("#keys").text_content()
    assert "49" not in seen.tab.locator("h1").text_content()
    drag(seen, 0.7)
    seen.assert_clean()


def test_metadata_can_be_filtered(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    seen.tab.locator("#metadata summary").click()
    every = seen.tab.locator("#keys tbody tr:visible").count()
    seen.tab.locator('input[data-filter="keys"]').fill("CRPIX")
    found = seen.tab.locator("#keys tbody tr:visible")
    assert 0 < found.count() < every
    assert all("CRPIX" in text for text in found.all_text_contents())
    seen.assert_clean()


def test_methods_can_be_copied(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    button = seen.tab.locator('button[data-copy="methods"]')
    button.click()
    seen.until("document.querySelector('button[data-copy=\"methods\"]').textContent === 'Copied'")
    seen.assert_clean()


def test_paper_shows_both_pictures_as_they_are_seen(sky: Path, see: Callable[..., Any]) -> None:
    seen = see(sky)
    kept = seen.tab.locator("#print-after").get_attribute("src")
    seen.tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    seen.tab.emulate_media(media="print")
    pictures = seen.tab.locator(".pair img")
    assert pictures.count() == 2
    assert all(pictures.nth(k).is_visible() for k in range(2))
    assert pictures.nth(1).get_attribute("src") != kept
    assert not seen.tab.locator(".stage").first.is_visible()
    assert seen.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert seen.tab.pdf().startswith(b"%PDF")
    seen.assert_clean()


def test_without_scripts_both_pictures_stand_there(sky: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(sky.resolve().as_uri())
    assert tab.locator(".pair img").count() == 2
    assert tab.locator(".pair img").first.is_visible()
    assert not tab.locator(".controls").is_visible()
    context.close()


def test_all_controls_have_names(volume: Path, see: Callable[..., Any]) -> None:
    seen = see(volume)
    for kind in ("button", "slider", "checkbox", "combobox", "radio", "searchbox", "img"):
        for each in seen.tab.get_by_role(kind).all():
            snapshot = each.evaluate(
                "(e) => (e.labels && e.labels.length) || e.getAttribute('aria-label') || "
                "e.getAttribute('aria-labelledby') || e.alt || e.textContent.trim()"
            )
            assert snapshot, each.evaluate("(e) => e.outerHTML")
    identifiers = seen.tab.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(identifiers) == len(set(identifiers))
    seen.assert_clean()


def test_an_index_can_be_sorted_and_filtered(
    sky: Path, volume: Path, see: Callable[..., Any], tmp_path: Path
) -> None:
    from sciSR.report.index import write_index

    for page in (sky, volume):
        for path in page.parent.iterdir():
            shutil.copy(path, tmp_path)
    index, rows = write_index(tmp_path, inputs=tmp_path)
    assert len(rows) == 2
    seen = see(index)
    names = seen.tab.locator("#outputs tbody tr td:nth-child(2) a")
    button = seen.tab.locator("#outputs th button").first
    button.click()
    first = names.all_text_contents()
    assert first == sorted(first)
    button.click()
    assert names.all_text_contents() == first[::-1]
    assert seen.tab.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    seen.tab.locator('input[data-filter="outputs"]').fill("phantom")
    assert seen.tab.locator("#outputs tbody tr:visible").count() == 1
    seen.screenshot("index")
    seen.assert_clean()
    assert all((tmp_path / link.get_attribute("href")).is_file() for link in names.all())


def test_tables_on_a_phone_keep_words_whole(sky: Path, see: Callable[..., Any]) -> None:
    page = see(sky, width=390, height=844)
    widths = page.tab.eval_on_selector_all("#checks td.text", "(cells) => cells.map((c) => c.clientWidth)")
    assert min(widths) > 150
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 390
