"""A real browser for pages: Debian's chromium, driven by playwright; skipped where either is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCREENSHOTS = Path(__file__).parent / "screenshots"
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One chromium for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, headless=True, args=ARGUMENTS)
        yield started
        started.close()


class Seen:
    """A page, and everything that it should not have done."""

    def __init__(self, tab: Any, path: Path) -> None:
        self.tab, self.path = tab, path
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on(
            "dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss())
        )
        tab.add_init_script(
            "window.violations = [];"
            "window.copyOf = (canvas) => { const copy = document.createElement('canvas');"
            " [copy.width, copy.height] = [canvas.width, canvas.height];"
            " const context = copy.getContext('2d', { willReadFrequently: true });"
            " context.drawImage(canvas, 0, 0); return context; };"
            "document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective));"
        )
        tab.route("**/*", self._route)

    def _route(self, route: Any) -> None:
        self.requests.append(route.request.url)
        if route.request.url == self.path.as_uri():
            route.continue_()
        else:
            route.abort()

    def open(self) -> Seen:
        self.tab.goto(self.path.as_uri())
        if self.tab.locator("#pixels").count():
            self.until(
                "document.querySelectorAll('.pane').length > 0 && "
                "[...document.querySelectorAll('.pane')].every((p) => p.pane && p.pane.isReady)"
            )
        return self

    def settle(self) -> None:
        """Until all that was asked for is drawn."""
        self.tab.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        self.until("[...document.querySelectorAll('.pane')].every((p) => p.pane.isReady)")

    def until(self, condition: str) -> None:
        """Wait for a condition in JavaScript, a minute at most.

        Not `wait_for_function`: it evaluates its text anew at each frame, which the page's policy forbids.
        """
        self.tab.evaluate(
            f"""() => new Promise((done, fail) => {{
              const end = performance.now() + 60000;
              const look = () => {{
                if ({condition}) done();
                else if (performance.now() > end) fail(new Error('waited in vain'));
                else requestAnimationFrame(look);
              }};
              look();
            }})"""
        )

    def pixels(self, left: float, right: float, pane: int = 0) -> list[int]:
        """Every 11th pixel (R, G, B, A) of the canvas between two fractions of its width, about half way down."""
        return self.tab.evaluate(
            """([left, right, number]) => {
              const canvas = document.querySelectorAll('.pane')[number].pane.canvas;
              const x = Math.round(left * canvas.width), y = Math.round(0.3 * canvas.height);
              const wide = Math.round((right - left) * canvas.width), high = Math.round(0.4 * canvas.height);
              const { data } = copyOf(canvas).getImageData(x, y, wide, high), some = [];
              for (let at = 0; at + 3 < data.length; at += 44) some.push(...data.slice(at, at + 4));
              return some;
            }""",
            [left, right, pane],
        )

    def screenshot(self, name: str, **options: Any) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.tab.screenshot(path=SCREENSHOTS / f"{name}.png", **options)

    def assert_clean(self) -> None:
        """Nothing on the console, nothing asked for, no violation of the policy."""
        assert self.complaints == []
        assert self.requests == [self.path.as_uri()]
        assert self.tab.evaluate("window.violations") == []


@pytest.fixture
def see(browser: Any) -> Iterator[Callable[..., Seen]]:
    """Open a page: ``see(path, width=1280, color_scheme="dark")``."""
    contexts = []

    def open_page(path: Path, width: int = 1280, height: int = 1000, **options: Any) -> Seen:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        return Seen(context.new_page(), path.resolve()).open()

    yield open_page
    for context in contexts:
        context.close()
