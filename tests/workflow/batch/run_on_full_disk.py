"""A run on a small disk of its own, in a namespace of its own, which fills up at a step, and one after room is made.

    unshare --user --map-root-user --mount python run_on_full_disk.py FOLDER

Prints one JSON object: what each run said.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

from sciSR import Pipeline
from sciSR.errors import SciSRError
from sciSR.workflow.batch.watch import NoWatch
from sciSR.workflow.pipelines.work import ItemResult

folder = Path(sys.argv[1])
source, output = folder / "in", folder / "out"
source.mkdir()
output.mkdir()
for number in range(3):
    fits.writeto(source / f"{number}.fits", np.full((16, 16), number, dtype="f4"))
filler = output / "filler"


class Fill(NoWatch):
    """Somebody else takes all room that is left once the first item is done."""

    def finished(self, result: ItemResult) -> None:
        with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as stream:
            while True:
                stream.write(b"0" * 4096)


def run(watch: NoWatch | None, *, resume: bool) -> str:
    steps = [{"step": "upscale", "model": "nearest"}, {"step": "write"}]
    pipeline = Pipeline.from_dict({"pipeline": "full", "steps": steps, "limits": {"retries": 0}})
    try:
        return json.dumps(pipeline.run(source, output, resume=resume, watch=watch).counts)
    except SciSRError as error:
        return f"{error.exit_code} {error}"


mount = ["mount", "-t", "tmpfs", "-o", "size=72m", "tmpfs", str(output)]
if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
    print(json.dumps({"mounted": False}))
    sys.exit()
told = {"mounted": True, "full": run(Fill(), resume=False)}
told["whole"] = all(len(fits.getdata(each)) == 32 for each in output.glob("*.fits"))
told["left"] = [each.name for each in output.iterdir() if each.name.endswith(".tmp")]
os.remove(filler)
told["resumed"] = run(None, resume=True)
told["files"] = sorted(each.name for each in output.iterdir() if not each.name.startswith("."))
print(json.dumps(told))
