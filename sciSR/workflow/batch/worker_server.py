"""The process that workers are forked from: it has imported all that they need, and does nothing else.

Importing takes seconds, forking takes milliseconds. This process starts no thread and touches no GPU, so that what is
forked from it is as good as new. The standard library's server of forks imports the caller's script again in every
worker, can't be used from processes of its own making, such as a cluster's workers, and does not tell the signal that
ended a worker or the memory it took.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import NoReturn

from sciSR.workflow.batch.worker_preload import ALWAYS

MESSAGE = struct.Struct("<III")
"""What is asked, of which worker, and the number of a signal."""
START, SIGNAL = 1, 2

_LOOK_EVERY = 1.0


@dataclass
class _Worker:
    number: int
    channel: int


class Server:
    """Forks workers on request, passes signals to them, and tells how they ended.

    Parameters
    ----------
    asked : socket
        Requests; its end is this process's end, and that of all workers.
    fresh : bool
        Start each worker as a new interpreter instead of forking.
    """

    def __init__(self, asked: socket.socket, fresh: bool) -> None:
        self.asked = asked
        self.fresh = fresh
        self.parent = os.getppid()
        self.workers: dict[int, _Worker] = {}
        self.woken, self._wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self._wake, False)

    def serve(self) -> None:
        """Until nobody can ask any more."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        try:
            while os.getppid() == self.parent:
                ready = select.select([self.asked, self.woken], [], [], _LOOK_EVERY)[0]
                if self.woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.woken, 4096)
                self._bury()
                if self.asked in ready and not self._answer():
                    return
        finally:
            self._kill_all()

    def _answer(self) -> bool:
        """One request; False at the end of all."""
        try:
            message, handles, _, _ = socket.recv_fds(self.asked, MESSAGE.size, 2)
        except OSError:
            return False
        if len(message) < MESSAGE.size:
            return False
        what, number, value = MESSAGE.unpack(message)
        if what == START:
            self._start(number, *handles)
        else:
            for pid, worker in self.workers.items():
                if worker.number == number:
                    _signal(pid, value)
        return True

    def _start(self, number: int, channel: int, request: int) -> None:
        try:
            pid = self._start_fresh(channel, request) if self.fresh else self._fork(channel, request)
        except OSError as error:
            _tell(channel, {"ended": None, "error": error.strerror or str(error)})
            os.close(channel)
        else:
            self.workers[pid] = _Worker(number, channel)
        finally:
            os.close(request)

    def _fork(self, channel: int, request: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:  # the worker
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.asked.close()
            for handle in (self.woken, self._wake, *(worker.channel for worker in self.workers.values())):
                os.close(handle)
            from sciSR.workflow.batch.worker import read_request, work

            asked = read_request(os.dup(request))
            os.close(request)
            work({**asked, "parent": os.getppid()}, channel)
        finally:
            os._exit(1)

    def _start_fresh(self, channel: int, request: int) -> int:
        path = json.dumps(sys.path)
        code = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
            "from sciSR.workflow.batch.worker_server import start_fresh; start_fresh(*map(int, sys.argv[2:]))"
        )
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, path, str(request), str(channel), str(os.getpid())],
            pass_fds=(channel, request),
            process_group=0,
        )
        process.returncode = 0  # waited for below, with all others
        return process.pid

    def _bury(self) -> None:
        """Tell of the workers that have ended, and kill what they left behind."""
        while self._ended():
            pass
        if sys.platform.startswith("linux"):
            from sciSR.workflow.batch.memory import children

            for stray in children(os.getpid()):
                if stray not in self.workers:  # its worker is gone, and it was handed to this process
                    with contextlib.suppress(OSError):
                        os.kill(stray, signal.SIGKILL)

    def _ended(self) -> bool:
        try:
            if hasattr(os, "waitid"):
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is not None and found.si_pid in self.workers:
                    _signal(
                        found.si_pid, signal.SIGKILL
                    )  # its group, which keeps this number until it is waited for
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        worker = self.workers.pop(pid, None)
        if worker is not None:
            unit = 1 if sys.platform == "darwin" else 1024
            _tell(worker.channel, {"ended": status, "peak": usage.ru_maxrss * unit})
            os.close(worker.channel)
        return pid != 0

    def _kill_all(self) -> None:
        for pid in list(self.workers):
            _signal(pid, signal.SIGKILL)
        while self.workers:
            self._bury()
            if self.workers:
                select.select([self.woken], [], [], 0.05)
        self._bury()


def _signal(pid: int, number: int) -> None:
    """To a worker and its process group."""
    try:
        os.killpg(pid, number)
    except OSError:  # not yet the leader of its group, or all of the group gone
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _tell(channel: int, message: dict[str, object]) -> None:
    # A worker that was killed may have left half a line.
    with contextlib.suppress(OSError):
        os.write(channel, b"\n" + json.dumps(message).encode() + b"\n")


def _adopt() -> None:
    """Have processes that outlive their worker handed to this one, so that they can be ended."""
    if sys.platform.startswith("linux"):
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def preload(names: tuple[str, ...]) -> None:
    """Import what workers need; what can't be imported fails in the item that needs it."""
    from sciSR.plugins import adapters
    from sciSR.workflow.pipelines.registry import steps

    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    for find in (adapters, steps):
        with contextlib.suppress(Exception):
            find()


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def start_fresh(request: int, channel: int, parent: int) -> NoReturn:
    """A worker in a new interpreter."""
    from sciSR.workflow.batch.worker import read_request, work

    asked = read_request(request)
    preload(tuple(asked.get("preload", ())))
    work({**asked, "parent": parent}, channel)


def main(handle: int, names: tuple[str, ...], fresh: bool) -> None:
    """Import, then serve.

    Parameters
    ----------
    handle : int
        Descriptor of the socket for requests.
    names : tuple of str
        More modules to import.
    fresh : bool
        Do not fork: on systems whose libraries do not survive it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt()
    asked = socket.socket(fileno=handle)
    if not fresh:
        preload((*ALWAYS, *names))
        gc.collect()
        gc.freeze()  # so that collections in workers do not copy pages that all share
        fresh = _threads() > 1  # a plugin has started threads: a fork would lose them
    try:
        Server(asked, fresh).serve()
    finally:
        os._exit(0)  # there is nothing to tidy up, and much to take apart
