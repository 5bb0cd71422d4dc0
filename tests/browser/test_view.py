"""`scisr view` in a real browser: tiles where they belong, the divider, slices, and no request to anybody else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sciSR
from sciSR.report.view import Viewer

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
SCREENSHOTS = Path(__file__).parent / "screenshots"


def until(tab: Any, condition: str) -> None:
    """Ask again and again from outside: playwright's own way evaluates text in the page, which its policy forbids."""
    for _ in range(600):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(25)
    raise AssertionError(f"it never came true: {condition}")


class Served:
    """A tab on a view, and everything that it should not have done."""

    def __init__(self, tab: Any, url: str) -> None:
        self.tab, self.url = tab, url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.add_init_script(
            "window.violations = [];"
            "document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective));"
        )
        tab.goto(url)
        self.settle()

    def settle(self) -> None:
        """Until no tile is asked for any more, and what came is drawn."""
        until(
            self.tab,
            "document.querySelectorAll('.pane canvas').length > 0 && "
            "[...document.querySelectorAll('.pane')].every((p) => p.pane && p.pane.isReady)",
        )

    def colour(self, x: float, y: float, pane: int = 0) -> list[int]:
        """R, G, B, A of the canvas at a place of the field, in input pixels."""
        return self.tab.evaluate(
            """([x, y, number]) => {
              const pane = document.querySelectorAll('.pane')[number].pane, ratio = window.devicePixelRatio || 1;
              const [sx, sy] = pane.toScreen(x, y), copy = document.createElement('canvas');
              [copy.width, copy.height] = [pane.canvas.width, pane.canvas.height];
              const context = copy.getContext('2d', { willReadFrequently: true });
              context.drawImage(pane.canvas, 0, 0);
              return [...context.getImageData(Math.round(sx * ratio), Math.round(sy * ratio), 1, 1).data];
            }""",
            [x, y, pane],
        )

    def press(self, label: str, times: int = 1, pane: int = 0) -> None:
        button = self.tab.locator(".pane").nth(pane).get_by_role("button", name=label)
        for _ in range(times):
            button.click()
        self.settle()

    def corner(self, x: float, y: float) -> None:
        """Bring a place of the field to the middle of the first pane."""
        self.tab.evaluate(
            """([x, y]) => {
              const pane = document.querySelector('.pane').pane, [sx, sy] = pane.toScreen(x, y), [w, h] = pane.box;
              pane.free(() => pane.panBy(w / 2 - sx, h / 2 - sy));
            }""",
            [x, y],
        )
        self.settle()

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.tab.screenshot(path=SCREENSHOTS / f"view-{name}.png")

    def assert_clean(self) -> None:
        assert self.complaints == []
        root = self.url.rsplit("/", 2)[0] if self.url.count("/") > 4 else self.url
        assert [url for url in self.requests if not url.startswith(root)] == []
        assert self.tab.evaluate("window.violations") == []


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Served]]:
    """Serve files and open them: ``show(path, path, path="1/")``."""
    open_ones: list[Any] = []

    def start(*paths: Path, under: str = "") -> Served:
        viewer = Viewer(paths)
        server = viewer.server()
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        open_ones.append((context, server, viewer))
        server.start()
        return Served(context.new_page(), server.url + under)

    yield start
    for context, server, viewer in open_ones:
        context.close()
        server.close()
        viewer.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3000 x 2600 pixels of noise with a bright block of 4 x 4 pixels in the far corner, and one of NaN."""
    from astropy.io import fits

    values = np.random.default_rng(0).normal(100, 1, (2600, 3000)).astype(np.float32)
    values[2590:2594, 2990:2994] = 5000
    values[100:200, 100:200] = np.nan
    path = tmp_path_factory.mktemp("large") / "large.fits"
    fits.writeto(path, values, fits.Header({"BUNIT": "electron"}))
    return path


def test_a_large_image_opens_whole_and_then_to_its_last_pixel(
    large: Path, show: Callable[..., Served]
) -> None:
    page = show(large)
    until(page.tab, "document.querySelector('#state').textContent === ''")
    page.settle()
    assert page.tab.locator(".handle").is_hidden()
    assert page.colour(150, 150)[3] == 0  # no value, no colour
    assert page.colour(1500, 1300)[3] == 255
    tiles = [url for url in page.requests if "/tile/" in url]
    assert len(tiles) < 60  # those of the levels that fill the screen, not all of them
    page.screenshot("whole")
    page.press("Zoom in", 12)
    page.corner(2992, 2592)
    assert page.colour(2992, 2592)[:3] == [255, 255, 255]
    assert page.colour(2985, 2585)[0] < 250
    page.tab.mouse.move(*middle(page))
    number, unit = page.tab.locator(".readout").first.inner_text().split()
    assert float(number) == pytest.approx(5000, rel=5e-4)
    assert unit == "electron"
    page.screenshot("corner")
    page.assert_clean()


def middle(page: Served) -> tuple[float, float]:
    box = page.tab.locator(".stage").first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    values = np.full((300, 400), 10.0, np.float32)
    values[:, ::2] = 20
    image = sciSR.Image.from_array(values)
    from astropy.io import fits

    fits.writeto(folder / "a.fits", values)
    fine = np.asarray(sciSR.upscale(image, 2, "nearest"))
    fits.writeto(folder / "b.fits", np.where(fine > 15, 10, 20).astype(np.float32))  # the other way round
    return folder / "a.fits", folder / "b.fits"


def test_the_divider_shows_input_and_result_of_the_same_place(
    pair: tuple[Path, Path], show: Callable[..., Served]
) -> None:
    page = show(*pair)
    page.press("Zoom in", 6)
    page.corner(200, 150)
    bright, dark = 200.5, 201.5  # columns of the input
    handle = page.tab.locator(".handle").first
    handle.focus()
    page.tab.keyboard.press("End")  # all input
    page.settle()
    before = page.colour(bright, 150)[0], page.colour(dark, 150)[0]
    page.screenshot("divider-input")
    page.tab.keyboard.press("Home")
    page.settle()
    after = page.colour(bright, 150)[0], page.colour(dark, 150)[0]
    assert before[0] > before[1] + 50
    assert after[0] < after[1] - 50
    x, y = middle(page)
    page.tab.mouse.move(x - 639 + 60, y)
    box = page.tab.locator(".stage").first.bounding_box()
    page.tab.mouse.move(box["x"] + 2, y)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] + box["width"] * 0.75, y, steps=5)
    page.tab.mouse.up()
    assert math.isclose(int(handle.get_attribute("aria-valuenow")), 75, abs_tol=1)
    page.screenshot("divider-moved")
    page.assert_clean()


def test_three_planes_and_their_slices(show: Callable[..., Served]) -> None:
    page = show(SAMPLES / "phantom.nii.gz")
    assert page.tab.locator(".pane").count() == 3
    sliders = page.tab.locator(".slices input")
    assert sliders.count() == 3
    page.screenshot("volume")
    shown = page.tab.locator(".slices output").first
    first = shown.inner_text()
    before = [page.colour(x, 48) for x in range(20, 80, 5)]
    sliders.first.focus()
    for _ in range(5):
        page.tab.keyboard.press("ArrowRight")
    page.settle()
    assert shown.inner_text() != first
    assert [page.colour(x, 48) for x in range(20, 80, 5)] != before
    page.assert_clean()


def test_the_stretch_changes_in_the_browser(show: Callable[..., Served]) -> None:
    page = show(SAMPLES / "star_field.fits")
    asked = len(page.requests)
    before = page.colour(100, 100)
    page.tab.get_by_role("checkbox", name="Invert").check()
    page.settle()
    after = page.colour(100, 100)
    assert [255 - value for value in before[:3]] == pytest.approx(after[:3], abs=2)
    page.tab.get_by_role("button", name="zscale").click()
    page.settle()
    assert len(page.requests) == asked
    page.assert_clean()


def test_the_chooser_leads_to_another_image(
    large: Path, pair: tuple[Path, Path], show: Callable[..., Served]
) -> None:
    with pytest.warns(sciSR.errors.SciSRWarning, match="shown alone"):
        page = show(pair[0], pair[1], SAMPLES / "phantom.nii.gz")
    page.tab.locator("#chooser").select_option(label="phantom.nii.gz")
    page.tab.wait_for_url("**/1/")
    page.settle()
    assert page.tab.locator("h1").inner_text() == "phantom.nii.gz"
    assert page.tab.locator(".pane").count() == 3
    page.assert_clean()


def test_a_server_that_ends_is_told(large: Path, browser: Any) -> None:
    viewer = Viewer([large])
    server = viewer.server()
    server.start()
    tab = browser.new_page()
    tab.goto(server.url)
    tab.wait_for_selector(".pane canvas")
    server.close()
    viewer.close()
    for _ in range(14):
        tab.get_by_role("button", name="Zoom in").click()
    until(tab, "document.querySelector('#state').textContent.startsWith('The server has stopped')")
    tab.close()
