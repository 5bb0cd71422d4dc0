"""A run over some tasks that kills itself after so many lines of the ledger's and the commit's code.

    python killed_run.py FOLDER ITEMS LINES local|network [LEDGER]

Without a kill, LINES 0, it prints the keys of what it did.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from batch_tasks import run, tasks

from sciSR.workflow.batch.ledger import Ledger

WATCHED = ("ledger", "lock.py", "commit.py", "filesystem.py", "batch_tasks.py")
left = int(sys.argv[3])


def trace(frame: FrameType, event: str, argument: Any) -> Any:
    global left
    if not Path(frame.f_code.co_filename).name.startswith(WATCHED):
        return None
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return trace


folder = Path(sys.argv[1])
todo = tasks(folder, int(sys.argv[2]))
if left:
    sys.settrace(trace)
with Ledger.open(folder / "out", network=sys.argv[4] == "network") as ledger:
    done = run(ledger, todo)
sys.settrace(None)
print("\n".join(done))
