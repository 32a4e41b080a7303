"""The WebSocket of `exec`: pipes on one side, messages on the other.

First comes the request as text. Then binary messages are data (first byte: the
stream) and text messages are `ExecControl`. The last one from here carries
the exit code or the problem.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from bulkhead.host.containers import fifos
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.executing import Execution, execute
from bulkhead.host.websockets import wait_until_gone
from bulkhead.lib.decoding import decode_json
from bulkhead.model.containers import ExecControl, ExecRequest
from bulkhead.model.errors import BulkheadError, HostError, UserError
from bulkhead.model.problem import Problem

M = TypeVar("M")

_LAST_WORDS_S = 2.0
"""How long a process's outputs may be silent after its end: a child may hold the pipe."""


class _Traffic:
    """What is on its way from a process to its client."""

    def __init__(self) -> None:
        self._sending = 0
        self._since = 0.0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Note that a piece is sent meanwhile."""
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1
            self._since = asyncio.get_running_loop().time()

    def silence_s(self, *, since: float) -> float:
        """Return for how long nothing came and nothing was sent, `since` then at most."""
        if self._sending:
            return 0.0
        return asyncio.get_running_loop().time() - max(since, self._since)


async def serve(socket: WebSocket, engine: Engine, name: str) -> None:
    """Run one process for one client."""
    await socket.accept()
    try:
        request = _decode(await socket.receive_text(), ExecRequest)
        async with execute(engine, name, request) as running:
            await _control(socket, ExecControl(started=True))
            code = await _carry(socket, running)
        if code is not None:
            await _control(socket, ExecControl(exit_code=code))
    except BulkheadError as error:
        told = Problem.of(error)
        with suppress(WebSocketDisconnect, RuntimeError):
            await _control(socket, ExecControl(problem=told))
    except (WebSocketDisconnect, KeyError):
        return  # KeyError: Starlette's word for a binary message where text was due
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close()


async def _carry(socket: WebSocket, running: Execution) -> int | None:
    """Carry data both ways until the process ends; None if the client went away first."""
    traffic = _Traffic()
    outputs = [
        asyncio.create_task(_output(socket, number, descriptor, traffic))
        for number, descriptor in running.outputs.items()
    ]
    ended = asyncio.create_task(running.wait())
    client = asyncio.create_task(_input(socket, running))
    # While a process takes no input, nobody receives from its client.
    gone = asyncio.create_task(wait_until_gone(socket))
    try:
        await asyncio.wait({ended, client, gone}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await _last_words(outputs, (client, gone), traffic)
        if client.done():
            client.result()
        if not ended.done() or client.done() or gone.done():
            return None
        return ended.result()
    finally:
        everyone = (*outputs, ended, client, gone)
        for task in everyone:
            task.cancel()
        await asyncio.gather(*everyone, return_exceptions=True)


async def _last_words(
    outputs: Sequence[asyncio.Task[None]],
    leaving: Sequence[asyncio.Task[None]],
    traffic: _Traffic,
) -> None:
    """Wait until the outputs have ended or are silent, or the client goes away.

    Raises:
        HostError: some of the output is lost.
    """
    begin = asyncio.get_running_loop().time()
    waiting = {task for task in outputs if not task.done()}
    while waiting and not any(task.done() for task in leaving):
        left = _LAST_WORDS_S - traffic.silence_s(since=begin)
        if left <= 0:
            break
        await asyncio.wait({*waiting, *leaving}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        waiting = {task for task in waiting if not task.done()}
    for task in outputs:
        if task.done():
            task.result()


async def _output(socket: WebSocket, number: int, descriptor: int, traffic: _Traffic) -> None:
    # The socket takes the next message only when the last one has left, so a client
    # that does not read stops the process and not this machine's memory.
    try:
        async for data in fifos.read(descriptor):
            with traffic.sending():
                await socket.send_bytes(bytes([number]) + data)
    except OSError as error:
        raise HostError(f"some of the output is lost: {error.strerror or error}") from error


async def _input(socket: WebSocket, running: Execution) -> None:
    """Handle the client's messages; returns when it goes away.

    Raises:
        UserError: a message that is not understood.
    """
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data, text = message.get("bytes"), message.get("text")
        if data is not None:
            if data[:1] != b"\0":
                raise UserError("a client can only write to stream 0")
            await running.write(data[1:])
        elif text is not None:
            control = _decode(text, ExecControl)
            if control.columns is not None and control.rows is not None:
                await running.resize(columns=control.columns, rows=control.rows)
            if control.close_stdin:
                await running.close_stdin()


async def _control(socket: WebSocket, control: ExecControl) -> None:
    await socket.send_text(msgspec.json.encode(control).decode())


def _decode(text: str, kind: type[M]) -> M:
    try:
        return decode_json(text, kind)
    except msgspec.MsgspecError as error:
        raise UserError(f"the message cannot be read: {error}") from error
