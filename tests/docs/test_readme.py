"""The README's numbers are the cards' numbers, and its commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_measured_gains_are_those_of_the_cards() -> None:
    spec = importlib.util.spec_from_file_location("measured", ROOT / "docs" / "measured.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, every in module.PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert module.updated(text, every) == text, f"{name}: run python docs/measured.py"


def test_commands_and_options_of_the_pages_exist() -> None:
    from sciSR.cli.main import COMMANDS
    from sciSR.cli.upscale import command

    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for page in [ROOT / "README.md", ROOT / "docs" / "upscale.md"]:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`?scisr ([a-z]+)", text)) <= {*COMMANDS, "verify"}
        used = set(re.findall(r"scisr upscale[^\n#]*", text))
        assert {word for line in used for word in re.findall(r"\s(--?[a-z-]+)", line)} <= options
        described = set(re.findall(r"^\| (?:`-\w`, )?`(--[a-z-]+)", text, re.M))
        assert described <= options


def test_every_option_of_upscale_is_described() -> None:
    from sciSR.cli.upscale import command

    text = (ROOT / "docs" / "upscale.md").read_text(encoding="utf-8")
    for parameter in command.params:
        flags = [name for name in parameter.opts if name.startswith("--")]
        assert all(flag in text or flag in ("--quiet", "--verbose") for flag in flags), flags


def test_every_option_of_fuse_is_described_and_every_described_one_exists() -> None:
    from sciSR.cli.fuse import command

    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("fuse.md", "stacks.md")]
    text = "\n".join(pages)
    own = [p for p in command.params if not getattr(p, "group", "").startswith("Options")]
    flags = [name for parameter in own for name in parameter.opts if name.startswith("--")]
    assert [f for f in flags if f"`{f}`" not in text and f not in ("--quiet", "--verbose")] == []
    every = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for page in (text, README):
        for line in re.findall(r"scisr fuse[^\n#`]*", page):
            assert set(re.findall(r"\s(--?[a-z-]+)", line)) <= every, line
    assert set(re.findall(r"^\| (?:`-\w`, )?`(--[a-z-]+)", text, re.M)) <= every


def test_research_use_is_said() -> None:
    for name in ("README.md", "docs/index.md", "docs/upscale.md", "SECURITY.md"):
        assert "not for diagnosis" in (ROOT / name).read_text(encoding="utf-8")


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "img" / "before_after.png").stat().st_size < 300_000
