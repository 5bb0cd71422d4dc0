"""Formats' own validators, run as programs of their own: they may be missing, hang, or crash on wild input."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

SECONDS = 60


def run(command: Sequence[str], *, seconds: int = SECONDS) -> tuple[int, str] | str:
    """Exit code and everything that was said; or in words why there is no result.

    Parameters
    ----------
    command : sequence of str
        No shell sees it. File names that begin with a dash must be made absolute before.
    """
    name = command[0]
    if shutil.which(name) is None:
        return f"{name} is not installed"
    try:
        done = subprocess.run(
            list(command), capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"{name} did not end within {seconds} s"
    except OSError as error:
        return f"{name} can't be run: {error.strerror or type(error).__name__}"
    if done.returncode < 0 or done.returncode in (134, 139):
        return f"{name} crashed"
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")
