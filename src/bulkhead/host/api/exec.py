"""`/exec`: a process in a container, over Bottlerocket's WebSocket protocol.

The container service runs the process; this carries messages between it and
the client, and keeps count. Nothing is kept here: a client that goes away
closes the connection to the container service, which ends the process.

Messages are in `model.exec`. The last one is the WebSocket's close: code 1000
with the exit code as its reason, or another code with a sentence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from bulkhead.host.api.link import Link, connect
from bulkhead.host.websockets import unless_gone
from bulkhead.model import exec as protocol
from bulkhead.model.containers import ExecControl, ExecRequest, is_name
from bulkhead.model.errors import BulkheadError, UserError

log = logging.getLogger(__name__)

CONTAINERS = Path("/run/bulkhead/containers.sock")
INITIALIZE_S = 10.0
"""How long a client may take to say what it wants."""
BUFFER = 8 * 1024 * 1024
"""Bytes of input held for a process that does not take them; then the client is not read."""

_REASON = 123
"""Longest reason in a close frame (RFC 6455, 5.5), in bytes."""
_TERM = "screen"


class Refused(Exception):
    """The client broke the protocol.

    Args:
        code: to close with.
        reason: in words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def endpoint(containers: Path = CONTAINERS) -> Callable[[WebSocket], Awaitable[None]]:
    """Return the handler of `/exec`.

    Args:
        containers: socket of the container service.
    """

    async def exec_(socket: WebSocket) -> None:
        await socket.accept()
        try:
            ended = await unless_gone(socket, _serve(socket, containers))
            code, reason = protocol.NORMAL, str(ended)
        except Refused as refused:
            code, reason = refused.code, refused.reason
        except BulkheadError as error:
            # A target that does not exist is no news; a service that does not answer is.
            if not isinstance(error, UserError):
                log.exception("exec failed")
            parts = (error.where, error.what + (f"; {error.hint}" if error.hint else ""))
            code, reason = protocol.ERROR, ": ".join(part for part in parts if part)
        except WebSocketDisconnect:
            return
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(code, _shortened(reason))

    return exec_


async def _serve(socket: WebSocket, containers: Path) -> int:
    """Run one process for one client; return its exit code.

    Raises:
        Refused: the client broke the protocol.
        WebSocketDisconnect: it went away.
        BulkheadError: the process cannot be run.
    """
    # A client may not send input before it is told how much.
    await _tell(socket, messages_written=0)
    name, request = await _initialize(socket)
    async with connect(containers, f"/v1/containers/{quote(name, safe='')}/exec") as link:
        await link.send(msgspec.json.encode(request).decode())
        session = _Session(socket, link)
        process = asyncio.create_task(session.from_process())
        others = (session.from_client(), session.to_process())
        everyone = [process, *(asyncio.create_task(part) for part in others)]
        try:
            while not process.done():
                running = [task for task in everyone if not task.done()]
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            return process.result()
        finally:
            for task in everyone:
                task.cancel()
            await asyncio.gather(*everyone, return_exceptions=True)


