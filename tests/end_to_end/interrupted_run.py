"""Run `scisr` and stop for good at one moment: a child process for test_atomicity.py to kill.

    python interrupted_run.py begin|middle|commit  upscale IN -o OUT ...

Prints one line when the moment has come, then waits for a signal.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from sciSR import files
from sciSR.cli.main import main
from sciSR.workflow import run


def wait() -> None:
    print("the moment has come", flush=True)
    signal.pause()


def begin(plans: Any, put: Callable[..., None], progress: Any) -> Any:
    """The writer is open, no block has come."""
    wait()
    return run_all(plans, put, progress)


def middle(plans: Any, put: Callable[..., None], progress: Any) -> Any:
    """All blocks of the first half are written."""

    def put_then_wait(part: int, index: Any, block: Any) -> None:
        rows = len(block) // 2
        put(part, index, block)
        if rows:
            wait()

    return run_all(plans, put_then_wait, progress)


def commit(path: Any) -> None:
    """The file is complete under its temporary name, and not yet under its own."""
    fsync_tree(path)
    wait()


run_all, fsync_tree = run._run_all, files._fsync_tree
moment = sys.argv[1]
if moment == "commit":
    files._fsync_tree = commit
else:
    run._run_all = {"begin": begin, "middle": middle}[moment]
sys.exit(main(sys.argv[2:]))
