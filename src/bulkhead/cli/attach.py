"""Putting this program's terminal at the other end of a process in a container."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from bulkhead.client.api_exec import ApiExec
from bulkhead.client.connection import Connection
from bulkhead.client.exec import Attachment
from bulkhead.model.containers import ExecRequest
from bulkhead.model.errors import UserError


def attach(connection: Connection, name: str, request: ExecRequest) -> int:
    """Run a process with standard input, output and errors of this program.

    With a terminal, every key goes to the process, Ctrl-C too; the terminal
    is as before afterwards, whatever happens.

    Raises:
        UserError: a terminal was asked for and this program has none.
    """
    stdin = sys.stdin.fileno() if request.stdin else None
    with ExitStack() as undo:
        wakeup = None
        if request.tty:
            if request.stdin and not os.isatty(sys.stdin.fileno()):
                raise UserError(
                    "standard input is no terminal", hint="leave -t out when input is piped"
                )
            if stdin is not None:
                undo.enter_context(_raw(stdin))
            wakeup = undo.enter_context(_resized())
        return Attachment(
            connection,
            name,
            request,
            write=_write,
            stdin=stdin,
            wakeup=wakeup,
            size=_size if request.tty else None,
        ).run()


def attach_through_api(
    connection: Connection, target: str, command: Sequence[str], *, tty: bool | None
) -> int:
    """Run a process through the node's API; as `attach`.

    Args:
        connection: the API's.
        target: the container.
        command: program and arguments.
        tty: give it a terminal; None for: if this program has one at both ends.

    Raises:
        UserError: a terminal was asked for and this program has none.
    """
    # Python has none where the descriptor is closed.
    stdin = sys.stdin.fileno() if sys.stdin is not None else None
    has_terminal = stdin is not None and os.isatty(stdin)
    if tty is None:
        tty = has_terminal and os.isatty(sys.stdout.fileno())
    elif tty and not has_terminal:
        raise UserError("standard input is no terminal", hint="leave -t out when input is piped")
    with ExitStack() as undo:
        wakeup = undo.enter_context(_resized()) if tty else None
        if tty and stdin is not None:
            undo.enter_context(_raw(stdin))
        return ApiExec(
            connection,
            target,
            command,
            write=lambda data: _write(1, data),
            stdin=stdin,
            size=_size if tty else None,
            wakeup=wakeup,
        ).run()


def _write(stream: int, data: bytes) -> None:
    descriptor = 2 if stream == 2 else 1
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _size() -> tuple[int, int]:
    # The terminal's own: COLUMNS in the environment does not change with it.
    for descriptor in range(3):
        with suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            return columns or 80, rows or 24
    return 80, 24


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


@contextmanager
def _resized() -> Iterator[int]:
    """Yield a descriptor that becomes readable when the terminal's size changes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.getsignal(signal.SIGWINCH)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda number, frame: None)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGWINCH, before)
        os.close(reader)
        os.close(writer)
