"""A process in a container with this program's own terminal or pipes at its other end."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from urllib.parse import quote

import msgspec
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    TextMessage,
)

from bulkhead.client.connection import Connection, failed, read
from bulkhead.client.wire import FULL, Wire
from bulkhead.model.containers import ExecControl, ExecRequest
from bulkhead.model.errors import RemoteError

CHUNK = 32 * 1024

Write = Callable[[int, bytes], None]
"""Takes the number of a stream (1 output, 2 errors) and data."""


class Attachment:
    """One process. `run` carries data until it ends.

    Args:
        connection: the machine.
        name: the container.
        request: what to run.
        write: where output goes.
        stdin: a descriptor to read input from; None if it has none.
        wakeup: a descriptor that becomes readable when `size` may have changed.
        size: returns columns and rows of the terminal.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        request: ExecRequest,
        *,
        write: Write,
        stdin: int | None = None,
        wakeup: int | None = None,
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._connection, self._name, self._request = connection, name, request
        self._write, self._stdin, self._wakeup, self._size = write, stdin, wakeup, size
        self._wire = Wire()
        self._result: int | None = None
        self._started = False
        self._text = ""
        self._kind: int | None = None

    def run(self) -> int:
        """Carry data until the process ends; return its exit code.

        Raises:
            UserError: the container or the user does not exist, the program cannot be started.
            RemoteError: the connection broke.
        """
        with self._connection.connect() as link:
            self._wire.open(
                link, self._connection, f"/v1/containers/{quote(self._name, safe='')}/exec"
            )
            while self._result is None:
                self._turn(link)
            return self._result

    def _turn(self, link: socket.socket) -> None:
        reading: list[socket.socket | int] = [link]
        if self._started and self._stdin is not None and self._wire.waiting < FULL:
            reading.append(self._stdin)
        if self._wakeup is not None:
            reading.append(self._wakeup)
        ready, writable, _ = select.select(reading, [link] if self._wire.waiting else [], [])
        if writable:
            self._wire.flush(link)
        if self._wakeup is not None and self._wakeup in ready:
            os.read(self._wakeup, 4096)
            self._resize()
        if self._stdin is not None and self._stdin in ready:
            self._forward(self._stdin)
        if link in ready:
            for event in self._wire.receive(link):
                self._handle(event)

    def _handle(self, event: Event) -> None:
        if isinstance(event, AcceptConnection):
            self._wire.send(TextMessage(data=msgspec.json.encode(self._request).decode()))
        elif isinstance(event, RejectConnection):
            raise RemoteError(f"the machine refused with status {event.status_code}")
        elif isinstance(event, BytesMessage):
            self._output(event)
        elif isinstance(event, TextMessage):
            self._text += event.data
            if event.message_finished:
                text, self._text = self._text, ""
                self._control(text)
        elif isinstance(event, Ping):
            self._wire.send(event.response())
        elif isinstance(event, CloseConnection) and self._result is None:
            raise RemoteError("the machine ended the connection", hint="see its journal")

    def _output(self, event: BytesMessage) -> None:
        data = bytes(event.data)
        if self._kind is None and data:
            self._kind, data = data[0], data[1:]
        if self._kind is not None and data:
            self._write(self._kind, data)
        if event.message_finished:
            self._kind = None

    def _control(self, text: str) -> None:
        control = read(text, ExecControl, where="exec")
        if control.problem is not None:
            raise failed(control.problem)
        if control.started:
            self._started = True
            self._resize()
        if control.exit_code is not None:
            self._result = control.exit_code

    def _resize(self) -> None:
        if self._size is not None and self._started:
            columns, rows = self._size()
            self._tell(ExecControl(columns=columns, rows=rows))

    def _forward(self, descriptor: int) -> None:
        data = os.read(descriptor, CHUNK)
        if data:
            self._wire.send(BytesMessage(data=b"\0" + data))
        else:
            self._stdin = None
            self._tell(ExecControl(close_stdin=True))

    def _tell(self, control: ExecControl) -> None:
        self._wire.send(TextMessage(data=msgspec.json.encode(control).decode()))
