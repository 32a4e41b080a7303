"""How a service on a node is served: sockets from systemd, who asks, limits, and leaving when idle.

Two programs use it, the container service and the API. Whoever may open a Unix
socket has been let in by its mode; everybody else must show the machine's
secret. What a connection is, is read from its own socket; a request of which
that is not known is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

import h11
import msgspec
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bulkhead.host import websockets
from bulkhead.model.errors import Bug, BulkheadError, UserError

log = logging.getLogger(__name__)

IDLE_S = 10.0
HEADER_S = 10.0
"""How long a client may take from its first byte, or from connecting, to the end of its headers."""
BODY_S = 30.0
"""How long it may take for the body."""
LARGE = 64 * 1024
"""Bytes of a body beyond which `OneLarge` has it wait for its turn."""
REFUSED_LIMIT = 64 * 1024
"""Bytes of a body that are read of somebody who is refused anyway."""
CONNECTIONS = 256
CLOSE = {"connection": "close"}
"""Header of an answer to somebody whose request was not read to its end; the connection cannot go on."""
TOKEN = "bulkhead.channel-token"  # noqa: S105  # the credential's name


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end of a connection."""

    local: bool
    """They came through a Unix socket."""
    uid: int | None = None
    pid: int | None = None
    """As this process sees it: 0 for one in another PID namespace (pid_namespaces(7))."""

    def __str__(self) -> str:
        """Name them for the history of changes."""
        if not self.local:
            return "channel"
        return f"uid {self.uid}" + (f", pid {self.pid}" if self.pid else "")


class TooLarge(UserError):
    """A body is longer than the limit."""


class TooSlow(UserError):
    """A body did not arrive in time."""


class Gone(UserError):
    """The client went away before its request was complete."""


def peer_of(connection: socket.socket | TransportSocket) -> Peer:
    """Return who is at the other end; what is no Unix socket is remote."""
    if connection.family != socket.AF_UNIX:
        return Peer(local=False)
    # struct ucred, unix(7): what the kernel noted when they connected.
    layout = "iII"
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(layout))
    pid, uid, _ = struct.unpack(layout, raw)
    return Peer(local=True, uid=uid, pid=pid)


class Protocol(H11Protocol):
    """HTTP/1.1 that knows its peer, has no patience with slow headers, and answers half-closed connections."""

    _deadline: asyncio.TimerHandle | None = None
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Note who it is, in what a request's scope calls its state."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            self.app_state = {**self.app_state, "peer": peer_of(connection)}
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._headers_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a request whose headers do not end in time is given up."""
        if self.conn.their_state is h11.IDLE:
            self._expect_headers()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._headers_came()

    def eof_received(self) -> bool:  # type: ignore[override]  # the base has no answer
        """Answer who has sent a whole request and closed their half; hang up on everybody else."""
        cycle = self.cycle
        self._ended = cycle is not None and not cycle.more_body and not cycle.response_complete
        return self._ended

    def on_response_complete(self) -> None:
        """Hang up after the answer to somebody who has closed their half."""
        super().on_response_complete()
        if self._ended:
            self.transport.close()

    def _expect_headers(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_S, self.transport.abort)

    def _headers_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Guard:
    """Lets only those through who may ask: everyone on the Unix socket, others with the token.

    Args:
        app: what is guarded.
        token: the machine's secret; without one only the Unix socket leads in.
        refusal: what others get.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, refusal: Response) -> None:
        self._app = app
        self._token = token
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if self._allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "wrong token"})
        else:
            # A small body first: a client that is still writing would see a broken
            # connection instead of the answer.
            with suppress(UserError):
                await read_body(Request(scope, receive), limit=REFUSED_LIMIT)
            await self._refusal(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        peer = scope.get("state", {}).get("peer")
        if isinstance(peer, Peer) and peer.local:
            return True
        if self._token is None or scope["type"] not in ("http", "websocket"):
            return False
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], f"Bearer {self._token}".encode())


class OneLarge:
    """Takes requests with large bodies one at a time.

    JSON grows twentyfold when it is read: a few at once would be more memory
    than the service has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _is_small(scope):
            await self._app(scope, receive, send)
            return
        async with self._turn:
            await self._app(scope, receive, send)


def _is_small(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:  # it does not say how much comes
        return False
    length = headers.get(b"content-length", b"0")
    return len(length) < 8 and length.isdigit() and int(length) <= LARGE


class IdleServer(uvicorn.Server):
    """A server that ends when it has had no connection for `IDLE_S` seconds.

    It stops listening first and looks once more: whoever came just then is
    served, and whoever comes later waits in the queue of the socket, which is
    systemd's too, for the next start. Nobody is turned away.

    Args:
        config: see `config`.
        busy: tells whether there is work in the background, which nobody waits for.
    """

    _idle_since: float | None = None
    _leaving = False

    def __init__(self, config: uvicorn.Config, *, busy: Callable[[], bool] | None = None) -> None:
        super().__init__(config)
        self._busy = busy

    async def on_tick(self, counter: int) -> bool:
        """Decide, ten times a second, whether to end."""
        now = asyncio.get_running_loop().time()
        state = self.server_state
        if state.connections or state.tasks or (self._busy is not None and self._busy()):
            self._idle_since = None
        elif self._leaving:
            return True
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > IDLE_S:
            for server in self.servers:
                server.close()
            self._leaving = True
        return await super().on_tick(counter)


def config(
    app: ASGIApp, *, sockets: type[websockets.Protocol] = websockets.Protocol
) -> uvicorn.Config:
    """Return how an application is served.

    Args:
        app: the application.
        sockets: what its WebSockets ask of clients.
    """
    return uvicorn.Config(
        app,
        http=Protocol,
        ws=sockets,
        # A few bytes must not become many in our memory.
        ws_per_message_deflate=False,
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
    )


def listeners() -> list[socket.socket]:
    """Return the sockets that systemd opened (sd_listen_fds(3)).

    Raises:
        Bug: there are none.
    """
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if count < 1 or os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise Bug("started without its socket", hint="start the socket unit of the same name")
    return [socket.socket(fileno=3 + number) for number in range(count)]


def token() -> str | None:
    """Return the secret that the machine's owner handed over, or None."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        return None
    try:
        return (Path(directory) / TOKEN).read_text().strip() or None
    except FileNotFoundError:
        return None


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return a request's body.

    Raises:
        TooLarge: it is longer than `limit` bytes; what is left of it was not read.
        TooSlow: it did not come within `BODY_S` seconds.
        Gone: the client went away.
    """
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or len(told) > 19 or int(told) > limit:
        raise TooLarge(f"the request is longer than {limit} bytes")
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit:
                    raise TooLarge(f"the request is longer than {limit} bytes")
    except TimeoutError as error:
        raise TooSlow(f"the request did not arrive within {BODY_S:g} s") from error
    except ClientDisconnect as error:
        raise Gone("the client went away before its request was complete") from error
    return bytes(data)


def run(serve: Callable[[list[socket.socket]], Coroutine[None, None, None]]) -> int:
    """Run a service with the sockets from systemd until it ends; return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        asyncio.run(serve(listeners()))
    except BulkheadError:
        log.exception("failed")
        return 1
    return 0
