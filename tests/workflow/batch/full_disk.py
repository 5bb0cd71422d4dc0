"""Runs on a small disk of its own, in a namespace of its own: it fills up, then grows, then can't be written.

    unshare --user --map-root-user --mount python full_disk.py FOLDER local|network

Prints one JSON object: what each run said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from batch_tasks import expected, files_in, run, task, tasks

from sciSR.errors import SciSRError
from sciSR.workflow.batch.ledger import Ledger
from sciSR.workflow.batch.space import check_space

folder, network = Path(sys.argv[1]), sys.argv[2] == "network"
output = folder / "out"
output.mkdir()


def mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


def attempt() -> str:
    """Run all that is not done; what a user is told."""
    try:
        with Ledger.open(output, network=network) as ledger:
            run(ledger, todo)
            failed = [result for result in ledger.results() if not result.ok]
            return f"{failed[0].error['exit_code']} {failed[0].error['message']}" if failed else "all done"
    except SciSRError as error:
        return f"{error.exit_code} {error}"


if not mount("-t", "tmpfs", "-o", "size=700k", "tmpfs", str(output)):
    print(json.dumps({"mounted": False}))
    sys.exit()
todo = tasks(folder, 200)
told: dict[str, object] = {"mounted": True}
try:
    check_space(output, 10**6)
    told["checked"] = "room enough"
except SciSRError as error:
    told["checked"] = f"{error.exit_code} {error}"
told["full"] = attempt()
told["again"] = attempt()
whole = {name: content for each in todo for name, content in expected(each).items()}
told["damaged"] = [name for name in files_in(output) if (output / name).read_bytes() != whole[name]]
mount("-o", "remount,size=64m", str(output))
told["resumed"] = attempt()
told["missing"] = sorted(set(whole) - files_in(output))
told["strange"] = sorted(files_in(output) - set(whole))
mount("-o", "remount,ro", str(output))
todo.append(task(folder, "late"))
told["read-only"] = attempt()
try:
    check_space(output, 1)
except SciSRError as error:
    told["checked read-only"] = f"{error.exit_code} {error}"
with Ledger.read(output) as reader:
    told["dry run"] = [reader.why(todo[0]), reader.why(todo[-1])]
mount("-o", "remount,rw", str(output))
print(json.dumps(told))
