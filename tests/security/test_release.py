"""What a release is installed from: one version of each requirement, the hashes of its files, and no index named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-release.txt"


def folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """Versions by name."""
    found = {}
    for entry in re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8").strip()):
        match = re.match(r"([\w.-]+)==([\w.+!-]+)( ; [^\\]*)? \\\n", entry)
        assert match, entry[:80]
        assert re.findall(r"--hash=(\w+):([0-9a-f]+)", entry), match[1]
        assert all(len(digest) == 64 for digest in re.findall(r"--hash=sha256:([0-9a-f]+)", entry))
        found[folded(match[1])] = match[2]
    return found


def test_it_names_no_place_to_fetch_from() -> None:
    text = LOCK.read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-[ifr] ", text, re.MULTILINE)


def test_every_dependency_is_pinned(locked: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *extras["dicom"], *extras["ccd"], *extras["video"]]:
        assert folded(re.match(r"[\w.-]+", line)[0]) in locked, f"{line}: run make lock"


def test_versions_are_those_that_the_tests_run_with(locked: dict[str, str]) -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if version and folded(name) in locked:
            assert locked[folded(name)] == version, f"{name}: run make lock"
