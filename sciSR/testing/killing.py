"""A kill -9 at any moment leaves the old output, the new one, or none: checked by doing it.

Run as a program (``python -m sciSR.testing.killing``) it writes one result and kills itself at the n-th moment
at which the file system is about to change.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import SciSRError
from sciSR.plugins import ADAPTERS
from sciSR.testing.tools import Subject, expect, floats, refine_nearest, write_images

# Events of sys.audit before which a process may die; together they stand for every step of a write.
_MOMENTS = frozenset(
    (
        "open",
        "os.rename",
        "os.link",
        "os.remove",
        "os.rmdir",
        "os.mkdir",
        "os.chmod",
        "os.truncate",
        "shutil.move",
    )
)
_OLD, _NEW = Fraction(2), Fraction(3)


def check_killing(subject: Subject, folder: Path, entry: str, *, moments: int = 6) -> None:
    """Overwrite an output in a process that is killed, at `moments` places spread over the whole write.

    Costs the start of an interpreter each; not part of :func:`sciSR.testing.check_adapter`.

    Parameters
    ----------
    subject : Subject
        Its options must be JSON-ready.
    folder : Path
        To work in; it is made.
    entry : str
        Where another process finds the adapter, as in an entry point: ``"my_package.module:adapter"``.
    moments : int

    Raises
    ------
    AssertionError
        What was left is neither the old nor the new output.
    """
    if not hasattr(signal, "SIGKILL"):
        return
    (image,) = subject.images()[:1]
    wanted = {scale: refine_nearest(image, scale) for scale in (_OLD, _NEW)}
    olds = [refine_nearest(each, _OLD) for each in subject.images()]
    saved = write_images(subject, olds, subject.output(folder / "saved")).parent
    target = subject.output(folder / "work")
    order: dict[str, Any] = {"entry": entry, "path": str(subject.path), "target": str(target)}
    order |= {"read": dict(subject.read), "write": dict(subject.write)}

    def run(fatal: int) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(target.parent)
        shutil.copytree(saved, target.parent)
        command = [sys.executable, "-m", "sciSR.testing.killing", json.dumps(order | {"fatal": fatal})]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    whole = run(0)
    expect(whole.returncode == 0, subject, "the write must succeed when nobody kills it", whole.stderr[-500:])
    steps = int(whole.stdout.split()[-1])
    for fatal in sorted({max(1, round(steps * (k + 1) / moments)) for k in range(moments)}):
        done = run(fatal)
        killed = done.returncode == -signal.SIGKILL
        expect(killed, subject, f"step {fatal} of {steps} must come again", f"exit code {done.returncode}")
        if not target.exists():
            continue
        promise = f"killed at step {fatal} of {steps}, the old output, the new or none must be left"
        try:
            left = np.asarray(subject.images(target)[0])
        except SciSRError as error:
            raise AssertionError(f"{subject.where}: {promise}, but: {error}") from error
        same = any(
            left.shape == each.shape
            and np.allclose(left, np.asarray(each), rtol=1e-5, equal_nan=floats(left))
            for each in wanted.values()
        )
        expect(same, subject, promise, f"an image of shape {left.shape} is neither")


def _main(order: dict[str, Any]) -> None:
    adapter = EntryPoint(name="", value=order["entry"], group=ADAPTERS).load()
    subject = Subject(adapter, Path(order["path"]), read=order["read"], write=order["write"])
    results = [refine_nearest(image, _NEW) for image in subject.images()]
    count = 0

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in _MOMENTS:
            count += 1
            if count == order["fatal"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    write_images(subject, results, Path(order["target"]), overwrite=True)
    print(count)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
