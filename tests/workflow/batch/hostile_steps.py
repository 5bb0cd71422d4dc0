"""Steps that do what no step should; workers know them through ``hostile_workers``."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from sciSR.errors import SciSRWarning, UnreadableError
from sciSR.workflow.pipelines.nodes import Node
from sciSR.workflow.pipelines.work import Product, Task, Work


def good(work: Work, *, text: str = "fine", after: str = "") -> Product:
    """Write a file, once a file named `after` is there."""
    while after and not Path(after).exists():
        time.sleep(0.01)
    made = work.folder / "made.txt"
    made.write_text(text)
    work.progress(0.5)
    return Product((made,), ready={f"{work.key}.txt": made})


def segfault(work: Work) -> Product:
    """Read where nothing is."""
    print("about to fall", flush=True)
    ctypes.string_at(0)
    raise AssertionError


def fall_once(work: Work, *, mark: str, how: str = "signal") -> Product:
    """Fail the first time, and pass the second."""
    path = Path(mark)
    if not path.exists():
        path.write_text("was here")
        if how == "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        raise OSError(int(how), os.strerror(int(how)))
    return good(work)


def fall_in_place(work: Work, *, mark: str) -> Product:
    """Be killed, the first time, when all outputs are in their places and nobody has been told."""
    from sciSR.workflow.pipelines import running

    commit, path = running.commit, Path(mark)

    def fatal(*given: Any) -> Any:
        made = commit(*given)
        if not path.exists():
            path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    running.commit = fatal
    return good(work)


def count(work: Work, *, folder: str, fail: str) -> Product:
    """Leave a mark for each attempt, then fail for good in a way that is named."""
    Path(folder, f"{len(os.listdir(folder))}").touch()
    if fail == "refuse":
        raise UnreadableError("not what it claims to be", where=work.key)
    if fail == "unexpected":
        raise RuntimeError("nobody thought of this")
    if fail == "signal":
        os.kill(os.getpid(), signal.SIGBUS)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def hang(work: Work, *, mark: str = "") -> Product:
    """For ever, deaf to polite requests."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mark:
        Path(mark).write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def listen(work: Work, *, mark: str) -> Product:
    """For ever, but tidies up when told to end."""
    try:
        Path(mark).write_text(str(os.getpid()))
        while True:
            time.sleep(60)
    finally:
        Path(f"{mark}.tidy").touch()


def stopped(work: Work) -> Product:
    """Stops itself, as a debugger or a scheduler would."""
    os.kill(os.getpid(), signal.SIGSTOP)
    raise AssertionError


def eat(work: Work, *, megabytes: int = 4000, child: bool = False) -> Product:
    """Hold more and more memory, itself or in a child."""
    if child:
        code = (
            "held = []\nwhile True: held.append(bytearray(b'x') * (10 << 20)); __import__('time').sleep(0.01)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
    held = []
    for _ in range(megabytes // 10):
        held.append(bytearray(b"x") * (10 << 20))
        time.sleep(0.01)
    raise AssertionError(len(held))


def reserve(work: Work) -> Product:
    """Ask for far more than there is, at once."""
    held = bytearray(1 << 42)
    raise AssertionError(len(held))


def leave(work: Work, *, code: int = 3) -> Product:
    """End the process behind everybody's back."""
    os._exit(code)


def shout(work: Work, *, pieces: int = 1) -> Product:
    """Garbage on all that can be written to, through Python and past it."""
    for _ in range(pieces):
        os.write(1, b"\xff\xfe\x00{]" + b"garbage" * 1000 + b"\n")
        os.write(2, b'{"result": 1}\n')
    sys.stdout.write("\udcff\n")
    return good(work)


def garble(work: Work) -> Product:
    """Write nonsense into every open socket, then leave."""
    for number in range(3, 64):
        try:
            os.write(number, b'{"result": {"key": "another"}}\nnonsense\n')
        except OSError:
            continue
    os._exit(0)


def outlive(work: Work, *, mark: str, session: bool = False) -> Product:
    """Leave a grandchild behind that would live on."""
    code = f"import os, time; open({mark!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=session)
    while not (Path(mark).exists() and Path(mark).read_text()):
        time.sleep(0.01)
    return good(work)


def linger(work: Work) -> Product:
    """Leave a thread behind that never ends."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    return good(work)


def name_files(work: Work) -> Product:
    """Say the names of the files, in words, warnings and a traceback."""
    print(work.product.files[0], flush=True)
    warnings.warn(f"odd: {work.product.files[0].name}", SciSRWarning, stacklevel=1)
    raise RuntimeError(f"can't make sense of {work.product.files[0]}")


def threads(work: Work) -> Product:
    """How many threads torch has, and a computation that uses them."""
    import torch

    product = torch.ones(600, 600) @ torch.ones(600, 600)
    assert float(product[0, 0]) == 600
    return good(work, text=f"{torch.get_num_threads()} {os.environ['OMP_NUM_THREADS']}")


def see(work: Work, *, after: str = "") -> Product:
    """Which GPUs there are for this worker."""
    return good(work, text=os.environ.get("CUDA_VISIBLE_DEVICES", ""), after=after)


def use_gpu(work: Work) -> Product:
    """Compute on it."""
    import torch

    ones = torch.ones(64, 64, device="cuda")
    return good(work, text=str(float((ones @ ones).mean())))


def task(folder: Path, key: str, step: str, /, *, files: tuple[str, ...] = (), **parameters: Any) -> Task:
    """A task of one step."""
    return Task(
        key=key,
        files=files,
        facts={},
        sequence=False,
        nodes=(Node(f"01-{step}", step, step, parameters),),
        name="{item}",
        input=str(folder / "in"),
        output=str(folder / "out"),
        scratch=str(folder / "out" / ".scisr" / "scratch" / key),
    )
