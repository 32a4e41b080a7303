"""The WebSocket side of a node's servers: signs of life, who has gone, a limit for messages.

uvicorn leaves these out for wsproto: it has no pings in the versions before
0.35, a message may have any length there, and an application that waits for
something else than a message does not hear that its client has gone. Those
versions also hang up with their last word, which a client that is still
sending may then never read, and let who sends to a client that does not read
wait for ever once that has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

import wsproto.events
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection

T = TypeVar("T")

LIMIT = 4 * 1024 * 1024
"""Longest message, in bytes or characters."""
PING_S = 2.0
"""How often a client is pinged. Without, one that closed while we do not read would stay unnoticed."""
SILENCE_S = 10.0
"""`Strict` gives a client up that was silent for so long."""
FAREWELL_S = 10.0
"""How long a connection is kept after a close, once the client has all that was written or is silent."""

_SIZE, _POLICY, _RESTART = 1009, 1008, 1012  # RFC 6455, 7.4.1 and its registry


class TooLong(Exception):
    """A message is longer than `LIMIT`."""


class _Limited(WSConnection):
    """Stops at a message that is too long, before all of it is in memory."""

    _length = 0

    def events(self) -> Generator[wsproto.events.Event, None, None]:
        """Yield what has come; raise `TooLong` in the middle of such a message."""
        for event in super().events():
            if isinstance(event, wsproto.events.Message):
                self._length += len(event.data)
                if self._length > LIMIT:
                    raise TooLong
                if event.message_finished:
                    self._length = 0
            yield event


class Protocol(WSProtocol):
    """A WebSocket that pings its client; `wait_until_gone` ends when the connection does.

    After `websocket.close` it waits for the client, as RFC 6455, 7.1.1 wants:
    what that still sends is taken and dropped until it closes too.
    """

    _tick: asyncio.TimerHandle | None = None
    _heard = 0.0
    _waits_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the clock."""
        super().connection_made(transport)
        self.conn = _Limited(connection_type=ConnectionType.SERVER)
        self.ping_interval = None  # newer uvicorn's own pings, with other rules
        self._gone = asyncio.Event()
        self.app_state = {**self.app_state, "gone": self._gone}
        self._heard = self._waits_since = self.loop.time()
        self._tick = self.loop.call_later(PING_S, self._beat)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._tick is not None:
            self._tick.cancel()
        self._gone.set()
        self.writable.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note that the client lives."""
        self._heard = self.loop.time()
        super().data_received(data)

    def handle_events(self) -> None:
        """Handle what has come; end a connection whose message is too long."""
        try:
            if not self.close_sent:
                super().handle_events()
            elif any(isinstance(event, CloseConnection) for event in self.conn.events()):
                self.transport.close()
        except TooLong:
            if self.close_sent:
                self._hang_up()
            else:
                self.end(_SIZE, f"a message is longer than {LIMIT} bytes")

    async def send(self, message: Any) -> None:
        """Send something, or say farewell.

        Raises:
            ClientDisconnected: there is nobody any more.
        """
        # A farewell does not wait for the client to read: it may be waiting for us to.
        farewell = message["type"] == "websocket.close" and self.handshake_complete
        if not farewell:
            await self.writable.wait()
        # The loop, which tells of a lost connection, may not have its turn before this is called again.
        if self._gone.is_set() or (self.handshake_complete and self.transport.is_closing()):
            raise ClientDisconnected
        if not farewell or self.close_sent:
            await super().send(message)
            return
        self._close(message.get("code", 1000), message.get("reason") or "")
        # Newer uvicorn's, which else closes when the application returns.
        self.close_timer = self._tick
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def handle_ping(self, event: wsproto.events.Ping) -> None:
        """Answer, unless the client does not read: answers would be kept without end."""
        if self.writable.is_set():
            super().handle_ping(event)

    def shutdown(self) -> None:
        """End with the server."""
        if self.handshake_complete:
            self.end(_RESTART, "the service ends")
            self._hang_up()
        else:
            super().shutdown()

    def is_dead(self) -> bool:
        """Tell whether the client was silent for too long: here, never."""
        return False

    def _beat(self) -> None:
        """Look after the client, every `PING_S` until the connection is lost."""
        self._tick = self.loop.call_later(PING_S, self._beat)
        if self.close_sent or self.transport.is_closing():
            self._leave_in_time()
            return
        self._waits_since = self.loop.time()
        if self.read_paused:  # it may well have said something
            self._heard = self._waits_since
        if self.is_dead():
            self.end(_POLICY, f"no answer within {SILENCE_S:g} s")
        elif self.conn.state is ConnectionState.OPEN:
            self.transport.write(self.conn.send(wsproto.events.Ping()))

    def _leave_in_time(self) -> None:
        """Hang up when nobody answers a close, or takes what a client that has left did not read."""
        now = self.loop.time()
        if not self.transport.is_closing():
            if self.is_dead():
                self._hang_up()
            if self.transport.get_write_buffer_size() > 0:
                self._waits_since = now
            self._waits_since = max(self._waits_since, self._heard)
        if now - self._waits_since > FAREWELL_S:
            self._hang_up()

    def end(self, code: int, reason: str) -> None:
        """Close; the application hears of it as if the client had."""
        if not self.close_sent and not self.transport.is_closing():
            self._close(code, reason)
            self._hang_up()

    def _close(self, code: int, reason: str) -> None:
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.conn.state is ConnectionState.OPEN and not self.transport.is_closing():
            close = CloseConnection(code=code, reason=reason)
            self.transport.write(self.conn.send(close))

    def _hang_up(self) -> None:
        # What such a client has not read would keep the connection for ever.
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        else:
            self.transport.close()


class Strict(Protocol):
    """A WebSocket whose client must answer: any frame is a sign of life."""

    def is_dead(self) -> bool:
        """Tell whether nothing came for `SILENCE_S`."""
        return self.loop.time() - self._heard > SILENCE_S


async def unless_gone(socket: WebSocket, work: Coroutine[Any, Any, T]) -> T:
    """Return what some work comes to; it is cancelled when the connection ends before.

    Raises:
        WebSocketDisconnect: then.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(wait_until_gone(socket))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise WebSocketDisconnect(1006)
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def wait_until_gone(socket: WebSocket) -> None:
    """Wait until the connection has ended, whether or not somebody receives from it.

    Raises:
        WebSocketDisconnect: always, then.
    """
    gone: asyncio.Event = socket.scope["state"]["gone"]
    await gone.wait()
    raise WebSocketDisconnect(1006)
