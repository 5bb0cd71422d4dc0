"""Run `scisr fuse` and stop for good at one moment: a child process for test_killed_fusion.py to kill.

    python interrupted_fusion.py working|solved|staged|commit  fuse IN... -o OUT ...

Prints one line when the moment has come, then waits for a signal.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from sciSR import files
from sciSR.cli.main import main
from sciSR.workflow import fusing_stacks, stack_outputs


def wait_before(function: Any) -> Any:
    """The function, not called before a signal that never lets it."""

    def waiting(*arguments: Any, **fields: Any) -> Any:
        print("the moment has come", flush=True)
        signal.pause()
        return function(*arguments, **fields)

    return waiting


moment = sys.argv[1]
if moment == "working":  # the inputs are read and checked
    fusing_stacks.fused_stacks = wait_before(fusing_stacks.fused_stacks)
elif moment == "solved":  # nothing is written
    fusing_stacks.write_fused_stacks = wait_before(fusing_stacks.write_fused_stacks)
elif moment == "staged":  # the volumes are written under other names
    stack_outputs.write_json = wait_before(stack_outputs.write_json)
else:  # all files are complete under their temporary names, and none under its own
    files._fsync_tree = wait_before(files._fsync_tree)
sys.exit(main(sys.argv[2:]))