async def _initialize(socket: WebSocket) -> tuple[str, ExecRequest]:
    """Wait for the client's first message; return the container's name and what to run in it."""
    try:
        async with asyncio.timeout(INITIALIZE_S):
            message = await socket.receive()
    except TimeoutError:
        raise Refused(protocol.POLICY, f"no Initialize within {INITIALIZE_S:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    text = message.get("text")
    wanted = _read(text) if text is not None else None
    if not isinstance(wanted, protocol.Initialize):
        raise Refused(protocol.POLICY, "the first message must be Initialize")
    if not is_name(wanted.target):
        raise UserError(f"there is no container {wanted.target[:64]!r}")
    size = wanted.tty.size if wanted.tty else None
    columns, rows = _dimensions(size or protocol.Size(rows=24, cols=80))
    return wanted.target, ExecRequest(
        command=tuple(_argument(part) for part in wanted.command),
        env={"TERM": _TERM} if wanted.tty else {},
        stdin=True,
        tty=wanted.tty is not None,
        columns=columns,
        rows=rows,
    )


class _Session:
    """The three directions of a running exec."""

    def __init__(self, socket: WebSocket, link: Link) -> None:
        self._socket, self._link = socket, link
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._outstanding = 0
        self._held = 0
        self._room = asyncio.Event()
        self._complete = False

    async def from_client(self) -> None:
        """Take the client's messages; raises when it goes away."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            data, text = message.get("bytes"), message.get("text")
            if data is not None:
                await self._take(data)
            elif text is not None:
                await self._control(_read(text))

    async def _take(self, data: bytes) -> None:
        if self._complete:
            raise Refused(protocol.POLICY, "input after ContentComplete")
        self._outstanding += 1
        if self._outstanding > protocol.MAX_MESSAGES_OUTSTANDING:
            raise Refused(protocol.SIZE, "more messages than the capacity allows")
        self._held += len(data)
        self._input.put_nowait(data)
        while self._held > BUFFER:
            self._room.clear()
            await self._room.wait()

    async def _control(
        self, message: protocol.Initialize | protocol.Size | protocol.ContentComplete
    ) -> None:
        if isinstance(message, protocol.Size):
            columns, rows = _dimensions(message)
            await self._send(ExecControl(columns=columns, rows=rows))
        elif isinstance(message, protocol.Initialize):
            raise Refused(protocol.POLICY, "Initialize came twice")
        elif not self._complete:
            self._complete = True
            self._input.put_nowait(None)

    async def to_process(self) -> None:
        """Pass input on, in order, and tell the client how much of it is gone."""
        written = 0
        while (data := await self._input.get()) is not None:
            await self._link.send(b"\0" + data)
            self._outstanding -= 1
            self._held -= len(data)
            self._room.set()
            written += 1
            if written % protocol.REPORT_EVERY == 0:
                await _tell(self._socket, messages_written=written)
        await self._send(ExecControl(close_stdin=True))

    async def from_process(self) -> int:
        """Pass output on until the process ends; return its exit code."""
        while (message := await self._link.receive()) is not None:
            if isinstance(message, bytes):
                await self._socket.send_bytes(message[1:])
                continue
            control = msgspec.json.decode(message, type=ExecControl)
            if control.problem is not None:
                told = control.problem
                raise UserError(told.error, where=told.where, hint=told.hint)
            if control.exit_code is not None:
                return control.exit_code
        raise UserError("the container service ended the process")

    async def _send(self, control: ExecControl) -> None:
        await self._link.send(msgspec.json.encode(control).decode())


async def _tell(socket: WebSocket, *, messages_written: int) -> None:
    capacity = protocol.Capacity(
        max_messages_outstanding=protocol.MAX_MESSAGES_OUTSTANDING,
        messages_written=messages_written,
    )
    await socket.send_text(protocol.write(capacity))


def _read(text: str) -> protocol.Initialize | protocol.Size | protocol.ContentComplete:
    try:
        return protocol.read_client(text)
    except UserError as error:
        raise Refused(protocol.INVALID, error.what) from error


def _argument(part: protocol.OsString) -> str:
    """Return an argument as text: a container's specification is JSON and has no other form."""
    try:
        text = bytes(part.unix).decode()
    except UnicodeDecodeError as error:
        raise Refused(protocol.INVALID, "an argument is not UTF-8") from error
    if "\0" in text:
        raise Refused(protocol.INVALID, "an argument has a NUL byte")
    return text


def _dimensions(size: protocol.Size) -> tuple[int, int]:
    """Return columns and rows in the container service's bounds."""
    return min(max(size.cols, 1), 10000), min(max(size.rows, 1), 10000)


def _shortened(reason: str) -> str:
    """Return as much of a reason as fits into a close frame."""
    return reason.encode()[:_REASON].decode(errors="ignore")
