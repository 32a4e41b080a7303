"""What every service of a node promises, tried over real sockets with a small application."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bulkhead.host import serving

LIMIT = 1000
TOKEN = "secret"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body and who asked."""
    request = Request(scope, receive)
    try:
        body = await serving.read_body(request, limit=LIMIT)
    except serving.TooLarge:
        response: Response = PlainTextResponse("too large", 413, headers=serving.CLOSE)
    except serving.TooSlow:
        response = PlainTextResponse("too slow", 408, headers=serving.CLOSE)
    except serving.Gone:
        return
    else:
        response = PlainTextResponse(f"{len(body)} bytes from {request.state.peer}")
    await response(scope, receive, send)


class Service:
    """Serves an application on a Unix socket and over TCP, from a thread."""

    def __init__(self, app: ASGIApp, directory: Path, *, plain: bool = False) -> None:
        self.path = directory / "s"
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(self.path))
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._tcp.getsockname()[1]
        config = serving.config(app)
        if plain:
            config.http = "h11"
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self._unix, self._tcp]))

    def __enter__(self) -> Service:
        self._thread.start()
        while not self.server.started:
            time.sleep(0.001)
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self._thread.join()

    def unix(self) -> socket.socket:
        """Connect as somebody on the node."""
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(20)
        made.connect(str(self.path))
        return made

    def tcp(self) -> socket.socket:
        """Connect as somebody elsewhere."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


def guarded(token: str | None) -> ASGIApp:
    """Return the application behind its guard."""
    refusal = PlainTextResponse("refused", 401, headers=serving.CLOSE)
    return serving.Guard(application, token=token, refusal=refusal)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve until the last test here is done."""
    with Service(guarded(TOKEN), tmp_path_factory.mktemp("s")) as made:
        yield made


def head(*lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join(["POST / HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def answer(connection: socket.socket) -> str:
    """Return all that comes until the other side hangs up."""
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionResetError:  # it left what we were still sending unread
        pass
    connection.close()
    return data.decode()


ONCE = "Connection: close"


def test_a_unix_socket_says_who_it_is(service: Service) -> None:
    """The kernel's word for who connected, not the client's."""
    connection = service.unix()
    connection.sendall(head(ONCE, "Content-Length: 3") + b"abc")

    assert answer(connection).endswith(f"3 bytes from uid {os.getuid()}, pid {os.getpid()}")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), "401"),
        (("Authorization: Bearer wrong",), "401"),
        (("Authorization: Bearer ",), "401"),
        (("Authorization: secret",), "401"),
        (("Authorization: Bearer secret", "Authorization: Bearer wrong"), "401"),
        (("X-Forwarded-For: /run/api.sock", "Forwarded: for=unix"), "401"),
        (("Authorization: Bearer secret",), "200"),
    ],
)
def test_tcp_wants_the_token(service: Service, lines: tuple[str, ...], status: str) -> None:
    """Exactly one token and the right one; no header makes TCP a Unix socket."""
    connection = service.tcp()
    connection.sendall(head(ONCE, *lines))

    assert answer(connection).split(" ")[1] == status


def test_without_a_token_tcp_leads_nowhere(tmp_path: Path) -> None:
    """A machine that was started without the secret has nothing to compare with."""
    with Service(guarded(None), tmp_path) as service:
        refused = service.tcp()
        refused.sendall(head(ONCE, "Authorization: Bearer None"))
        local = service.unix()
        local.sendall(head(ONCE))

        assert answer(refused).startswith("HTTP/1.1 401")
        assert answer(local).startswith("HTTP/1.1 200")


def test_a_connection_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    """Served in a way that does not say who is there, even the Unix socket leads nowhere."""
    with Service(guarded(TOKEN), tmp_path, plain=True) as service:
        connection = service.unix()
        connection.sendall(head(ONCE))

        assert answer(connection).startswith("HTTP/1.1 401")


def test_who_is_refused_cannot_go_on_sending(service: Service) -> None:
    """The connection ends with the refusal, however much is still to come."""
    connection = service.tcp()
    connection.sendall(head("Content-Length: 100000000"))

    assert answer(connection).startswith("HTTP/1.1 401")


def test_a_hundred_megabytes_are_refused_unread(service: Service) -> None:
    """The length that is told is enough to refuse; nothing of the body is waited for."""
    connection = service.unix()
    connection.sendall(head("Content-Length: 100000000"))

    assert answer(connection).startswith("HTTP/1.1 413")


