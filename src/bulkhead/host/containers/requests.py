"""How the privileged programs are asked: one line of JSON each way, and descriptors beside it.

A request is an action and the name of a container; nothing else of what is
to be done crosses a socket. Each program serves one request at a time and ends when
nobody has asked for a few seconds.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.lib.decoding import decode_json
from bulkhead.model.containers import is_name
from bulkhead.model.errors import Bug, BulkheadError, HostError, UserError

log = logging.getLogger(__name__)

IDLE_S = 5.0
TIMEOUT_S = 600.0  # a new volume may have much to copy
_LIMIT = 4096
_MOST_DESCRIPTORS = 3


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a socket takes, one per connection."""

    action: str
    name: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What it gives back."""

    address: str | None = None
    error: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What an action leads to. The descriptors are closed when they have been sent."""

    address: str | None = None
    descriptors: tuple[int, ...] = ()


Action = Callable[[str, Sequence[int]], Reply]
"""Takes the name and the descriptors that came with the request."""


def run(
    actions: Mapping[str, Action],
    *,
    prepare: Callable[[Mapping[str, int]], None] = lambda descriptors: None,
) -> int:
    """Be a program that systemd has started for a request: serve until nobody asks.

    Args:
        actions: by name.
        prepare: called before the first request, with the descriptors that systemd gives, by name.

    Returns:
        The exit code.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        descriptors = given()
        with listener(descriptors) as listening:
            prepare(descriptors)
            serve(listening, actions)
    except (HostError, Bug):
        log.exception("failed")
        return 1
    return 0


def serve(
    listener: socket.socket, actions: Mapping[str, Action], *, idle_s: float = IDLE_S
) -> None:
    """Answer requests until nobody has asked for `idle_s` seconds."""
    while select.select([listener], [], [], idle_s)[0]:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            with suppress(OSError):
                _answer(connection, actions)


def _answer(connection: socket.socket, actions: Mapping[str, Action]) -> None:
    descriptors: list[int] = []
    reply, error = Reply(), None
    try:
        request = _read(connection, descriptors)
        if request.action not in actions:
            raise UserError(f"there is no action {request.action!r}")
        reply = actions[request.action](request.name, descriptors)
    except (BulkheadError, OSError) as failed:
        log.warning("%s", failed)
        error = str(failed)
    answer = msgspec.json.encode(Answer(address=reply.address, error=error)) + b"\n"
    try:
        socket.send_fds(connection, [answer], list(reply.descriptors))
    finally:
        _close(descriptors)
        _close(reply.descriptors)


def _read(connection: socket.socket, descriptors: list[int]) -> Request:
    data = _line(connection, descriptors)
    try:
        request = decode_json(data, Request)
    except msgspec.MsgspecError as error:
        raise UserError(f"the request cannot be read: {error}") from error
    # A name becomes a path: nothing but a name may pass.
    if not is_name(request.name):
        raise UserError("that is no name of a container")
    return request


def _line(connection: socket.socket, descriptors: list[int]) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk, found, _, _ = socket.recv_fds(connection, _LIMIT, _MOST_DESCRIPTORS)
        descriptors += found
        for descriptor in found:
            os.set_inheritable(descriptor, False)
        data += chunk
        if not chunk or len(data) > _LIMIT:
            raise UserError("the request is not one line")
    return data


def ask(
    path: Path, action: str, name: str, *, descriptors: Sequence[int] = (), expected: int = 0
) -> tuple[int, ...]:
    """Ask another program for an action; return the descriptors that it gives.

    Args:
        path: its socket.
        action: what to do.
        name: the container.
        descriptors: what it needs for that.
        expected: how many descriptors it must give.

    Raises:
        HostError: it could not be done, or the program does not answer.
    """
    found: list[int] = []
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(os.fspath(path))
            request = msgspec.json.encode(Request(action=action, name=name)) + b"\n"
            socket.send_fds(connection, [request], list(descriptors))
            answer = decode_json(_line(connection, found), Answer)
    except (OSError, UserError, msgspec.MsgspecError) as error:
        _close(found)
        raise HostError(f"the program does not answer: {error}", where=os.fspath(path)) from error
    if answer.error is None and len(found) == expected:
        return tuple(found)
    _close(found)
    if answer.error is not None:
        raise HostError(answer.error)
    raise HostError("the program gives something else", where=os.fspath(path))


def given() -> dict[str, int]:
    """Return the descriptors that systemd gives this program, by their names.

    Raises:
        Bug: it gives none.
    """
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise Bug("started without its socket")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for descriptor in range(3, 3 + count):
        os.set_inheritable(descriptor, False)
    return dict(zip(names, range(3, 3 + count), strict=False))


def take(descriptors: Mapping[str, int], name: str) -> int:
    """Return one of the descriptors of systemd's.

    Raises:
        Bug: it is not among them.
    """
    if name not in descriptors:
        raise Bug(f"started without {name!r}")
    return descriptors[name]


def listener(descriptors: Mapping[str, int]) -> socket.socket:
    """Return the socket among the descriptors of systemd's.

    Raises:
        Bug: it is not among them.
    """
    return socket.socket(fileno=take(descriptors, "requests"))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
