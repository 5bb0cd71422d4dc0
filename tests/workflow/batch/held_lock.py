"""Take the lock of a run and hold it until the standard input closes.

python held_lock.py STATE NAME local|network
"""

from __future__ import annotations

import sys
from pathlib import Path

from sciSR.errors import SciSRError
from sciSR.workflow.batch.lock import RunLock

try:
    with RunLock(Path(sys.argv[1]), sys.argv[2], network=sys.argv[3] == "network"):
        print("held", flush=True)
        sys.stdin.read()
except SciSRError as error:
    print(f"refused: {error}", flush=True)