def test_a_body_that_hides_its_length_is_cut_off(service: Service) -> None:
    """In chunks, too, no more than the limit is taken; the client's writes fail soon after."""
    connection = service.unix()
    connection.sendall(head("Transfer-Encoding: chunked"))
    chunk = b"2000\r\n" + bytes(0x2000) + b"\r\n"
    sent = 0
    try:
        while sent < 100_000_000:
            connection.sendall(chunk)
            sent += len(chunk)
    except (BrokenPipeError, ConnectionResetError):
        pass

    assert answer(connection).startswith("HTTP/1.1 413")
    assert sent < 10_000_000


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 400, "1, 2"])
def test_a_length_that_is_none_is_refused(service: Service, length: str) -> None:
    """4xx, whatever stands there."""
    connection = service.unix()
    connection.sendall(head(f"Content-Length: {length}"))

    assert answer(connection).split(" ")[1].startswith("4")


def test_a_client_that_closes_its_half_is_answered(service: Service) -> None:
    """Who has asked and says that nothing more comes still gets the answer."""
    connection = service.unix()
    connection.sendall(head("Content-Length: 3") + b"abc")
    connection.shutdown(socket.SHUT_WR)

    assert "3 bytes from" in answer(connection)


@pytest.mark.parametrize("sent", [b"", b"POST / HT", head("Content-Length: 3") + b"a"])
def test_half_a_request_and_half_a_connection_end(service: Service, sent: bytes) -> None:
    """Nothing more can come, so nothing is waited for."""
    connection = service.unix()
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)

    assert answer(connection) == ""


def test_slow_headers_are_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects and dawdles does not keep the service running."""
    monkeypatch.setattr(serving, "HEADER_S", 0.2)
    silent, dawdling = service.unix(), service.unix()
    dawdling.sendall(b"POST / HTTP/1.1\r\nHost: loc")

    assert answer(silent) == ""
    assert answer(dawdling) == ""


def test_slow_second_headers_are_given_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is kept gets no more patience than a new one."""
    connection = service.unix()
    connection.sendall(head())
    first = b""
    while not first.endswith(f"pid {os.getpid()}".encode()):
        first += connection.recv(65536)
    monkeypatch.setattr(serving, "HEADER_S", 0.2)
    connection.sendall(b"POST / HT")

    assert answer(connection) == ""


def test_a_slow_body_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers say that a body comes; it does not."""
    monkeypatch.setattr(serving, "BODY_S", 0.2)
    connection = service.unix()
    connection.sendall(head("Content-Length: 10") + b"abc")

    assert answer(connection).startswith("HTTP/1.1 408")


@pytest.mark.slow
def test_a_slow_answer_is_not_a_slow_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deadlines are for the client; the service may take its time."""
    monkeypatch.setattr(serving, "HEADER_S", 0.1)
    monkeypatch.setattr(serving, "BODY_S", 0.1)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await serving.read_body(Request(scope, receive), limit=LIMIT)
        await asyncio.sleep(0.4)
        await PlainTextResponse("done")(scope, receive, send)

    with Service(slow, tmp_path) as service:
        connection = service.unix()
        connection.sendall(head(ONCE))

        assert answer(connection).endswith("done")


def test_a_large_body_waits_for_another_and_small_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who is slow with a large body keeps others with large ones waiting, and only those."""
    monkeypatch.setattr(serving, "LARGE", 10)
    with Service(serving.OneLarge(application), tmp_path) as service:
        slow, waiting, small = service.unix(), service.unix(), service.unix()
        slow.sendall(head(ONCE, "Content-Length: 100") + b"a")
        time.sleep(0.05)
        waiting.sendall(head(ONCE, "Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n")
        small.sendall(head(ONCE, "Content-Length: 3") + b"abc")
        first = answer(small)
        waiting.settimeout(0.1)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(20)
        slow.sendall(b"b" * 99)

        assert "3 bytes from" in first
        assert "100 bytes from" in answer(slow)
        assert "1 bytes from" in answer(waiting)


@pytest.mark.slow
def test_background_work_keeps_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves when nobody asks and nothing is being done, not before."""
    monkeypatch.setattr(serving, "IDLE_S", 0.1)
    working = True
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    server = serving.IdleServer(serving.config(application), busy=lambda: working)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    thread.join(0.8)
    stayed = thread.is_alive()
    working = False
    thread.join(5)

    assert stayed
    assert not thread.is_alive()
