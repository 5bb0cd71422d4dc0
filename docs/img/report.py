"""Make the pictures of the report from the samples: `python docs/img/report.py` (needs chromium and playwright)."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from sciSR.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SHOTS = (
    ("star_field.fits", "star_field_x2.html", "report.png", "light", (900, 1040)),
    ("phantom.nii.gz", "phantom_x2.html", "report_volume.png", "dark", (900, 1260)),
)
"""Sample, its page, picture, theme, and size in pixels."""


def shoot(browser: object, page: Path, picture: Path, theme: str, size: tuple[int, int]) -> None:
    """Open a page and keep what is seen of it, in 128 colours."""
    tab = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    tab.goto(page.as_uri())
    tab.locator(".pane canvas").first.wait_for()
    tab.wait_for_timeout(2000)  # until the pictures are decoded
    tab.screenshot(path=picture)
    tab.close()
    colours = Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    colours.save(picture, optimize=True)


def make(target: Path) -> int:
    """Upscale the samples with their pages, and take all pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = driver.chromium.launch(
            executable_path=chromium, headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        for sample, page, picture, theme, size in SHOTS:
            given = Path(shutil.copy(ROOT / "data_samples" / sample, folder))
            if code := main(["upscale", str(given), "--uncertainty", "--report", "-q"]):
                return code
            shoot(browser, Path(folder) / page, target / picture, theme, size)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(make(Path(__file__).parent))
