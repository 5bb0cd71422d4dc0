"""Run ``scisr-bids`` and be killed at one moment: a child process for test_bids_interrupted.py.

python bids_interrupted.py image|sidecar NUMBER  BIDS_DIR OUT_DIR participant ...
"""

from __future__ import annotations

import os
import sys
from typing import Any

from sciSR.workflow import run
from scisr_medical import bids_writer
from scisr_medical.bids_app import main

moment, number = sys.argv[1], int(sys.argv[2])
run_all, record = run._run_all, bids_writer.DerivativeWriter._record


def in_the_image(*given: Any) -> Any:
    """All blocks are there, nothing has its name yet."""
    finals = run_all(*given)
    os.kill(os.getpid(), number)
    return finals


def before_the_sidecar(*given: Any) -> Any:
    """The image has its name; what explains it is not written."""
    os.kill(os.getpid(), number)
    return record(*given)


if moment == "image":
    run._run_all = in_the_image
else:
    bids_writer.DerivativeWriter._record = before_the_sidecar  # type: ignore[method-assign]
sys.exit(main(sys.argv[3:]))
