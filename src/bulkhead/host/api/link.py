"""A WebSocket to another service of this node, over its Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

from bulkhead.model.errors import HostError

HANDSHAKE_S = 90.0
"""A service that has to be started first answers within this, on a machine that is busy too.

As long as systemd gives it (DefaultTimeoutStartSec=, systemd-system.conf(5)).
"""
_CHUNK = 64 * 1024
_LIMIT = 4 * 1024 * 1024
"""Longest message."""


class Link:
    """One connection. Make it with `connect`; one task may send while another receives."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: Path
    ) -> None:
        self._reader, self._writer, self._where = reader, writer, where
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._data = bytearray()
        self._text = ""

    async def send(self, data: bytes | str) -> None:
        """Send one message; waits while the service does not take it.

        Raises:
            HostError: the connection is gone.
        """
        if isinstance(data, str):
            await self._send(TextMessage(data=data))
        else:
            await self._send(BytesMessage(data=data))

    async def receive(self) -> bytes | str | None:
        """Return the next message; None when the service has closed.

        Raises:
            HostError: the connection broke.
        """
        while True:
            # One event at a time: what follows it stays inside the protocol until the next call.
            for event in self._protocol.events():
                if isinstance(event, CloseConnection):
                    return None
                if isinstance(event, Ping):
                    await self._send(event.response())
                elif (
                    isinstance(event, TextMessage | BytesMessage)
                    and (whole := self._collect(event)) is not None
                ):
                    return whole
            await self._more()

    def _collect(self, event: TextMessage | BytesMessage) -> bytes | str | None:
        if isinstance(event.data, str):
            self._text += event.data
        else:
            self._data += event.data
        if len(self._data) + len(self._text) > _LIMIT:
            raise self._broken("a message is too long")
        if not event.message_finished:
            return None
        whole: bytes | str = self._text if isinstance(event.data, str) else bytes(self._data)
        self._text, self._data = "", bytearray()
        return whole

    async def handshake(self, target: str) -> None:
        """Ask for a WebSocket at a path of the service.

        Raises:
            HostError: it does not want one.
        """
        await self._send(Request(host="localhost", target=target))
        while True:
            for event in self._protocol.events():
                if isinstance(event, AcceptConnection):
                    return
                if isinstance(event, RejectConnection):
                    raise self._broken(f"it refused with status {event.status_code}")
            await self._more()

    async def _more(self) -> None:
        try:
            self._protocol.receive_data(await self._reader.read(_CHUNK) or None)
        except (OSError, ProtocolError) as error:
            raise self._broken(str(error)) from error

    async def _send(self, event: Event) -> None:
        try:
            self._writer.write(self._protocol.send(event))
            await self._writer.drain()
        except (OSError, ProtocolError) as error:
            raise self._broken(str(error)) from error

    def _broken(self, why: str) -> HostError:
        return HostError(f"the connection to a service broke: {why}", where=str(self._where))


@asynccontextmanager
async def connect(where: Path, target: str) -> AsyncIterator[Link]:
    """Connect to a service's WebSocket; the connection ends with the block.

    Args:
        where: its Unix socket.
        target: path of the request.

    Raises:
        HostError: the service does not answer, or not with a WebSocket.
    """
    deadline = asyncio.get_running_loop().time() + HANDSHAKE_S
    try:
        async with asyncio.timeout_at(deadline):
            reader, writer = await asyncio.open_unix_connection(str(where))
    except (OSError, TimeoutError) as error:
        raise HostError(
            f"the service does not answer: {error}", where=str(where), hint="see its journal"
        ) from error
    link = Link(reader, writer, where)
    try:
        try:
            async with asyncio.timeout_at(deadline):
                await link.handshake(target)
        except TimeoutError as error:
            raise HostError(
                f"the service does not answer within {HANDSHAKE_S:g} s",
                where=str(where), hint="see its journal",
            ) from error  # fmt: skip
        yield link
    finally:
        # No farewell: what is not written yet belongs to a process that nobody waits for.
        writer.transport.abort()
