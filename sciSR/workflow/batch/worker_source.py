"""Where the supervisor gets workers from: the server that forks them, started when first needed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from typing import IO, Any

from sciSR.errors import ResourceError, UnsupportedError
from sciSR.workflow.batch.worker_server import MESSAGE, SIGNAL, START

_CODE = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from sciSR.workflow.batch.worker_server import main; "
    "main(given['handle'], tuple(given['preload']), given['fresh'])"
)


class Worker:
    """One worker process, seen by its supervisor."""

    def __init__(self, server: _Server, number: int, channel: socket.socket) -> None:
        self._server, self._number, self._channel = server, number, channel
        self._rest = b""

    def messages(self, timeout: float) -> list[dict[str, Any]] | None:
        """What the worker has told since, waiting for it for a while; None once its server is gone.

        A line that is no JSON comes as ``{"garbled": True}``.
        """
        ready = wait([self._channel, self._server.asked], timeout)
        if self._channel in ready:
            data = self._channel.recv(1 << 16)
            if data:
                *lines, self._rest = (self._rest + data).split(b"\n")
                return [_parsed(line) for line in lines if line.strip()]
        return None if self._server.asked in ready else []

    def signal(self, number: int) -> None:
        """Send a signal to the worker's process group; nothing if it has ended."""
        self._server.send(SIGNAL, self._number, number)

    def close(self) -> None:
        """Listen no longer."""
        self._channel.close()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"garbled": True}


class _Server:
    """One running server."""

    def __init__(self, preload: tuple[str, ...], fresh: bool) -> None:
        self.asked, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        given = {"path": sys.path, "handle": theirs.fileno(), "preload": preload, "fresh": fresh}
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _CODE, json.dumps(given)],
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C is for the supervisor alone
                    env={**os.environ, **_ONE_THREAD},
                )
        except OSError as error:
            self.asked.close()
            self._said.close()
            raise ResourceError(
                f"can't start worker processes: {error.strerror or error}", remedy="give a smaller --jobs"
            ) from error

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, what: int, number: int, value: int = 0, handles: tuple[int, ...] = ()) -> bool:
        message = MESSAGE.pack(what, number, value)
        with self._lock:
            try:
                if handles:
                    socket.send_fds(self.asked, [message], handles)
                else:
                    self.asked.sendall(message)
            except OSError:
                return False
        return True

    def last_words(self) -> str:
        """What it said last; for the message about its end."""
        with contextlib.suppress(OSError, ValueError):
            size = self._said.seek(0, os.SEEK_END)
            self._said.seek(max(0, size - 2000))
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def close(self) -> None:
        """End it; it kills its workers first."""
        with contextlib.suppress(OSError):
            self.asked.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self.asked.close()
        self._said.close()


# No thread may run when the server forks; workers set their own share later.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkerSource:
    """Starts workers; may be shared by threads.

    Parameters
    ----------
    preload : sequence of str
        More modules to import before workers are forked.
    fresh : bool, optional
        Start each worker as a new interpreter, which takes seconds, instead of forking it: by default where libraries
        do not survive a fork (macOS).

    Raises
    ------
    UnsupportedError
        On systems without the means to watch and stop processes.
    """

    def __init__(self, preload: tuple[str, ...] = (), fresh: bool | None = None) -> None:
        if not hasattr(socket, "send_fds") or not hasattr(os, "fork"):
            raise UnsupportedError(
                f"supervised worker processes need Linux or macOS, not {sys.platform}",
                remedy="on Windows, use WSL",
            )
        self.preload = preload
        self.fresh = sys.platform == "darwin" if fresh is None else fresh
        self._lock = threading.Lock()
        self._servers: list[_Server] = []
        self._number = 0

    def start(self, request: Mapping[str, Any]) -> Worker:
        """A worker for a request; see :func:`sciSR.workflow.batch.worker.work`.

        Raises
        ------
        ResourceError
            No process can be started.
        """
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as stream, theirs:
            stream.write(json.dumps({**request, "preload": self.preload}).encode())
            stream.flush()
            with self._lock:
                self._number += 1
                number = self._number
                server = self._server()
            server.send(START, number, handles=(theirs.fileno(), stream.fileno()))
        return Worker(server, number, ours)

    def _server(self) -> _Server:
        if not self._servers or not self._servers[-1].alive:
            self._servers.append(_Server(self.preload, self.fresh))
        return self._servers[-1]

    def last_words(self) -> str:
        """Of a server that has ended."""
        return self._servers[-1].last_words() if self._servers else ""

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            servers, self._servers = self._servers, []
        for server in servers:
            server.close()
