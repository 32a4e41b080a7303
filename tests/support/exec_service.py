"""A container service with one container, "box", whose processes are plain ones of this machine.

It speaks what `bulkhead.host.containers` speaks about `exec`; the exchanges of
tests/conformance/exec run against both.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
import threading
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_UNIX, socket

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from bulkhead.host import serving, websockets
from bulkhead.host.api import exec as api_exec
from bulkhead.model.containers import ExecControl, ExecRequest
from bulkhead.model.problem import Problem

UNKNOWN = Problem(error="there is no container 'bax'", hint="did you mean 'box'?")


class Service:
    """Runs processes. `pids` has those that were started, `requests` what was asked for."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.requests: list[ExecRequest] = []

    async def exec(self, link: WebSocket) -> None:
        """Run one process for one client."""
        await link.accept()
        request = msgspec.json.decode(await link.receive_text(), type=ExecRequest)
        self.requests.append(request)
        if link.path_params["name"] != "box":
            await _tell(link, ExecControl(problem=UNKNOWN))
        else:
            with suppress(WebSocketDisconnect):
                code = await self._run(link, request)
                await _tell(link, ExecControl(exit_code=code if code >= 0 else 128 - code))
        with suppress(RuntimeError, WebSocketDisconnect):
            await link.close()

    async def _run(self, link: WebSocket, request: ExecRequest) -> int:
        if request.tty:
            ours, theirs = pty.openpty()
            _resize(ours, request.columns, request.rows)
            process = await asyncio.create_subprocess_exec(
                *request.command, stdin=theirs, stdout=theirs, stderr=theirs,
                start_new_session=True, env={**os.environ, **request.env},
                preexec_fn=_take_terminal,
            )  # fmt: skip
            os.close(theirs)
            outputs = [_from_terminal(link, ours)]
        else:
            ours = -1
            process = await asyncio.create_subprocess_exec(
                *request.command, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
            assert process.stdout is not None
            assert process.stderr is not None
            outputs = [_from_pipe(link, 1, process.stdout), _from_pipe(link, 2, process.stderr)]
        self.pids.append(process.pid)
        tasks = [asyncio.create_task(part) for part in outputs]
        client = asyncio.create_task(_input(link, process, ours))
        gone = asyncio.create_task(websockets.wait_until_gone(link))
        ended = asyncio.create_task(process.wait())
        waiting = (client, gone, ended)
        try:
            await _tell(link, ExecControl(started=True))
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if ended not in done:
                raise WebSocketDisconnect(1006)
            await asyncio.gather(*tasks)
            return await ended
        finally:
            for task in (*tasks, *waiting):
                task.cancel()
            await asyncio.gather(*tasks, *waiting, return_exceptions=True)
            if process.returncode is None:
                process.kill()
            await process.communicate()
            if request.tty:
                os.close(ours)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heed_interrupts()


def heed_interrupts() -> None:
    """Undo what a shell does to a test run in the background: it has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def _from_pipe(link: WebSocket, number: int, stream: asyncio.StreamReader) -> None:
    while data := await stream.read(65536):
        await link.send_bytes(bytes([number]) + data)


async def _from_terminal(link: WebSocket, ours: int) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # EIO: nobody has the other side open any more
        while data := await loop.run_in_executor(None, os.read, ours, 65536):
            await link.send_bytes(b"\1" + data)


async def _input(link: WebSocket, process: asyncio.subprocess.Process, ours: int) -> None:
    while True:
        message = await link.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(1006)
        if (data := message.get("bytes")) is not None:
            if process.stdin is None:
                os.write(ours, data[1:])
            else:
                process.stdin.write(data[1:])
                with suppress(ConnectionError):
                    await process.stdin.drain()
        elif (text := message.get("text")) is not None:
            control = msgspec.json.decode(text, type=ExecControl)
            if control.columns is not None and control.rows is not None:
                _resize(ours, control.columns, control.rows)
            if control.close_stdin and process.stdin is not None:
                process.stdin.close()


def _resize(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _tell(link: WebSocket, control: ExecControl) -> None:
    await link.send_text(msgspec.json.encode(control).decode())


@contextmanager
def listening(path: Path) -> Iterator[socket]:
    """Hold a Unix socket as systemd does: who connects waits for the service."""
    with socket(AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


@contextmanager
def served(
    app: ASGIApp, path: Path, *, sockets: type[websockets.Protocol] = websockets.Protocol
) -> Iterator[None]:
    """Serve an application on a Unix socket, as on a node, until the block ends."""
    with listening(path) as listener, _served_on(listener, app, sockets):
        yield


@contextmanager
def _served_on(
    listener: socket, app: ASGIApp, sockets: type[websockets.Protocol]
) -> Iterator[None]:
    server = uvicorn.Server(serving.config(app, sockets=sockets))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def api(path: Path, containers: Path) -> Iterator[None]:
    """Serve `/exec` in front of a container service."""
    app = Starlette(routes=[WebSocketRoute("/exec", api_exec.endpoint(containers))])
    with served(app, path, sockets=websockets.Strict):
        yield


@contextmanager
def service(listener: socket) -> Iterator[Service]:
    """Serve the container service."""
    made = Service()
    app = Starlette(routes=[WebSocketRoute("/v1/containers/{name}/exec", made.exec)])
    with _served_on(listener, app, websockets.Protocol):
        yield made


@contextmanager
def node(directory: Path) -> Iterator[Service]:
    """Serve both: DIRECTORY/api is the API, DIRECTORY/containers the service behind it."""
    containers = directory / "containers"
    with (
        listening(containers) as listener,
        service(listener) as made,
        api(directory / "api", containers),
    ):
        yield made
