"""The local server: who may ask, what is never answered, and that no client stops another."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sciSR.report.server import ADDRESS, Answer, LocalServer, NotThere


def tile(number: str) -> Answer:
    if int(number) > 5:
        raise NotThere
    return Answer(bytes([int(number)]), headers={"X-Scisr-Exact": "1"})


def broken() -> Answer:
    raise ValueError("the file of Jane Doe is damaged")


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    routes = {
        "": lambda: Answer.html("<p>page</p>"),
        r"tile/(?P<number>\d{1,6})": tile,
        "broken": broken,
    }
    with LocalServer(routes) as running:
        running.start()
        yield running


def ask(
    server: LocalServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(ADDRESS, server.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        sent = {"Host": f"{ADDRESS}:{server.port}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        for name, value in sent.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders()
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.headers
    finally:
        connection.close()


def raw(server: LocalServer, request: bytes) -> bytes:
    with socket.create_connection((ADDRESS, server.port), timeout=10) as link:
        link.sendall(request)
        link.shutdown(socket.SHUT_WR)
        parts = []
        while part := link.recv(4096):
            parts.append(part)
    return b"".join(parts)


def below(server: LocalServer, path: str) -> str:
    return f"/{server.token}/{path}"


def test_the_page_and_a_tile(server: LocalServer) -> None:
    assert ask(server, below(server, ""))[:2] == (200, b"<p>page</p>")
    status, body, headers = ask(server, below(server, "tile/3"))
    assert (status, body, headers["X-Scisr-Exact"]) == (200, b"\x03", "1")


def test_it_listens_on_the_loopback_alone(server: LocalServer) -> None:
    assert server._http.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}/{server.token}/"
    assert len(server.token) >= 32


@pytest.mark.parametrize("path", ["", "tile/3", "nothing", "tile/9", "broken"])
def test_every_answer_is_kept_from_caches_frames_and_guesses(server: LocalServer, path: str) -> None:
    _, _, headers = ask(server, below(server, path))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("token", ["", "x", "%00", "é", "{token}x", "{short}", "../{token}", "{token}%2f"])
def test_a_wrong_token_finds_nothing(server: LocalServer, token: str) -> None:
    token = token.format(token=server.token, short=server.token[:-1])
    reply = raw(server, f"GET /{token}/tile/3 HTTP/1.1\r\nHost: {ADDRESS}:{server.port}\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 404")
    assert reply.endswith(b"\r\n\r\nnot found\n")


def test_without_the_token_nothing_tells_what_is_here(server: LocalServer) -> None:
    for path in ("/", "/favicon.ico", "/index.html", f"/{server.token}"):
        assert ask(server, path)[:2] == (404, b"not found\n")


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}"],
)
def test_a_foreign_host_is_refused(server: LocalServer, host: str) -> None:
    status, _, _ = ask(server, below(server, ""), Host=host.format(port=server.port))
    assert status == 403


def test_two_hosts_are_refused(server: LocalServer) -> None:
    own = f"{ADDRESS}:{server.port}"
    request = f"GET {below(server, '')} HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n"
    assert raw(server, request.encode()).startswith(b"HTTP/1.1 403")


def test_localhost_is_this_computer(server: LocalServer) -> None:
    assert ask(server, below(server, ""), Host=f"localhost:{server.port}")[0] == 200


def test_requests_of_other_sites_pages_are_refused(server: LocalServer) -> None:
    assert ask(server, below(server, ""), Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(server, below(server, ""), Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(server, below(server, ""), Sec_Fetch_Site="none")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_only_get_is_answered(server: LocalServer, method: str) -> None:
    status, _, headers = ask(server, below(server, ""), method)
    assert status == 405
    assert headers["Allow"] == "GET"


def test_a_request_with_a_body_is_refused_and_its_body_is_no_request(server: LocalServer) -> None:
    own = f"{ADDRESS}:{server.port}"
    inner = f"GET {below(server, '')} HTTP/1.1\r\nHost: {own}\r\n\r\n"
    request = (
        f"GET {below(server, '')} HTTP/1.1\r\nHost: {own}\r\nContent-Length: {len(inner)}\r\n\r\n{inner}"
    )
    reply = raw(server, request.encode())
    assert reply.startswith(b"HTTP/1.1 400")
    assert reply.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "path",
    [
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/",
        "tile/../../etc/passwd",
        "tile//etc/passwd",
        "tile/3/",
        "tile/-1",
        "tile/NaN",
        "tile/1e3",
        "tile/0x1",
        "tile/٣",
        "tile/99999999999999999999999",
        "tile/9",
        "tile/",
        "tile/3%00",
        "file:///etc/passwd",
        "static/",
    ],
)
def test_what_is_no_tile_is_not_there(server: LocalServer, path: str) -> None:
    request = f"GET {below(server, path)} HTTP/1.1\r\nHost: {ADDRESS}:{server.port}\r\n\r\n".encode()
    reply = raw(server, request)
    assert reply.startswith(b"HTTP/1.1 404")
    assert reply.endswith(b"\r\n\r\nnot found\n")


def test_what_a_reader_says_does_not_leave_the_process(
    server: LocalServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    status, body, _ = ask(server, below(server, "broken"))
    assert (status, body) == (500, b"it can't be read (ValueError)\n")
    assert "Jane" not in caplog.text
    assert server.token not in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"\xff\xfe \x00 \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost\r\n\r\n",
    ],
)
def test_malformed_requests_get_one_line_or_none(
    server: LocalServer, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        reply = raw(server, request_)
    except ConnectionError:
        reply = b""
    assert b"Traceback" not in reply
    assert b"<html" not in reply.lower()
    assert not reply or reply.startswith(b"HTTP/1.1 4") or reply.startswith(b"HTTP/1.1 5")
    assert ask(server, below(server, "tile/1"))[1] == b"\x01"
    assert capfd.readouterr() == ("", "")


def test_a_long_address_is_refused(server: LocalServer) -> None:
    assert ask(server, below(server, "tile/1?" + "x" * 600))[0] == 414


def test_slow_clients_do_not_block_others(server: LocalServer) -> None:
    slow = [socket.create_connection((ADDRESS, server.port), timeout=10) for _ in range(20)]
    try:
        for link in slow:
            link.sendall(b"GET / HT")
        for _ in range(5):
            assert ask(server, below(server, "tile/2"))[1] == b"\x02"
    finally:
        for link in slow:
            link.close()


def test_many_requests_at_once_are_all_answered(server: LocalServer) -> None:
    answers: list[bytes] = []

    def work() -> None:
        answers.extend(ask(server, below(server, "tile/4"))[1] for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"\x04"] * 100


def test_a_taken_port_is_an_oserror_and_a_closed_one_is_free(server: LocalServer) -> None:
    with pytest.raises(OSError, match="in use"):
        LocalServer({}, port=server.port)
    with LocalServer({}) as other:
        port = other.port
    LocalServer({}, port=port).close()


def test_nothing_here_opens_files() -> None:
    text = Path(LocalServer.__init__.__code__.co_filename).read_text()
    assert "open(" not in text
    assert "Path" not in text
