"""The program.

    python3 -I -m bulkhead.host.apply          serve the socket that systemd opened
    python3 -I -m bulkhead.host.apply boot     apply everything once, before services start

Only the API may connect (the socket's mode). It asks by naming settings and
cannot hand over any: what is applied is read from the store and judged here.
Started by its socket, gone a few seconds after the last request.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from bulkhead.host.apply.agent import Agent
from bulkhead.host.apply.places import Places
from bulkhead.model.apply import MESSAGE_LIMIT, ApplyRequest, ApplyResult
from bulkhead.model.errors import Bug, BulkheadError

if TYPE_CHECKING:
    from bulkhead.host.systemd import Systemd

log = logging.getLogger("bulkhead.apply")

IDLE_S = 5.0
REQUEST_S = 10.0
"""For a whole request; it is sent at once."""


def serve(listener: socket.socket, agent: Agent, *, idle_s: float = IDLE_S) -> None:
    """Answer one request after the other until there has been none for `idle_s` seconds."""
    while select.select([listener], [], [], idle_s)[0]:
        connection, _ = listener.accept()
        # Whoever has gone away does not hear the answer; it is kept for later.
        with connection, suppress(OSError):
            handle(connection, agent)


def handle(connection: socket.socket, agent: Agent) -> None:
    """Answer one request."""
    connection.settimeout(REQUEST_S)
    line = receive(connection)
    try:
        request = msgspec.json.decode(line, type=ApplyRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        result = ApplyResult(ok=False, error=f"the request cannot be read: {error}")
    else:
        result = agent.answer(request)
    connection.settimeout(REQUEST_S)
    connection.sendall(fitting(result))


def receive(connection: socket.socket) -> bytes:
    """Return what comes up to the first newline, or the end; at most `MESSAGE_LIMIT` bytes."""
    data = b""
    while b"\n" not in data and len(data) <= MESSAGE_LIMIT:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    return data.partition(b"\n")[0] if len(data) <= MESSAGE_LIMIT else b""


def fitting(result: ApplyResult) -> bytes:
    """Return the answer's bytes; without differences if they would be too many."""
    data = msgspec.json.encode(result) + b"\n"
    if len(data) > MESSAGE_LIMIT:
        short = tuple(msgspec.structs.replace(change, diff=None) for change in result.files)
        data = msgspec.json.encode(msgspec.structs.replace(result, files=short)) + b"\n"
    return data


def listener() -> socket.socket:
    """Return the socket that systemd opened (sd_listen_fds(3)).

    Raises:
        Bug: there is none.
    """
    if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise Bug("started without its socket", hint="start bulkhead-apply.socket")
    return socket.socket(fileno=3)


def connect(places: Places) -> Systemd:
    """Connect to the first process; what that needs is loaded only then."""
    from bulkhead.host.systemd import Systemd

    return Systemd(places.systemd)


def main() -> int:
    """Run the program."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    places = Places()
    try:
        agent = Agent(places, connect=lambda: connect(places))
        if sys.argv[1:] == ["boot"]:
            return 0 if agent.boot().ok else 1
        serve(listener(), agent)
    except BulkheadError as error:
        log.error("%s", error)  # noqa: TRY400 - in words
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
