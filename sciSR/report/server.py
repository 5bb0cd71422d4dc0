"""Serves one page and its tiles to a browser on this computer, and to nobody else.

What protects the images of a person who also has strange web pages open, or shares the computer: the server listens on
the loopback address alone; every address begins with a random token, compared in constant time; the Host header must
name the loopback (a name that a stranger's DNS points here is refused); requests that another site's page makes are
refused; nothing but GET is answered; and no path is ever made of what a client sends: images are told by number.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import re
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

log = logging.getLogger("sciSR.report.server")

ADDRESS = "127.0.0.1"
_SECONDS = 15  # that a client may take for a request, or to take its answer
_CLIENTS = 64  # served at a time; more wait in the socket's queue
_LONGEST = 512  # characters of an address; ours are below 100

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content security policy of every answer that brings none of its own."""


@dataclass(frozen=True)
class Answer:
    """What a route gives: a body, its type, a policy for pages, and further headers."""

    body: bytes
    kind: str = "application/octet-stream"
    policy: str = POLICY
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, document: Any) -> Answer:
        return cls(json.dumps(document, allow_nan=False).encode(), "application/json")

    @classmethod
    def html(cls, text: str, policy: str = POLICY) -> Answer:
        return cls(text.encode(), "text/html; charset=utf-8", policy)


class NotThere(Exception):
    """No such page, image or tile."""


Route = Callable[..., Answer]


class LocalServer:
    """A web server for the routes given, on the loopback address.

    Parameters
    ----------
    routes : mapping of str to callable
        Patterns of the path below the token, matched whole, to functions of the pattern's named groups as texts. A
        function raises NotThere for what does not exist. It may be called in several threads at once.
    port : int
        0 takes any that is free.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, routes: Mapping[str, Route], *, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self._http = _Http((ADDRESS, port), _Handler)
        self._http.routes = [(re.compile(pattern, re.ASCII), route) for pattern, route in routes.items()]
        self._http.token = self.token
        self.port = int(self._http.server_address[1])
        self._http.hosts = {f"{name}:{self.port}" for name in (ADDRESS, "localhost")}
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The page's address, with the token."""
        return f"http://{ADDRESS}:{self.port}/{self.token}/"

    def serve(self) -> None:
        """Answer until :meth:`close` is called in another thread, or a signal raises in this one."""
        self._http.serve_forever(poll_interval=0.2)

    def start(self) -> None:
        """Answer in a thread of its own."""
        self._thread = threading.Thread(target=self.serve, name="scisr-view", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port; open connections are cut off."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        self._http.cut_off()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Http(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    routes: list[tuple[re.Pattern[str], Route]]
    token: str
    hosts: set[str]

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(_CLIENTS)
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def server_bind(self) -> None:
        # HTTPServer asks the name service for this computer's name here: nobody needs it, and it can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(timeout=_SECONDS):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._room.release()

    def cut_off(self) -> None:
        """Connections that browsers keep for later requests, and what is being sent."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or sends what is no HTTP, is not worth a traceback."""
        log.debug("a request was cut off")


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server_version = "sciSR"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self.send_error(*refusal)
            return
        path = self.path.partition("?")[0]
        _, token, rest = path.split("/", 2)
        del token
        try:
            answer = self._answer(rest)
        except NotThere:
            self.send_error(HTTPStatus.NOT_FOUND, "not found")
        except MemoryError:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "out of memory")
        except Exception as problem:
            # The message may quote the file; the page shows it, so only the kind goes out.
            log.debug("a request failed: %s", type(problem).__name__)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"it can't be read ({type(problem).__name__})")
        else:
            self._send(HTTPStatus.OK, answer)

    def _answer(self, rest: str) -> Answer:
        for pattern, route in self.server.routes:
            match = pattern.fullmatch(rest)
            if match:
                return route(**match.groupdict())
        raise NotThere

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        """Why this request is not answered; None if it is."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            return HTTPStatus.FORBIDDEN, "this address is for this computer only"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return HTTPStatus.FORBIDDEN, "another site's page asks"
        if len(self.path) > _LONGEST:
            return HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long"
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # else its body would be read as the next request
            return HTTPStatus.BAD_REQUEST, "a request with a body"
        given = self.path.split("/", 2)
        token = given[1] if len(given) == 3 and not given[0] else ""
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            return HTTPStatus.NOT_FOUND, "not found"
        return None

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Content-Security-Policy", answer.policy)
        for name, value in (*_ALWAYS, *answer.headers.items()):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One line of text, with the headers of every answer; the base class calls it for malformed requests too."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:  # what the base class says of any method it does not know
            status, message = HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered"
        elif message is None or status == HTTPStatus.BAD_REQUEST:
            message = "a malformed request"  # the base class would quote it
        self.close_connection = True
        if not hasattr(self, "request_version") or self.request_version == "HTTP/0.9":
            self.request_version = "HTTP/1.1"
        extra = {"Allow": "GET"} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._send(status, Answer(f"{message}\n".encode(), "text/plain; charset=utf-8", headers=extra))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: addresses carry the token, and nobody reads them."""


_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
)
