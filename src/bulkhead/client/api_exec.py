"""A process in a container through the API's `/exec`, which speaks Bottlerocket's protocol.

The protocol lets either side give up a peer that says nothing for ten
seconds, so this never blocks on its own terminal: a thread writes the output,
and when it is behind, the connection is not read, while pings still go out.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    TextMessage,
)

from bulkhead.client.connection import Connection
from bulkhead.client.wire import FULL, Wire
from bulkhead.model import exec as protocol
from bulkhead.model.errors import RemoteError, UserError

CHUNK = 8 * 1024
"""Bytes of input in a message. The whole window of them is what the server holds at most."""
BEHIND = 1024 * 1024
"""Bytes of output that wait for the terminal at most."""
PING_S = 2.0
SILENCE_S = 10.0
START_S = 60.0
"""How long the machine may say nothing at first: its API may have to start for this."""
_TICK_S = 0.25
"""How often pings and silence are looked after."""

Size = Callable[[], tuple[int, int]]
"""Returns columns and rows of the terminal."""


class Writer:
    """Writes output in a thread of its own, in order.

    Args:
        write: takes data; may block.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._taken = self._written = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: OSError | None = None
        self._thread.start()

    def put(self, data: bytes) -> None:
        """Write this next."""
        self._taken += len(data)
        self._queue.put(data)

    def waiting(self) -> int:
        """Return how many bytes are not written yet."""
        return self._taken - self._written

    def end(self) -> None:
        """Let it end when everything is written."""
        self._queue.put(None)

    def finish(self) -> None:
        """Wait until it has ended.

        Raises:
            OSError: something cannot be written, as when nobody reads any more.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)  # a whole join would not let Ctrl-C through
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            try:
                self._write(data)
            except OSError as error:
                self.error = error
                return
            self._written += len(data)


class ApiExec:
    """One process. `run` carries data until it ends.

    Args:
        connection: the API's.
        target: the container.
        command: program and arguments.
        write: takes output and errors.
        stdin: a descriptor to read input from; None if there is none.
        size: of the terminal that the process gets; None for no terminal.
        wakeup: a descriptor that becomes readable when the terminal's size may have changed.
    """

    def __init__(
        self,
        connection: Connection,
        target: str,
        command: Sequence[str],
        *,
        write: Callable[[bytes], None],
        stdin: int | None = None,
        size: Size | None = None,
        wakeup: int | None = None,
    ) -> None:
        self._connection, self._target, self._command = connection, target, command
        self._write, self._stdin, self._size, self._wakeup = write, stdin, size, wakeup
        self._wire = Wire(where="exec")
        self._window = self._sent = 0
        self._text = ""
        self._result: int | None = None

    def run(self) -> int:
        """Carry data until the process ends; return its exit code.

        Raises:
            RemoteError: the process cannot be run, or the connection broke.
            OSError: the output cannot be written.
        """
        writer = Writer(self._write)
        try:
            self._carry(writer)
        finally:
            writer.end()
        writer.finish()
        assert self._result is not None
        return self._result

    def _carry(self, writer: Writer) -> None:
        """Carry data until the process has ended or nobody takes its output."""
        with self._connection.connect() as link:
            self._wire.open(link, self._connection, "/exec")
            heard = pinged = time.monotonic()
            while self._result is None and writer.error is None:
                if self._turn(link, writer) or writer.waiting() > BEHIND:
                    heard = time.monotonic()
                now = time.monotonic()
                limit = SILENCE_S if self._wire.is_open else START_S
                if now - heard > limit:
                    raise RemoteError(f"the machine said nothing for {limit:g} s", where="exec")
                if now - pinged >= PING_S and self._wire.is_open:
                    self._wire.send(Ping())
                    pinged = now

    def _turn(self, link: socket.socket, writer: Writer) -> bool:
        """Do what can be done now, or wait for it a little; tell whether the machine said something."""
        behind = writer.waiting() > BEHIND
        reading: list[socket.socket | int] = [] if behind else [link]
        if self._stdin is not None and self._may_send():
            reading.append(self._stdin)
        if self._wakeup is not None:
            reading.append(self._wakeup)
        ready, writable, _ = select.select(
            reading, [link] if self._wire.waiting else [], [], 0.05 if behind else _TICK_S
        )
        if writable:
            self._wire.flush(link)
        if self._wakeup is not None and self._wakeup in ready:
            os.read(self._wakeup, 4096)
            self._resize()
        if self._stdin is not None and self._stdin in ready:
            self._forward(self._stdin)
        if link in ready:
            for event in self._wire.receive(link):
                self._handle(event, writer)
        return link in ready

    def _may_send(self) -> bool:
        return self._sent < self._window and self._wire.waiting < FULL

    def _handle(self, event: Event, writer: Writer) -> None:
        if isinstance(event, AcceptConnection):
            self._initialize()
        elif isinstance(event, RejectConnection):
            raise RemoteError(f"the machine refused with status {event.status_code}", where="exec")
        elif isinstance(event, BytesMessage):
            writer.put(bytes(event.data))
        elif isinstance(event, TextMessage):
            self._text += event.data
            if event.message_finished:
                self._allow(self._text)
                self._text = ""
        elif isinstance(event, Ping):
            self._wire.send(event.response())
        elif isinstance(event, CloseConnection):
            self._close(event)

    def _allow(self, text: str) -> None:
        try:
            capacity = protocol.read_server(text)
        except UserError as error:
            raise RemoteError(
                error.what, where="exec",
                hint="this program and the machine may be of different versions",
            ) from error  # fmt: skip
        self._window = capacity.messages_written + capacity.max_messages_outstanding

    def _initialize(self) -> None:
        size = None
        if self._size is not None:
            columns, rows = self._size()
            size = protocol.Size(rows=rows, cols=columns)
        command = tuple(protocol.argument(part) for part in self._command)
        tty = None if size is None else protocol.Tty(size=size)
        wanted = protocol.Initialize(command=command, target=self._target, tty=tty)
        self._tell(protocol.write(wanted))
        if self._stdin is None:
            self._tell(protocol.write(protocol.CONTENT_COMPLETE))

    def _resize(self) -> None:
        if self._size is not None and self._window:
            columns, rows = self._size()
            self._tell(protocol.write(protocol.Size(rows=rows, cols=columns)))

    def _forward(self, descriptor: int) -> None:
        data = os.read(descriptor, CHUNK)
        if data:
            self._sent += 1
            self._wire.send(BytesMessage(data=data))
        else:
            self._stdin = None
            self._tell(protocol.write(protocol.CONTENT_COMPLETE))

    def _close(self, event: CloseConnection) -> None:
        reason = event.reason or ""
        if event.code != protocol.NORMAL:
            what = reason or f"the machine ended the connection with code {event.code}"
            raise RemoteError(what, where=f"exec in {self._target!r}")
        if not (reason.isascii() and reason.isdecimal()) or len(reason) > 9:
            raise RemoteError(f"expected an exit code, got {reason[:40]!r}", where="exec")
        self._result = int(reason)

    def _tell(self, text: str) -> None:
        self._wire.send(TextMessage(data=text))
