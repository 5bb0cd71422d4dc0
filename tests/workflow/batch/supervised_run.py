"""A batch in a process of its own, for tests to kill: ``supervised_run.py FOLDER JOBS STEP COUNT``."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import hostile_steps

from sciSR.workflow.batch.limits import Patience
from sciSR.workflow.batch.supervisor import ProcessExecutor

if __name__ == "__main__":
    folder, jobs, step, count = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    (folder / "out").mkdir(exist_ok=True)
    tasks = (
        hostile_steps.task(folder, f"item{number}", step, mark=str(folder / f"item{number}.pid"))
        for number in range(count)
    )
    executor = ProcessExecutor(
        jobs, logs=folder / "logs", preload=("hostile_workers",), patience=Patience(grace=0.3)
    )
    with closing(executor.run(tasks)) as results:
        for result in results:
            print(result.key, result.status, flush=True)
