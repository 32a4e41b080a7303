"""How a WebSocket ends: with its client, whatever that still sends."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as Served

from bulkhead.host import websockets
from tests.support.exec_service import served
from tests.support.websocket import CLOSE, WebSocket, closed

PIECE = b"x" * 64 * 1024


async def leave(socket: Served) -> None:
    """Close at the first message."""
    await socket.accept()
    if (await socket.receive())["type"] == "websocket.receive":
        await socket.close(4000, "that was all")


@pytest.fixture
def link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WebSocket]:
    """Yield a client of a server that closes at the first message; nothing may be an error there."""
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    app = Starlette(routes=[WebSocketRoute("/", leave)])
    with served(app, tmp_path / "s"), WebSocket(tmp_path / "s", "/") as client:
        yield client
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def farewell(link: WebSocket) -> tuple[int, str]:
    """Send a message; return what the server closes with."""
    link.text("leave")
    opcode, payload = link.receive()
    assert opcode == CLOSE
    return closed(payload)


def has_hung_up(link: WebSocket, *, within_s: float) -> bool:
    """Tell whether the server ends the connection in time."""
    link.link.settimeout(within_s)
    try:
        link.frame()
    except (EOFError, ConnectionError):
        return True
    except TimeoutError:
        return False
    raise AssertionError("it says something more")


def test_a_client_that_goes_on_sending_reads_the_farewell(link: WebSocket) -> None:
    """What it sends is dropped; were the connection ended, the farewell could be lost with it."""
    for _ in range(64):
        link.binary(PIECE)

    assert farewell(link) == (4000, "that was all")
    link.binary(PIECE)
    assert not has_hung_up(link, within_s=0.1)


def test_the_connection_ends_when_the_client_closes_too(link: WebSocket) -> None:
    """At once: a client may wait for it (RFC 6455, 7.1.1)."""
    farewell(link)
    link.binary(PIECE)
    link.send(CLOSE, b"\x0f\xa0")

    assert has_hung_up(link, within_s=5)


@pytest.mark.parametrize("left", [False, True])
def test_a_service_that_ends_tells_its_clients(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, left: bool
) -> None:
    """It does not wait for those that it has said farewell to."""
    monkeypatch.setattr(websockets, "PING_S", 60)  # the client does not read before it is over
    app = Starlette(routes=[WebSocketRoute("/", leave)])
    with served(app, tmp_path / "s"):
        client = WebSocket(tmp_path / "s", "/")
        told = farewell(client) if left else None
        begun = time.monotonic()
    with client:
        if told is None:
            opcode, payload = client.receive()
            assert opcode == CLOSE
            told = closed(payload)
        assert told == ((4000, "that was all") if left else (1012, "the service ends"))
        assert has_hung_up(client, within_s=5)
    assert time.monotonic() - begun < 4
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_client_that_never_closes_is_left(
    link: WebSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that nobody ends would be kept for ever."""
    monkeypatch.setattr(websockets, "FAREWELL_S", 0.1)
    begun = time.monotonic()

    assert farewell(link) == (4000, "that was all")
    assert has_hung_up(link, within_s=5)
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff" * 64, id="garbage"),
        pytest.param(WebSocket.header(CLOSE, 0) + b"\0" * 4 + b"\xff" * 64, id="after its close"),
        pytest.param(WebSocket.header(2, websockets.LIMIT + 1) + b"\0" * 4, id="too long"),
    ],
)
def test_what_no_client_may_send_ends_the_connection(link: WebSocket, data: bytes) -> None:
    """There is nobody left to tell."""
    farewell(link)
    link.link.sendall(data)
    if len(data) < 64:
        for _ in range(websockets.LIMIT // len(PIECE) + 1):
            try:
                link.link.sendall(PIECE)
            except ConnectionError:
                break

    assert has_hung_up(link, within_s=5)
