"""The WebSocket of `exec`: pipes on one side, messages on the other.

First comes the request as text. Then binary messages are data (first byte: the
stream) and text messages are `ExecControl`. The last one from here carries
the exit code or the problem.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from bulkhead.host.containers import fifos
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.executing import Execution, execute
from bulkhead.host.websockets import wait_until_gone
from bulkhead.model.containers import ExecControl, ExecRequest
from bulkhead.model.errors import BulkheadError, UserError
from bulkhead.model.problem import Problem

M = TypeVar("M")

_LAST_WORDS_S = 2.0
"""How long output may still come after the process has ended: a child may hold the pipe."""


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
    outputs = [
        asyncio.create_task(_output(socket, number, descriptor))
        for number, descriptor in running.outputs.items()
    ]
    ended = asyncio.create_task(running.wait())
    client = asyncio.create_task(_input(socket, running))
    # While a process takes no input, nobody receives from its client.
    gone = asyncio.create_task(wait_until_gone(socket))
    try:
        await asyncio.wait({ended, client, gone}, return_when=asyncio.FIRST_COMPLETED)
        if client.done():
            client.result()
        if not ended.done():
            return None
        await asyncio.wait(outputs, timeout=_LAST_WORDS_S)
        return ended.result()
    finally:
        everyone = (*outputs, ended, client, gone)
        for task in everyone:
            task.cancel()
        await asyncio.gather(*everyone, return_exceptions=True)


async def _output(socket: WebSocket, number: int, descriptor: int) -> None:
    # The socket takes the next message only when the last one has left, so a client
    # that does not read stops the process and not this machine's memory.
    async for data in fifos.read(descriptor):
        await socket.send_bytes(bytes([number]) + data)


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
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise UserError(f"the message cannot be read: {error}") from error
