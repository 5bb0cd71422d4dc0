"""Run one command and print what it cost, as JSON: seconds of wall and of CPU (children included), peak memory.

``python fusion_run.py LOG COMMAND...``; the command's output goes to LOG. A process of its own, because a child's
peak memory counts that of the process which started it: this one has loaded nothing.
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    with open(sys.argv[1], "wb") as log:
        begin = time.perf_counter()
        child = subprocess.Popen(sys.argv[2:], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    print(
        json.dumps(
            {
                "code": child.returncode,
                "wall": wall,
                "cpu": usage.ru_utime + usage.ru_stime,
                "mb": usage.ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
