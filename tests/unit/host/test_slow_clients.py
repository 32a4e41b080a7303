"""WebSockets of clients that do not read: nothing is lost to those that live, and nothing is kept for others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import SHUT_WR

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as Served
from starlette.websockets import WebSocketDisconnect

from bulkhead.host import websockets
from tests.support.exec_service import served
from tests.support.websocket import BINARY, CLOSE, PING, WebSocket, closed

PIECE = b"x" * 64 * 1024
MANY = 8

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    monkeypatch.setattr(websockets, "SILENCE_S", 0.5)
    monkeypatch.setattr(websockets, "FAREWELL_S", 0.3)


class Application:
    """Does something for its clients; `ended` when that is over."""

    def __init__(self, work: Callable[[Served], Awaitable[object]]) -> None:
        self._work = work
        self.ended = threading.Event()
        self.protocols: list[websockets.Protocol] = []

    async def serve(self, socket: Served) -> None:
        """Serve it."""
        await socket.accept()
        with suppress(WebSocketDisconnect):
            await self._work(socket)
        self.ended.set()

    @contextmanager
    def connected(self, place: Path, kind: type[websockets.Protocol]) -> Iterator[WebSocket]:
        """Yield a client of it, which answers no ping."""
        made = self.protocols

        class Kept(kind):  # type: ignore[misc, valid-type]  # the class is an argument
            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                made.append(self)

        app = Starlette(routes=[WebSocketRoute("/", self.serve)])
        with (
            served(app, place / "s", sockets=Kept),
            WebSocket(place / "s", "/", answer=False) as link,
        ):
            yield link


async def flood(socket: Served) -> None:
    """Send without end."""
    while True:
        await socket.send_bytes(PIECE)


async def tell(socket: Served) -> None:
    """Send more at once than a socket takes, and farewell."""
    await socket.send_bytes(PIECE * MANY)
    await socket.close(4000, "that was all")


def rest(link: WebSocket) -> tuple[int, tuple[int, str] | None]:
    """Read to the end; return how many bytes came, and the farewell."""
    came = 0
    while True:
        try:
            opcode, payload = link.receive()
        except (EOFError, ConnectionError):
            return came, None
        if opcode == CLOSE:
            return came, closed(payload)
        assert opcode == BINARY
        came += len(payload)


@pytest.mark.parametrize("read", [0, 64])
def test_who_sends_to_a_client_that_has_gone_is_told(tmp_path: Path, read: int) -> None:
    """It may be waiting for that client to read."""
    application = Application(flood)
    with application.connected(tmp_path, websockets.Protocol) as link:
        for _ in range(read):
            link.receive()
        link.link.close()

        assert application.ended.wait(5)


def test_a_client_that_lives_gets_all_whenever_it_reads(tmp_path: Path) -> None:
    """A pager stands still for as long as somebody looks at its page; its program still says that it lives."""
    application = Application(tell)
    with application.connected(tmp_path, websockets.Strict) as link:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.5:
            link.send(PING, b"")
            time.sleep(0.05)

        assert rest(link) == (MANY * len(PIECE), (4000, "that was all"))


def test_a_silent_client_is_waited_for_where_silence_says_nothing(tmp_path: Path) -> None:
    """The API waits for its own client, and says nothing to the container service meanwhile."""
    application = Application(tell)
    with application.connected(tmp_path, websockets.Protocol) as link:
        time.sleep(1.5)

        assert rest(link) == (MANY * len(PIECE), (4000, "that was all"))


def test_a_silent_client_is_given_up_where_it_must_answer(tmp_path: Path) -> None:
    """What it has not read is not kept for it."""
    application = Application(tell)
    with application.connected(tmp_path, websockets.Strict) as link:
        time.sleep(1.5)
        came, farewell = rest(link)

    assert came < MANY * len(PIECE)
    assert farewell is None


def test_a_farewell_does_not_wait_for_a_client_that_waits(tmp_path: Path) -> None:
    """It sends before it reads, and we are not to read before it does."""
    application = Application(tell)
    with application.connected(tmp_path, websockets.Protocol) as link:
        link.link.settimeout(5)
        for _ in range(64):
            link.binary(PIECE)

        assert rest(link) == (MANY * len(PIECE), (4000, "that was all"))


@pytest.mark.parametrize("kind", [websockets.Protocol, websockets.Strict])
@pytest.mark.parametrize("how", ["close", "end", "garbage"])
def test_what_a_client_that_left_did_not_read_is_not_kept(
    tmp_path: Path, how: str, kind: type[websockets.Protocol]
) -> None:
    """It keeps its connection open, and nobody waits for it any more."""
    application = Application(flood)
    with application.connected(tmp_path, kind) as link:
        time.sleep(0.2)
        if how == "close":
            link.send(CLOSE, b"\x03\xe8")
        elif how == "end":
            link.link.shutdown(SHUT_WR)
        else:
            link.link.sendall(b"\xff" * 64)

        assert application.ended.wait(5)


def test_answers_to_pings_are_not_kept_without_end(tmp_path: Path) -> None:
    """A client that asks and never listens would fill the memory of the service."""
    application = Application(flood)
    with application.connected(tmp_path, websockets.Strict) as link:
        ping = WebSocket.header(PING, 100) + b"\0" * 104
        for _ in range(400):
            link.link.sendall(ping * 100)
        (protocol,) = application.protocols

        assert protocol.transport.get_write_buffer_size() < 1024 * 1024


def test_work_for_a_client_that_left_is_given_up(tmp_path: Path) -> None:
    """Nobody waits for what comes of it."""

    async def work(socket: Served) -> None:
        await websockets.unless_gone(socket, asyncio.sleep(1000))

    application = Application(work)
    with application.connected(tmp_path, websockets.Protocol) as link:
        link.link.close()

        assert application.ended.wait(5)
