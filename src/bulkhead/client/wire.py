"""A WebSocket's client over a connection that never blocks.

Who waits for the other side to take something, and meanwhile takes nothing
from it, may wait for ever: it does the same. What cannot leave yet is kept.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import Event, Request
from wsproto.utilities import ProtocolError

from bulkhead.client.connection import Connection
from bulkhead.model.errors import RemoteError

FULL = 1024 * 1024
"""Bytes that wait for the network, beyond which nothing should be added."""
_CHUNK = 64 * 1024


class Wire:
    """The protocol, and what waits to leave.

    Args:
        where: what errors are about.
    """

    def __init__(self, *, where: str | None = None) -> None:
        self._where = where
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._outgoing = bytearray()

    @property
    def waiting(self) -> int:
        """Return how many bytes wait to leave."""
        return len(self._outgoing)

    @property
    def is_open(self) -> bool:
        """Tell whether messages can be sent."""
        return self._protocol.state is ConnectionState.OPEN

    def open(self, link: socket.socket, connection: Connection, path: str) -> None:
        """Ask for a WebSocket at `path` over `link`, which is one of `connection`'s."""
        link.setblocking(False)
        headers = [(key.encode(), value.encode()) for key, value in connection.headers().items()]
        self.send(Request(host=connection.authority, target=path, extra_headers=headers))

    def send(self, event: Event) -> None:
        """Have something leave as soon as it can."""
        self._outgoing += self._protocol.send(event)

    def flush(self, link: socket.socket) -> None:
        """Send what can leave now."""
        with contextlib.suppress(BlockingIOError):
            try:
                del self._outgoing[: link.send(self._outgoing)]
            except ConnectionError:
                # What it had to say before it closed is still to be read.
                self._outgoing.clear()

    def receive(self, link: socket.socket) -> Iterator[Event]:
        """Yield what has come.

        Raises:
            RemoteError: the connection broke.
        """
        try:
            data = link.recv(_CHUNK)
            self._protocol.receive_data(data or None)
            yield from self._protocol.events()
        except BlockingIOError:
            return
        except (OSError, ProtocolError) as error:
            raise RemoteError(
                f"the connection to the machine broke: {error or type(error).__name__}",
                where=self._where,
            ) from error
