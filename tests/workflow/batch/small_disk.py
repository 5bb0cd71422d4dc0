"""Scripts run with a small disk of their own: in a private namespace, where no rights are needed to mount it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def on_small_disk(script: Path, *arguments: str) -> dict[str, Any]:
    """What a script printed as JSON that mounts the disk itself; the test is skipped where that can't be done."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare to make a small disk with")
    private = [unshare, "--user", "--map-root-user", "--mount"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no namespaces to mount a small disk in")
    words = [*private, sys.executable, str(script), *arguments]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    if not told["mounted"]:
        pytest.skip("this system allows no mounts in a namespace")
    return told
